import DTLS
import Secrets
import Testing
import Timing

@Suite("Established session")
struct EstablishedTests {
    /// An established pair; with `afterData`, the server has read a record already.
    private static func link(
        _ suite: CipherSuite = .pskAES128CCM8,
        afterData: Bool = false,
        mtu: Int = 1232
    ) throws -> LossyLink {
        var configuration = DTLSConfiguration()
        configuration.suites = [suite]
        configuration.mtu = mtu
        let link = try LossyLink(server: configuration, client: configuration)
        #expect(link.run(for: .seconds(5)) { $0.isEstablished })
        if afterData {
            try link.sendFromClient([0])
            link.run(for: .seconds(1))
            #expect(link.atServer == [[0]])
        }
        return link
    }

    /// Data pass both ways, and nothing has happened to either session.
    private static func expectAlive(_ link: LossyLink, _ comment: Comment? = nil) throws {
        let (before, beforeClient) = (link.atServer.count, link.atClient.count)
        try link.sendFromClient([1, 2, 3])
        try link.sendFromServer([4, 5, 6])
        link.run(for: .seconds(1))
        #expect(Array(link.atServer[before...]) == [[1, 2, 3]], comment)
        #expect(Array(link.atClient[beforeClient...]) == [[4, 5, 6]], comment)
        #expect(link.server?.phase == .established, comment)
    }

    /// What the notes on the library list as deadly between the end of the handshake and the first application record,
    /// and what they list as harmless.
    private static func forgeries(of link: LossyLink) -> [(name: String, datagram: [UInt8])] {
        let real = link.sent.last { $0.direction == .toServer }?.bytes ?? []
        let flight = link.sent.map(\.bytes).last { Wire.records($0).first?.message == 16 } ?? []
        let body = Array(Wire.hello().dropFirst(25))
        func changed(_ index: Int, _ bits: UInt8) -> [UInt8] {
            var datagram = real
            datagram[index] ^= bits
            return datagram
        }
        let noise = [UInt8](repeating: 0x5A, count: 60)
        return [
            ("replay", real), ("tag changed", changed(real.count - 1, 1)), ("sequence changed", changed(10, 7)),
            ("sequence 2^46", Wire.record(23, epoch: 1, sequence: 1 << 46, noise)), ("epoch 2", changed(4, 3)),
            ("wrong version", changed(2, 2)), ("cut", real.dropLast(3)), ("unknown type", changed(0, 0x40)),
            ("random bytes", noise), ("one byte", [22]), ("nothing", []),
            ("clear application data", Wire.record(23, [1, 2, 3])),
            ("clear fatal alert", Wire.record(21, [2, 40])), ("clear close_notify", Wire.record(21, [1, 0])),
            ("clear alert far ahead", Wire.record(21, sequence: 1 << 30, [2, 40])),
            ("bad ChangeCipherSpec", Wire.record(20, [2])), ("long ChangeCipherSpec", Wire.record(20, [1, 1])),
            ("ChangeCipherSpec", Wire.record(20, sequence: 99, [1])),
            (
                "clear Finished",
                Wire.record(22, sequence: 99, Wire.message(20, number: 3, [UInt8](repeating: 1, count: 12)))
            ),
            ("unknown message", Wire.record(22, sequence: 99, Wire.message(77, number: 3, noise))),
            ("new hello", Wire.record(22, sequence: 99, Wire.message(1, number: 3, body))),
            ("hello request", Wire.record(22, sequence: 99, Wire.message(0, number: 0, []))),
            ("key exchange", Wire.record(22, sequence: 99, Wire.message(16, number: 3, [0, 1, 65]))),
            (
                "piece beyond its message",
                Wire.record(22, sequence: 99, Wire.message(16, number: 3, noise, length: 9, offset: 4))
            ),
            ("huge message", Wire.record(22, sequence: 99, Wire.message(16, number: 3, noise, length: 0xFFFFFF))),
            ("record cut in a message", Wire.record(22, sequence: 99, [16, 0, 0])),
            ("protected noise as handshake", Wire.record(22, epoch: 1, sequence: 9, noise)),
            ("protected noise as alert", Wire.record(21, epoch: 1, sequence: 9, noise)),
            ("protected noise as ChangeCipherSpec", Wire.record(20, epoch: 1, sequence: 9, noise)),
            ("connection ID", Wire.record(25, epoch: 1, sequence: 9, noise)),
            ("the client's last flight", flight),
        ]
    }

