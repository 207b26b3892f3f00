internal import Foundation
internal import Testing

/// Another process keeps the stores for itself.
@Suite("Stores that hang")
struct HangingStoreTests {
    @Test("Finish waits for a store that another process writes to, and comes when it has ended")
    func finishWaits() async throws {
        try await Stage.run { stage in
            let (gateway, _, management) = try await stage.everything()
            let sim = try await stage.addSIM(to: gateway)
            let holder = try await stage.hold("changes", of: ["credentials.db"])
            let device = try stage.device(stage.credentials(sim, at: gateway) + ["--once", "--patience", "60"])
            // The bootstrap account comes last; the credential of the other one is on its way to the store.
            try await device.event("account") { $0.boolean("bootstrap") == true }
            #expect(device.output.events("finished").isEmpty)
            holder.letGo()
            #expect(try await device.exit(within: .seconds(60)) == 0)
            try await management.program.event("deregistered") { $0.text("endpoint") == sim.iccid }
            try await gateway.record("registration.closed", of: sim)
            #expect(gateway.journal.output.events("bootstrap.failed").isEmpty)
            try await stage.verifyJournal(of: gateway)
        }
    }

    @Test("A gateway starts beside an import that keeps the records, and tells afterwards what commands had changed")
    func startsBesideAnImport() async throws {
        try await Stage.run { stage in
            let (gateway, _, _) = try await stage.everything()
            let sim = try await stage.addSIM(to: gateway)
            try await gateway.record("sim.changed", of: sim)
            gateway.program.signal(SIGTERM)
            #expect(try await gateway.program.exit(within: .seconds(30)) == 0)
            _ = try await stage.sim(["set", sim.iccid, "note=moved"], at: gateway)
            let holder = try await stage.hold("changes", of: ["sims.db"])
            let again = try await stage.restart(gateway)
            let device = try stage.device(stage.credentials(sim, at: again) + ["--once"])
            #expect(try await device.exit(within: .seconds(60)) == 0)
            holder.letGo()
            // The first one is of the time before.
            try await again.journal.event("sim.changed", number: 2)
            try await stage.verifyJournal(of: again)
        }
    }

    @Test("Where it does not end, the bootstrap fails closed and monitoring says so, until it does")
    func hangsForLong() async throws {
        try await Stage.run { stage in
            let (gateway, _, _) = try await stage.everything(
                more: "admin: { listen: \"\(stage.address):0\", metrics: open }")
            let monitoring = try await Monitoring(of: gateway)
            let sims = [try await stage.addSIM(to: gateway), try await stage.addSIM(to: gateway)]
            let holder = try await stage.hold("changes", of: ["credentials.db"])
            // Two at once, which share a transaction: the second does not wait for its own.
            let devices = try sims.map {
                try stage.device(stage.credentials($0, at: gateway) + ["--bootstrap-only", "--patience", "30"])
            }
            for sim in sims { try await gateway.record("bootstrap.failed", of: sim, cause: "store unavailable") }
            try await gateway.remedy(for: "store unavailable")
            _ = try await monitoring.until("not ready", { try await monitoring.get("/readyz") }) {
                $0.status == 503 && $0.body.contains("the stores take no changes")
            }
            for device in devices {
                #expect(device.output.events("finished").isEmpty)
                await device.stop()
            }
            holder.letGo()
            _ = try await monitoring.until("ready", { try await monitoring.get("/readyz") }) { $0.status == 200 }
            let again = try stage.device(stage.credentials(sims[0], at: gateway) + ["--once"])
            #expect(try await again.exit(within: .seconds(60)) == 0)
        }
    }

    @Test("A store that answers nobody keeps strangers waiting in silence; registered devices and monitoring go on")
    func nobodyReads() async throws {
        try await Stage.run { stage in
            let (gateway, _, management) = try await stage.everything(
                more: "admin: { listen: \"\(stage.address):0\", metrics: open }")
            let monitoring = try await Monitoring(of: gateway)
            let registered = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(registered, at: gateway))
            try await device.event("registered")
            try await gateway.record("registration.opened", of: registered)
            let sim = try await stage.addSIM(to: gateway)
            let plain = try await stage.addSIM(to: gateway, ["address=\(stage.otherAddress)"])
            try await gateway.record("sim.changed", of: plain)

            let holder = try await stage.hold("everything", of: ["sims.db", "credentials.db"])
            let stranger = try stage.device(
                stage.credentials(sim, at: gateway) + ["--once", "--patience", "300", "--timeout", "300"])
            let plainStranger = try stage.device([
                "--bootstrap", gateway.plain, "--endpoint", plain.iccid, "--bind", stage.otherAddress,
                "--bootstrap-only", "--patience", "300", "--max-retransmit", "8", "--timeout", "300",
            ])
            try await gateway.remedy(for: "store unavailable")
            // By now those who look after the stores have hung for a while too.
            let down = try await monitoring.until("not ready", { try await monitoring.get("/readyz") }) {
                $0.status == 503 && $0.body.contains("the stores do not answer")
            }
            #expect(down.status == 503)
            #expect(try await monitoring.get("/healthz").status == 200)
            device.signal(SIGUSR1)
            try await device.event("updated")
            #expect(stranger.output.events("connected").isEmpty)
            #expect(plainStranger.output.events("accepted").isEmpty && plainStranger.output.events("failed").isEmpty)

            holder.letGo()
            #expect(try await stranger.exit(within: .seconds(120)) == 0)
            #expect(try await plainStranger.exit(within: .seconds(300)) == 0)
            try await management.program.event("deregistered") { $0.text("endpoint") == sim.iccid }
            _ = try await monitoring.until("ready", { try await monitoring.get("/readyz") }) { $0.status == 200 }
            try await stage.verifyJournal(of: gateway)
        }
    }
}

extension Program {
    /// Whoever holds a store lets go when it ends.
    fileprivate func letGo() { self.signal(SIGTERM) }
}
