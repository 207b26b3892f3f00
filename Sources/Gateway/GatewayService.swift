internal import CoAP
internal import DTLS
package import Logging
package import NIOCore
internal import Timing

/// A listener that is ready for devices.
package struct BoundListener: Sendable {
    package let security: GatewayConfiguration.Security
    package let address: PeerAddress
}

extension BoundListener: CustomStringConvertible {
    /// As the configuration writes it.
    package var description: String { "\(self.security == .dtls ? "coaps" : "coap")://\(self.address)" }
}

/// The gateway as something that runs: sockets, sessions and pool of one shard, from start to stop.
package final class GatewayService: Sendable {
    private let configuration: GatewayConfiguration
    private let environment: DeviceSessions.Environment
    private let loop: any EventLoop
    private let logger: Logger

    /// `loop` is the shard's; the stores and the journal are shared by all shards.
    package init(
        configuration: GatewayConfiguration, records: any RecordStore, credentials: any CredentialStore,
        publications: PublicationDesk? = nil, rebootstraps: (any RebootstrapOrders)? = nil,
        traces: (any TraceOrders)? = nil, audit: any AuditSink,
        logger: Logger, loop: any EventLoop
    ) {
        self.configuration = configuration
        self.loop = loop
        self.logger = logger
        var environment = DeviceSessions.Environment(
            configuration: configuration.withLimits(), records: records, credentials: credentials,
            publications: publications, audit: audit, logger: logger,
            now: { .now }, wallClock: WallClock.microseconds, seed: UInt64.random(in: .min ... .max)
        )
        environment.rebootstraps = rebootstraps
        environment.traces = traces
        self.environment = environment
    }

    /// Runs until `stop` returns, then drains: no new bootstraps, the running ones have `drain` to finish.
    ///
    /// `ready` is called once, when every listener is bound.
    /// Throws when a listener cannot be bound or the DTLS library cannot serve.
    package func run(
        ready: @Sendable (RunningGateway) async throws -> Void, until stop: @Sendable () async -> Void
    ) async throws {
        let pool = UpstreamPool(
            loop: self.loop, policy: self.configuration.pool,
            transmission: self.configuration.upstreamTransmission, dtls: self.configuration.dtls, logger: self.logger,
            seed: UInt64.random(in: .min ... .max)
        )
        let sessions = try DeviceSessions(loop: self.loop, pool: pool, environment: self.environment)
        await pool.attach(sessions)
        await pool.start(
            self.configuration.bootstrap.upstreams, relays: self.configuration.servers.compactMap(\.relay)
        )
        let listeners = try await Listener.bindAll(
            self.configuration.listeners, receiver: sessions, loop: self.loop, logger: self.logger
        )
        await sessions.attach(listeners)
        let changes = Task { await sessions.followChanges() }
        let state = GatewayState(self.configuration, listeners)
        try await ready(
            RunningGateway(state: state, sessions: sessions, pool: pool, loop: self.loop, logger: self.logger))
        await stop()
        await self.drain(sessions, state.current.configuration.drain)
        changes.cancel()
        await sessions.stop()
        let counters = await sessions.counters.metadata
        self.logger.info("gateway stopped", metadata: counters)
        for socket in state.sockets { await socket.listener.close() }
        await pool.stop()
    }

    private func drain(_ sessions: DeviceSessions, _ limit: Duration) async {
        await sessions.drain()
        let deadline = Instant.now.advanced(by: limit)
        while await sessions.runningBootstraps > 0, Instant.now < deadline {
            try? await Task.sleep(for: .milliseconds(50))
        }
    }
}