    /// RFC 6347, section 4.1.2.7: invalid records are dropped, and the association lives on.
    @Test(
        "No forged datagram ends a session, before and after its first data",
        arguments: LossTests.suites,
        [false, true]
    )
    func forgeries(_ suite: CipherSuite, afterData: Bool) throws {
        let count = Self.forgeries(of: try Self.link(suite)).count
        for index in 0..<count {
            let link = try Self.link(suite, afterData: afterData)
            let forgery = Self.forgeries(of: link)[index]
            let before = link.atServer.count
            link.inject(forgery.datagram)
            link.inject(forgery.datagram)
            link.run(for: .milliseconds(100))
            #expect(link.atServer.count == before, "\(forgery.name)")
            try Self.expectAlive(link, "\(forgery.name)")
        }
    }

    @Test("No forged datagram ends a client's session")
    func forgeriesToClient() throws {
        let link = try Self.link()
        for forgery in Self.forgeries(of: link) { link.inject(forgery.datagram, .toClient) }
        link.run(for: .milliseconds(100))
        #expect(link.atClient.isEmpty)
        try Self.expectAlive(link)
    }

    /// RFC 6347, section 4.1.2.6.
    @Test("A record is delivered once, however often and late it arrives")
    func replay() throws {
        let link = try Self.link()
        var records: [[UInt8]] = []
        link.onWire = { direction, bytes in
            if direction == .toServer { records.append(bytes) }
            return direction == .toServer ? [] : [bytes]
        }
        for value in 0..<20 { try link.sendFromClient([UInt8(value)]) }
        for record in records.reversed() + records { link.inject(record) }
        link.run(for: .seconds(1))
        #expect(link.atServer == (0..<20).reversed().map { [UInt8($0)] })
    }

    /// The library would drop all that follows a bad record.
    @Test("Good records are read although a bad one stands before them in the datagram")
    func badRecordFirst() throws {
        let link = try Self.link()
        var records: [[UInt8]] = []
        link.onWire = { _, bytes in
            records.append(bytes)
            return []
        }
        for value in 1...3 { try link.sendFromClient([UInt8(value)]) }
        var bad = records[0]
        bad[bad.count - 1] ^= 1
        link.inject(Wire.record(21, [2, 40]) + bad + records[1] + records[2] + [1, 2, 3])
        link.run(for: .seconds(1))
        #expect(link.atServer == [[2], [3]])
    }

    @Test("A hundred thousand and more bytes of random and mutated datagrams change nothing", arguments: [1, 2, 3])
    func random(seed: UInt64) throws {
        let link = try Self.link(.pskAES128CCM8, afterData: seed.isMultiple(of: 2))
        let session = try #require(link.server)
        let real = link.sent.map(\.bytes)
        var generator = SeededGenerator(seed: seed)
        for index in 0..<10_000 {
            var datagram: [UInt8]
            if index.isMultiple(of: 2) {
                datagram = (0..<Int.random(in: 0...120, using: &generator)).map { _ in
                    .random(in: 0...255, using: &generator)
                }
                // Often enough something that looks like a record.
                if datagram.count > 13, Bool.random(using: &generator) {
                    datagram.replaceSubrange(
                        0..<5,
                        with: [
                            .random(in: 20...25, using: &generator), 0xFE, 0xFD, 0,
                            .random(in: 0...1, using: &generator),
                        ]
                    )
                    datagram[11] = 0
                    datagram[12] = UInt8(datagram.count - 13)
                }
            } else {
                datagram = real.randomElement(using: &generator) ?? []
                let position = Int.random(in: 0..<datagram.count, using: &generator)
                datagram[position] ^= UInt8.random(in: 1...255, using: &generator)
            }
            let outcome = datagram.withUnsafeBytes { session.receive($0, now: link.now) }
            #expect(outcome == .nothing, "seed \(seed), datagram \(index)")
            #expect(!session.read { _ in }, "seed \(seed), datagram \(index)")
        }
        try Self.expectAlive(link, "seed \(seed)")
    }

