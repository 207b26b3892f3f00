import CoAP
import LwM2M
import Testing
import Timing

@testable import Gateway

/// The pool over real sockets on loopback; a plain UDP socket plays the server.
@Suite("Upstream sockets", .timeLimit(.minutes(1)))
struct UpstreamPoolTests {
    static let bootstrap = CoAPRequest(.post, path: ["bs"], query: ["ep=meter"])

    @Test("A request goes out from the lease's own port and its answer comes back to the lease")
    func requestAndAnswer() async throws {
        let (server, pool, upstream) = try await PoolFixture.started()
        let owner = LeaseOwner(iccid: "1", leg: .bootstrap)
        let result = await pool.sessions.call { $0.acquire(for: owner, upstreams: [upstream], now: .now) }
        guard case .granted(let lease, let granted, let local) = result else {
            Issue.record("no socket stood ready: \(result)")
            return
        }
        #expect(granted == upstream)
        let exchange = try #require(await pool.send(Self.bootstrap, on: lease))
        let (message, peer) = try await server.receiveMessage()
        #expect("\(peer)" == local)
        #expect(message.code == .post)
        server.send(Self.answer(.changed, to: message), to: peer)
        guard case .response(exchange, let response) = try await pool.nextEvent(on: lease) else {
            Issue.record("no response")
            return
        }
        #expect(response.code == .changed)
        try await pool.stop()
    }

    @Test("T1: leases at the same time have different ports")
    func portsDiffer() async throws {
        let (server, pool, upstream) = try await PoolFixture.started()
        var ports: Set<UInt16> = []
        for number in 0..<12 {
            let lease = try await pool.take("\(number)", upstream)
            _ = await pool.send(Self.bootstrap, on: lease)
            ports.insert(try await server.receive().from.port)
        }
        #expect(ports.count == 12)
        try await pool.stop()
    }

    @Test("Each socket draws a seed of its own from the source")
    func seeds() async throws {
        let server = try TestSocket()
        let pool = await PoolFixture(idle: 3)
        await pool.pool.start([PoolFixture.upstream(server.address)])
        let seeds = pool.seeds
        let (opened, drawn) = await pool.sessions.call { ($0.counters.socketsOpened, seeds.drawn) }
        // One more for the times that the pool draws itself.
        #expect(opened >= 3 && drawn == opened + 1)
        try await pool.stop()
    }

    @Test("T1: message IDs go on counting from one device to the next on the same socket")
    func messageIDsContinue() async throws {
        let (server, pool, upstream) = try await PoolFixture.started(idle: 1)
        var last: [UInt16: UInt16] = [:]
        var continued = 0
        for number in 0..<12 {
            let lease = try await pool.take("\(number)", upstream)
            _ = await pool.send(Self.bootstrap, on: lease)
            let (message, peer) = try await server.receiveMessage()
            if let last = last[peer.port] {
                #expect(message.messageID == last &+ 1)
                continued += 1
            }
            last[peer.port] = message.messageID
            server.send(Self.answer(.changed, to: message), to: peer)
            _ = try await pool.nextEvent(on: lease)
            await pool.release(lease, .clean)
        }
        #expect(continued > 0)
        try await pool.stop()
    }

    @Test("T7, T9: a server's request reaches the lease; repetitions are answered from memory, after the clean end too")
    func requestOfServer() async throws {
        let (server, pool, upstream) = try await PoolFixture.started()
        await pool.sessions.setAnswer(CoAPResponse(.changed))
        let (lease, peer) = try await Self.answered("1", upstream, by: server, pool)

        let finish = CoAPCodec.encode(
            CoAPMessage(type: .confirmable, code: .post, messageID: 77, token: CoAPToken(9), options: Self.path("bs"))
        )
        server.send(finish, to: peer)
        guard case .request = try await pool.nextEvent(on: lease) else {
            Issue.record("no request")
            return
        }
        let first = try await server.receive().bytes
        await pool.release(lease, .clean)
        server.send(finish, to: peer)
        #expect(try await server.receive().bytes == first)
        try await pool.stop()
    }

    @Test("T1: after an end that was not clean, every new request of the server gets RST and reaches nobody")
    func quarantine() async throws {
        let (server, pool, upstream) = try await PoolFixture.started()
        let lease = try await pool.take("1", upstream)
        _ = await pool.send(Self.bootstrap, on: lease)
        let peer = try await server.receive().from
        await pool.release(lease, .unclean)
        for id in UInt16(1)...3 {
            server.send(Self.write(id), to: peer)
            let (reset, _) = try await server.receiveMessage()
            #expect(reset.type == .reset)
            #expect(reset.messageID == id)
        }
        // The other devices have other ports.
        for number in 2..<12 {
            let other = try await pool.take("\(number)", upstream)
            _ = await pool.send(Self.bootstrap, on: other)
            #expect(try await server.receive().from != peer)
        }
        try await pool.stop()
    }

