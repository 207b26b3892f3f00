import CoAP
import LwM2M
import NIOCore
import Secrets
import Testing
import Timing

@testable import Gateway

/// The pool over real sockets on loopback, with our own server sessions at the far end.
@Suite("Upstream sockets over DTLS", .timeLimit(.minutes(1)))
struct UpstreamPoolSecurityTests {
    static let edge = PreSharedKey(identity: PSKIdentity("edge-1")!, key: Secret([UInt8](1...16)))
    static let other = PreSharedKey(identity: PSKIdentity("edge-1")!, key: Secret([UInt8](2...17)))

    static func device(_ number: UInt8) -> PreSharedKey {
        PreSharedKey(identity: PSKIdentity("device-\(number)")!, key: Secret([UInt8](repeating: number, count: 16)))
    }

    private static func upstream(
        _ server: SecureTestServer, _ credentials: UpstreamCredentials
    ) -> GatewayConfiguration.Upstream {
        .init(
            uri: ServerURI(scheme: .coaps, host: "\(server.address.ip)", port: server.address.port),
            credentials: credentials
        )
    }

    /// Repeats soon, so that a lost session shows soon; but not so soon that a busy machine makes an answer late.
    private static var hasty: TransmissionParameters {
        var parameters = TransmissionParameters()
        parameters.acknowledgementTimeout = .milliseconds(500)
        return parameters
    }

    private func granted(
        _ lease: LeaseID, _ pool: PoolFixture, sourceLocation: SourceLocation = #_sourceLocation
    ) async throws {
        guard case .granted(lease) = try await pool.next() else {
            Issue.record("not granted", sourceLocation: sourceLocation)
            throw CancellationError()
        }
    }

    /// A server that knows the edge's key alone, a pool with it as its only upstream, and a lease over their first session.
    private func leased() async throws -> (SecureTestServer, PoolFixture, GatewayConfiguration.Upstream, LeaseID) {
        let server = try SecureTestServer(keys: [Self.edge])
        let pool = await PoolFixture(idle: 0)
        let upstream = Self.upstream(server, .fixed(Self.edge))
        await pool.pool.start([upstream])
        let lease = try await pool.begin("1", upstream)
        try await server.turn { $0.established.count == 1 }
        try await self.granted(lease, pool)
        return (server, pool, upstream, lease)
    }

    /// Sends a request, lets the server answer it, and returns the port that it came from.
    private func exchange(
        on lease: LeaseID, _ pool: PoolFixture, _ server: SecureTestServer
    ) async throws -> UInt16 {
        let exchange = try #require(await pool.send(UpstreamPoolTests.bootstrap, on: lease))
        let (message, peer) = try await server.nextMessage()
        try await server.answer(message, .changed, to: peer)
        guard case .response(exchange, let response) = try await pool.nextEvent(on: lease) else {
            Issue.record("no response")
            throw CancellationError()
        }
        #expect(response.code == .changed)
        return peer.port
    }

    @Test("A lease is granted over a session, requests and answers go through it, and the next device finds it there")
    func sharedSession() async throws {
        let (server, pool, upstream, first) = try await self.leased()
        let port = try await self.exchange(on: first, pool, server)
        await pool.release(first, .clean)
        let second = try await pool.take("2", upstream)
        #expect(try await self.exchange(on: second, pool, server) == port)
        #expect(await server.established.map(\.identity) == [Self.edge.identity])
        try await pool.stop()
    }

    @Test(
        "A device's session has its own identity, and ends with its lease by a close_notify; the port serves the next one"
    )
    func ownSessions() async throws {
        let server = try SecureTestServer(keys: [Self.device(1), Self.device(2)])
        let pool = await PoolFixture(idle: 0)
        let upstream = Self.upstream(server, .perDevice)
        await pool.pool.start([upstream])
        for number in UInt8(1)...2 {
            let lease = try await pool.begin("\(number)", upstream, credentials: Self.device(number))
            try await server.turn { $0.established.count == number }
            try await self.granted(lease, pool)
            _ = try await self.exchange(on: lease, pool, server)
            await pool.release(lease, .clean)
            try await server.turn { $0.closed.count == number }
        }
        let established = await server.established
        #expect(established.map(\.identity) == [Self.device(1).identity, Self.device(2).identity])
        #expect(established[0].peer == established[1].peer)
        try await pool.stop()
    }

    @Test("A device that comes back to its socket finds its session there; with another key it shakes hands again")
    func parkedSession() async throws {
        let server = try SecureTestServer(keys: [Self.device(1), Self.device(2)])
        let pool = await PoolFixture(idle: 0)
        let upstream = Self.upstream(server, .perDevice)
        await pool.pool.start([upstream])
        let owner = LeaseOwner(iccid: "1", leg: .bootstrap)
        let first = try await pool.begin("1", upstream, credentials: Self.device(1))
        try await server.turn { $0.established.count == 1 }
        try await self.granted(first, pool)
        let port = try await self.exchange(on: first, pool, server)
        await pool.release(first, .parked)
        let result = await pool.sessions.call {
            $0.acquire(for: owner, upstreams: [upstream], credentials: Self.device(1), now: .now)
        }
        guard case .granted(let second, _, _) = result else {
            Issue.record("the session is gone: \(result)")
            return
        }
        #expect(try await self.exchange(on: second, pool, server) == port)
        await pool.release(second, .parked)
        let third = try await pool.begin("1", upstream, credentials: Self.device(2))
        try await server.turn { $0.established.count == 2 }
        try await self.granted(third, pool)
        #expect(try await self.exchange(on: third, pool, server) == port)
        #expect(await server.established.map(\.identity) == [Self.device(1).identity, Self.device(2).identity])
        try await pool.stop()
    }