    /// RFC 6347, section 4.2.4. tinydtls does not repeat, others do, and quickly.
    @Test("The last flight is repeated for a client that repeats its own, but at most twice a second and ten times")
    func lastFlight() throws {
        let link = try Self.link()
        let flight = try #require(link.sent.map(\.bytes).last { Wire.records($0).first?.message == 16 })
        let begin = link.sent.count
        for _ in 0..<1000 {
            link.inject(flight)
            link.run(for: .milliseconds(10))
        }
        let answers = link.sent[begin...]
        #expect(answers.count == 10)
        #expect(answers.allSatisfy { Wire.records($0.bytes).map(\.type) == [20, 22] })
        for (one, next) in zip(answers, answers.dropFirst()) {
            #expect(next.time - one.time >= .milliseconds(500))
        }
        try Self.expectAlive(link)
        // Now the server knows that the client is through.
        link.inject(flight)
        let count = link.sent.count
        link.run(for: .seconds(2))
        #expect(link.sent.count == count)
    }

    @Test("A client that never sends data makes the server keep its last flight only for so long")
    func lastFlightExpires() throws {
        let link = try Self.link()
        let flight = try #require(link.sent.map(\.bytes).last { Wire.records($0).first?.message == 16 })
        #expect(link.server?.deadline != nil)
        link.run(for: .seconds(300))
        #expect(link.server?.deadline == nil)
        let count = link.sent.count
        link.inject(flight)
        link.run(for: .seconds(2))
        #expect(link.sent.count == count)
        try Self.expectAlive(link)
    }

    @Test("An established session has no deadline once data came")
    func noDeadline() throws {
        let link = try Self.link(afterData: true)
        #expect(link.server?.deadline == nil)
        #expect(link.client.deadline == nil)
    }

    // MARK: Closing

    /// Spec section 5.5.
    @Test("An authentic close_notify is answered with one, and both ends are closed")
    func closeNotify() throws {
        let link = try Self.link(afterData: true)
        let begin = link.sent.count
        link.closeClient()
        link.run(for: .seconds(1))
        #expect(link.client.phase == .closed(.closedLocally))
        #expect(link.server?.phase == .closed(.closedByPeer))
        #expect(link.sent[begin...].map(\.direction) == [.toServer, .toClient])
        #expect(link.sent[begin...].allSatisfy { Wire.records($0.bytes).map(\.type) == [21] })
        #expect(link.serverContext.established == 0)
        #expect(link.clientContext.established == 0)
    }

    @Test("A server closes with one close_notify, and further calls do nothing")
    func serverCloses() throws {
        let link = try Self.link()
        let server = try #require(link.server)
        let begin = link.sent.count
        link.closeServer()
        link.closeServer()
        link.run(for: .seconds(1))
        #expect(link.client.phase == .closed(.closedByPeer))
        #expect(link.sent[begin...].map(\.direction) == [.toClient, .toServer])
        #expect(throws: DTLSError.notEstablished) { try link.sendFromServer([1]) }
        #expect(server.maximumPlaintext == 0)
        #expect(server.deadline == nil)
        #expect(server.handleDeadline(now: link.now) == .nothing)
        #expect(server.provide(key: LossyLink.key, now: link.now) == .nothing)
        let datagram = link.sent[begin].bytes
        #expect(datagram.withUnsafeBytes { server.receive($0, now: link.now) } == .nothing)
    }

