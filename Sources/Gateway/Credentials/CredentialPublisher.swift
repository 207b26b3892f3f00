package import Secrets

/// What a server that terminates DTLS itself is to be told: the seam between the data path and the HTTP that carries it.
///
/// The target `Publishing` implements it. Nothing here runs on an event loop of the data path.
package protocol CredentialPublisher: Sendable {
    /// The server takes this identity and key from now on; returns when it has said so. A server that keeps one key for
    /// each endpoint has forgotten the endpoint's previous one then.
    func publish(_ credential: OneTimeCredential) async throws(PublicationFailure)

    /// The server takes the key no more. `identity` nil: whatever it holds for the endpoint. Something that the server
    /// does not know is withdrawn already, and no failure.
    func withdraw(endpoint: String, identity: PSKIdentity?, from server: String) async throws(PublicationFailure)
}

/// Why a server does not hold what it should.
package struct PublicationFailure: Error, Sendable, Equatable {
    package enum Kind: String, Sendable {
        /// It answered with a status other than success.
        case refused
        /// No connection, or none that could be trusted.
        case unreachable
        /// It took the request, and said nothing in time.
        case silent = "no answer"
        /// Nothing in the configuration says how to reach it.
        case unconfigured = "not configured"
    }

    package var kind: Kind
    /// What happened, for the operator: the status, the error of the connection. Never a body, which may repeat a key.
    package var detail: String

    package init(_ kind: Kind, _ detail: String) {
        self.kind = kind
        self.detail = detail
    }

    package var cause: FailureCause {
        switch self.kind {
        case .refused: .publicationRefused
        case .unreachable: .publicationUnreachable
        case .silent: .publicationSilent
        case .unconfigured: .noRouteForServer
        }
    }

    /// What the operator can do about it.
    package var remedy: String {
        switch self.kind {
        case .refused, .unreachable, .silent: self.cause.remedy
        case .unconfigured: "write `publish` for this server again until its keys are withdrawn, or remove them there"
        }
    }
}
