import Glibc
import Logging
import NIOCore
import NIOPosix
import Synchronization
import Testing

@testable import Gateway

/// Writes down every datagram, and answers it if told to.
final class EchoReceiver: DatagramReceiver {
    struct Arrival: Sendable {
        let bytes: [UInt8]
        let peer: PeerAddress
        let listener: Int
    }

    let arrivals: AsyncStream<Arrival>
    private let continuation: AsyncStream<Arrival>.Continuation
    private let listeners = Mutex<[Listener]>([])
    private let echoes: Bool

    init(echoes: Bool) {
        self.echoes = echoes
        (self.arrivals, self.continuation) = AsyncStream.makeStream()
    }

    func attach(_ listeners: [Listener]) { self.listeners.withLock { $0 = listeners } }

    func datagram(_ buffer: ByteBuffer, from peer: PeerAddress, remote: SocketAddress, listener: Int) {
        #expect(PeerAddress(remote) == peer)
        self.continuation.yield(Arrival(bytes: Array(buffer.readableBytesView), peer: peer, listener: listener))
        guard self.echoes else { return }
        buffer.withUnsafeReadableBytes { self.listeners.withLock { $0[listener] }.send($0, to: remote) }
    }

    func readComplete(listener: Int) {
        guard self.echoes else { return }
        self.listeners.withLock { $0[listener] }.flush()
    }
}

@Suite("Listeners", .timeLimit(.minutes(1)))
struct ListenerTests {
    static let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    final class Fixture {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let receiver: EchoReceiver
        let listeners: [Listener]
        private var iterator: AsyncStream<EchoReceiver.Arrival>.Iterator

        init(_ addresses: String..., port: UInt16 = 0, echoes: Bool = true, settings: Listener.Settings = .init())
            async throws
        {
            let configurations = addresses.compactMap { text in
                IPAddress(text).map { GatewayConfiguration.Listener(security: .plain, address: $0, port: port) }
            }
            self.receiver = EchoReceiver(echoes: echoes)
            self.iterator = self.receiver.arrivals.makeAsyncIterator()
            do {
                self.listeners = try await Listener.bindAll(
                    configurations,
                    receiver: self.receiver,
                    loop: self.group.next(),
                    settings: settings,
                    logger: ListenerTests.logger
                )
            } catch {
                try await self.group.shutdownGracefully()
                throw error
            }
        }

        func next() async throws -> EchoReceiver.Arrival {
            guard let arrival = await self.iterator.next(isolation: #isolation) else { throw CancellationError() }
            return arrival
        }

        func stop() async throws {
            for listener in self.listeners { await listener.close() }
            try await self.group.shutdownGracefully()
        }
    }

    @Test("T2: a datagram goes up with its source, and the answer leaves from the address that was asked")
    func echo() async throws {
        let fixture = try await Fixture("127.0.0.1", "::1")
        for (index, ip) in ["127.0.0.1", "::1"].enumerated() {
            let device = try TestSocket(ip)
            device.send([1, 2, 3], to: fixture.listeners[index].address)
            let arrival = try await fixture.next()
            #expect(arrival.bytes == [1, 2, 3])
            #expect(arrival.peer == device.address)
            #expect(arrival.listener == index)
            let answer = try await device.receive()
            #expect(answer.bytes == [1, 2, 3])
            #expect(answer.from == fixture.listeners[index].address)
        }
        try await fixture.stop()
    }

    @Test("A wildcard becomes one socket per local address, all with one port")
    func wildcard() async throws {
        let fixture = try await Fixture("0.0.0.0")
        let addresses = fixture.listeners.map(\.address)
        #expect(addresses.contains { $0.ip == IPAddress(ipv4: 0x7F00_0001) })
        #expect(addresses.allSatisfy { $0.ip.isIPv4 && $0.ip != IPAddress(ipv4: 0) })
        #expect(Set(addresses.map(\.port)).count == 1)
        let device = try TestSocket()
        let loopback = try #require(addresses.first { $0.ip == IPAddress(ipv4: 0x7F00_0001) })
        device.send([7], to: loopback)
        #expect(try await device.receive().from == loopback)
        try await fixture.stop()
    }

    @Test("An address in use is an error that says so, and what was bound before is closed")
    func addressInUse() async throws {
        let taken = try TestSocket()
        await #expect {
            _ = try await Fixture("127.0.0.1", port: taken.address.port)
        } throws: { error in
            "\(error)".contains("cannot listen on \(taken.address)") && "\(error)".contains("another program")
        }
    }