    @Test("A request to an idle socket gets RST and takes the socket out of use")
    func strayRequest() async throws {
        let (server, pool, upstream) = try await PoolFixture.started(idle: 1)
        let (lease, peer) = try await Self.answered("1", upstream, by: server, pool)
        let socket = try #require(await pool.pool.machine.socket(of: lease))
        await pool.release(lease, .clean)
        server.send(Self.write(5), to: peer)
        #expect(try await server.receiveMessage().message.type == .reset)
        let state = await pool.pool.machine.sockets[socket.slot].state
        guard case .quarantined = state else {
            Issue.record("\(state)")
            return
        }
        try await pool.stop()
    }

    @Test("A device that comes back gets the port that it had")
    func parked() async throws {
        let (server, pool, upstream) = try await PoolFixture.started()
        let lease = try await pool.take("1", upstream)
        _ = await pool.send(Self.bootstrap, on: lease)
        let (first, peer) = try await server.receiveMessage()
        await pool.release(lease, .parked)
        let again = try await pool.take("1", upstream)
        _ = await pool.send(Self.bootstrap, on: again)
        let (second, samePeer) = try await server.receiveMessage()
        #expect(samePeer == peer)
        #expect(second.messageID == first.messageID &+ 1)
        #expect(second.token != first.token)
        // The answer to the request that was given up goes nowhere; the one to the new request arrives.
        server.send(Self.answer(.badRequest, to: first), to: peer)
        server.send(Self.answer(.changed, to: second), to: peer)
        guard case .response(_, let response) = try await pool.nextEvent(on: again) else {
            Issue.record("no response")
            return
        }
        #expect(response.code == .changed)
        try await pool.stop()
    }

    @Test("T8: with a separate answer on its way, the socket comes back only when the server has acknowledged it")
    func settling() async throws {
        var transmission = TransmissionParameters()
        transmission.piggybackWait = .milliseconds(1)
        let (server, pool, upstream) = try await PoolFixture.started(transmission: transmission)
        let (lease, peer) = try await Self.answered("1", upstream, by: server, pool)
        server.send(Self.write(5), to: peer)
        guard case .request(let request, _) = try await pool.nextEvent(on: lease) else {
            Issue.record("no request")
            return
        }
        let (early, _) = try await server.receiveMessage()
        #expect(early.type == .acknowledgement && early.code == .empty)
        let socket = try #require(await pool.pool.machine.socket(of: lease))
        await pool.sessions.call {
            $0.respond(to: request, with: CoAPResponse(.changed), on: lease, now: .now)
            $0.release(lease, .clean, now: .now)
        }
        let (separate, _) = try await server.receiveMessage()
        #expect(separate.type == .confirmable && separate.code == .changed)
        let before = await pool.pool.machine.sockets[socket.slot].state
        guard case .settling = before else {
            Issue.record("\(before)")
            return
        }
        server.send(CoAPCodec.encodeEmpty(.acknowledgement, messageID: separate.messageID), to: peer)
        // A ping after it shows that the acknowledgement has been worked off.
        server.send(CoAPCodec.encodeEmpty(.confirmable, messageID: 6), to: peer)
        #expect(try await server.receiveMessage().message.type == .reset)
        let after = await pool.pool.machine.sockets[socket.slot].state
        guard case .idle = after else {
            Issue.record("\(after)")
            return
        }
        try await pool.stop()
    }

    @Test("Without idle sockets a lease waits for a new one")
    func waits() async throws {
        let server = try TestSocket()
        let pool = await PoolFixture(idle: 0)
        let upstream = PoolFixture.upstream(server.address)
        let owner = LeaseOwner(iccid: "1", leg: .bootstrap)
        let result = await pool.sessions.call { $0.acquire(for: owner, upstreams: [upstream], now: .now) }
        guard case .waiting(let lease) = result, case .granted(lease) = try await pool.next() else {
            Issue.record("\(result)")
            return
        }
        #expect(await pool.pool.local(of: lease) != nil)
        let waits = await pool.pool.counters.waits
        #expect(waits.counts.reduce(0, +) == 1)
        #expect(waits.sum > 0)
        try await pool.stop()
    }

