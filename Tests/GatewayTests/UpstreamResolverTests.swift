import CoAP
import LwM2M
import Synchronization
import Testing
import Timing

@testable import Gateway

@Suite("Names and health of upstreams", .timeLimit(.minutes(1)))
struct UpstreamResolverTests {
    /// Answers that a name service gives one after the other; the last one is repeated.
    final class NameService: Sendable {
        struct Failure: Error {}
        private let answers: Mutex<[[PeerAddress]?]>

        init(_ answers: [PeerAddress]?...) { self.answers = Mutex(answers) }

        func next() throws -> [PeerAddress] {
            guard let answer = self.answers.withLock({ $0.count > 1 ? $0.removeFirst() : $0[0] }) else {
                throw Failure()
            }
            return answer
        }
    }

    static let uri = ServerURI(scheme: .coap, host: "bootstrap.test", port: 5683)
    static let first = PeerAddress(IPAddress(ipv4: 0x0A00_0001), port: 5683)
    static let second = PeerAddress(IPAddress(ipv4: 0x0A00_0002), port: 5683)

    @Test("A numeric host needs no name service")
    func numeric() async throws {
        let resolver = UpstreamResolver { _, _ in throw NameService.Failure() }
        let uri = ServerURI(scheme: .coap, host: "2001:db8::1", port: 5683)
        #expect(try await resolver.resolve(uri).address == PeerAddress(IPAddress("2001:db8::1")!, port: 5683))
    }

    @Test("The address in use stays as long as the name has it, whatever the order of the answer")
    func stable() async throws {
        let names = NameService([Self.first, Self.second], [Self.second, Self.first], [Self.second])
        let resolver = UpstreamResolver { _, _ in try names.next() }
        #expect(try await resolver.resolve(Self.uri).address == Self.first)
        #expect(try await resolver.resolve(Self.uri).address == Self.first)
        #expect(try await resolver.resolve(Self.uri).address == Self.second)
    }

    @Test("The last good answer is kept when the name service fails or knows nothing")
    func lastGoodAnswer() async throws {
        let names = NameService([Self.first], nil, [])
        let resolver = UpstreamResolver { _, _ in try names.next() }
        #expect(try await resolver.resolve(Self.uri).failure == nil)
        for _ in 0..<2 {
            let resolution = try await resolver.resolve(Self.uri)
            #expect(resolution.address == Self.first)
            #expect(resolution.failure != nil)
        }
    }

    @Test("A name that never had an answer is an error")
    func neverResolved() async {
        let resolver = UpstreamResolver { _, _ in throw NameService.Failure() }
        await #expect(throws: NameService.Failure.self) { try await resolver.resolve(Self.uri) }
    }

    @Test("The system's look-up knows localhost")
    func localhost() async throws {
        let addresses = try await UpstreamResolver.systemLookup("localhost", 5683)
        #expect(
            addresses.contains { $0.port == 5683 && ($0.ip == IPAddress("127.0.0.1") || $0.ip == IPAddress("::1")) }
        )
    }

    @Test("An upstream given by name is used under the address that the name has")
    func poolUsesNames() async throws {
        let server = try TestSocket()
        let address = server.address
        let pool = await PoolFixture(resolver: UpstreamResolver { _, _ in [address] })
        let upstream = PoolFixture.upstream(address, host: "bootstrap.test")
        await pool.pool.start([upstream])
        let lease = try await pool.take("1", upstream)
        _ = await pool.send(UpstreamPoolTests.bootstrap, on: lease)
        _ = try await server.receive()
        try await pool.stop()
    }

    // MARK: - Health

    @Test("The back-off doubles from one second to a minute, with a quarter of jitter")
    func backoff() {
        #expect(UpstreamHealth.backoff(failures: 1, jitter: 0.5) == .seconds(1))
        #expect(UpstreamHealth.backoff(failures: 4, jitter: 0.5) == .seconds(8))
        #expect(UpstreamHealth.backoff(failures: 16, jitter: 0.5) == .seconds(60))
        #expect(UpstreamHealth.backoff(failures: 1, jitter: 0) == .milliseconds(750))
        #expect(UpstreamHealth.backoff(failures: 1, jitter: 0.999) < .milliseconds(1250))
    }

    @Test("Many sockets that report one outage count as one failure")
    func oneOutageCountsOnce() {
        var health = UpstreamHealth()
        let now = Instant.now
        var isNews = health.failed(now: now, jitter: 0.5)
        #expect(isNews)
        for _ in 0..<100 { isNews = health.failed(now: now, jitter: 0.5) }
        #expect(!isNews)
        #expect(health.failures == 1)
        isNews = health.failed(now: now + .seconds(1), jitter: 0.5)
        #expect(isNews)
        #expect(health.failures == 2)
    }

    @Test("Anything heard makes the upstream usable at once")
    func heard() {
        var health = UpstreamHealth()
        let now = Instant.now
        _ = health.failed(now: now, jitter: 0.5)
        var admits = health.admitsLease(now: now)
        #expect(!admits)
        let first = health.heard(now: now)
        let second = health.heard(now: now)
        #expect(first && !second)
        admits = health.admitsLease(now: now)
        #expect(admits)
    }

    // MARK: - Capacity

    @Test("The number of devices is what descriptors and ports allow, whichever is less")
    func capacity() {
        #expect(PoolCapacity(descriptors: 1024, portsPerAddress: 28_232, addresses: 1).sockets == 768)
        #expect(PoolCapacity(descriptors: 1_048_576, portsPerAddress: 28_232, addresses: 2).sockets == 56_464)
        #expect(PoolCapacity(descriptors: 10, portsPerAddress: 28_232, addresses: 0).sockets == 1)
        #expect(PoolCapacity.current(addresses: 0).sockets > 0)
    }

    @Test(
        "The port range is read as the system writes it; anything else gives the usual size",
        arguments: [
            ("32768\t60999\n", 28_232), ("1024 65535", 64_512), ("", 28_232), ("60999 32768", 28_232), ("a b", 28_232),
            ("-1 70000", 28_232),
        ]
    )
    func portRange(text: String, ports: Int) {
        #expect(PoolCapacity.ephemeralPorts(in: text) == ports)
    }
}
