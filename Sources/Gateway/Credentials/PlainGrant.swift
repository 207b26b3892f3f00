/// Leave to register over the plain port, which a bootstrap over the plain port gave to one SIM for one server.
///
/// It stands where a one-time credential stands for a device over DTLS, and has the same life: pending until the first
/// Register, then active; replaced by the grant of a later bootstrap; ended by suspension and the like, `use-within` and
/// `max-age`. The device gets no secret with it: the source address is what proves the SIM.
package struct PlainGrant: Sendable, Equatable {
    /// What a grant is for, and what is known when a Register comes: the SIM by its source address, the server by the
    /// port or because it is the only one.
    package struct Key: Hashable, Sendable {
        package var iccid: String
        /// Name of the entry in `servers` of the configuration.
        package var server: String

        package init(iccid: String, server: String) {
            self.iccid = iccid
            self.server = server
        }
    }

    /// Random; names the grant to the store.
    package var id: Int64
    package var key: Key
    /// Endpoint client name that the bootstrap was made for.
    package var endpoint: String
    /// Short server ID as written upstream, 1 to 65534.
    package var shortServerID: UInt16
    package var state: OneTimeCredential.State
    /// Wall clock, microseconds since 1970.
    package var mintedAt: Int64
    /// As ``OneTimeCredential/written``.
    package var written: UpstreamAccount?

    package init(
        id: Int64, key: Key, endpoint: String, shortServerID: UInt16, state: OneTimeCredential.State, mintedAt: Int64,
        written: UpstreamAccount? = nil
    ) {
        self.id = id
        self.key = key
        self.endpoint = endpoint
        self.shortServerID = shortServerID
        self.state = state
        self.mintedAt = mintedAt
        self.written = written
    }

    /// A new one, not yet used.
    package static func mint(
        for record: SIMRecord, endpoint: String, server: String, shortServerID: UInt16,
        written: UpstreamAccount? = nil, at time: Int64
    ) -> PlainGrant {
        PlainGrant(
            id: .random(in: 1 ... .max), key: Key(iccid: record.iccid, server: server), endpoint: endpoint,
            shortServerID: shortServerID, state: .pending, mintedAt: time, written: written
        )
    }
}