    @Test("Where nobody listens, the bootstrap learns of it at once, and the next upstream serves")
    func nobodyListens() async throws {
        let gone = try TestSocket().address
        let server = try TestSocket()
        let pool = await PoolFixture()
        let upstreams = [PoolFixture.upstream(gone), PoolFixture.upstream(server.address)]
        await pool.pool.start(upstreams)
        let lease = try await pool.take("1", upstreams[0], upstreams[1])
        _ = await pool.send(Self.bootstrap, on: lease)
        guard case .broken(lease, .upstreamUnreachable) = try await pool.next() else {
            Issue.record("not broken")
            return
        }
        #expect(await !pool.pool.isReachable(upstreams[0]))
        let second = try await pool.take("1", upstreams[0], upstreams[1])
        _ = await pool.send(Self.bootstrap, on: second)
        _ = try await server.receive()
        try await pool.stop()
    }

    @Test("Refusals of a dead server never use up sockets or end the pool")
    func outage() async throws {
        let gone = try TestSocket().address
        let pool = await PoolFixture(idle: 1, sockets: 16)
        let upstream = PoolFixture.upstream(gone)
        await pool.pool.start([upstream])
        for number in 0..<64 {
            let owner = LeaseOwner(iccid: "\(number)", leg: .bootstrap)
            let result = await pool.sessions.call { $0.acquire(for: owner, upstreams: [upstream], now: .now) }
            guard case .granted(let lease, _, _) = result else { continue }
            _ = await pool.send(Self.bootstrap, on: lease)
            guard case .broken(lease, _) = try await pool.next() else {
                Issue.record("not broken")
                return
            }
        }
        // The breaker let only a few through.
        #expect(await pool.pool.machine.socketCount < 16)
        try await pool.stop()
    }

    @Test("A datagram that fills the receive buffer is dropped and counted")
    func oversize() async throws {
        let (server, pool, upstream) = try await PoolFixture.started()
        let lease = try await pool.take("1", upstream)
        _ = await pool.send(Self.bootstrap, on: lease)
        let (message, peer) = try await server.receiveMessage()
        server.send([UInt8](repeating: 0x55, count: 4000), to: peer)
        server.send(Self.answer(.changed, to: message), to: peer)
        _ = try await pool.nextEvent(on: lease)
        #expect(await pool.pool.counters.oversize == 1)
        try await pool.stop()
    }

    @Test("The configured local address is the one that the server sees")
    func localAddress() async throws {
        let server = try TestSocket()
        let local = IPAddress(ipv4: 0x7F00_0002)
        let pool = await PoolFixture(from: [local])
        let upstream = PoolFixture.upstream(server.address)
        await pool.pool.start([upstream])
        let lease = try await pool.take("1", upstream)
        _ = await pool.send(Self.bootstrap, on: lease)
        #expect(try await server.receive().from.ip == local)
        try await pool.stop()
    }

    @Test("A local address that is not this host's makes devices wait, then refuses them")
    func foreignLocalAddress() async throws {
        let server = try TestSocket()
        let pool = await PoolFixture(idle: 0, wait: .milliseconds(50), from: [IPAddress(ipv4: 0xC000_024D)])
        let upstream = PoolFixture.upstream(server.address)
        await pool.pool.start([upstream])
        let owner = LeaseOwner(iccid: "1", leg: .bootstrap)
        let result = await pool.sessions.call { $0.acquire(for: owner, upstreams: [upstream], now: .now) }
        guard case .waiting(let lease) = result, case .refused(lease, .limit) = try await pool.next() else {
            Issue.record("\(result)")
            return
        }
        #expect(await pool.pool.machine.socketCount == 0)
        try await pool.stop()
    }

    @Test("The statistics say what every socket is doing")
    func statistics() async throws {
        let server = try TestSocket()
        let pool = await PoolFixture(idle: 2)
        let upstream = PoolFixture.upstream(server.address)
        await pool.pool.start([upstream], relays: [upstream])
        let clean = try await pool.take("1", upstream)
        let unclean = try await pool.take("2", upstream)
        _ = try await pool.take("3", upstream, registration: true)
        await pool.release(unclean, .unclean)
        let all = await pool.pool.statistics()
        #expect(all.map(\.isRelay) == [false, true])
        #expect(all.map(\.leased) == [1, 1])
        #expect(all.map(\.quarantined) == [1, 0])
        #expect(all.allSatisfy { $0.isUp && $0.waiting == 0 && $0.upstream == upstream })
        #expect(all.allSatisfy { $0.idle + $0.opening == 2 })
        await pool.release(clean, .clean)
        #expect(await pool.pool.statistics()[0].leased == 0)
        try await pool.stop()
    }

