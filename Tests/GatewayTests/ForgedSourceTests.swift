import CoAP
import Testing

@testable import Gateway

/// Whoever can write a source address into a datagram can send as any SIM that may come plain.
@Suite("Datagrams with forged sources")
struct ForgedSourceTests {
    private static func stage() async throws -> MovesStage {
        try await MovesStage {
            guard let address = IPAddress("127.0.0.1") else { return }
            $0.listeners.append(.init(security: .plain, address: address, port: 0))
        }
    }

    /// CoAP pings come back as resets: there and back, everything sent before is processed.
    private func ping(_ stage: MovesStage) async throws {
        let socket = try TestSocket(StagedRecords.plainAddress)
        socket.send([0x40, 0, 0, 1], to: stage.listeners[1].address)
        #expect(try await socket.receive().bytes == [0x70, 0, 0, 1])
    }

    @Test("They end no session that has proved its key, whatever their number")
    func running() async throws {
        let stage = try await Self.stage()
        let device = try await stage.device()
        try device.request(.post, ["bs"], query: ["ep=\(StagedRecords.meter(1))"])
        try stage.bootstrap.answer(.changed, to: try await stage.bootstrap.next())
        #expect(try await device.next().code == .changed)

        // From now on the gateway knows whose address it is.
        try await self.ping(stage)
        let sockets = try (0..<9).map { _ in try TestSocket(StagedRecords.plainAddress) }
        for socket in sockets { socket.send([0x40], to: stage.listeners[1].address) }
        try await self.ping(stage)

        try stage.bootstrap.command(.delete, [])
        let delete = try await device.next()
        #expect(delete.code == .delete)
        try device.answer(.deleted, to: delete)
        #expect(try await stage.bootstrap.next().code == .deleted)
        #expect(!stage.audit.events.contains { $0.name == .bootstrapFailed })
        try await stage.stop()
    }

    @Test("Where all sessions of the SIM have proved their key, they are refused with 5.03")
    func full() async throws {
        let stage = try await Self.stage()
        var devices: [MovingDevice] = []
        for _ in 0..<4 { devices.append(try await stage.device()) }
        for device in devices { try await device.roundTrip() }
        let socket = try TestSocket(StagedRecords.plainAddress)
        let request = CoAPMessage(
            type: .confirmable, code: .post, messageID: 7, token: CoAPToken(7),
            options: CoAPRequest(.post, path: ["bs"], query: ["ep=\(StagedRecords.meter(1))"]).options, payload: []
        )
        socket.send(CoAPCodec.encode(request), to: stage.listeners[1].address)
        #expect(try await socket.receiveMessage().message.code == .serviceUnavailable)
        for device in devices { try await device.roundTrip() }
        try await stage.stop()
    }
}
