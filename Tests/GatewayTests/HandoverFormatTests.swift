import CoAP
import DTLS
import Secrets
import Testing

@testable import Gateway

@Suite("The form of a hand-over")
struct HandoverFormatTests {
    private static let layer = MessageLayer.Memento(
        nextMessageID: 65_535, blockAges: [nil, 0, 7, nil, .max, nil, nil, 3],
        messages: [
            .init(fingerprint: 1, messageID: 2, isConfirmable: true, age: 3, answer: .message([1, 2, 3])),
            .init(fingerprint: .max, messageID: .max, isConfirmable: false, age: .max, answer: .nothing),
            .init(fingerprint: 0, messageID: 0, isConfirmable: true, age: 0, answer: .reset),
            .init(fingerprint: 9, messageID: 9, isConfirmable: true, age: 9, answer: .acknowledged),
        ]
    )

    private static func address(_ port: UInt16) -> PeerAddress { PeerAddress(IPAddress(ipv4: 0x7F00_0001), port: port) }

    static func sample() throws -> Handover {
        let identity = try #require(PSKIdentity("registered-1"))
        let registration = Handover.Registration(
            iccid: "8944500000000000014", server: "meters", shortServerID: 1111, right: .identity(identity),
            arrivedSecurely: true, upstream: "coap://127.0.0.1:5683", local: self.address(1), remote: self.address(2),
            location: [Array("rd".utf8), Array("a b".utf8)], lifetime: 300, remaining: -5_000, bindingQueues: true,
            hasQueueFlag: false, layer: self.layer,
            observations: [
                .init(
                    device: .init(token: CoAPToken(77), sequence: 12, age: 500),
                    server: .init(token: try #require(CoAPToken([1, 2])), lastNonConfirmable: 4)
                )
            ]
        )
        var plain = registration
        plain.right = .grant
        plain.arrivedSecurely = false
        plain.remaining = nil
        plain.observations = []
        let session = Handover.Session(
            listener: self.address(5683), peer: PeerAddress(high: 1, low: 2, port: 3, scope: 4),
            iccid: "8944500000000000014", dtls: nil, hasAddress: true, silence: 99, layer: self.layer, registration: 1
        )
        return Handover(
            savedAt: -1, sessions: [session], registrations: [registration, plain],
            ports: [.init(local: self.address(9), remote: self.address(2), remaining: 300_000)]
        )
    }

    private func decode(_ bytes: [UInt8]) throws -> Handover {
        try bytes.withUnsafeBytes { try Handover(decoding: $0) }
    }

    @Test("What is read is what was written")
    func roundTrip() throws {
        let sample = try Self.sample()
        let bytes = sample.encoded()
        let read = try self.decode(bytes)
        #expect(read.savedAt == sample.savedAt)
        #expect(read.registrations == sample.registrations)
        #expect(read.ports == sample.ports)
        #expect(read.sessions.count == 1 && read.sessions[0].layer == Self.layer)
        #expect(read.sessions[0].peer == sample.sessions[0].peer)
        #expect(read.encoded() == bytes)
        #expect(try self.decode(Handover(savedAt: 0).encoded()).sessions.isEmpty)
    }

    @Test("As many observations as a registration can come to have are read again")
    func observations() throws {
        var script = try RegistrationScript()
        script.register()
        for serial in 10..<UInt64(9 + RegistrationRelay.Limit.observations) { script.observe(serial) }
        // Asked for together, when there is room for one.
        let last = 200..<UInt64(200 + RegistrationRelay.Limit.serverRequests)
        for serial in last { _ = script.serverAsks(serial, CoAPRequest(.get, path: ["3"], observe: 0)) }
        for serial in last { _ = script.deviceAnswers(serial, CoAPResponse(.content, observe: 1)) }
        let count = script.relay.runningObservations.count
        #expect(count > RegistrationRelay.Limit.observations)
        var sample = try Self.sample()
        sample.registrations[0].observations = Array(repeating: sample.registrations[0].observations[0], count: count)
        #expect(try self.decode(sample.encoded()).registrations == sample.registrations)
    }

    @Test("No part of it is accepted as the whole, and nothing may follow")
    func truncated() throws {
        let bytes = try Self.sample().encoded()
        for length in 0..<bytes.count {
            #expect(throws: HandoverFormatError.self, "\(length) bytes") { try self.decode(Array(bytes[..<length])) }
        }
        #expect(throws: HandoverFormatError.self) { try self.decode(bytes + [0]) }
    }

    @Test("Another magic word and another version are refused")
    func foreign() throws {
        var bytes = try Self.sample().encoded()
        bytes[4] = 2
        #expect(throws: HandoverFormatError(reason: "another version wrote it", offset: 5)) { try self.decode(bytes) }
        bytes[0] ^= 1
        #expect(throws: HandoverFormatError(reason: "this is no hand-over", offset: 4)) { try self.decode(bytes) }
    }

    @Test("Two sessions cannot have one registration, nor one a registration that is not there")
    func references() throws {
        var sample = try Self.sample()
        sample.sessions.append(sample.sessions[0])
        #expect(throws: HandoverFormatError.self) { try self.decode(sample.encoded()) }
        sample.sessions.removeLast()
        sample.sessions[0].registration = 2
        #expect(throws: HandoverFormatError.self) { try self.decode(sample.encoded()) }
    }

    @Test("Damaged bytes are refused or read as something else, and harm nothing")
    func mutated() throws {
        let bytes = try Self.sample().encoded()
        var random = SplitMix64(state: 5)
        var refused = 0
        for _ in 0..<4_000 {
            var damaged = bytes
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                damaged[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            do {
                // What is accepted is in its one form.
                #expect(try self.decode(damaged).encoded() == damaged)
            } catch is HandoverFormatError {
                refused += 1
            }
        }
        #expect(refused > 1_000)
    }

    @Test("A huge count costs nothing")
    func hugeCount() throws {
        var bytes = Handover(savedAt: 0).encoded()
        for index in 13..<17 { bytes[index] = 0xFF }
        #expect(throws: HandoverFormatError.self) { try self.decode(bytes) }
    }
}
