package import CoAP
internal import DTLS
package import Timing

extension UpstreamPool {
    /// Goes on with another configuration. New upstreams get their first sockets in the background; those that are not named
    /// any more serve the leases that they have. Sessions over DTLS stay; new ones follow `dtls`.
    ///
    /// On the pool's event loop.
    package func reload(
        policy: GatewayConfiguration.PoolPolicy, transmission: TransmissionParameters,
        dtls: GatewayConfiguration.DTLSPolicy, upstreams: [GatewayConfiguration.Upstream],
        relays: [GatewayConfiguration.Upstream], now: Instant
    ) {
        if transmission != self.transmission {
            self.transmission = transmission
            for connection in self.connections { connection?.layer.adopt(transmission) }
        }
        let configuration = Self.clientConfiguration(dtls, transmission)
        if configuration != self.dtls {
            self.dtls = configuration
            self.dtlsContext = nil
        }
        let ids =
            upstreams.map { self.id(of: $0, isRelay: false, now: now) }
            + relays.map { self.id(of: $0, isRelay: true, now: now) }
        self.machine.reload(
            Self.settings(policy, transmission, .current(addresses: policy.from.count)), wanted: Set(ids), now: now)
        self.carryOut()
        self.scheduleTurn()
    }

    static func settings(
        _ policy: GatewayConfiguration.PoolPolicy, _ transmission: TransmissionParameters, _ capacity: PoolCapacity
    ) -> PoolStateMachine.Settings {
        var settings = PoolStateMachine.Settings()
        settings.minimumIdle = max(0, policy.minimumIdle)
        settings.wait = policy.wait
        settings.quarantine = policy.quarantine
        settings.rest = policy.rest
        settings.exchangeLifetime = transmission.exchangeLifetime
        settings.localAddresses = policy.from
        settings.portsPerAddress = capacity.portsPerAddress
        settings.maximumSockets = capacity.sockets
        settings.bootstrapReserve = capacity.bootstrapReserve
        settings.sessionPatience = transmission.acknowledgementTimeout * 2
        settings.probePatience = transmission.acknowledgementTimeout * 2
        settings.health.interval = policy.probe
        settings.health.returnAfter = policy.returnAfter
        return settings
    }

    /// Not named by the configuration any more, and nobody's.
    func isGone(_ statistics: Statistics, _ id: PoolStateMachine.UpstreamID) -> Bool {
        self.machine.upstreams[id].isRetired
            && statistics.leased + statistics.securing + statistics.waiting + statistics.opening == 0
    }
}
