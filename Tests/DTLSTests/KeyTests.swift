import DTLS
import Secrets
import Testing
import Timing

/// Where the key comes from, and what the network sees when it is the wrong one.
@Suite("Keys")
struct KeyTests {
    private static let wrongKey = Secret([UInt8](repeating: 0xEE, count: 16))

    @Test("The key is asked for once, however often the client repeats its flight")
    func onceOnly() throws {
        let link = try LossyLink()
        link.lookUpTime = .seconds(5)
        #expect(link.run(for: .seconds(20)) { $0.isEstablished })
        #expect(link.lookUps == [LossyLink.identity])
    }

    /// Spec section 5.4: a store that does not answer is neither "unknown" nor "wrong".
    @Test("Nothing is sent while the key is looked up")
    func silenceDuringLookUp() throws {
        let link = try LossyLink()
        link.lookUpTime = nil
        #expect(link.run(for: .seconds(5)) { !$0.lookUps.isEmpty })
        let begin = link.sent.count
        link.run(for: .seconds(60))
        #expect(link.sent[begin...].allSatisfy { $0.direction == .toServer })
        #expect(link.serverOutcomes.last == .closed(.keyLookupTimeout))
    }

    @Test(
        "What arrives while the key is looked up is kept, and the handshake needs no repetition",
        arguments: [1, 500]
    )
    func heldWhileLookingUp(milliseconds: Int) throws {
        let link = try LossyLink()
        link.lookUpTime = .milliseconds(milliseconds)
        link.onWire = { _, bytes in Wire.split(bytes) }
        #expect(link.run(for: .milliseconds(900)) { $0.isEstablished })
    }

    /// A forger who knows the port may send anything while the key is looked up.
    @Test("Only so much is kept during the look-up")
    func heldIsBounded() throws {
        let link = try LossyLink()
        link.lookUpTime = .milliseconds(500)
        #expect(link.run(for: .seconds(5)) { !$0.lookUps.isEmpty })
        for index in 0..<40 {
            link.inject(Wire.record(22, epoch: 1, sequence: UInt64(index), [UInt8](repeating: 1, count: 1000)))
        }
        // The real Finished came before these; they are dropped, and the handshake completes.
        #expect(link.run(for: .seconds(5)) { $0.isEstablished })
    }

    /// Traps T44 and T45, spec section 5.4: identities can be guessed, so nothing may tell which exist.
    @Test(
        "Unknown identity, wrong key, unusable key and NUL look alike on the wire, datagram for datagram",
        arguments: LossTests.suites
    )
    func wrongKeysLookAlike(_ suite: CipherSuite) throws {
        func trace(_ prepare: (LossyLink) throws -> Void) throws -> (wire: [String], reason: DTLSOutcome?) {
            let link = try HandshakeTests.link(suites: [suite])
            try prepare(link)
            link.run(for: .seconds(60))
            #expect(link.client.phase == .closed(.handshakeTimeout(alert: nil)))
            let wire = link.sent.filter { $0.direction == .toClient }.map { sent in
                "\(sent.time) \(Wire.withoutRandomness(sent.bytes))"
            }
            return (wire, link.serverOutcomes.last)
        }
        let wrong = try trace { $0.store[LossyLink.identity] = Self.wrongKey }
        let unknown = try trace { $0.store = [:] }
        let unusable = try trace { $0.store[LossyLink.identity] = Secret([UInt8](repeating: 1, count: 65)) }
        let longer = try trace { $0.store[LossyLink.identity] = Secret([UInt8](repeating: 1, count: 40)) }
        let nul = try trace { link in
            link.lookUpTime = .zero
            link.onWire = { direction, bytes in
                var bytes = bytes
                if direction == .toServer, Wire.records(bytes).first?.message == 16 { bytes[30] = 0 }
                return [bytes]
            }
        }
        #expect(wrong.reason == .closed(.wrongKey))
        #expect(longer.reason == .closed(.wrongKey))
        #expect(unknown.reason == .closed(.unknownIdentity))
        #expect(unusable.reason == .closed(.unusableKey))
        #expect(nul.reason == .closed(.unknownIdentity))
        #expect(!wrong.wire.isEmpty)
        #expect(unknown.wire == wrong.wire)
        #expect(unusable.wire == wrong.wire)
        #expect(longer.wire == wrong.wire)
        // Without a look-up, the repetitions come by the time that it takes earlier.
        #expect(
            nul.wire.map { $0.split(separator: " ").dropFirst(2) }
                == wrong.wire.map { $0.split(separator: " ").dropFirst(2) }
        )
    }

    /// "ab\0x" must not log in as "ab" with ab's key.
    @Test("An identity with a NUL is never looked up and never completes")
    func nulInIdentity() throws {
        let link = try LossyLink()
        link.onWire = { direction, bytes in
            var bytes = bytes
            if direction == .toServer, Wire.records(bytes).first?.message == 16 { bytes[30] = 0 }
            return [bytes]
        }
        link.run(for: .seconds(60))
        #expect(link.lookUps.isEmpty)
        #expect(link.server?.identity == nil)
        #expect(link.serverOutcomes == [.closed(.unknownIdentity)])
    }

    /// pion/dtls #758: thousands of datagrams a second, without end.
    @Test("A wrong key starts no storm: repetitions by time alone, then silence, then the end with its reason")
    func noStorm() throws {
        let link = try LossyLink()
        link.store[LossyLink.identity] = Self.wrongKey
        link.run(for: .seconds(120))
        #expect(link.sent.count <= 30)
        #expect(link.serverOutcomes.last == .closed(.wrongKey))
        #expect(link.serverContext.handshakes == 0)
        #expect(try #require(link.sent.last).time < .seconds(31))
    }

    /// A client that answers each datagram with its whole flight, at once.
    @Test("A peer that sends without end is given up after so many datagrams, and answered only a few times")
    func datagramLimit() throws {
        let link = try LossyLink()
        link.store[LossyLink.identity] = Self.wrongKey
        var flight: [UInt8] = []
        link.onWire = { direction, bytes in
            if direction == .toServer, Wire.records(bytes).first?.message == 16 { flight = bytes }
            return [bytes]
        }
        #expect(link.run(for: .seconds(5)) { !$0.lookUps.isEmpty })
        link.closeClient()
        let begin = link.sent.count
        for _ in 0..<200 {
            link.inject(flight)
            link.run(for: .milliseconds(1))
        }
        link.run(for: .milliseconds(500))
        #expect(link.sent.count - begin <= 2)
        #expect(link.serverOutcomes.last == .closed(.wrongKey))
        #expect(link.drops.allSatisfy { $0 == .notHandshake || $0 == .notHello })
        #expect(!link.drops.isEmpty)
    }

    @Test("A client's key has 1 to 64 bytes", arguments: [0, 65])
    func clientKeyLength(_ count: Int) throws {
        let context = try DTLSContext(role: .client, configuration: DTLSConfiguration())
        #expect(throws: DTLSError.keyLength(count)) {
            try DTLSSession(
                connectingAs: LossyLink.identity,
                key: Secret([UInt8](repeating: 1, count: count)),
                context: context,
                now: Instant.now
            )
        }
    }
}
