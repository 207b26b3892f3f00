import CoAP
import DTLS
import Testing

@testable import Gateway

/// Another configuration for sessions that live, over real sockets on loopback.
@Suite("Sessions and another configuration", .timeLimit(.minutes(1)))
struct ReloadSessionsTests {
    private struct Paused: Error {}

    private func reload(
        _ stage: MovesStage, removing removed: Set<Int> = [], adjust: (inout GatewayConfiguration) -> Void = { _ in }
    ) async throws {
        var configuration = await stage.sessions.configuration
        adjust(&configuration)
        let table = DeviceSessions.ListenerTable(
            listeners: stage.listeners, entries: stage.listeners.map(\.configuration), removed: removed
        )
        try await stage.sessions.reload(configuration, table)
    }

    @Test("A handshake at a listener that goes counts against its source no more")
    func halfOpen() async throws {
        let stage = try await MovesStage([("127.0.0.1", nil), ("127.0.0.1", nil)]) { $0.limits.halfOpenPerSource = 1 }
        let early = try MovingDevice(
            StagedRecords.meter(1), offer: .none, at: stage.listeners[1].address, socket: nil
        )
        do {
            try await early.connect { throw Paused() }
            Issue.record("it has connected")
        } catch is Paused {}
        // The gateway's flight, which stays without an answer.
        _ = try await early.socket.receive()
        #expect(await stage.sessions.halfOpenBySource.values.reduce(0, +) == 1)
        try await self.reload(stage, removing: [1])
        try #require(await stage.sessions.halfOpenBySource.isEmpty)
        #expect(await stage.sessions.halfOpen == 0)
        _ = try await stage.device()
        try await stage.stop()
    }

    @Test("A session whose address somebody else has by now goes with its listener as well")
    func displaced() async throws {
        let stage = try await MovesStage([("127.0.0.1", nil), ("127.0.0.1", nil)])
        let address = stage.listeners[1].address
        let first = try MovingDevice(StagedRecords.meter(1), offer: .serversOnly, at: address, socket: nil)
        try await first.connect()
        let second = try MovingDevice(
            StagedRecords.meter(2), offer: .serversOnly, at: address, socket: first.socket
        )
        try await second.connect()
        #expect(await stage.sessions.sessionCount == 2)
        try await self.reload(stage, removing: [1])
        #expect(await stage.sessions.sessionCount == 0)
        try await stage.stop()
    }

    @Test("A plain device whose account gets another number leaves its former registration behind")
    func anotherNumber() async throws {
        let stage = try await MovesStage {
            $0.listeners[0].security = .plain
            $0.mode = .audit(keepDevices: true)
        }
        let device = try TestSocket()
        var dialogue = Dialogue()
        for number: UInt16 in [1111, 2222] {
            try await self.reload(stage) { $0.servers[0].matchShortServerID = number }
            let request = dialogue.message(.post, ["rd"], query: ["ep=legacy", "lt=300"])
            device.send(CoAPCodec.encode(request), to: stage.listeners[0].address)
            let (asked, peer) = try await stage.management.socket.receiveMessage()
            let created = Dialogue.answer(.created, to: asked, location: ["rd", "\(number)"])
            stage.management.socket.send(CoAPCodec.encode(created), to: peer)
            #expect(try await device.receiveMessage().message.code == .created)
        }
        #expect(await stage.sessions.standing == .init(registrations: 2, attached: 1, strays: 0))
        try await stage.stop()
    }
}

extension DeviceSessions {
    fileprivate struct Standing: Equatable {
        let registrations: Int
        let attached: Int
        /// Those that hold on to a session which carries another one.
        let strays: Int
    }

    fileprivate var standing: Standing {
        let all = Array(self.registrations.values.joined())
        return Standing(
            registrations: all.count, attached: all.count { $0.session?.registration === $0 },
            strays: all.count { $0.session != nil && $0.session?.registration !== $0 }
        )
    }
}
