internal import CoAP
internal import DTLS
internal import Timing

/// Another configuration for a shard that runs. Sessions, registrations, back-off and counts of sources stay as they are.
extension DeviceSessions {
    /// The sockets as the new configuration has them, by number.
    struct ListenerTable: Sendable {
        var listeners: [Listener]
        var entries: [GatewayConfiguration.Listener]
        /// Numbers of those that are about to be closed: whoever is there has to go.
        var removed: Set<Int>
    }

    static func makeContext(for configuration: GatewayConfiguration) throws(DTLSError) -> DTLSContext? {
        guard configuration.listeners.contains(where: { $0.security == .dtls }) else { return nil }
        return try DTLSContext(role: .server, configuration: Self.dtlsConfiguration(configuration))
    }

    private static func dtlsConfiguration(_ configuration: GatewayConfiguration) -> DTLSConfiguration {
        var dtls = DTLSConfiguration()
        dtls.suites = configuration.dtls.suites
        dtls.maximumHandshakes = configuration.limits.halfOpen
        dtls.initialRetransmission = configuration.deviceHandshake.retransmission
        dtls.handshakeTimeout = configuration.deviceHandshake.limit
        return dtls
    }

    /// Swaps everything in one turn of the loop, the pool's part included. Bootstraps that run go on with the configuration
    /// that they began with; handshakes, too.
    ///
    /// Throws when the DTLS library does not take the configuration; then nothing has changed.
    func reload(_ configuration: GatewayConfiguration, _ table: ListenerTable) throws(DTLSError) {
        var context = self.dtlsContext
        if !configuration.listeners.contains(where: { $0.security == .dtls }) {
            context = nil
        } else if context?.configuration != Self.dtlsConfiguration(configuration) {
            context = try Self.makeContext(for: configuration)
        }
        let now = self.environment.now()
        self.dtlsContext = context
        let old = self.configuration
        self.shared = Shared(configuration)
        self.listeners = table.listeners
        self.listenerEntries = table.entries
        if !table.removed.isEmpty { self.leave(table.removed, now: now) }
        if old.deviceTransmission != configuration.deviceTransmission {
            for session in self.byICCID.values.joined() { session.layer.adopt(configuration.deviceTransmission) }
        }
        self.pool.assumeIsolated {
            $0.reload(
                policy: configuration.pool, transmission: configuration.upstreamTransmission, dtls: configuration.dtls,
                upstreams: configuration.bootstrap.upstreams, relays: configuration.servers.compactMap(\.relay),
                now: now
            )
        }
        self.endTurn()
    }

    /// Ends what lives at sockets that go. Registrations stay for devices that come back by another one.
    private func leave(_ removed: Set<Int>, now: Instant) {
        for (address, held) in self.addressWaiters {
            self.addressWaiters[address] = held.filter { !removed.contains($0.key.listener) }
        }
        for peer in self.peers.values.filter({ $0.handshake != nil && removed.contains($0.key.listener) }) {
            peer.handshake = nil
            self.handshakeEnded(peer.key)
            self.counters.handshakeFailed(.listenerRemoved)
            self.forgetIfEmpty(peer)
        }
        // Not by address: where somebody else has that now, only the connection ID leads to a session.
        for session in self.byICCID.values.flatMap({ $0 }) where removed.contains(session.peer.key.listener) {
            self.end(session, cause: .listenerRemoved, now: now)
        }
    }
}
