internal import Logging
internal import NIOCore
internal import Synchronization

/// A gateway that runs, for those who watch it and for another configuration. Any task may ask; what is asked for is
/// gathered on the event loop.
package struct RunningGateway: Sendable {
    let state: GatewayState
    /// What became of a hand-over.
    package let restored: RestorationSummary
    let sessions: DeviceSessions
    let pool: UpstreamPool
    let loop: any EventLoop
    let logger: Logger

    /// In the order of the configuration.
    package var listeners: [BoundListener] { self.state.sockets.map { BoundListener($0.listener) } }

    package func statistics() async -> GatewayStatistics {
        let occupancy = await self.sessions.occupancy
        var sockets: [GatewayStatistics.Socket] = []
        // One look: a socket that goes meanwhile counts in one place.
        let current = self.state.current
        for socket in current.sockets {
            sockets.append(
                .init(listener: BoundListener(socket.listener), counters: await socket.listener.counters))
        }
        var former = current.former
        for listener in current.leaving { former.add(await listener.counters) }
        return GatewayStatistics(
            counters: await self.sessions.counters, sessions: occupancy.sessions, halfOpen: occupancy.halfOpen,
            registrations: occupancy.registrations, sockets: sockets, formerSockets: former,
            pool: await self.pool.counters, upstreams: await self.pool.statistics(), isDraining: occupancy.isDraining,
            load: await self.sessions.load.statistics
        )
    }

    /// Runs with another configuration from now on: new sockets are bound first, then everything is swapped in one turn of
    /// the loop, then sockets that are not needed any more are closed, with the sessions that were there.
    ///
    /// Not to be called again before it has returned. Throws ``ListenerError`` when a socket cannot be bound,
    /// ``ReloadRefusal`` for what cannot be changed while the gateway runs, and what the DTLS library has to say; then
    /// everything is as before.
    package func reload(to configuration: GatewayConfiguration) async throws {
        let old = self.state.current
        let locals = try Listener.localAddresses()
        let plan = ListenerPlan(
            bound: old.sockets.map { .init(slot: $0.listener.index, entry: $0.entry, address: $0.listener.address) },
            old: old.configuration.listeners, new: configuration.listeners,
            expand: { Listener.expand($0, locals: locals) }
        )
        guard plan.obstacles.isEmpty else { throw ReloadRefusal(needsRestart: plan.obstacles) }
        let table = await self.sessions.listeners
        let live = Set(old.sockets.map(\.listener.index))
        let numbers = Self.numbers(plan.added.count, among: table.count, live)
        let made = try await Listener.bind(
            plan.added, of: configuration.listeners, numbers: numbers, receiver: self.sessions, loop: self.loop,
            logger: self.logger
        )
        let next = Self.table(plan, configuration, table, made)
        do {
            try await self.sessions.reload(configuration.withLimits(), next)
        } catch {
            for listener in made { await listener.close() }
            throw error
        }
        for listener in made { await listener.startReading() }
        var sockets = plan.kept.map { GatewayState.Socket(listener: next.listeners[$0.slot], entry: $0.entry) }
        sockets += zip(plan.added, made).map { GatewayState.Socket(listener: $1, entry: $0.entry) }
        let leaving = plan.removed.map { table[$0] }
        self.state.set(.init(configuration: configuration, sockets: sockets, leaving: leaving, former: old.former))
        for slot in plan.removed {
            await table[slot].close()
            self.state.leave(table[slot], await table[slot].counters)
            self.logger.info("not listening any more", metadata: ["address": "\(table[slot].address)"])
        }
    }

    /// Numbers for new sockets: first those that closed ones have left.
    private static func numbers(_ count: Int, among known: Int, _ live: Set<Int>) -> [Int] {
        let free = (0..<known).filter { !live.contains($0) }
        return (0..<count).map { $0 < free.count ? free[$0] : known + $0 - free.count }
    }

    private static func table(
        _ plan: ListenerPlan, _ configuration: GatewayConfiguration, _ old: [Listener], _ made: [Listener]
    ) -> DeviceSessions.ListenerTable {
        var listeners = old
        for listener in made {
            if listener.index < listeners.count {
                listeners[listener.index] = listener
            } else {
                listeners.append(listener)
            }
        }
        var entries = listeners.map(\.configuration)
        for kept in plan.kept { entries[kept.slot] = configuration.listeners[kept.entry] }
        return .init(listeners: listeners, entries: entries, removed: Set(plan.removed))
    }
}

/// What of a running gateway changes with its configuration.
final class GatewayState: Sendable {
    struct Socket: Sendable {
        let listener: Listener
        /// Index of its entry in the configuration.
        let entry: Int
    }

    struct Current: Sendable {
        var configuration: GatewayConfiguration
        /// In the order of the configuration.
        var sockets: [Socket]
        /// They are being closed.
        var leaving: [Listener]
        /// What the closed ones have counted.
        var former: Listener.Counters

        init(
            configuration: GatewayConfiguration, sockets: [Socket], leaving: [Listener] = [],
            former: Listener.Counters = .init()
        ) {
            self.configuration = configuration
            self.leaving = leaving
            self.former = former
            self.sockets = sockets.sorted { ($0.entry, $0.listener.index) < ($1.entry, $1.listener.index) }
        }
    }

    private let guarded: Mutex<Current>

    init(_ configuration: GatewayConfiguration, _ listeners: [Listener]) {
        // `bindAll` keeps the order of the entries; two that say the same have the same number of sockets.
        var sockets: [Socket] = []
        var rest = listeners[...]
        for (index, entry) in configuration.listeners.enumerated() {
            let isSingle = !entry.isWildcard
            let port = rest.first?.address.port
            let own = rest.prefix { $0.configuration == entry && (isSingle || $0.address.port == port) }
            let taken = isSingle ? own.prefix(1) : own
            sockets += taken.map { Socket(listener: $0, entry: index) }
            rest = rest.dropFirst(taken.count)
        }
        self.guarded = Mutex(Current(configuration: configuration, sockets: sockets))
    }

    var current: Current { self.guarded.withLock { $0 } }
    var sockets: [Socket] { self.current.sockets }

    func set(_ current: Current) { self.guarded.withLock { $0 = current } }

    /// A socket has been closed; `counters` is what it leaves behind.
    func leave(_ listener: Listener, _ counters: Listener.Counters) {
        self.guarded.withLock { current in
            current.leaving.removeAll { $0 === listener }
            current.former.add(counters)
        }
    }
}

/// A configuration that differs in what cannot be changed while the gateway runs.
package struct ReloadRefusal: Error, CustomStringConvertible {
    /// What differs, as the file names it.
    package let needsRestart: [String]

    package init(needsRestart: [String]) { self.needsRestart = needsRestart }

    package var description: String { "needs a restart: \(self.needsRestart.joined(separator: ", "))" }
}

extension BoundListener {
    init(_ listener: Listener) { self.init(security: listener.security, address: listener.address) }
}

extension GatewayConfiguration {
    /// With numbers for what the file leaves to the gateway.
    func withLimits() -> GatewayConfiguration {
        var configuration = self
        configuration.limits.sessions = self.limits.sessions ?? SessionCapacity.current()
        return configuration
    }
}