    @Test("A foreign address is an error that says so")
    func foreignAddress() async throws {
        await #expect {
            _ = try await Fixture("192.0.2.77")
        } throws: {
            "\($0)".contains("does not have that address")
        }
    }

    @Test("The receiver knows the listeners before the first datagram, and what came earlier is not lost")
    func nothingBeforeAttach() async throws {
        final class Early: DatagramReceiver {
            let device: TestSocket
            let isAttached = Mutex(false)
            let arrivals: AsyncStream<Bool>
            let continuation: AsyncStream<Bool>.Continuation

            init(_ device: TestSocket) {
                self.device = device
                (self.arrivals, self.continuation) = AsyncStream.makeStream()
            }

            func attach(_ listeners: [Listener]) async {
                self.device.send([1], to: listeners[0].address)
                // The loop has had every occasion to read before this returns.
                for _ in 0..<100 { try? await listeners[0].loop.submit {}.get() }
                self.isAttached.withLock { $0 = true }
            }

            func datagram(_ buffer: ByteBuffer, from peer: PeerAddress, remote: SocketAddress, listener: Int) {
                self.continuation.yield(self.isAttached.withLock { $0 })
            }

            func readComplete(listener: Int) {}
        }
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let receiver = Early(try TestSocket())
        let listeners = try await Listener.bindAll(
            [GatewayConfiguration.Listener(security: .plain, address: IPAddress(ipv4: 0x7F00_0001), port: 0)],
            receiver: receiver,
            loop: group.next(),
            logger: Self.logger
        )
        var iterator = receiver.arrivals.makeAsyncIterator()
        #expect(await iterator.next() == true)
        for listener in listeners { await listener.close() }
        try await group.shutdownGracefully()
    }

    @Test("A burst comes up whole and in order, and all answers leave")
    func burst() async throws {
        let fixture = try await Fixture("127.0.0.1")
        let device = try TestSocket()
        var size = CInt(1 << 20)
        setsockopt(device.descriptor, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout<CInt>.size))
        for round in 0..<4 {
            for number in 0..<100 { device.send([UInt8(round), UInt8(number)], to: fixture.listeners[0].address) }
            for number in 0..<100 { #expect(try await fixture.next().bytes == [UInt8(round), UInt8(number)]) }
            for number in 0..<100 { #expect(try await device.receive().bytes == [UInt8(round), UInt8(number)]) }
        }
        let counters = await fixture.listeners[0].counters
        #expect(counters.received == 400 && counters.sent == 400)
        try await fixture.stop()
    }

    @Test("Large datagrams come up whole; what fills the buffer is dropped and counted, and harms no neighbour")
    func largeDatagrams() async throws {
        let fixture = try await Fixture("127.0.0.1")
        let device = try TestSocket()
        for size in [2047, 2048, 60_000, 1] {
            device.send((0..<size).map { UInt8(truncatingIfNeeded: $0) }, to: fixture.listeners[0].address)
        }
        #expect(try await fixture.next().bytes == (0..<2047).map { UInt8(truncatingIfNeeded: $0) })
        #expect(try await fixture.next().bytes == [0])
        let counters = await fixture.listeners[0].counters
        #expect(counters.dropped(.oversize) == 2)
        try await fixture.stop()
    }

    @Test("Empty datagrams are dropped and counted")
    func emptyDatagram() async throws {
        let fixture = try await Fixture("127.0.0.1")
        let device = try TestSocket()
        device.send([], to: fixture.listeners[0].address)
        device.send([1], to: fixture.listeners[0].address)
        #expect(try await fixture.next().bytes == [1])
        #expect(await fixture.listeners[0].counters.dropped(.empty) == 1)
        try await fixture.stop()
    }

    /// Sending from port 0 takes a raw socket, which takes rights. Without them, the same datagram is put to the filter
    /// directly, which is what decides in either case.
    @Test("A datagram from source port 0 is dropped, and the listener lives on")
    func sourcePortZero() async throws {
        let fixture = try await Fixture("127.0.0.1")
        let device = try TestSocket()
        let target = fixture.listeners[0].address
        if Self.sendFromPortZero([0x42], to: target) {
            device.send([1], to: target)
            #expect(try await fixture.next().bytes == [1])
            #expect(await fixture.listeners[0].counters.dropped(.sourcePortZero) == 1)
        } else {
            let peer = PeerAddress(IPAddress(ipv4: 0x7F00_0001), port: 0)
            #expect(IngressFilter(sliceSize: 2048).dropReason(from: peer, size: 1) == .sourcePortZero)
            device.send([1], to: target)
            #expect(try await fixture.next().bytes == [1])
        }
        #expect(await fixture.listeners[0].counters.closed == 0)
        try await fixture.stop()
    }

    @Test(
        "A send that the system refuses is counted; the datagrams beside it leave, and the socket lives on",
        arguments: ["255.255.255.255:9", "127.0.0.1:0"]
    )
    func refusedSends(target: String) async throws {
        let fixture = try await Fixture("127.0.0.1")
        let listener = fixture.listeners[0]
        let parts = target.split(separator: ":")
        let remote = try SocketAddress(ipAddress: String(parts[0]), port: #require(Int(parts[1])))
        let device = try TestSocket()
        let good = device.address.socketAddress
        try await listener.loop.submit {
            [UInt8(1)].withUnsafeBytes { listener.send($0, to: good) }
            [UInt8(2)].withUnsafeBytes { listener.send($0, to: remote) }
            [UInt8(3)].withUnsafeBytes { listener.send($0, to: good) }
            listener.flush()
        }.get()
        #expect(try await device.receive().bytes == [1])
        #expect(try await device.receive().bytes == [3])
        device.send([4], to: listener.address)
        #expect(try await device.receive().bytes == [4])
        let counters = await listener.counters
        #expect(counters.unsendable == 1)
        #expect(counters.sent == 3)
        #expect(counters.closed == 0)
        try await fixture.stop()
    }

    @Test("More datagrams than one batch holds leave all the same, in order")
    func manyInOneTurn() async throws {
        let fixture = try await Fixture("127.0.0.1")
        let listener = fixture.listeners[0]
        let device = try TestSocket()
        let remote = device.address.socketAddress
        let count = DatagramBatch.maximum + 20
        try await listener.loop.submit {
            for number in 0..<count {
                [UInt8(truncatingIfNeeded: number)].withUnsafeBytes { listener.send($0, to: remote) }
            }
            listener.flush()
        }.get()
        for number in 0..<count { #expect(try await device.receive().bytes == [UInt8(truncatingIfNeeded: number)]) }
        #expect(await listener.counters.sent == UInt64(count))
        try await fixture.stop()
    }

    @Test("A channel that closes is bound to the same port again")
    func rebinds() async throws {
        var settings = Listener.Settings()
        settings.shortestPause = .milliseconds(1)
        let fixture = try await Fixture("127.0.0.1", settings: settings)
        let listener = fixture.listeners[0]
        let address = listener.address
        for round in 1...3 {
            try await listener.channel?.close()
            // The device knocks until it is heard: how long the socket was away does not matter.
            let device = try TestSocket()
            var limit = timeval(tv_sec: 0, tv_usec: 50_000)
            setsockopt(device.descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
            var answer: (bytes: [UInt8], from: PeerAddress)?
            for _ in 0..<200 where answer == nil {
                device.send([9], to: address)
                answer = try? await device.receive()
            }
            #expect(answer?.from == address)
            let counters = await listener.counters
            #expect(counters.closed == UInt64(round))
            #expect(counters.rebound == UInt64(round))
        }
        #expect(listener.address == address)
        try await fixture.stop()
    }

    @Test("While the socket is away, datagrams are dropped and counted, never kept")
    func awayDatagrams() async throws {
        var settings = Listener.Settings()
        settings.shortestPause = .seconds(600)
        let fixture = try await Fixture("127.0.0.1", settings: settings)
        let listener = fixture.listeners[0]
        let remote = try TestSocket().address.socketAddress
        try await listener.channel?.close()
        try await listener.loop.submit {
            for _ in 0..<5 { [1].withUnsafeBytes { listener.send($0, to: remote) } }
            listener.flush()
        }.get()
        #expect(await listener.counters.unbound == 5)
        try await fixture.stop()
    }

    @Test("Answers to a closed port of a device do no harm")
    func unreachableDevice() async throws {
        let fixture = try await Fixture("127.0.0.1")
        let listener = fixture.listeners[0]
        let gone = try TestSocket().address.socketAddress
        try await listener.loop.submit {
            for _ in 0..<10 {
                [1].withUnsafeBytes { listener.send($0, to: gone) }
                listener.flush()
            }
        }.get()
        let device = try TestSocket()
        device.send([5], to: listener.address)
        #expect(try await device.receive().bytes == [5])
        #expect(await listener.counters.closed == 0)
        try await fixture.stop()
    }

    @Test("After the stop nothing comes up any more and the port is given back")
    func close() async throws {
        // An address that no other test has.
        let fixture = try await Fixture("127.77.0.1")
        let address = fixture.listeners[0].address
        #expect(Self.holds(address))
        try await fixture.stop()
        #expect(!Self.holds(address))
    }

    /// Whether a socket of this process is bound there. Binding another one would not tell: programs that other tests
    /// start inherit what is open at that moment.
    private static func holds(_ address: PeerAddress) -> Bool {
        (0..<CInt(4096)).contains { descriptor in
            // Family, port and address, as the kernel lays them out.
            var name = [UInt8](repeating: 0, count: 128)
            var length = socklen_t(name.count)
            let result = name.withUnsafeMutableBytes {
                getsockname(descriptor, $0.assumingMemoryBound(to: sockaddr.self).baseAddress, &length)
            }
            return result == 0
                && name[2..<8] == [UInt8(address.port >> 8), UInt8(truncatingIfNeeded: address.port), 127, 77, 0, 1]
        }
    }

    @Test("The errors of binding say what to do")
    func errors() {
        let address = PeerAddress(IPAddress(ipv4: 0x7F00_0001), port: 80)
        let error = ListenerError(address: address, underlying: IOError(errnoCode: EACCES, reason: "bind"))
        #expect("\(error)".contains("CAP_NET_BIND_SERVICE"))
    }

    @Test("Attempts to bind that fail leave no descriptor behind")
    func failedBindsLeaveNothing() async throws {
        let taken = try TestSocket()
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let configuration = GatewayConfiguration.Listener(
            security: .plain,
            address: taken.address.ip,
            port: taken.address.port
        )
        // The next free number tells how many are open: a leak moves it up by the number of attempts.
        var numbers: [CInt] = []
        for _ in 0..<200 {
            await #expect(throws: ListenerError.self) {
                _ = try await Listener.bindAll(
                    [configuration],
                    receiver: EchoReceiver(echoes: false),
                    loop: group.next(),
                    logger: Self.logger
                )
            }
            numbers.append(try TestSocket().descriptor)
        }
        #expect((numbers.last ?? 0) - (numbers.first ?? 0) < 150)
        try await group.shutdownGracefully()
    }

    /// True if this process may send raw packets and has sent one.
    private static func sendFromPortZero(_ payload: [UInt8], to target: PeerAddress) -> Bool {
        let descriptor = socket(AF_INET, Int32(SOCK_RAW.rawValue), Int32(IPPROTO_UDP))
        guard descriptor >= 0 else { return false }
        defer { Glibc.close(descriptor) }
        let length = UInt16(8 + payload.count)
        // Source port, destination port, length, no checksum.
        var packet: [UInt8] = [0, 0]
        for field in [target.port, length, 0] { packet += [UInt8(field >> 8), UInt8(field & 0xFF)] }
        packet += payload
        let sent = PeerAddress(target.ip, port: 0).socketAddress.withSockAddr { pointer, size in
            sendto(descriptor, packet, packet.count, 0, pointer, socklen_t(size))
        }
        return sent == packet.count
    }
}
