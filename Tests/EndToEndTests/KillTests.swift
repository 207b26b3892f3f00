internal import Foundation
internal import Testing

/// Power cuts under load.
@Suite("Kill -9 in the middle of load")
struct KillTests {
    @Test("What was acknowledged before is there afterwards: credentials, records and the journal")
    func load() async throws {
        try await Stage.run { stage in
            let (gateway, _, management) = try await stage.everything()
            var sims: [SIM] = []
            for _ in 0..<12 { sims.append(try await stage.addSIM(to: gateway)) }
            let devices = try sims.map { sim in
                try stage.device(
                    stage.credentials(sim, at: gateway) + [
                        "--bootstrap-only", "--patience", "3", "--save-account", stage.account(of: sim),
                    ])
            }
            // People change records meanwhile.
            let added = (0..<4).map { _ in SIM() }
            let commands = try added.map { sim in
                try stage.start(
                    "bootgate sim add", Programs.gateway,
                    ["sim", "add", "iccid=\(sim.iccid)", "key=\(sim.key)", "--config", gateway.configuration])
            }
            // One of the first and one of the last: then some are done, and some are in the middle.
            try await devices[2].event("finished", within: .seconds(60))
            gateway.program.signal(SIGKILL)
            #expect(try await gateway.program.exit(within: .seconds(10)) == 128 + SIGKILL)
            for device in devices { _ = try await device.exit(within: .seconds(60)) }
            let before = gateway.journal.output.all
            await gateway.journal.stop()

            let again = try await stage.restart(gateway)
            let finished = zip(sims, devices).filter { !$0.1.output.events("finished").isEmpty }.map(\.0)
            #expect(!finished.isEmpty)
            for sim in finished {
                let device = try stage.device(["--account", stage.account(of: sim), "--endpoint", sim.iccid, "--once"])
                #expect(try await device.exit(within: .seconds(60)) == 0, "\(sim.iccid) was acknowledged")
                try await management.program.event("deregistered") { $0.text("endpoint") == sim.iccid }
                try await again.record("registration.closed", of: sim)
            }
            // Those that were in the middle bootstrap again.
            if let sim = sims.first(where: { sim in !finished.contains { $0.iccid == sim.iccid } }) {
                let device = try stage.device(stage.credentials(sim, at: again) + ["--once"])
                #expect(try await device.exit(within: .seconds(60)) == 0)
            }
            for (sim, command) in zip(added, commands) {
                guard try await command.exit(within: .seconds(60)) == 0 else { continue }
                let shown = try await stage.sim(["show", sim.iccid], at: again)
                #expect(shown.contains { $0.contains(sim.iccid) })
                try await again.record("sim.changed", of: sim)
            }
            // Nothing that could be read of the journal has gone, and its chain goes on behind it.
            let after = again.journal.output.all
            #expect(Array(after.prefix(before.count)) == before)
            try await stage.verifyJournal(of: again)
        }
    }
}

extension Stage {
    fileprivate func account(of sim: SIM) -> String {
        self.folder.appendingPathComponent("account-\(sim.iccid)").path
    }
}
