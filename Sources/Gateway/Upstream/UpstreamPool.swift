package import CoAP
internal import DTLS
package import Logging
internal import LwM2M
package import NIOCore
internal import Timing

/// The upstream sockets of a shard, leased to one device at a time.
///
/// A server tells devices apart by address and port, so a lease is a whole connected socket with its own source port.
/// ``PoolStateMachine`` decides who gets which; each socket keeps its ``MessageLayer`` over all of its leases, so that
/// message IDs go on counting and old messages are still recognised.
///
/// The actor is pinned to the shard's event loop. The holder of leases calls it as plain functions; no call calls
/// back. ``LeaseHolder/upstreamReadComplete()`` comes once per turn of the loop, and datagrams leave together then.
package actor UpstreamPool: LoopActor {
    package nonisolated var unownedExecutor: UnownedSerialExecutor { self.executor }
    private nonisolated let executor: UnownedSerialExecutor
    nonisolated let loop: any EventLoop

    /// Everything that makes a pooled connection different from others. The leg counts, because options that are not
    /// understood are handled differently on the two legs.
    struct Route: Hashable {
        let uri: ServerURI
        let isRelay: Bool
        let credentials: UpstreamCredentials?

        init(_ upstream: GatewayConfiguration.Upstream, isRelay: Bool) {
            self.uri = upstream.uri
            self.isRelay = isRelay
            self.credentials = upstream.credentials
        }
    }

    /// A socket with what lives as long as it does.
    final class Connection {
        let id: PoolStateMachine.SocketID
        let channel: any Channel
        let descriptor: SocketDescriptor
        /// What the server sees, as `ADDRESS:PORT`.
        let local: String
        var layer: MessageLayer
        var lease: LeaseID?
        /// The entry of this socket in `layerTimers`.
        var scheduled: Instant?
        var probe: MessageLayer.ExchangeID?
        /// Set between a clean release and the last acknowledgement: whether all answers so far were acknowledged.
        var settling: Bool?
        /// The next run of the gateway has it: what comes here is not looked at.
        var isMute = false
        /// Nil for a plain upstream.
        let link: SecureLink?

        init(
            id: PoolStateMachine.SocketID, channel: any Channel, descriptor: SocketDescriptor, local: String,
            layer: MessageLayer, link: SecureLink?
        ) {
            self.id = id
            self.channel = channel
            self.descriptor = descriptor
            self.local = local
            self.layer = layer
            self.link = link
        }
    }

    /// What the holder is told at the next occasion.
    enum Delivery {
        case granted(LeaseID, PoolStateMachine.UpstreamID)
        case refused(LeaseID, FailureCause)
        case broken(LeaseID, FailureCause)
        case event(LeaseID, MessageLayer.Event)
    }

    /// What happened since the start.
    package struct Counters: Sendable, Equatable {
        package var datagramsIn: UInt64 = 0
        package var datagramsOut: UInt64 = 0
        package var leasesGranted: UInt64 = 0
        package var leasesRefused: UInt64 = 0
        package var leasesBroken: UInt64 = 0
        package var socketsOpened: UInt64 = 0
        /// Sockets that closed by themselves.
        package var socketsLost: UInt64 = 0
        /// Datagrams dropped because they filled the receive buffer.
        package var oversize: UInt64 = 0
        /// DTLS handshakes that succeeded, and that did not.
        package var handshakesCompleted: UInt64 = 0
        package var handshakesFailed: UInt64 = 0
        /// Messages that found no session or no room, or that the system would not send; the message layer repeats what
        /// matters.
        package var unsent: UInt64 = 0
        /// Messages that went out again, because no ACK had come in time; pings too.
        package var retransmissions: UInt64 = 0
        /// From asking for a lease to having it, a DTLS handshake included; of those that were given.
        package var waits = LatencyHistogram()
    }

    /// Room for one datagram from a server, in bytes; what fills it is dropped.
    static let sliceSize = 2048
    /// Sockets made in one turn of the loop; one takes about 150 µs.
    static let openingsPerTurn = 4
    /// Message IDs that a socket must have left when it goes to the next device: a whole bootstrap needs fewer.
    static let messageIDsForLease = 512

    var transmission: TransmissionParameters
    let resolver: UpstreamResolver
    let logger: Logger
    var machine: PoolStateMachine
    var upstreams: [GatewayConfiguration.Upstream] = []
    var routes: [Route: PoolStateMachine.UpstreamID] = [:]
    var routeOf: [Route] = []
    var connections: [Connection?] = []
    var holder: (any LeaseHolder)?
    /// Whose messages are logged; ``DeviceSessions`` says so.
    var trace: MessageTrace
    let seeds: @Sendable () -> UInt64
    package internal(set) var counters = Counters()

    // One turn of the loop.
    /// What was read and not looked at.
    var arrivals = StagedMessages<PoolStateMachine.SocketID>()
    var events: [MessageLayer.Event] = []
    /// What leaves at the end of the turn.
    var departures = StagedMessages<Connection>()
    var deliveries = FIFO<Delivery>()
    var isDelivering = false
    var owesReadComplete = false
    var isTurnScheduled = false
    var isTurnEnding = false
    var sendFailures: [(socket: PoolStateMachine.SocketID, errno: CInt)] = []
    var openings = FIFO<(socket: PoolStateMachine.SocketID, remote: PeerAddress, local: IPAddress?)>()
    var warmUp: [EventLoopPromise<Void>] = []
    var resolving: Task<Void, Never>?

    /// What the next run of the gateway goes on with.
    var handedOver: Set<PoolStateMachine.SocketID> = []

    // DTLS.
    var dtls: DTLSConfiguration
    /// Made with the first handshake after start, and after a change of ``dtls``.
    var dtlsContext: DTLSContext?
    /// What leases have brought along for upstreams that want a pair of the device's own.
    var leaseCredentials: [LeaseID: PreSharedKey] = [:]
    /// When each upstream's next failure of a handshake may be logged.
    var nextHandshakeLog: [PoolStateMachine.UpstreamID: Instant] = [:]

    // Time.
    var layerTimers = DeadlineHeap<PoolStateMachine.SocketID>()
    var timer: Scheduled<Void>?
    var timerDue: Instant?

    /// - Parameters:
    ///   - capacity: what the host allows; nil: read from the system now.
    ///   - seeds: one for each socket, from the system's generator; they make tokens unpredictable. In tests any sequence.
    package init(
        loop: any EventLoop,
        policy: GatewayConfiguration.PoolPolicy,
        transmission: TransmissionParameters,
        dtls: GatewayConfiguration.DTLSPolicy = .init(),
        capacity: PoolCapacity? = nil,
        resolver: UpstreamResolver = UpstreamResolver(),
        logger: Logger,
        seeds: @escaping @Sendable () -> UInt64
    ) {
        self.loop = loop
        self.executor = loop.executor.asUnownedSerialExecutor()
        self.transmission = transmission
        self.dtls = Self.clientConfiguration(dtls, transmission)
        self.resolver = resolver
        self.logger = logger
        self.trace = MessageTrace(logger: logger, wallClock: WallClock.microseconds)
        let capacity = capacity ?? .current(addresses: policy.from.count)
        self.machine = PoolStateMachine(settings: Self.settings(policy, transmission, capacity), seed: seeds())
        self.seeds = seeds
    }

    // MARK: - Life

    /// Names who uses the leases. Called once, before the first lease.
    package func attach(_ holder: any LeaseHolder) { self.holder = holder }

    /// Makes the upstreams known, and the first sockets to them. Returns when these stand ready, or after two seconds
    /// if a name service or the network keeps it waiting; the rest then goes on in the background.
    ///
    /// An upstream that is not named here is taken up when it is first asked for.
    package func start(
        _ upstreams: [GatewayConfiguration.Upstream],
        relays: [GatewayConfiguration.Upstream] = []
    ) async {
        let now = Instant.now
        self.endRestoring(now: now)
        for upstream in upstreams { _ = self.id(of: upstream, isRelay: false, now: now) }
        for relay in relays { _ = self.id(of: relay, isRelay: true, now: now) }
        let ready = self.loop.makePromise(of: Void.self)
        let limit = self.loop.scheduleTask(in: .seconds(2)) { [weak self] in self?.assumeIsolated { $0.endWarmUp() } }
        self.warmUp.append(ready)
        self.resolving = Task { [weak self] in
            while !Task.isCancelled {
                guard let self else { return }
                await self.resolveNames()
                try? await Task.sleep(for: UpstreamResolver.interval)
            }
        }
        self.scheduleTurn()
        try? await ready.futureResult.get()
        limit.cancel()
    }

    /// Closes everything. Leases that are still out are broken with the cause "gateway stopping".
    package func stop() {
        self.resolving?.cancel()
        self.resolving = nil
        self.timer?.cancel()
        self.timer = nil
        self.machine.stop()
        self.carryOut()
        self.endWarmUp()
        self.scheduleTurn()
    }

    // MARK: - Inside

    func connection(_ socket: PoolStateMachine.SocketID) -> Connection? {
        guard socket.slot < self.connections.count, let connection = self.connections[socket.slot],
            connection.id == socket
        else { return nil }
        return connection
    }

    func connection(of lease: LeaseID) -> Connection? {
        guard let socket = self.machine.socket(of: lease) else { return nil }
        return self.connection(socket)
    }

    /// - Parameter waited: how long its owner has waited for it.
    func begin(_ lease: LeaseID, on connection: Connection, waited: Duration) {
        connection.lease = lease
        connection.layer.rejectsRequests = false
        self.counters.leasesGranted += 1
        self.counters.waits.record(nanoseconds: waited.wholeNanoseconds)
    }

    func hasMessageIDs(_ connection: Connection, now: Instant) -> Bool {
        connection.layer.availableMessageIDs(now: now) >= Self.messageIDsForLease
    }

    /// The number of an upstream; a new one is made known to the machine, and resolved at once if it is numeric.
    func id(
        of upstream: GatewayConfiguration.Upstream,
        isRelay: Bool,
        now: Instant
    ) -> PoolStateMachine.UpstreamID {
        let route = Route(upstream, isRelay: isRelay)
        if let id = self.routes[route] { return id }
        let id = self.machine.add(Self.security(of: upstream))
        self.routes[route] = id
        self.routeOf.append(route)
        self.upstreams.append(upstream)
        if let address = UpstreamResolver.numeric(upstream.uri) {
            self.machine.resolved(id, to: address, now: now)
            self.carryOut()
        } else if self.resolving != nil {
            Task { await self.resolveNames() }
        }
        return id
    }

    private func resolveNames() async {
        for id in self.routeOf.indices {
            let uri = self.routeOf[id].uri
            guard UpstreamResolver.numeric(uri) == nil, !self.machine.upstreams[id].isRetired else { continue }
            do {
                let resolution = try await self.resolver.resolve(uri)
                if let failure = resolution.failure {
                    self.logger.warning(
                        "cannot resolve an upstream; going on with its last address",
                        metadata: [
                            "upstream": "\(uri.host)", "error": "\(failure)", "address": "\(resolution.address)",
                        ]
                    )
                }
                self.machine.resolved(id, to: resolution.address, now: .now)
                self.carryOut()
            } catch {
                self.logger.error(
                    "cannot resolve an upstream; devices get 5.03 until it works",
                    metadata: [
                        "upstream": "\(uri.host)", "error": "\(error)",
                        "remedy": "check the name in the configuration and the name service of this host",
                    ]
                )
            }
        }
        self.endWarmUpIfReady()
    }
}