    @Test("What goes to servers waits for the end of the turn, and leaves then without being asked for")
    func leavesTogether() async throws {
        let (server, pool, upstream) = try await PoolFixture.started()
        let leases = [try await pool.take("1", upstream), try await pool.take("2", upstream)]
        let (before, during) = await pool.sessions.call { pool in
            let before = pool.counters.datagramsOut
            for lease in leases { _ = pool.send(CoAPRequest(.post, path: ["bs"]), on: lease, now: .now) }
            return (before, pool.counters.datagramsOut)
        }
        #expect(during == before)
        for _ in leases { #expect(try await server.receiveMessage().message.code == .post) }
        #expect(await pool.pool.counters.datagramsOut >= before + 2)
        try await pool.stop()
    }

    @Test("A last answer leaves even if its socket is closed in the same turn")
    func lastAnswerLeaves() async throws {
        let (server, pool, upstream) = try await PoolFixture.started()
        let (lease, peer) = try await Self.answered("1", upstream, by: server, pool)
        server.send(Self.write(5), to: peer)
        guard case .request(let request, _) = try await pool.nextEvent(on: lease) else {
            Issue.record("no request")
            return
        }
        await pool.sessions.call {
            $0.respond(to: request, with: CoAPResponse(.changed), on: lease, now: .now)
            $0.stop()
        }
        #expect(try await server.receiveMessage().message.code == .changed)
        try await pool.stop()
    }

    @Test("IPv6 upstreams work as well")
    func version6() async throws {
        let server = try TestSocket("::1")
        let pool = await PoolFixture()
        let upstream = PoolFixture.upstream(server.address)
        await pool.pool.start([upstream])
        let lease = try await pool.take("1", upstream)
        _ = await pool.send(Self.bootstrap, on: lease)
        let (message, peer) = try await server.receiveMessage()
        server.send(Self.answer(.changed, to: message), to: peer)
        guard case .response = try await pool.nextEvent(on: lease) else {
            Issue.record("no response")
            return
        }
        try await pool.stop()
    }

    @Test("Stopping breaks live leases with the cause shutdown")
    func stop() async throws {
        let (_, pool, upstream) = try await PoolFixture.started()
        let lease = try await pool.take("1", upstream)
        await pool.pool.stop()
        guard case .broken(lease, .shutdown) = try await pool.next() else {
            Issue.record("not broken")
            return
        }
        #expect(await pool.send(Self.bootstrap, on: lease) == nil)
        try await pool.stop()
    }

    @Test("Thousands of clean leases run over a handful of sockets")
    func manyLeases() async throws {
        let (server, pool, upstream) = try await PoolFixture.started(idle: 16)
        for number in 0..<2000 {
            let (lease, _) = try await Self.answered("\(number)", upstream, by: server, pool)
            await pool.release(lease, .clean)
        }
        #expect(await pool.pool.counters.socketsOpened <= 17)
        #expect(await pool.pool.machine.leases.isEmpty)
        try await pool.stop()
    }

    // MARK: - Messages of the server

    /// A lease whose bootstrap request the server has answered, and the address that it came from.
    private static func answered(
        _ iccid: String, _ upstream: GatewayConfiguration.Upstream, by server: TestSocket, _ pool: PoolFixture
    ) async throws -> (LeaseID, PeerAddress) {
        let lease = try await pool.take(iccid, upstream)
        _ = await pool.send(Self.bootstrap, on: lease)
        let (message, peer) = try await server.receiveMessage()
        server.send(Self.answer(.changed, to: message), to: peer)
        _ = try await pool.nextEvent(on: lease)
        return (lease, peer)
    }

    static func answer(_ code: CoAPCode, to request: CoAPMessage) -> [UInt8] {
        CoAPCodec.encode(
            CoAPMessage(type: .acknowledgement, code: code, messageID: request.messageID, token: request.token)
        )
    }

    static func write(_ messageID: UInt16) -> [UInt8] {
        CoAPCodec.encode(
            CoAPMessage(
                type: .confirmable,
                code: .put,
                messageID: messageID,
                token: CoAPToken(UInt64(messageID)),
                options: Self.path("0", "0"),
                payload: [1, 2, 3]
            )
        )
    }

    static func path(_ segments: String...) -> CoAPOptions { CoAPRequest(.put, path: segments).options }
}
