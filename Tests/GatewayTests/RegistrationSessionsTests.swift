import CoAP
import DTLS
import Testing

@testable import Gateway

/// Registrations and the sessions of their devices, over real sockets on loopback.
@Suite("Registrations outlive sessions", .timeLimit(.minutes(1)))
struct RegistrationSessionsTests {
    /// A registered device at `/rd/7`.
    private func register(_ stage: MovesStage, query: [String] = []) async throws -> MovingDevice {
        let device = try await stage.device(StagedRecords.registered(1))
        try device.request(.post, ["rd"], query: ["ep=\(StagedRecords.meter(1))", "lt=300"] + query)
        try stage.management.answer(.created, to: try await stage.management.next(), location: ["rd", "7"])
        #expect(try await device.next().code == .created)
        return device
    }

    private func update(_ device: MovingDevice, _ stage: MovesStage) async throws {
        try device.request(.post, ["rd", "7"])
        try stage.management.answer(.changed, to: try await stage.management.next())
        #expect(try await device.next().code == .changed)
    }

    @Test("The same key from another port takes the registration over, its port upstream included")
    func anotherHandshake() async throws {
        let stage = try await MovesStage()
        let old = try await self.register(stage)
        let new = try await stage.device(StagedRecords.registered(1))
        // The script of the server sees to it that the port upstream stays.
        try await self.update(new, stage)
        try stage.management.command(.get, ["3", "0", "0"])
        let read = try await new.next()
        try new.answer(.content, to: read)
        #expect(try await stage.management.next().code == .content)
        // The old session was told that it is over.
        while old.dtls.phase == .established { try await old.receive() }
        #expect(stage.audit.events.map(\.name).filter { $0 == .registrationClosed }.isEmpty)
        try await stage.stop()
        #expect(stage.audit.events.last?.name == .registrationClosed)
        #expect(stage.audit.events.last?.cause == .shutdown)
    }

    @Test("An observation goes on in the next session, with its token and its numbers")
    func observation() async throws {
        let stage = try await MovesStage()
        let old = try await self.register(stage)
        let server = stage.management
        let observe = server.message(.get, ["3", "0", "13"], observe: 0)
        try server.send(observe)
        let asked = try await old.next()
        var options = CoAPOptions()
        options.append(.observe, uint: 5)
        try old.send(
            CoAPMessage(
                type: .acknowledgement, code: .content, messageID: asked.messageID, token: asked.token, options: options
            )
        )
        #expect(try await server.next().options.uint(.observe) == 5)

        let new = try await stage.device(StagedRecords.registered(1))
        options.set(.observe, uint: 6)
        try new.send(
            CoAPMessage(type: .nonConfirmable, code: .content, messageID: 900, token: asked.token, options: options)
        )
        let notification = try await server.next()
        #expect(notification.type == .nonConfirmable && notification.token == observe.token)
        #expect(notification.options.uint(.observe) == 6)

        // The server refuses the next one: the device hears of it with the one after that.
        options.set(.observe, uint: 7)
        try new.send(
            CoAPMessage(type: .confirmable, code: .content, messageID: 901, token: asked.token, options: options)
        )
        #expect(try await new.next().type == .acknowledgement)
        let second = try await server.next()
        #expect(second.type == .confirmable)
        try server.send(CoAPMessage(type: .reset, code: .empty, messageID: second.messageID))
        // The reset is processed when this has come back.
        try server.command(.get, ["3"])
        try new.answer(.content, to: try await new.next())
        #expect(try await server.next().code == .content)
        options.set(.observe, uint: 8)
        try new.send(
            CoAPMessage(type: .confirmable, code: .content, messageID: 902, token: asked.token, options: options)
        )
        #expect(try await new.next().type == .reset)
        try await stage.stop()
    }

    @Test("A request that is at the device when it shakes hands again gets 5.04, and the next one arrives")
    func interrupted() async throws {
        let stage = try await MovesStage()
        let old = try await self.register(stage)
        try stage.management.command(.post, ["3", "0", "4"])
        #expect(try await old.next().code == .post)
        let new = try await stage.device(StagedRecords.registered(1))
        #expect(try await stage.management.next().code == .gatewayTimeout)
        try stage.management.command(.get, ["3", "0", "0"])
        #expect(try await new.next().code == .get)
        try await stage.stop()
    }

    @Test("While the device has no session, the server hears nothing, and its repetition finds the device back")
    func away() async throws {
        let stage = try await MovesStage()
        let old = try await self.register(stage)
        old.close()
        let read = stage.management.message(.get, ["3", "0", "0"])
        // A reset answers the ping behind it: the request has been looked at by then.
        var closed = false
        while !closed { closed = await stage.counters.sessionsClosed == 1 }
        try stage.management.send(read)
        try stage.management.send(CoAPMessage(type: .confirmable, code: .empty, messageID: 9000))
        #expect(try await stage.management.next().type == .reset)
        let new = try await stage.device(StagedRecords.registered(1))
        try stage.management.send(read)
        try new.answer(.content, to: try await new.next())
        #expect(try await stage.management.next().code == .content)
        try await stage.stop()
    }

    @Test("A device in queue mode gets a request as often as the server sends it, and the ACK goes back when it comes")
    func queueMode() async throws {
        // Were the repetitions the gateway's own, they would come within milliseconds.
        let stage = try await MovesStage(repeating: .milliseconds(1))
        let device = try await self.register(stage, query: ["b=U", "Q"])
        let server = stage.management
        let read = server.message(.get, ["3", "0", "0"])
        var transmissions: [CoAPMessage] = []
        for _ in 0..<3 {
            try server.send(read)
            transmissions.append(try await device.nextTransmission())
            for _ in 0..<10 { try await self.update(device, stage) }
        }
        #expect(transmissions.allSatisfy { $0 == transmissions[0] && $0.code == .get })
        try device.send(CoAPMessage(type: .acknowledgement, code: .empty, messageID: transmissions[0].messageID))
        let acknowledgement = try await server.next()
        #expect(acknowledgement.type == .acknowledgement && acknowledgement.messageID == read.messageID)
        // From now on its repetitions are the gateway's business.
        try server.send(read)
        #expect(try await server.next() == acknowledgement)
        try device.send(
            CoAPMessage(type: .nonConfirmable, code: .content, messageID: 950, token: transmissions[0].token)
        )
        #expect(try await server.next().code == .content)
        try await stage.stop()
    }

    @Test("Another device's location is 4.04, and the server hears nothing of it")
    func foreignLocation() async throws {
        let stage = try await MovesStage()
        let device = try await self.register(stage)
        let stranger = try await stage.device(StagedRecords.registered(2))
        for code in [CoAPCode.post, .delete] {
            try stranger.request(code, ["rd", "7"])
            #expect(try await stranger.next().code == .notFound)
        }
        try await self.update(device, stage)
        #expect(stage.management.socket.poll() == nil)
        try await stage.stop()
    }
}
