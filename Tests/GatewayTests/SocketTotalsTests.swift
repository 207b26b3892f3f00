import DTLS
import Logging
import Testing

@testable import Gateway

@Suite("Totals over sockets that come and go", .timeLimit(.minutes(1)))
struct SocketTotalsTests {
    private func dropped(_ statistics: GatewayStatistics) -> UInt64 {
        statistics.sockets.reduce(statistics.formerSockets.dropped(.oversize)) { $0 + $1.counters.dropped(.oversize) }
    }

    @Test("What a socket has dropped stays counted, once, when a reload takes the socket away")
    func removed() async throws {
        let stage = try await MovesStage([("127.0.0.1", nil), ("127.0.0.1", nil)])
        var configuration = await stage.sessions.configuration
        let running = RunningGateway(
            state: GatewayState(configuration, stage.listeners), restored: RestorationSummary(),
            sessions: stage.sessions, pool: stage.pool, loop: stage.listeners[1].loop,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        )
        let address = stage.listeners[1].address
        let socket = try TestSocket()
        socket.send([UInt8](repeating: 0, count: 4_000), to: address)
        // It comes behind that on the same socket, so what was dropped is counted by now.
        try await MovingDevice(StagedRecords.meter(1), offer: .none, at: address, socket: socket).connect()
        #expect(await self.dropped(running.statistics()) == 1)
        configuration.listeners.remove(at: 1)
        try await running.reload(to: configuration)
        let statistics = await running.statistics()
        #expect(statistics.sockets.count == 1 && self.dropped(statistics) == 1)
        #expect(statistics.formerSockets.sent > 0)
        try await running.reload(to: configuration)
        #expect(await self.dropped(running.statistics()) == 1)
        try await stage.stop()
    }
}