    /// There are no keys to protect it with, and a clear one proves nothing.
    @Test("Closing during the handshake sends nothing")
    func closeDuringHandshake() throws {
        let link = try LossyLink()
        link.lookUpTime = nil
        link.run(for: .seconds(1)) { !$0.lookUps.isEmpty }
        let begin = link.sent.count
        link.closeServer()
        #expect(link.sent.count == begin)
        #expect(link.server?.phase == .closed(.closedLocally))
    }

    // MARK: Sizes

    @Test(
        "Data up to the maximum pass in one datagram of at most the MTU; more is refused and harms nothing",
        arguments: LossTests.suites,
        [256, 1232]
    )
    func sizes(_ suite: CipherSuite, mtu: Int) throws {
        let link = try Self.link(suite, mtu: mtu)
        let maximum = link.client.maximumPlaintext
        #expect(maximum > mtu - 100)
        let begin = link.sent.count
        for count in [1, maximum - 1, maximum] {
            try link.sendFromClient([UInt8](repeating: 7, count: count))
        }
        #expect(link.sent.count == begin + 3)
        #expect(link.sent[begin...].allSatisfy { $0.bytes.count <= mtu })
        #expect(throws: DTLSError.tooLong(maximum: maximum)) {
            try link.sendFromClient([UInt8](repeating: 7, count: mtu))
        }
        #expect(link.sent.count == begin + 3)
        link.run(for: .seconds(1))
        #expect(link.atServer.map(\.count) == [1, maximum - 1, maximum])
        try Self.expectAlive(link)
    }

    /// Spec section 5.7.
    @Test("CCM-8 leaves 1203 bytes for a CoAP message in the smallest IPv6 path")
    func overhead() throws {
        #expect(try Self.link(.pskAES128CCM8).client.maximumPlaintext == 1203)
    }

    @Test("A peer may send somewhat longer records than we do; longer ones are dropped")
    func longerInput() throws {
        var server = DTLSConfiguration()
        server.mtu = 512
        var client = DTLSConfiguration()
        client.mtu = 4096
        let link = try LossyLink(server: server, client: client)
        #expect(link.run(for: .seconds(5)) { $0.isEstablished })
        try link.sendFromClient([UInt8](repeating: 1, count: 900))
        try link.sendFromClient([UInt8](repeating: 1, count: 3000))
        link.run(for: .seconds(1))
        #expect(link.atServer.map(\.count) == [900])
        try Self.expectAlive(link)
    }

    // MARK: Shared memory

    @Test("Sessions of one context keep their datagrams and plaintext apart")
    func interleaved() throws {
        let context = try DTLSContext(role: .client, configuration: DTLSConfiguration())
        let now = Instant.now
        let sessions = try (0..<3).map { _ in
            try DTLSSession(connectingAs: LossyLink.identity, key: LossyLink.key, context: context, now: now)
        }
        var hellos: [[UInt8]] = []
        for session in sessions.reversed() { session.drainOutput { hellos.append(Array($0)) } }
        #expect(hellos.count == 3)
        #expect(Set(hellos).count == 3)
        for session in sessions { session.drainOutput { _ in Issue.record("drained before") } }
    }

    @Test("A caller that never drains loses datagrams, which are counted, and memory stays bounded")
    func overflow() throws {
        let link = try Self.link()
        let server = try #require(link.server)
        let data = [UInt8](repeating: 1, count: 1000)
        for _ in 0..<1000 { try data.withUnsafeBytes { try server.send($0) } }
        #expect(link.serverContext.overflows > 0)
        var count = 0
        server.drainOutput { _ in count += 1 }
        #expect(count > 100)
        #expect(count + link.serverContext.overflows == 1000)
        try Self.expectAlive(link)
    }
}
