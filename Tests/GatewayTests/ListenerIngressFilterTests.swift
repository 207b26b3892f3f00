import NIOCore
import Testing

@testable import Gateway

@Suite("What a listener lets in")
struct ListenerIngressFilterTests {
    static let filter = IngressFilter(sliceSize: 2048, broadcasts: [IPAddress(ipv4: 0xC000_02FF)])

    static func reason(_ ip: String, port: UInt16 = 49_152, size: Int = 100) -> IngressFilter.DropReason? {
        guard let address = IPAddress(ip) else { return nil }
        return Self.filter.dropReason(from: PeerAddress(address, port: port), size: size)
    }

    @Test(
        "Ordinary sources pass",
        arguments: [
            "192.0.2.1", "127.0.0.1", "2001:db8::1", "fe80::1", "::1", "240.0.0.1", "198.51.100.255", "2001:db8::ff",
        ])
    func ordinary(ip: String) {
        #expect(IPAddress(ip) != nil)
        #expect(Self.reason(ip) == nil)
    }

    @Test("An answer to port 0 would close the socket, so its datagrams are dropped", arguments: ["192.0.2.1", "::1"])
    func portZero(ip: String) {
        #expect(Self.reason(ip, port: 0) == .sourcePortZero)
    }

    @Test(
        "Sources that stand for many hosts or for none are dropped",
        arguments: [
            ("255.255.255.255", IngressFilter.DropReason.broadcastSource), ("192.0.2.255", .broadcastSource),
            ("224.0.0.1", .multicastSource), ("239.255.255.250", .multicastSource), ("ff02::1", .multicastSource),
            ("::ffff:224.0.1.187", .multicastSource), ("0.0.0.0", .unspecifiedSource), ("0.1.2.3", .unspecifiedSource),
            ("::", .unspecifiedSource),
        ]
    )
    func manyOrNone(ip: String, expected: IngressFilter.DropReason) {
        #expect(Self.reason(ip) == expected)
    }

    @Test("Empty datagrams, and those that fill the buffer and may have been cut, are dropped")
    func sizes() {
        #expect(Self.reason("192.0.2.1", size: 0) == .empty)
        #expect(Self.reason("192.0.2.1", size: 1) == nil)
        #expect(Self.reason("192.0.2.1", size: 2047) == nil)
        #expect(Self.reason("192.0.2.1", size: 2048) == .oversize)
    }

    @Test("Every reason has a name of its own, fit for a label")
    func names() {
        let names = Set(IngressFilter.DropReason.allCases.map(\.name))
        #expect(names.count == IngressFilter.DropReason.allCases.count)
        #expect(names.allSatisfy { $0.allSatisfy { $0.isLowercase || $0 == "_" } })
    }

    // MARK: - Keys

    @Test(
        "A key and NIO's address turn into each other without loss",
        arguments: ["192.0.2.1", "255.255.255.255", "2001:db8::1", "::1", "fe80::1:2"]
    )
    func peerAddress(ip: String) throws {
        let address = try SocketAddress(ipAddress: ip, port: 49_152)
        let peer = try #require(PeerAddress(address))
        #expect(peer.ip == IPAddress(ip))
        #expect(peer.port == 49_152)
        #expect(peer.socketAddress == address)
    }

    @Test("An IPv4 peer has the same key whether it came by an IPv4 socket or mapped by an IPv6 one")
    func mapped() throws {
        let plain = PeerAddress(try SocketAddress(ipAddress: "192.0.2.1", port: 1))
        let mapped = PeerAddress(try SocketAddress(ipAddress: "::ffff:192.0.2.1", port: 1))
        #expect(plain == mapped)
    }

    @Test("Keys print as the audit journal writes peers")
    func description() throws {
        #expect("\(PeerAddress(IPAddress(ipv4: 0xC000_0201), port: 49_152))" == "192.0.2.1:49152")
        #expect("\(PeerAddress(IPAddress("2001:db8::1")!, port: 1))" == "[2001:db8::1]:1")
        #expect("\(PeerAddress(IPAddress("fe80::1")!, port: 1, scope: 3))" == "[fe80::1%3]:1")
    }

    @Test("Unix sockets have no key")
    func unix() throws {
        #expect(PeerAddress(try SocketAddress(unixDomainSocketPath: "/tmp/x")) == nil)
    }

    // MARK: - Wildcards

    static let locals = [
        PeerAddress(IPAddress("127.0.0.1")!, port: 0), PeerAddress(IPAddress("192.0.2.1")!, port: 0),
        PeerAddress(IPAddress("::1")!, port: 0), PeerAddress(IPAddress("fe80::1")!, port: 0, scope: 2),
        PeerAddress(IPAddress("192.0.2.1")!, port: 0),
    ]

    static func expand(_ ip: String) -> [String] {
        guard let address = IPAddress(ip) else { return [] }
        let configuration = GatewayConfiguration.Listener(security: .plain, address: address, port: 5683)
        return Listener.expand(configuration, locals: Self.locals).map { "\($0.ip)%\($0.scope)" }
    }

    @Test("[::] stands for every local address once, 0.0.0.0 for those of IPv4, any other for itself")
    func wildcards() {
        #expect(Self.expand("::") == ["127.0.0.1%0", "192.0.2.1%0", "::1%0", "fe80::1%2"])
        #expect(Self.expand("0.0.0.0") == ["127.0.0.1%0", "192.0.2.1%0"])
        #expect(Self.expand("192.0.2.7") == ["192.0.2.7%0"])
        #expect(Self.expand("fe80::1") == ["fe80::1%2"])
    }
}
