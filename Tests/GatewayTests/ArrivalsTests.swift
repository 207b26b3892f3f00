import NIOCore
import Testing

@testable import Gateway

@Suite("What a turn has read")
struct ArrivalsTests {
    /// The header of a record with one byte of body: all that tells what it is.
    private func record(_ type: UInt8, epoch: UInt8 = 0, _ body: UInt8) -> [UInt8] {
        [type, 0xFE, 0xFD, 0, epoch, 0, 0, 0, 0, 0, 0, 0, 1, body]
    }

    @Test("Hellos come first, then other handshake messages, then records; those of one kind as they came")
    func order() throws {
        let remote = try SocketAddress(ipAddress: "127.0.0.1", port: 1)
        let address = try #require(PeerAddress(remote))
        let origin = Arrivals.Origin(key: PeerKey(listener: 0, address: address), remote: remote)
        let hello: (UInt8) -> [UInt8] = { self.record(22, 1) + [$0] }
        let datagrams = [
            self.record(23, epoch: 1, 1), self.record(20, 1), hello(1), self.record(22, epoch: 1, 1),
            self.record(21, epoch: 1, 2), self.record(25, epoch: 1, 3), hello(2), self.record(22, 16), [],
        ]
        var arrivals = Arrivals()
        for datagram in datagrams { datagram.withUnsafeBytes { arrivals.append($0, from: origin) } }
        var seen: [[UInt8]] = []
        arrivals.forEach { _, bytes in seen.append(Array(bytes)) }
        #expect(seen == [2, 6, 1, 3, 7, 0, 4, 5, 8].map { datagrams[$0] })
        arrivals.empty()
        #expect(arrivals.isEmpty)
    }
}
