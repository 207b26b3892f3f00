import DTLS
import Testing
import Timing

@Suite("Cookie gate")
struct CookieGateTests {
    /// A gate with a clock and a reply buffer.
    struct Bench {
        var gate: CookieGate
        var now = Instant.now
        var reply: [UInt8] = []

        init() { self.gate = CookieGate(now: self.now) }

        mutating func examine(_ datagram: [UInt8], from peer: DTLSPeer = LossyLink.peer) -> CookieGate.Verdict {
            datagram.withUnsafeBytes { self.gate.examine($0, from: peer, now: self.now, reply: &self.reply) }
        }

        /// The cookie for the hello that `Wire.hello` makes.
        mutating func cookie(from peer: DTLSPeer = LossyLink.peer) -> [UInt8] {
            #expect(self.examine(Wire.hello(), from: peer) == .reply)
            return Wire.cookie(self.reply)
        }
    }

    /// RFC 6347, section 4.2.1.
    @Test("A first hello is answered with 60 bytes that repeat both of its sequence numbers")
    func answer() {
        var bench = Bench()
        #expect(bench.examine(Wire.hello(number: 3, sequence: 0x0102_0304_0506)) == .reply)
        let head: [UInt8] = [
            22, 0xFE, 0xFD, 0, 0, 1, 2, 3, 4, 5, 6, 0, 47, 3, 0, 0, 35, 0, 3, 0, 0, 0, 0, 0, 35, 0xFE, 0xFF, 32,
        ]
        #expect(bench.reply.count == CookieGate.replyLength)
        #expect(Array(bench.reply.prefix(28)) == head)
        #expect(Wire.hello().count > bench.reply.count, "an answer must not be longer than what asked for it")
    }

    @Test("The same hello gets the same cookie, and with it is accepted")
    func accepted() {
        var bench = Bench()
        let cookie = bench.cookie()
        #expect(bench.cookie() == cookie)
        #expect(bench.examine(Wire.hello(cookie: cookie, number: 1, sequence: 1)) == .accept)
        // Nothing is remembered: a repetition is accepted too.
        #expect(bench.examine(Wire.hello(cookie: cookie, number: 1, sequence: 2)) == .accept)
    }

    @Test(
        "A cookie is good for one address and one port only",
        arguments: [
            DTLSPeer(high: 0, low: 0xFFFF_0A01_0203, port: 40_001),
            DTLSPeer(high: 0, low: 0xFFFF_0A01_0204, port: 40_000),
            DTLSPeer(high: 1, low: 0xFFFF_0A01_0203, port: 40_000),
        ]
    )
    func boundToAddress(_ other: DTLSPeer) {
        var bench = Bench()
        let cookie = bench.cookie()
        #expect(bench.examine(Wire.hello(cookie: cookie), from: other) == .reply)
        #expect(bench.cookie(from: other) != cookie)
    }

    @Test("A cookie is good for one hello only: another random or other suites need another one")
    func boundToHello() {
        var bench = Bench()
        let cookie = bench.cookie()
        #expect(bench.examine(Wire.hello(cookie: cookie, random: 8)) == .reply)
        #expect(bench.examine(Wire.hello(cookie: cookie, suites: [0xC0, 0xA9])) == .reply)
        #expect(bench.examine(Wire.hello(cookie: cookie)) == .accept)
    }

    @Test("A cookie with any one bit changed is refused, and a new one is offered", arguments: 0..<256)
    func changedCookie(_ bit: Int) {
        var bench = Bench()
        var cookie = bench.cookie()
        cookie[bit / 8] ^= 1 << UInt8(bit % 8)
        #expect(bench.examine(Wire.hello(cookie: cookie)) == .reply)
    }

    @Test("A cookie of another length is refused, and a new one is offered", arguments: [1, 31, 33, 255])
    func otherLength(_ count: Int) {
        var bench = Bench()
        #expect(bench.examine(Wire.hello(cookie: [UInt8](repeating: 1, count: count))) == .reply)
    }

    @Test("A cookie of another gate is refused")
    func otherGate() {
        var one = Bench()
        var other = Bench()
        let cookie = one.cookie()
        #expect(other.examine(Wire.hello(cookie: cookie)) == .reply)
    }

