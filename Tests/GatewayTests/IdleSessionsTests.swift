import CoAP
import Synchronization
import Testing
import Timing

@testable import Gateway

/// Sessions whose devices say nothing for a long time.
@Suite("Silent devices", .timeLimit(.minutes(1)))
struct IdleSessionsTests {
    /// The clock, and more if a test says so.
    private final class Clock: Sendable {
        private let ahead = Mutex(Duration.zero)
        var now: Instant { .now + self.ahead.withLock { $0 } }
        func advance(_ duration: Duration) { self.ahead.withLock { $0 += duration } }
    }

    @Test("A bootstrap goes on beyond the time in which a silent session ends, and the gateway with it")
    func bootstrapping() async throws {
        let clock = Clock()
        let stage = try await MovesStage(
            repeating: .milliseconds(200),
            adjust: {
                $0.listeners[0].security = .plain
                $0.mode = .audit(keepDevices: true)
            }, now: { clock.now }
        )
        let device = try TestSocket()
        var dialogue = Dialogue()
        let request = dialogue.message(.post, ["bs"], query: ["ep=legacy"])
        device.send(CoAPCodec.encode(request), to: stage.listeners[0].address)
        try stage.bootstrap.answer(.changed, to: try await stage.bootstrap.next())
        #expect(try await device.receiveMessage().message.code == .changed)
        try stage.bootstrap.command(.delete, ["0"])
        let command = try await device.receiveMessage().message
        #expect(command.code == .delete)

        // It has never shown that it is there.
        clock.advance(DeviceSessions.unprovenIdleLimit + .seconds(1))
        #expect(try await device.receiveMessage().message == command)
        device.send(CoAPCodec.encode(Dialogue.answer(.deleted, to: command)), to: stage.listeners[0].address)
        #expect(try await stage.bootstrap.next().code == .deleted)
        try await stage.stop()
    }
}
