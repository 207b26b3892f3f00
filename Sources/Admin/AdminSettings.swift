package import Secrets

/// How operators and monitoring reach a running gateway: `admin` of the configuration, secrets read.
package struct AdminSettings: Sendable {
    /// What a token allows.
    package enum Role: String, Sendable, CaseIterable {
        /// Reads.
        case viewer
        /// Reads and changes.
        case `operator`
    }

    package struct Token: Sendable {
        /// Who uses it, for the journal.
        package var name: String
        package var role: Role
        package var secret: Secret

        package init(name: String, role: Role, secret: Secret) {
            self.name = name
            self.role = role
            self.secret = secret
        }
    }

    /// Address and port of HTTP; nil: none.
    package var address: (host: String, port: Int)?
    /// The socket of `bootgate status`, for who may open it; nil: none.
    package var socket: String?
    package var tokens: [Token] = []
    /// Whether `/metrics` asks for a token.
    package var metricsAreOpen = false

    package init() {}

    /// Whose token this is. Takes the same time whichever it is, and whether it is one.
    func token(_ presented: String) -> Token? {
        let secret = Secret(Array(presented.utf8))
        var found: Token?
        for token in self.tokens where token.secret == secret { found = token }
        return found
    }
}
