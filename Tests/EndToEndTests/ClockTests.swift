internal import Foundation
internal import Testing

/// The wall clock jumps; time that passes does not.
@Suite("A clock that jumps")
struct ClockTests {
    @Test("To tomorrow, to yesterday and to 1970: sessions, credentials, bootstraps and checkpoints go on")
    func jumps() async throws {
        try await Stage.run { stage in
            let faults = try await Faults(on: stage, disk: "state")
            let (gateway, _, _) = try await stage.everything(
                more: "admin: { listen: \"\(stage.address):0\" }", launcher: faults.launcher)
            let monitoring = try await Monitoring(of: gateway)
            let segment = stage.folder.appendingPathComponent("state/audit/00000001.jsonl").path
            let registered = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(registered, at: gateway))
            try await device.event("registered")
            try await gateway.record("registration.opened", of: registered)
            // One that keeps its credential for later.
            let saving = try await stage.addSIM(to: gateway)
            let account = stage.folder.appendingPathComponent("account").path
            let saver = try stage.device(
                stage.credentials(saving, at: gateway) + ["--bootstrap-only", "--save-account", account])
            #expect(try await saver.exit(within: .seconds(60)) == 0)
            // A mark that ends credentials may come to lie in the future; it must not end those that come after it.
            let suspended = try await stage.addSIM(to: gateway)

            let toEpoch = 3600 - Int64(Date().timeIntervalSince1970)
            let jumps: [(seconds: Int64, day: String?)] = [(86_400, nil), (-86_400, nil), (toEpoch, "1970-01-01T01:")]
            for (index, jump) in jumps.enumerated() {
                try faults.setClock(jump.seconds)
                device.signal(SIGUSR1)
                try await device.event("updated", number: index + 1)
                let sim = try await stage.addSIM(to: gateway)
                let new = try stage.device(stage.credentials(sim, at: gateway) + ["--once"])
                #expect(try await new.exit(within: .seconds(60)) == 0, "after a jump to \(jump.seconds)")
                let closed = try await gateway.record("registration.closed", of: sim)
                let day = jump.day ?? Self.day(jump.seconds)
                #expect(closed.text("time")?.hasPrefix(day) == true, "\(closed)")
                let number = try #require(closed.integer("seq"))
                _ = try await monitoring.until("signed", { try String(contentsOfFile: segment, encoding: .utf8) }) {
                    text in
                    text.split(separator: "\n").compactMap { Event(String($0)) }.contains {
                        $0.name == "journal.checkpoint" && $0.integer("seq").map { $0 > number } == true
                    }
                }
                if index == 0 {
                    try await stage.sim(["suspend", suspended.iccid], at: gateway, by: faults)
                    try await gateway.journal.event("sim.changed") {
                        $0.text("iccid") == suspended.iccid && $0.description.contains("suspended")
                    }
                    try await stage.sim(["resume", suspended.iccid], at: gateway, by: faults)
                }
            }
            let late = try stage.device(["--account", account, "--endpoint", saving.iccid, "--once"])
            #expect(try await late.exit(within: .seconds(60)) == 0)
            let resumed = try stage.device(stage.credentials(suspended, at: gateway) + ["--once"])
            #expect(try await resumed.exit(within: .seconds(60)) == 0)
            try await gateway.program.logged("the clock") { $0.text("message")?.contains("clock") == true }

            try faults.setClock(0)
            device.signal(SIGUSR1)
            try await device.event("updated", number: jumps.count + 1)
            let again = try stage.device(["--account", account, "--endpoint", saving.iccid, "--once"])
            #expect(try await again.exit(within: .seconds(60)) == 0)
            let numbers = gateway.journal.output.events.compactMap { $0.integer("seq") }
            #expect(numbers == numbers.sorted() && Set(numbers).count == numbers.count)
            try await stage.verifyJournal(of: gateway)
        }
    }

    private static func day(_ offset: Int64) -> String {
        let time = Date().addingTimeInterval(Double(offset))
        return String(time.ISO8601Format().prefix(8))
    }
}

extension Stage {
    /// `bootgate sim …` on a machine whose clock is wrong as well.
    fileprivate func sim(_ arguments: [String], at gateway: Gateway, by faults: Faults) async throws {
        let command = faults.launcher + [Programs.gateway, "sim"] + arguments + ["--config", gateway.configuration]
        try await self.run("bootgate sim", command[0], Array(command.dropFirst()))
    }
}