    /// So that a captured hello cannot be used for ever, and a slow radio link is not turned away.
    @Test("A cookie outlives one replacement of its key, not two")
    func keyReplacement() {
        var bench = Bench()
        let cookie = bench.cookie()
        bench.now += .seconds(59)
        #expect(bench.examine(Wire.hello(cookie: cookie)) == .accept)
        bench.now += .seconds(2)
        #expect(bench.examine(Wire.hello(cookie: cookie)) == .accept)
        #expect(bench.cookie() != cookie)
        bench.now += .seconds(60)
        #expect(bench.examine(Wire.hello(cookie: cookie)) == .reply)
    }

    @Test("After a long silence no old cookie is good")
    func longSilence() {
        var bench = Bench()
        let cookie = bench.cookie()
        bench.now += .seconds(3600)
        #expect(bench.examine(Wire.hello(cookie: cookie)) == .reply)
    }

    /// Seen on the wire: mbedTLS 2.28 sends `FE 00`, others `FE FF`.
    @Test("The version of the record does not matter, the one in the hello does", arguments: [0x00, 0xFF, 0xFD, 0xFC])
    func versions(_ minor: UInt8) {
        var bench = Bench()
        #expect(bench.examine(Wire.hello(recordMinor: minor)) == .reply)
        let expected = minor == 0xFD ? CookieGate.Verdict.reply : .drop(.version)
        #expect(bench.examine(Wire.hello(minor: minor)) == expected)
    }

    struct Bad: CustomTestStringConvertible, Sendable {
        let testDescription: String
        let reason: DTLSDropReason
        let datagram: [UInt8]

        init(_ name: String, _ reason: DTLSDropReason, _ datagram: [UInt8]) {
            self.testDescription = name
            self.reason = reason
            self.datagram = datagram
        }
    }

    static let bad: [Bad] = {
        let body = Array(Wire.hello().dropFirst(25))
        func message(_ body: [UInt8]) -> [UInt8] { Wire.record(22, Wire.message(1, number: 0, body)) }
        func changed(_ index: Int, to value: UInt8) -> [UInt8] {
            var body = body
            body[index] = value
            return message(body)
        }
        return [
            Bad("an empty datagram", .notHandshake, []),
            Bad("CoAP", .notHandshake, [0x44, 0x02, 0, 1, 1, 2, 3, 4]),
            Bad("a record header alone", .notHandshake, Array(Wire.hello().prefix(13))),
            Bad("a record cut short", .notHandshake, Array(Wire.hello().dropLast())),
            Bad("a byte after the record", .notHandshake, Wire.hello() + [0]),
            Bad("two hellos in a datagram", .notHandshake, Wire.hello() + Wire.hello()),
            Bad("another major version", .notHandshake, [22, 3, 3] + Wire.hello().dropFirst(3)),
            Bad("a clear alert", .notHandshake, Wire.record(21, [2, 40])),
            Bad("ChangeCipherSpec", .notHandshake, Wire.record(20, [1])),
            Bad("clear application data", .notHandshake, Wire.record(23, [1, 2, 3])),
            Bad("a protected record", .unknownSession, Wire.record(23, epoch: 1, [UInt8](repeating: 1, count: 40))),
            Bad("a hello in epoch 1", .unknownSession, Wire.record(22, epoch: 1, Wire.message(1, number: 0, body))),
            Bad("ClientKeyExchange", .notHello, Wire.record(22, Wire.message(16, number: 2, [0, 1, 65]))),
            Bad("an unknown message", .notHello, Wire.record(22, Wire.message(99, number: 0, body))),
            Bad(
                "a first piece",
                .fragmentedHello,
                Wire.record(22, Wire.message(1, number: 0, Array(body.prefix(20)), length: body.count))
            ),
            Bad(
                "a last piece",
                .fragmentedHello,
                Wire.record(
                    22,
                    Wire.message(1, number: 0, Array(body.suffix(20)), length: body.count, offset: body.count - 20)
                )
            ),
            Bad(
                "a piece beyond the message",
                .malformedHello,
                Wire.record(22, Wire.message(1, number: 0, body, length: body.count, offset: 1))
            ),
            Bad(
                "a record with a hello and more",
                .malformedHello,
                Wire.record(22, Wire.message(1, number: 0, body) + [0])
            ),
            Bad("an empty hello", .malformedHello, message([])),
            Bad("a random cut short", .malformedHello, message(Array(body.prefix(33)))),
            Bad(
                "a session ID of 33 bytes",
                .malformedHello,
                message(Array(body.prefix(34)) + [33] + [UInt8](repeating: 1, count: 33) + Array(body.dropFirst(35)))
            ),
            Bad("a session ID beyond the end", .malformedHello, changed(34, to: 32)),
            Bad("a cookie beyond the end", .malformedHello, changed(35, to: 255)),
            Bad("no suites", .malformedHello, message(Array(body.prefix(36)) + [0, 0, 1, 0])),
            Bad("half a suite", .malformedHello, message(Array(body.prefix(36)) + [0, 3, 1, 2, 3, 1, 0])),
            Bad("no compression method", .malformedHello, message(Array(body.dropLast(2)) + [0])),
            Bad("compression only", .malformedHello, message(Array(body.dropLast()) + [1])),
            Bad("extensions longer than the hello", .malformedHello, message(body + [0, 9, 0, 23, 0, 0])),
            Bad("extensions shorter than the hello", .malformedHello, message(body + [0, 4, 0, 23, 0, 0, 9])),
            Bad("an extension beyond its block", .malformedHello, message(body + [0, 4, 0, 23, 0, 1])),
        ]
    }()

