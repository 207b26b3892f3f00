import DTLS
import Secrets
import Testing
import Timing

@Suite("Connection IDs")
struct ConnectionIDTests {
    static let ours = ConnectionID(node: 7, shard: 3, random: 0x0102_0304_0506)
    static let another = ConnectionID(node: 7, shard: 3, random: 0x0102_0304_0507)
    static let clients = ConnectionID(node: 0xAA, shard: 0xBB, random: 0xCCDD_EEFF_0011)
    static let bytes: [UInt8] = [7, 3, 1, 2, 3, 4, 5, 6]
    static let suites: [CipherSuite] = [.pskAES128CCM8, .pskAES256CCM, .pskAES128GCM, .ecdhePSKChaCha20]

    /// RFC 9146, section 4: the ID stands between sequence number and length.
    static func record(
        id: [UInt8] = Self.bytes,
        epoch: UInt8 = 1,
        sequence: UInt8 = 1,
        length: Int? = nil,
        _ body: [UInt8]
    ) -> [UInt8] {
        let length = length ?? body.count
        return [25, 0xFE, 0xFD, 0, epoch, 0, 0, 0, 0, 0, sequence] + id
            + [UInt8(truncatingIfNeeded: length >> 8), UInt8(truncatingIfNeeded: length)] + body
    }

    /// An established pair whose client has been heard once.
    private static func link(
        _ suite: CipherSuite = .pskAES128CCM8,
        conditions: LossyLink.Conditions = .init(),
        seed: UInt64 = 1,
        connectionID: ConnectionID? = Self.ours,
        offer: ConnectionIDOffer = .serversOnly
    ) throws -> LossyLink {
        var configuration = DTLSConfiguration()
        configuration.suites = [suite]
        configuration.handshakeTimeout = .seconds(300)
        configuration.maximumHandshakeDatagrams = 200
        let link = try LossyLink(
            conditions,
            seed: seed,
            server: configuration,
            client: configuration,
            connectionID: connectionID,
            offer: offer
        )
        #expect(link.run(for: .seconds(300)) { $0.isEstablished }, "seed \(seed)")
        return link
    }

    /// Data pass both ways.
    private static func expectAlive(_ link: LossyLink, _ comment: Comment? = nil) throws {
        let (before, beforeClient) = (link.atServer.count, link.atClient.count)
        try link.sendFromClient([1, 2, 3])
        link.run(for: .seconds(1))
        try link.sendFromServer([4, 5, 6])
        link.run(for: .seconds(1))
        #expect(Array(link.atServer[before...]) == [[1, 2, 3]], comment)
        #expect(Array(link.atClient[beforeClient...]) == [[4, 5, 6]], comment)
    }

    /// Writes down what the client sends, and keeps it from the server.
    private static func capture(_ link: LossyLink, _ body: () throws -> Void) rethrows -> [[UInt8]] {
        let onWire = link.onWire
        var captured: [[UInt8]] = []
        link.onWire = { direction, bytes in
            guard direction == .toServer else { return [bytes] }
            captured.append(bytes)
            return []
        }
        defer { link.onWire = onWire }
        try body()
        return captured
    }

    // MARK: The value

    @Test("Node and shard are the first two bytes, and the rest is random")
    func layout() {
        #expect(Self.ours.node == 7)
        #expect(Self.ours.shard == 3)
        #expect(Self.record([1]).withUnsafeBytes { ConnectionID(of: $0) } == Self.ours)
        #expect(ConnectionID(node: 7, shard: 3, random: .max).node == 7)
        #expect(ConnectionID(node: 7, shard: 3, random: .max).shard == 3)
    }

