internal import Foundation
internal import Synchronization
internal import Testing

@Suite("Devices that are asked to bootstrap again")
struct RebootstrapTests {
    @Test("A registered device bootstraps anew when it is ordered to, with a new key, and the server is not asked")
    func ordered() async throws {
        try await Stage.run { stage in
            let (gateway, _, management) = try await stage.everything()
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(sim, at: gateway))
            try await device.event("registered")
            try await stage.sim(["rebootstrap", sim.iccid], at: gateway)
            try await device.event("request") { $0.text("path") == "/1/0/9" && $0.text("code") == "2.04" }
            let registrations = Atomic(0)
            try await device.event("registered") { _ in registrations.add(1, ordering: .relaxed).newValue == 2 }
            try await stage.journaled(gateway, sim, "ordered")
            try await stage.journaled(gateway, sim, "triggered")
            let keys = device.output.events("account").compactMap { event in
                event.boolean("bootstrap") == false ? event.text("keyFingerprint") : nil
            }
            #expect(keys.count == 2 && Set(keys).count == 2)
            // Nothing but what its own operations would have been, and there were none.
            #expect(management.program.output.events("answered").isEmpty)
            try await stage.verifyJournal(of: gateway)
        }
    }

    @Test("An order outlives the gateway, and reaches a device that registers later over an older bootstrap")
    func later() async throws {
        try await Stage.run { stage in
            let (gateway, _, _) = try await stage.everything()
            let sim = try await stage.addSIM(to: gateway)
            let account = stage.folder.appendingPathComponent("account").path
            let first = try stage.device(
                stage.credentials(sim, at: gateway) + ["--save-account", account, "--once"])
            #expect(try await first.exit(within: .seconds(60)) == 0)
            _ = try await gateway.countersAtStop()
            try await stage.sim(["rebootstrap", sim.iccid], at: gateway)
            let again = try await stage.restart(gateway)
            // The gateway has forgotten where the account is, and asks.
            let second = try stage.device(["--account", account, "--endpoint", sim.iccid])
            try await second.event("request") { $0.text("path") == "/1" && $0.text("method") == "GET" }
            try await second.event("request") { $0.text("path") == "/1/0/9" && $0.text("code") == "2.04" }
            try await stage.journaled(again, sim, "triggered")
        }
    }

    @Test("A device that bootstraps by itself has done what was ordered")
    func meanwhile() async throws {
        try await Stage.run { stage in
            let (gateway, _, _) = try await stage.everything()
            let sim = try await stage.addSIM(to: gateway)
            try await stage.sim(["rebootstrap", sim.iccid], at: gateway)
            try await stage.journaled(gateway, sim, "ordered")
            let device = try stage.device(stage.credentials(sim, at: gateway) + ["--once", "--stay", "2"])
            #expect(try await device.exit(within: .seconds(60)) == 0)
            try await stage.journaled(gateway, sim, "bootstrapped by itself")
            #expect(device.output.events("request").allSatisfy { $0.text("path") != "/1/0/9" })
        }
    }
}

extension Stage {
    /// The record that an order was given (`ordered`), or of what came of it.
    fileprivate func journaled(_ gateway: Gateway, _ sim: SIM, _ outcome: String) async throws {
        let needle = outcome == "ordered" ? "\"by\":" : "\"outcome\":\"\(outcome)\""
        try await gateway.journal.event("sim.changed") { event in
            event.text("iccid") == sim.iccid && event.description.contains("\"action\":\"rebootstrap\"")
                && event.description.contains(needle)
        }
    }
}
