import CoAP
import DTLS
import Testing
import Timing

@testable import Gateway

/// Registrations over the plain port, beside those over DTLS, over real sockets on loopback.
@Suite("Plain registrations and their sessions", .timeLimit(.minutes(1)))
struct PlainRegistrationSessionsTests {
    /// The first listener speaks DTLS, the second does not; SIM 1 has leave to register there.
    private static func stage() async throws -> MovesStage {
        try await MovesStage(
            [("127.0.0.1", nil), ("127.0.0.1", nil)], records: StagedRecords(hasGrants: true),
            adjust: { $0.listeners[1].security = .plain }
        )
    }

    @Test("A plain Register takes nothing from a device that is registered over DTLS")
    func securedAgainstPlain() async throws {
        let stage = try await Self.stage()
        let device = try await stage.device(StagedRecords.registered(1))
        try device.request(.post, ["rd"], query: ["ep=\(StagedRecords.meter(1))", "lt=300"])
        try stage.management.answer(.created, to: try await stage.management.next(), location: ["rd", "7"])
        #expect(try await device.next().code == .created)

        let plain = try PlainDevice(stage.listeners[1].address)
        plain.request(.post, ["rd"], query: ["ep=\(StagedRecords.meter(1))", "lt=300"])
        #expect(try await plain.next().code == .forbidden)
        let refused = stage.audit.events.filter { $0.name == .registrationRefused }
        #expect(refused.map(\.cause) == [.notBootstrapped] && refused.first?.iccid == "iccid-1")

        try device.request(.post, ["rd", "7"])
        let updated = try await stage.management.next()
        #expect(updated.options.strings(.uriPath) == ["rd", "7"])
        try stage.management.answer(.changed, to: updated)
        #expect(try await device.next().code == .changed)
        #expect(device.dtls.phase == .established)
        try await stage.stop()
    }

    @Test("A Register over DTLS takes over what the device registered over the plain port")
    func plainToSecured() async throws {
        let stage = try await Self.stage()
        let plain = try PlainDevice(stage.listeners[1].address)
        plain.request(.post, ["rd"], query: ["ep=\(StagedRecords.meter(1))", "lt=300"])
        try stage.management.answer(.created, to: try await stage.management.next(), location: ["rd", "7"])
        #expect(try await plain.next().code == .created)

        let device = try await stage.device(StagedRecords.registered(1))
        // The script of the server sees to it that the port upstream stays.
        try device.request(.post, ["rd", "7"])
        try stage.management.answer(.changed, to: try await stage.management.next())
        #expect(try await device.next().code == .changed)
        plain.request(.post, ["rd", "7"])
        #expect(try await plain.next().code == .notFound)
        try await stage.stop()
    }

    /// A plain device that is registered at `/rd/7`, and the token of the observation that it confirms with `options`.
    private func observed(
        _ stage: MovesStage, adding options: [(UInt16, [UInt8])] = []
    ) async throws -> (device: PlainDevice, token: CoAPToken) {
        let device = try PlainDevice(stage.listeners[1].address)
        device.request(.post, ["rd"], query: ["ep=\(StagedRecords.meter(1))", "lt=300"])
        try stage.management.answer(.created, to: try await stage.management.next(), location: ["rd", "7"])
        #expect(try await device.next().code == .created)
        try stage.management.send(stage.management.message(.get, ["3", "0", "13"], observe: 0))
        let asked = try await device.next()
        var confirmation = Dialogue.answer(.content, to: asked)
        confirmation.options.append(.observe, uint: 5)
        for (number, value) in options {
            confirmation.options.append(CoAPOptionNumber(rawValue: number), value)
        }
        device.send(confirmation)
        return (device, asked.token)
    }

    @Test("A registration that ends while its device is there leaves it no open request and no observation")
    func endedUnderItsDevice() async throws {
        let stage = try await Self.stage()
        let (device, token) = try await self.observed(stage)
        #expect(try await stage.management.next().options.uint(.observe) == 5)
        device.request(.post, ["rd", "7"])
        _ = try await stage.management.next()

        await stage.sessions.revokeRegistrations()
        #expect(try await device.next().code == .serviceUnavailable)
        device.notify(6, token, messageID: 901)
        #expect(try await device.next().type == .reset)
        #expect(stage.audit.events.last?.cause == .revoked)
        try await stage.stop()
    }

    @Test("A device that confirms an observation with an option that may not pass gets its notifications rejected")
    func unusableConfirmation() async throws {
        let stage = try await Self.stage()
        // Elective, but unsafe to forward.
        let (device, token) = try await self.observed(stage, adding: [(2050, [1])])
        #expect(try await stage.management.next().code == .badGateway)
        device.notify(6, token, messageID: 901)
        #expect(try await device.next().type == .reset)
        try await stage.stop()
    }

    @Test("An observation ends with a notification that carries an option that may not pass")
    func unusableNotification() async throws {
        let stage = try await Self.stage()
        let (device, token) = try await self.observed(stage)
        #expect(try await stage.management.next().options.uint(.observe) == 5)
        device.notify(6, token, messageID: 901, adding: [(2050, [1])])
        #expect(try await device.next().type == .acknowledgement)
        #expect(try await stage.management.next().code == .badGateway)
        device.notify(7, token, messageID: 902)
        #expect(try await device.next().type == .reset)
        try await stage.stop()
    }

    @Test("Each session draws a seed of its own from the source")
    func seeds() async throws {
        let stage = try await Self.stage()
        let source = TestSeeds(MovesStage.seed)
        for _ in 0..<3 {
            let seed = await stage.sessions.nextSeed()
            #expect(seed == source.next())
        }
        try await stage.stop()
    }
}

/// A device without DTLS.
private final class PlainDevice {
    let socket: TestSocket
    private let gateway: PeerAddress
    private var dialogue = Dialogue()

    init(_ gateway: PeerAddress) throws {
        self.socket = try TestSocket()
        self.gateway = gateway
    }

    func send(_ message: CoAPMessage) { self.socket.send(CoAPCodec.encode(message), to: self.gateway) }

    func request(_ code: CoAPCode, _ path: [String], query: [String] = []) {
        self.send(self.dialogue.message(code, path, query: query))
    }

    /// A confirmable one.
    func notify(_ number: UInt32, _ token: CoAPToken, messageID: UInt16, adding more: [(UInt16, [UInt8])] = []) {
        var options = CoAPOptions()
        options.append(.observe, uint: number)
        for (number, value) in more { options.append(CoAPOptionNumber(rawValue: number), value) }
        self.send(
            CoAPMessage(type: .confirmable, code: .content, messageID: messageID, token: token, options: options)
        )
    }

    /// The next message, repetitions left out.
    func next() async throws -> CoAPMessage {
        while true {
            let message = try await self.socket.receiveMessage().message
            if self.dialogue.isNew(message) { return message }
        }
    }
}

extension DeviceSessions {
    /// As when the operator revokes what they stand on.
    fileprivate func revokeRegistrations() {
        for registration in Array(self.registrations.values.joined()) {
            self.endRegistration(registration, cause: .revoked, now: .now)
        }
        self.endTurn()
    }
}
