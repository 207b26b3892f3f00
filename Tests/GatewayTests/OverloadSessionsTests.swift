import CoAP
import Testing
import Timing

@testable import Gateway

@Suite("Overload at the sockets", .timeLimit(.minutes(1)))
struct OverloadSessionsTests {
    @Test(
        "A plain device that has a session is turned away with either kind of bootstrap", arguments: ["bs", "bspack"])
    func plainBootstraps(path: String) async throws {
        let stage = try await MovesStage {
            $0.listeners[0].security = .plain
            $0.mode = .audit(keepDevices: true)
            $0.bootstrap.upstreams[0].packs = true
        }
        let device = try TestSocket()
        var dialogue = Dialogue()
        func ask(_ code: CoAPCode, _ path: String) async throws -> CoAPCode {
            let request = dialogue.message(code, [path], query: ["ep=legacy"])
            device.send(CoAPCodec.encode(request), to: stage.listeners[0].address)
            return try await device.receiveMessage().message.code
        }
        #expect(try await ask(.get, "bs") == .methodNotAllowed)
        await stage.sessions.overload(.noPlainBootstraps)
        #expect(try await ask(path == "bs" ? .post : .get, path) == .serviceUnavailable)
        try await stage.stop()
    }
}

extension DeviceSessions {
    /// Two samples that demand the level.
    fileprivate func overload(_ level: OverloadGovernor.Level) {
        var sample = OverloadGovernor.Sample()
        sample.halfOpen = [0, 0.5, 0.75, 0.9][level.rawValue]
        for _ in 0..<2 { _ = self.load.governor.observe(sample, .init(), now: self.environment.now()) }
    }
}
