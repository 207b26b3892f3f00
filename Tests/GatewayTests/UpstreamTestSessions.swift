import CoAP
import Logging
import LwM2M
import NIOCore
import NIOPosix
import Testing
import Timing

@testable import Gateway

/// Plays the device sessions: an actor on the pool's loop that calls the pool without a hop and writes down what it is
/// told. A call-back from inside one of its own calls fails the test.
actor TestSessions: LeaseHolder {
    nonisolated let loop: any EventLoop
    nonisolated let pool: UpstreamPool
    nonisolated var unownedExecutor: UnownedSerialExecutor { self.loop.executor.asUnownedSerialExecutor() }
    nonisolated let happenings: AsyncStream<Happening>
    private nonisolated let continuation: AsyncStream<Happening>.Continuation
    private var isCalling = false
    /// What to answer to each request of a server, at once, from inside the call-back.
    var answer: CoAPResponse?

    init(pool: UpstreamPool) {
        self.loop = pool.loop
        self.pool = pool
        (self.happenings, self.continuation) = AsyncStream.makeStream()
    }

    func call<R: Sendable>(_ body: @Sendable (isolated UpstreamPool) -> R) -> R {
        self.isCalling = true
        defer { self.isCalling = false }
        return self.pool.assumeIsolated(body)
    }

    func setAnswer(_ response: CoAPResponse?) { self.answer = response }

    private func note(_ happening: Happening) {
        let isCalling = self.isCalling
        #expect(!isCalling, "called back from inside a call")
        self.continuation.yield(happening)
    }

    nonisolated func leaseGranted(
        _ id: LeaseID,
        upstream: GatewayConfiguration.Upstream,
        now: Instant
    ) {
        self.assumeIsolated { $0.note(.granted(id)) }
    }

    nonisolated func leaseRefused(_ id: LeaseID, cause: FailureCause, now: Instant) {
        self.assumeIsolated { $0.note(.refused(id, cause)) }
    }

    nonisolated func leaseBroken(_ id: LeaseID, cause: FailureCause, now: Instant) {
        self.assumeIsolated { $0.note(.broken(id, cause)) }
    }

    nonisolated func lease(_ id: LeaseID, received event: MessageLayer.Event, now: Instant) {
        self.assumeIsolated { sessions in
            sessions.note(.event(id, event))
            if case .request(let request, _) = event, let answer = sessions.answer {
                sessions.call { $0.respond(to: request, with: answer, on: id, now: now) }
            }
        }
    }

    nonisolated func upstreamReadComplete() { self.assumeIsolated { $0.note(.readComplete) } }
}

/// A pool on a loop of its own, with its holder and a way through what the holder was told.
final class PoolFixture {
    let group: MultiThreadedEventLoopGroup
    let pool: UpstreamPool
    let sessions: TestSessions
    let seeds = TestSeeds(7)
    private var iterator: AsyncStream<Happening>.Iterator

    init(
        idle: Int = 2,
        wait: Duration = .seconds(20),
        from: [IPAddress] = [],
        transmission: TransmissionParameters = TransmissionParameters(),
        resolver: UpstreamResolver = UpstreamResolver(),
        sockets: Int = 64
    ) async {
        self.group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        var policy = GatewayConfiguration.PoolPolicy()
        policy.minimumIdle = idle
        // The scripted servers know no pings.
        policy.probe = nil
        policy.returnAfter = .zero
        policy.wait = wait
        policy.from = from
        // Whatever is clean goes to the next device at once, so that tests see one socket in many hands.
        policy.rest = .zero
        var capacity = PoolCapacity(descriptors: sockets, portsPerAddress: 28_000, addresses: 1)
        capacity.reservedDescriptors = 0
        self.pool = UpstreamPool(
            loop: self.group.next(),
            policy: policy,
            transmission: transmission,
            capacity: capacity,
            resolver: resolver,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            seeds: self.seeds.next
        )
        self.sessions = TestSessions(pool: self.pool)
        self.iterator = self.sessions.happenings.makeAsyncIterator()
        await self.pool.attach(self.sessions)
    }

    /// A server, a pool that has started with it as its only upstream, and that upstream.
    static func started(
        idle: Int = 2, transmission: TransmissionParameters = TransmissionParameters()
    ) async throws -> (TestSocket, PoolFixture, GatewayConfiguration.Upstream) {
        let server = try TestSocket()
        let pool = await PoolFixture(idle: idle, transmission: transmission)
        let upstream = Self.upstream(server.address)
        await pool.pool.start([upstream])
        return (server, pool, upstream)
    }

    func stop() async throws {
        await self.pool.stop()
        try await self.group.shutdownGracefully()
    }

    /// The next thing that the holder was told, ends of turns and repeated messages left out.
    func next() async throws -> Happening {
        while let happening = await self.iterator.next(isolation: #isolation) {
            switch happening {
            case .readComplete, .event(_, .retransmitted): continue
            default: return happening
            }
        }
        throw CancellationError()
    }

    func nextEvent(on lease: LeaseID, sourceLocation: SourceLocation = #_sourceLocation) async throws
        -> MessageLayer.Event
    {
        let happening = try await self.next()
        guard case .event(let id, let event) = happening, id == lease else {
            Issue.record("expected an event, got \(happening)", sourceLocation: sourceLocation)
            throw CancellationError()
        }
        return event
    }

    static func upstream(_ peer: PeerAddress, host: String? = nil) -> GatewayConfiguration.Upstream {
        GatewayConfiguration.Upstream(
            uri: ServerURI(scheme: .coap, host: host ?? "\(peer.ip)", port: peer.port)
        )
    }

    /// Acquires and waits for the socket if need be.
    func take(
        _ iccid: String,
        _ upstreams: GatewayConfiguration.Upstream...,
        registration: Bool = false
    ) async throws -> LeaseID {
        let owner = LeaseOwner(iccid: iccid, leg: registration ? .registration(server: "meters") : .bootstrap)
        switch await self.sessions.call({ $0.acquire(for: owner, upstreams: upstreams, now: .now) }) {
        case .granted(let lease, _, _):
            return lease
        case .waiting(let lease):
            guard case .granted(lease) = try await self.next() else { throw CancellationError() }
            return lease
        case .refused(let cause, _):
            Issue.record("refused: \(cause)")
            throw CancellationError()
        }
    }

    /// Acquires and expects a handshake to come first.
    func begin(
        _ iccid: String, _ upstreams: GatewayConfiguration.Upstream..., credentials: PreSharedKey? = nil,
        sourceLocation: SourceLocation = #_sourceLocation
    ) async throws -> LeaseID {
        let owner = LeaseOwner(iccid: iccid, leg: .bootstrap)
        let result = await self.sessions.call {
            $0.acquire(for: owner, upstreams: upstreams, credentials: credentials, now: .now)
        }
        guard case .waiting(let lease) = result else {
            Issue.record("did not have to wait: \(result)", sourceLocation: sourceLocation)
            throw CancellationError()
        }
        return lease
    }

    func send(_ request: CoAPRequest, on lease: LeaseID) async -> MessageLayer.ExchangeID? {
        await self.sessions.call { $0.send(request, on: lease, now: .now) }
    }

    func release(_ lease: LeaseID, _ end: LeaseEnd) async {
        await self.sessions.call { $0.release(lease, end, now: .now) }
    }
}
