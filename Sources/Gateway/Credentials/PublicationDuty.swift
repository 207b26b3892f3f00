package import Secrets

/// What a server holds and what it should hold, for one endpoint: a line of the store's list of publications, and the
/// decision about it. Pure.
///
/// With one key for each endpoint a line is an endpoint, and the server should hold the newest credential that is in use.
/// Otherwise a line is a credential, and the server should hold it as long as it lives.
package struct PublicationDuty: Sendable, Equatable {
    /// Names the line to the store; `version` grows with every reason to look at it again.
    package var id: Int64
    package var version: Int64
    /// Name of the entry in `servers` of the configuration.
    package var server: String
    package var iccid: String
    package var endpoint: String
    /// The credential that the line is about; nil: one key for each endpoint.
    package var identity: PSKIdentity?
    /// What the server is known to hold; nil when that is not known.
    package var held: PSKIdentity?
    /// What the server should hold; see ``choose(among:)``. Nil: nothing.
    package var wanted: OneTimeCredential?
    /// How often it was tried in vain.
    package var attempts: Int

    package init(
        id: Int64, version: Int64, server: String, iccid: String, endpoint: String, identity: PSKIdentity?,
        held: PSKIdentity?, wanted: OneTimeCredential?, attempts: Int
    ) {
        self.id = id
        self.version = version
        self.server = server
        self.iccid = iccid
        self.endpoint = endpoint
        self.identity = identity
        self.held = held
        self.wanted = wanted
        self.attempts = attempts
    }

    package enum Step: Sendable, Equatable {
        case nothing
        case publish(OneTimeCredential)
        case withdraw(PSKIdentity?)
    }

    package var step: Step {
        if let identity = self.identity {
            // Its bootstrap has published it, or has failed: there is no reason to do so a second time.
            return self.wanted == nil ? .withdraw(identity) : .nothing
        }
        guard let wanted = self.wanted else { return .withdraw(self.held) }
        return wanted.identity == self.held ? .nothing : .publish(wanted)
    }

    /// Of the credentials of an endpoint, newest first, the one that a server with one key for each endpoint should hold:
    /// the newest that a device has finished a bootstrap with, else the newest that it may have (T10).
    package static func choose(among credentials: [OneTimeCredential]) -> OneTimeCredential? {
        credentials.first { $0.state == .active } ?? credentials.first { $0.state == .pending }
    }

    /// How long to wait after so many attempts in vain: a second, doubled each time, a quarter of an hour at most.
    package static func pause(afterAttempts attempts: Int) -> Duration {
        .seconds(min(900, 1 << (min(max(attempts, 1), 11) - 1)))
    }
}

extension GatewayConfiguration {
    /// How many keys of one endpoint a server that terminates DTLS itself can hold.
    package enum KeysPerEndpoint: String, Sendable, CaseIterable {
        /// A new key takes the place of the one before. It is published just before Finish is passed to the device, and
        /// the one before is published again if Finish gets any other answer than 2.04.
        case one = "1"
        /// Old and new are valid beside each other. A key is published when it is minted.
        case many
    }
}
