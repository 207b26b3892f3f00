package import Secrets

/// How one server that terminates DTLS itself is told of keys over HTTP.
package struct PublicationTarget: Sendable {
    package enum Form: Sendable, Equatable {
        /// Leshan's REST interface, `PUT` and `DELETE` below `/api/security/clients/`. It holds one key for each endpoint.
        case leshan(LeshanFormat)
        /// `POST` of a message for each change to one address.
        case webhook
    }

    /// How Leshan writes a key, by version.
    package enum LeshanFormat: Sendable, Equatable {
        /// `{"endpoint": …, "psk": {"identity": …, "key": …}}`
        case psk
        /// `{"endpoint": …, "tls": {"mode": "psk", "details": {"identity": …, "key": …}}}`
        case tls
    }

    package var form: Form
    /// `http` or `https`. For Leshan the address without `/api`.
    package var url: String
    /// Sent as a bearer token.
    package var token: Secret?
    /// Certificate and key that this gateway shows (mutual TLS).
    package var identity: ClientIdentity?
    /// A PEM file with the certificates that the server's must lead to; nil: the system's.
    package var trustRoots: String?
    /// From the first try to connect to the whole answer. The status has to come within it; what is missing of the answer
    /// then is not waited for.
    package var timeout: Duration

    package init(
        form: Form, url: String, token: Secret? = nil, identity: ClientIdentity? = nil, trustRoots: String? = nil,
        timeout: Duration = .seconds(5)
    ) {
        self.form = form
        self.url = url
        self.token = token
        self.identity = identity
        self.trustRoots = trustRoots
        self.timeout = timeout
    }

    package struct ClientIdentity: Sendable {
        /// A PEM file: the certificate, and those that lead to its root.
        package var certificates: String
        /// PEM.
        package var key: Secret

        package init(certificates: String, key: Secret) {
            self.certificates = certificates
            self.key = key
        }
    }
}
