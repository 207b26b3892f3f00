import CoAP
import Testing

@testable import Gateway

@Suite("Log-and-audit mode at the sockets")
struct WatchingSessionsTests {
    private static func stage(_ mode: GatewayConfiguration.Mode) async throws -> MovesStage {
        let stage = try await MovesStage { configuration in
            configuration.listeners[0].security = .plain
            configuration.mode = mode
        }
        await stage.sessions.attach(stage.listeners)
        return stage
    }

    @Test("A plain device without a record goes on to the bootstrap server, and its records say what enforce would do")
    func stranger() async throws {
        let stage = try await Self.stage(.audit(keepDevices: true))
        let device = try TestSocket()
        var dialogue = Dialogue()
        let request = dialogue.message(.post, ["bs"], query: ["ep=legacy", "x=1"])
        device.send(CoAPCodec.encode(request), to: stage.listeners[0].address)
        let asked = try await stage.bootstrap.next()
        #expect(asked.options.strings(.uriQuery) == ["ep=legacy", "x=1"])
        try stage.bootstrap.answer(.changed, to: asked)
        #expect(try await device.receiveMessage().message.code == .changed)

        let events = stage.audit.events
        let refused = try #require(events.first { $0.name == .bootstrapRefused })
        #expect(refused.cause == .unauthorized && refused.endpoint == "legacy" && refused.iccid == nil)
        #expect(refused.peer == device.address.description)
        #expect(refused.detail.contains(.init("outcome", .text("would-refuse"))))
        #expect(!events.isEmpty && events.allSatisfy { $0.detail.contains(.init("mode", .text("audit"))) })
        try await stage.stop()
    }

    @Test("In enforce the same device gets 4.00, and its name is on record")
    func refused() async throws {
        let stage = try await Self.stage(.enforce)
        let device = try TestSocket()
        var dialogue = Dialogue()
        let request = dialogue.message(.post, ["bs"], query: ["ep=legacy"])
        device.send(CoAPCodec.encode(request), to: stage.listeners[0].address)
        #expect(try await device.receiveMessage().message.code == .badRequest)
        let refused = try #require(stage.audit.events.first)
        #expect(refused.cause == .unauthorized && refused.endpoint == "legacy" && refused.detail.isEmpty)
        try await stage.stop()
    }

    @Test("A Register without a bootstrap goes to the server of the port under the device's own name")
    func register() async throws {
        let stage = try await Self.stage(.audit(keepDevices: true))
        let device = try TestSocket()
        var dialogue = Dialogue()
        let request = dialogue.message(.post, ["rd"], query: ["ep=legacy", "lt=60"])
        device.send(CoAPCodec.encode(request), to: stage.listeners[0].address)
        let asked = try await stage.management.next()
        #expect(asked.options.strings(.uriQuery) == ["ep=legacy", "lt=60"])
        try stage.management.answer(.created, to: asked, location: ["rd", "1"])
        let answer = try await device.receiveMessage().message
        #expect(answer.code == .created && answer.options.strings(.locationPath) == ["rd", "1"])
        let refused = try #require(stage.audit.events.first { $0.name == .registrationRefused })
        #expect(refused.cause == .unauthorized && refused.detail.contains(.init("outcome", .text("would-refuse"))))
        #expect(stage.audit.events.contains { $0.name == .registrationOpened && $0.iccid == nil })
        try await stage.stop()
    }
}