    /// Several of these ruin a library object that listens.
    @Test("What is no whole, well-formed hello is dropped with its reason", arguments: Self.bad)
    func dropped(_ bad: Bad) {
        var bench = Bench()
        let cookie = bench.cookie()
        let before = bench.reply
        #expect(bench.examine(bad.datagram) == .drop(bad.reason))
        #expect(bench.reply == before)
        #expect(bench.examine(Wire.hello(cookie: cookie)) == .accept, "the gate must not notice")
    }

    @Test("Ten thousand random and mutated datagrams are survived, and none of them is accepted", arguments: [1, 2, 3])
    func random(seed: UInt64) {
        var bench = Bench()
        var generator = SeededGenerator(seed: seed)
        let cookie = bench.cookie()
        let good = Wire.hello(cookie: cookie)
        for index in 0..<10_000 {
            var datagram: [UInt8]
            if index.isMultiple(of: 2) {
                datagram = (0..<Int.random(in: 0...200, using: &generator)).map { _ in
                    .random(in: 0...255, using: &generator)
                }
            } else {
                datagram = good
                // Inside what the cookie covers: version, random, session ID, cookie, suites, compression.
                let position = Int.random(in: 25..<datagram.count, using: &generator)
                datagram[position] ^= UInt8.random(in: 1...255, using: &generator)
                if Bool.random(using: &generator) { datagram.removeLast(Int.random(in: 0..<40, using: &generator)) }
            }
            #expect(bench.examine(datagram) != .accept, "seed \(seed), datagram \(index)")
        }
        #expect(bench.examine(good) == .accept)
    }

    /// The library checks the cookie again: both must compute the same.
    @Test("A session is refused without a good cookie, and leaves nothing behind")
    func sessionChecksCookie() throws {
        var bench = Bench()
        let context = try DTLSContext(role: .server, configuration: DTLSConfiguration())
        let cookie = bench.cookie()
        let stale = [UInt8](repeating: 1, count: 32)
        // What the gate remembers of the last good hello is good for that one and its sender alone.
        #expect(bench.examine(Wire.hello(cookie: cookie)) == .accept)
        let stranger = DTLSPeer(high: 0, low: 0xFFFF_0A01_0203, port: 40_001)
        for (hello, sender) in [
            (Wire.hello(), LossyLink.peer), (Wire.hello(cookie: stale), LossyLink.peer),
            (Wire.hello(cookie: cookie, random: 8), LossyLink.peer), (Wire.hello(cookie: cookie), stranger),
        ] {
            #expect(throws: DTLSError.staleHello) {
                try hello.withUnsafeBytes { bytes in
                    try DTLSSession(
                        accepting: bytes,
                        from: sender,
                        cookies: bench.gate,
                        context: context,
                        now: bench.now
                    )
                }
            }
        }
        #expect(context.handshakes == 0)
        let session = try Wire.hello(cookie: cookie).withUnsafeBytes { bytes in
            try DTLSSession(
                accepting: bytes,
                from: LossyLink.peer,
                cookies: bench.gate,
                context: context,
                now: bench.now
            )
        }
        #expect(session.phase == .handshaking)
        #expect(context.handshakes == 1)
    }
}