    @Test("Only a whole protected record of DTLS 1.2 at the front of a datagram has a connection ID")
    func reading() {
        let whole = Self.record([1, 2, 3])
        func changed(_ index: Int, to byte: UInt8) -> [UInt8] {
            var bytes = whole
            bytes[index] = byte
            return bytes
        }
        func read(_ bytes: [UInt8]) -> ConnectionID? { bytes.withUnsafeBytes { ConnectionID(of: $0) } }
        #expect(read(whole) == Self.ours)
        #expect(read(whole + [0]) == Self.ours, "more records may follow")
        for count in 0..<whole.count { #expect(read(Array(whole.prefix(count))) == nil, "\(count) bytes") }
        for type in UInt8.min ... .max where type != 25 { #expect(read(changed(0, to: type)) == nil, "type \(type)") }
        #expect(read(changed(1, to: 3)) == nil)
        #expect(read(changed(2, to: 0xFF)) == nil, "DTLS 1.0")
        #expect(read(changed(4, to: 0)) == nil, "clear")
        #expect(read(Self.record(length: 0, [])) == nil)
        #expect(read(Self.record(length: 4, [1, 2, 3])) == nil)
        #expect(read(Wire.record(23, epoch: 1, [UInt8](repeating: 1, count: 40))) == nil)
    }

    // MARK: Negotiation

    /// RFC 9146, section 3. The client of most devices wants none in the server's records.
    @Test("Both ends' records carry what was agreed on, and data pass", arguments: Self.suites)
    func negotiated(_ suite: CipherSuite) throws {
        let own = ConnectionIDOffer.own(Self.clients)
        for (offer, expected) in [(.serversOnly, 23), (own, 25)] as [(ConnectionIDOffer, UInt8)] {
            let link = try Self.link(suite, offer: offer)
            #expect(link.server?.connectionID == Self.ours)
            let begin = link.sent.count
            try Self.expectAlive(link)
            let data = link.sent[begin...]
            #expect(data.map(\.direction) == [.toServer, .toClient])
            #expect(data.map { $0.bytes[0] } == [25, expected])
            #expect(data.first?.bytes.withUnsafeBytes { ConnectionID(of: $0) } == Self.ours)
            if expected == 25 {
                #expect(data.last?.bytes.withUnsafeBytes { ConnectionID(of: $0) } == Self.clients)
            }
        }
    }

    @Test("A client that offers none gets none, and one whose offer is not taken up goes on without")
    func notNegotiated() throws {
        for (id, offer) in [(Self.ours, .none), (nil, .serversOnly)] as [(ConnectionID?, ConnectionIDOffer)] {
            let link = try Self.link(connectionID: id, offer: offer)
            #expect(link.server?.connectionID == nil)
            let begin = link.sent.count
            try Self.expectAlive(link)
            #expect(link.sent[begin...].map { $0.bytes[0] } == [23, 23])
        }
    }

    /// What the hello says about connection IDs, and whether the session takes it up.
    @Test(
        "Offers that cannot be met are passed over, and the handshake goes on",
        arguments: [
            ([0, 54, 0, 1, 0], true), ([0, 54, 0, 3, 2, 9, 9], true),
            ([0, 54, 0, 11, 10] + [UInt8](repeating: 1, count: 10), true),
            // Longer than the library can put into its records.
            ([0, 54, 0, 12, 11] + [UInt8](repeating: 1, count: 11), false),
            ([0, 54, 0, 2, 0, 0], false), ([0, 54, 0, 1, 5], false), ([], false),
            // The numbers of drafts.
            ([0, 53, 0, 1, 0], false), ([0, 254, 0, 1, 0], false),
        ] as [([UInt8], Bool)]
    )
    func offers(_ offer: [UInt8], isTaken: Bool) throws {
        let now = Instant.now
        let peer = DTLSPeer(high: 0, low: 1, port: 2)
        var gate = CookieGate(now: now)
        let context = try DTLSContext(role: .server, configuration: DTLSConfiguration())
        let extensions = offer.isEmpty ? [] : [0, UInt8(offer.count)] + offer
        var reply: [UInt8] = []
        let first = Wire.hello(extensions: extensions)
        #expect(first.withUnsafeBytes { gate.examine($0, from: peer, now: now, reply: &reply) } == .reply)
        let second = Wire.hello(cookie: Wire.cookie(reply), number: 1, sequence: 1, extensions: extensions)
        let session = try second.withUnsafeBytes {
            try DTLSSession(
                accepting: $0,
                from: peer,
                cookies: gate,
                context: context,
                connectionID: Self.ours,
                now: now
            )
        }
        #expect(session.phase == .handshaking)
        #expect(session.connectionID == (isTaken ? Self.ours : nil))
        var answer: [UInt8] = []
        session.drainOutput { answer += Array($0) }
        let hello = try #require(Wire.records(answer).first { $0.message == 2 })
        let isAnswered = hello.body.indices.contains { hello.body[$0...].starts(with: [0, 54, 0, 9, 8] + Self.bytes) }
        #expect(isAnswered == isTaken)
    }

    /// wolfSSL cannot open such records of CBC suites.
    @Test("They are not taken up where a CBC suite may be chosen, and data pass all the same")
    func cipherBlockChaining() throws {
        for suites in [[.pskAES128CBC, .pskAES128CCM8], [.ecdhePSKChaCha20, .ecdhePSKAES128CBC]] as [[CipherSuite]] {
            var configuration = DTLSConfiguration()
            configuration.suites = suites
            let link = try LossyLink(
                server: configuration,
                client: configuration,
                connectionID: Self.ours,
                offer: .serversOnly
            )
            #expect(link.run(for: .seconds(5)) { $0.isEstablished })
            #expect(link.server?.connectionID == nil)
            try Self.expectAlive(link)
        }
        // The default list has one, behind all that every client has.
        let link = try LossyLink(connectionID: Self.ours, offer: .serversOnly)
        #expect(link.run(for: .seconds(5)) { $0.isEstablished })
        #expect(link.server?.connectionID == Self.ours)
    }

    @Test("Handshakes with connection IDs complete over a network that loses, repeats and reorders")
    func lossyHandshakes() throws {
        let conditions = LossyLink.Conditions(loss: 0.25, duplication: 0.1, reordering: 0.25)
        for offer in [ConnectionIDOffer.serversOnly, .own(Self.clients)] {
            for seed in 1...30 {
                let link = try Self.link(conditions: conditions, seed: UInt64(seed), offer: offer)
                #expect(link.server?.connectionID == Self.ours, "seed \(seed)")
            }
        }
    }

    // MARK: Changes of address

    /// RFC 9146, section 6.
    @Test("The client is found at its new address with its first record from there", arguments: Self.suites)
    func moves(_ suite: CipherSuite) throws {
        let link = try Self.link(suite)
        for address in [1, 2, 1, 0] as [UInt16] {
            link.clientAddress = address
            try Self.expectAlive(link)
            #expect(link.addressAtServer == address)
        }
        #expect(link.moves == [1, 2, 1, 0])
    }

    @Test("Before the first data, the client may already be elsewhere")
    func movesAtOnce() throws {
        let link = try Self.link()
        link.clientAddress = 9
        try Self.expectAlive(link)
        #expect(link.moves == [9])
    }

    @Test("Without a connection ID a new address leads nowhere")
    func withoutConnectionID() throws {
        let link = try Self.link(offer: .none)
        link.clientAddress = 1
        try link.sendFromClient([1])
        link.run(for: .seconds(1))
        #expect(link.atServer.isEmpty)
        #expect(link.moves.isEmpty)
        #expect(link.drops == [.unknownSession])
    }

    @Test("A replayed record moves nothing, whatever address it comes from, and is not delivered again")
    func replay() throws {
        let link = try Self.link()
        var records: [[UInt8]] = []
        link.onWire = { direction, bytes in
            if direction == .toServer { records.append(bytes) }
            return [bytes]
        }
        for value in 1...3 { try link.sendFromClient([UInt8(value)]) }
        link.run(for: .seconds(1))
        let count = link.sent.count
        for record in records + records.reversed() { link.inject(record, from: 66) }
        link.run(for: .seconds(1))
        #expect(link.atServer == [[1], [2], [3]])
        #expect(link.moves.isEmpty)
        #expect(link.sent.count == count)
        try Self.expectAlive(link)
    }

    /// A record that was sent before the change and overtaken by it.
    @Test("A late record is delivered but moves nothing")
    func late() throws {
        let link = try Self.link()
        let early = try Self.capture(link) { try link.sendFromClient([1]) }
        link.clientAddress = 1
        try link.sendFromClient([2])
        link.run(for: .seconds(1))
        link.inject(early[0], from: 0)
        link.run(for: .seconds(1))
        #expect(link.atServer == [[2], [1]])
        #expect(link.moves == [1])
        try Self.expectAlive(link)
    }

    /// Two records in one datagram: an old one and a new one, in either order.
    @Test("One newer record in a datagram is enough, and two move once")
    func severalRecords() throws {
        let link = try Self.link()
        let records = try Self.capture(link) { for value in 1...4 { try link.sendFromClient([UInt8(value)]) } }
        link.inject(records[1] + records[0], from: 1)
        link.run(for: .seconds(1))
        #expect(link.moves == [1])
        var forged = records[2]
        forged[forged.count - 1] ^= 1
        link.inject(forged + records[3], from: 2)
        link.run(for: .seconds(1))
        #expect(link.moves == [1, 2])
        link.inject(records[2], from: 3)
        link.run(for: .seconds(1))
        #expect(link.moves == [1, 2])
        #expect(link.atServer == [[2], [1], [4], [3]])
    }

    /// RFC 9147, section 4, says it for both versions' sake: sessions are not mixed in a datagram.
    @Test("A record of another session ends the datagram")
    func otherSession() throws {
        let link = try Self.link()
        let records = try Self.capture(link) { for value in 1...2 { try link.sendFromClient([UInt8(value)]) } }
        var other = records[0]
        other[18] ^= 1
        link.inject(records[0] + other + records[1])
        link.run(for: .seconds(1))
        #expect(link.atServer == [[1]])
        try Self.expectAlive(link)
    }

    @Test("No forged datagram moves a session or is answered, and none ends it", arguments: Self.suites)
    func forgeries(_ suite: CipherSuite) throws {
        let link = try Self.link(suite)
        let flight = link.sent.map(\.bytes).last { Wire.records($0).first?.message == 16 } ?? []
        let real = try Self.capture(link) { try link.sendFromClient([1, 2, 3]) }[0]
        let begin = link.sent.count
        var forged: [[UInt8]] = []
        for index in real.indices {
            var bytes = real
            bytes[index] ^= 1 << UInt8(index & 7)
            forged.append(bytes)
        }
        for count in 0..<real.count { forged.append(Array(real.prefix(count))) }
        let noise = [UInt8](repeating: 0x5A, count: 40)
        forged += [
            Self.record(sequence: 200, noise), Self.record(epoch: 2, noise), Self.record(epoch: 0, noise),
            Self.record(id: [UInt8](repeating: 0, count: 8), noise),
            Self.record(sequence: 9, noise) + Wire.record(20, [1]),
            Self.record(sequence: 9, noise) + Wire.record(21, [2, 40]),
            Self.record(sequence: 9, noise) + Wire.record(21, [1, 0]), flight,
            Self.record(sequence: 9, noise) + flight,
        ]
        for bytes in forged { link.inject(bytes, from: 66) }
        link.run(for: .seconds(2))
        #expect(link.atServer.isEmpty)
        #expect(link.moves.isEmpty)
        #expect(link.sent.count == begin)
        try Self.expectAlive(link)
        #expect(link.moves.isEmpty)
        // The real one was only late.
        link.inject(real)
        link.run(for: .seconds(1))
        #expect(link.atServer.last == [1, 2, 3])
    }

    @Test("During the handshake nothing from elsewhere is taken")
    func duringHandshake() throws {
        let link = try LossyLink(connectionID: Self.ours, offer: .serversOnly)
        link.lookUpTime = nil
        link.run(for: .seconds(1)) { !$0.lookUps.isEmpty }
        let server = try #require(link.server)
        #expect(server.connectionID == Self.ours)
        let datagram = Self.record([UInt8](repeating: 7, count: 40))
        for _ in 0..<100 {
            #expect(datagram.withUnsafeBytes { server.receiveFromElsewhere($0, now: link.now) } == .nothing)
        }
        #expect(!server.hasHeardNewer)
        #expect(server.phase == .handshaking)
    }

    /// What the caller learns stands for one call.
    @Test("Every newer record is told, from the peer's own address too, and only for the call that took it")
    func tellsEachTime() throws {
        let link = try Self.link()
        let server = try #require(link.server)
        let records = try Self.capture(link) { for value in 1...3 { try link.sendFromClient([UInt8(value)]) } }
        func takes(_ bytes: [UInt8]) -> Bool {
            _ = bytes.withUnsafeBytes { server.receive($0, now: link.now) }
            return server.hasHeardNewer
        }
        #expect(takes(records[0]))
        #expect(!takes(records[0]))
        #expect(takes(records[2]))
        #expect(!takes(records[1]))
        #expect(!takes([]))
        #expect(!takes(Wire.record(21, [1, 0])))
    }

    @Test("An authentic close_notify from elsewhere ends the session")
    func closeFromElsewhere() throws {
        let link = try Self.link()
        link.clientAddress = 5
        link.closeClient()
        link.run(for: .seconds(1))
        #expect(link.server?.phase == .closed(.closedByPeer))
        #expect(link.moves.isEmpty)
    }

    /// The client goes from address to address while datagrams are lost, doubled and overtaken, and someone repeats and
    /// changes from an address of his own what he saw arrive.
    @Test("Over a lossy network the server's address is the one that the newest record it opened came from")
    func lossyMoves() throws {
        let conditions = LossyLink.Conditions(loss: 0.2, duplication: 0.2, reordering: 0.4)
        for seed in 1...40 {
            let link = try Self.link(conditions: conditions, seed: UInt64(seed))
            var generator = SeededGenerator(seed: UInt64(seed))
            var seen: [[UInt8]] = []
            var addresses: [UInt16] = []
            link.onWire = { direction, bytes in
                if direction == .toServer { seen.append(bytes) }
                return [bytes]
            }
            for step in 0..<100 {
                if Int.random(in: 0..<4, using: &generator) == 0 { link.clientAddress += 1 }
                addresses.append(link.clientAddress)
                try link.sendFromClient([UInt8(step)])
                link.run(for: .milliseconds(Int.random(in: 0...60, using: &generator)))
                for value in link.atServer.suffix(3).compactMap(\.first) {
                    link.inject(seen[Int(value)], from: 1000)
                    var forged = seen[seen.count - 1]
                    forged[Int.random(in: forged.indices, using: &generator)] ^= 1
                    link.inject(forged, from: 1000)
                }
                let newest = link.atServer.compactMap(\.first).max()
                let expected = newest.map { addresses[Int($0)] } ?? 0
                #expect(link.addressAtServer == expected, "seed \(seed), step \(step)")
            }
            #expect(link.moves.count > 5, "seed \(seed)")
        }
    }
}
