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
    private static let seeds: @Sendable () -> UInt64 = { .random(in: .min ... .max) }

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
            now: { .now }, wallClock: WallClock.microseconds, seeds: Self.seeds
        )
        environment.rebootstraps = rebootstraps
        environment.traces = traces
        self.environment = environment
    }

    /// Runs until `stop` returns, then drains: no new bootstraps, the running ones have `drain` to finish.
    ///
    /// `ready` is called once, when every listener is bound.
    /// Throws when a listener cannot be bound or the DTLS library cannot serve.
    ///
    /// - Parameters:
    ///   - handover: What an earlier run has left; taken up before the first datagram.
    ///   - handsOver: Whether sessions and registrations are to go on in the next run. They end here otherwise.
    ///   - atOnce: Returns when the drain is to be cut short.
    /// - Returns: What the next run goes on with. It holds keys, and may be taken up once.
    @discardableResult
    package func run(
        restoring handover: consuming Handover? = nil, handsOver: Bool = false,
        ready: @Sendable (RunningGateway) async throws -> Void, until stop: @Sendable () async -> Void,
        atOnce: @escaping @Sendable () async -> Void = GatewayService.never
    ) async throws -> Handover? {
        let pool = UpstreamPool(
            loop: self.loop, policy: self.configuration.pool,
            transmission: self.configuration.upstreamTransmission, dtls: self.configuration.dtls, logger: self.logger,
            seeds: Self.seeds
        )
        let sessions = try DeviceSessions(loop: self.loop, pool: pool, environment: self.environment)
        await pool.attach(sessions)
        // Before the stores are asked what stands: a change between the two is seen by either.
        let feed = self.environment.records.changes()
        var effort = Effort()
        // Nothing of it stays: a session's keys shall go with the session.
        if let handover = handover.take() { await effort.measure { await sessions.prepare(handover) } }
        await pool.start(
            self.configuration.bootstrap.upstreams, relays: self.configuration.servers.compactMap(\.relay)
        )
        let listeners: [Listener]
        do {
            listeners = try await Listener.bindAll(
                self.configuration.listeners, receiver: sessions, loop: self.loop, logger: self.logger
            )
        } catch {
            // Registrations that were taken up end here, and the journal says so: what they came from can be used once.
            await sessions.stop()
            await pool.stop()
            throw error
        }
        await effort.measure { await sessions.attach(listeners) }
        var restored = await sessions.restored
        restored.effort = effort
        let changes = Task { await sessions.followChanges(feed) }
        let state = GatewayState(self.configuration, listeners)
        try await ready(
            RunningGateway(
                state: state, restored: restored, sessions: sessions, pool: pool, loop: self.loop, logger: self.logger
            )
        )
        await stop()
        await self.drain(sessions, state.current.configuration.drain, handsOver: handsOver, atOnce: atOnce)
        changes.cancel()
        let left: Handover?
        if handsOver {
            var effort = Effort()
            let handover = await effort.measure { await sessions.handOver() }
            self.logger.info(
                "sessions gathered for the next start",
                metadata: [
                    "sessions": "\(handover.sessions.count)", "registrations": "\(handover.registrations.count)",
                    "microseconds": "\(effort.wall)", "processor_microseconds": "\(effort.processor)",
                ]
            )
            left = handover
        } else {
            left = nil
            await sessions.stop()
        }
        let counters = await sessions.counters.metadata
        self.logger.info("gateway stopped", metadata: counters)
        for socket in state.sockets { await socket.listener.close() }
        await pool.stop()
        return left
    }

    /// How long requests of registrations that are under way may take to end before a hand-over.
    private static let settling = Duration.seconds(1)

    private func drain(
        _ sessions: DeviceSessions, _ limit: Duration, handsOver: Bool, atOnce: @escaping @Sendable () async -> Void
    ) async {
        await sessions.drain()
        let deadline = Instant.now.advanced(by: limit)
        let settled = Instant.now.advanced(by: handsOver ? min(Self.settling, limit) : .zero)
        await withTaskGroup(of: Void.self) { group in
            group.addTask {
                while !Task.isCancelled {
                    let now = Instant.now
                    let (bootstraps, hasExchanges) = await (sessions.runningBootstraps, sessions.hasExchanges)
                    guard now < deadline && bootstraps > 0 || now < settled && hasExchanges else { return }
                    try? await Task.sleep(for: .milliseconds(50))
                }
            }
            group.addTask { await atOnce() }
            await group.next()
            group.cancelAll()
        }
    }

    /// Returns when its task is cancelled.
    package static let never: @Sendable () async -> Void = { try? await Task.sleep(for: .seconds(1 << 32)) }
}
