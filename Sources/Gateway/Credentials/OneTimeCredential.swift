package import Secrets

/// A PSK identity and key that a bootstrap gave to one device for one server: new on every bootstrap, valid for many
/// handshakes until it is replaced, revoked or expired.
package struct OneTimeCredential: Sendable, Equatable {
    /// The life of a credential: `pending` → `active` → `replaced`, with `revoked` and `expired` as other ends.
    package enum State: String, Sendable, CaseIterable {
        /// Written to the device, not yet used.
        case pending
        /// Its first handshake has completed.
        case active
        /// A newer one for the same SIM and server has been proven, or the overlap has passed.
        case replaced
        case revoked
        case expired
    }

    /// The identity that the device sends: random, 29 characters by default, unique among all of the gateway.
    package var identity: PSKIdentity
    package var key: Secret
    package var iccid: String
    /// Endpoint client name that the bootstrap was made for.
    package var endpoint: String
    /// Name of the entry in `servers` of the configuration.
    package var server: String
    /// Short server ID as written upstream, 1 to 65534.
    package var shortServerID: UInt16
    package var state: State
    /// Wall clock, microseconds since 1970.
    package var mintedAt: Int64
    /// What the bootstrap server wrote for this very device, where the relay registers with that
    /// (``UpstreamCredentials/written``); nil elsewhere. It stays in the gateway.
    package var written: UpstreamAccount?

    package init(
        identity: PSKIdentity, key: Secret, iccid: String, endpoint: String, server: String, shortServerID: UInt16,
        state: State, mintedAt: Int64, written: UpstreamAccount? = nil
    ) {
        self.identity = identity
        self.key = key
        self.iccid = iccid
        self.endpoint = endpoint
        self.server = server
        self.shortServerID = shortServerID
        self.state = state
        self.mintedAt = mintedAt
        self.written = written
    }
}