    @Test("A device without a key of its own gets no lease where one is wanted")
    func noKey() async throws {
        let server = try SecureTestServer(keys: [])
        let pool = await PoolFixture(idle: 0)
        let upstream = Self.upstream(server, .perDevice)
        let owner = LeaseOwner(iccid: "1", leg: .bootstrap)
        let result = await pool.sessions.call { $0.acquire(for: owner, upstreams: [upstream], now: .now) }
        guard case .refused(.upstreamHandshake, _) = result else {
            Issue.record("not refused: \(result)")
            return
        }
        try await pool.stop()
    }

    @Test("Lost datagrams of a handshake are repeated")
    func losses() async throws {
        let server = try SecureTestServer(keys: [Self.edge], losing: 2)
        let pool = await PoolFixture(idle: 0, transmission: Self.hasty)
        let upstream = Self.upstream(server, .fixed(Self.edge))
        await pool.pool.start([upstream])
        let lease = try await pool.begin("1", upstream)
        try await server.turn { $0.established.count == 1 }
        try await self.granted(lease, pool)
        try await pool.stop()
    }

    @Test("A server with another key costs the lease that upstream, and the next one gets it")
    func wrongKey() async throws {
        let server = try SecureTestServer(keys: [Self.other])
        let plain = try TestSocket()
        let pool = await PoolFixture(idle: 0, transmission: Self.hasty)
        let first = Self.upstream(server, .fixed(Self.edge))
        let second = PoolFixture.upstream(plain.address)
        await pool.pool.start([first, second])
        let lease = try await pool.begin("1", first, second)
        let turning = Task { try await server.turn { _ in false } }
        try await self.granted(lease, pool)
        _ = await pool.send(UpstreamPoolTests.bootstrap, on: lease)
        #expect(try await plain.receiveMessage().message.code == .post)
        #expect(await !pool.pool.isReachable(first))
        #expect(await server.established.isEmpty)
        turning.cancel()
        try await pool.stop()
    }

    @Test("A server that was started again gets a handshake from the same port, and the request that it missed")
    func serverForgets() async throws {
        let server = try SecureTestServer(keys: [Self.edge])
        let pool = await PoolFixture(idle: 0, transmission: Self.hasty)
        let upstream = Self.upstream(server, .fixed(Self.edge))
        await pool.pool.start([upstream])
        let lease = try await pool.begin("1", upstream)
        try await server.turn { $0.established.count == 1 }
        try await self.granted(lease, pool)
        let port = try await self.exchange(on: lease, pool, server)
        await server.forgetAll()
        #expect(try await self.exchange(on: lease, pool, server) == port)
        #expect(await server.established.map(\.peer.port) == [port, port])
        try await pool.stop()
    }

    @Test("A server that closes the session while it owes an answer gets a handshake at once")
    func serverCloses() async throws {
        let server = try SecureTestServer(keys: [Self.device(1)])
        let pool = await PoolFixture(idle: 0)
        let upstream = Self.upstream(server, .perDevice)
        await pool.pool.start([upstream])
        let lease = try await pool.begin("1", upstream, credentials: Self.device(1))
        try await server.turn { $0.established.count == 1 }
        try await self.granted(lease, pool)
        _ = await pool.send(UpstreamPoolTests.bootstrap, on: lease)
        let missed = try await server.nextMessage()
        await server.closeAll()
        // The handshake comes long before the repetition, which then finds the session.
        try await server.turn { $0.established.count == 2 }
        let repeated = try await server.nextMessage()
        #expect(repeated.message == missed.message)
        #expect(repeated.from == missed.from)
        try await pool.stop()
    }

    @Test("A fatal alert in clear while an answer is owed leads to a handshake")
    func clearAlert() async throws {
        let (server, pool, _, lease) = try await self.leased()
        _ = await pool.send(UpstreamPoolTests.bootstrap, on: lease)
        let missed = try await server.nextMessage()
        await server.forgetAll()
        await server.alert(missed.from)
        try await server.turn { $0.established.count == 2 }
        #expect(try await server.nextMessage().message == missed.message)
        try await pool.stop()
    }

    @Test("After an end that was not clean, a new request over a kept session gets RST and reaches nobody")
    func quarantine() async throws {
        let (server, pool, _, lease) = try await self.leased()
        _ = await pool.send(UpstreamPoolTests.bootstrap, on: lease)
        let peer = try await server.nextMessage().from
        await pool.release(lease, .unclean)
        try await server.send(UpstreamPoolTests.write(7), to: peer)
        let reset = try await server.nextMessage().message
        #expect(reset.type == .reset)
        #expect(reset.messageID == 7)
        try await pool.stop()
    }

    @Test("A server that wants the devices' own keys is probed with a hello alone, and is up when it answers")
    func probeWithoutCredentials() async throws {
        let server = try SecureTestServer(keys: [])
        let pool = await PoolFixture(idle: 1)
        let upstream = Self.upstream(server, .perDevice)
        await pool.pool.start([upstream])
        await pool.pool.markUnreachable(upstream, now: .now)
        #expect(await !pool.pool.isReachable(upstream))
        try await server.turn { $0.hellos == 1 }
        while await !pool.pool.isReachable(upstream) { await Task.yield() }
        #expect(await server.established.isEmpty)
        try await pool.stop()
    }

    @Test("A stop says good-bye to the servers")
    func stop() async throws {
        let (server, pool, _, _) = try await self.leased()
        await pool.pool.stop()
        try await server.turn { $0.closed.count == 1 }
        try await pool.group.shutdownGracefully()
    }
}
