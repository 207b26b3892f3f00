internal import Foundation
internal import Testing

/// Who comes with something that was not handed out for the purpose, and what becomes of those who did it right.
@Suite("Nobody gets in with a key that was not handed out for the purpose")
struct StolenIdentityTests {
    enum Identity: CaseIterable { case bootstrap, oneTime }

    @Test(
        "A thief with a device's identity and a wrong key meets silence, and the device's registration goes on",
        arguments: Identity.allCases)
    func wrongKey(identity: Identity) async throws {
        try await Stage.run { stage in
            let (gateway, bootstrap, management) = try await stage.managed([
                "observe:/3/0/13:1:keep", "wait:updated", "read:/3/0/0",
            ]) { _ in }
            let sim = try await stage.addSIM(to: gateway)
            let account = stage.folder.appendingPathComponent("account").path
            let device = try stage.device(
                stage.credentials(sim, at: gateway) + ["--save-account", account])
            try await management.program.event("notification")

            let thief: Program
            switch identity {
            case .bootstrap:
                thief = try stage.device(
                    stage.credentials(sim, at: gateway, key: String(sim.key.reversed())) + ["--bootstrap-only"])
            case .oneTime:
                // Lines: URI, identity, key, short server ID.
                var lines = try String(contentsOfFile: account, encoding: .utf8).split(separator: "\n").map(String.init)
                try #require(lines.count == 4)
                lines[2] = String(lines[2].reversed())
                let stolen = stage.folder.appendingPathComponent("stolen").path
                try (lines.joined(separator: "\n") + "\n").write(toFile: stolen, atomically: true, encoding: .utf8)
                thief = try stage.device(["--account", stolen, "--endpoint", sim.iccid])
            }
            let refused = try await gateway.record("bootstrap.refused", of: sim, cause: "wrong key")
            let port = try await thief.event("connecting").integer("localPort")
            #expect(refused.text("peer")?.hasSuffix(":\(port ?? 0)") == true)
            await thief.stop()
            #expect(thief.output.events("connected").isEmpty)

            device.signal(SIGUSR1)
            try await device.event("updated")
            try await management.program.event("done")
            #expect(management.program.output.events("answered").last?.text("code") == "2.05")
            #expect(management.program.output.events("registered").count == 1)
            #expect(bootstrap.program.output.events("request").count == 1)
            let events = gateway.journal.output.events
            #expect(events.allSatisfy { $0.name != "registration.closed" && $0.name != "credential.revoked" })
            try await gateway.remedy(for: "wrong key")
            let counters = try await gateway.countersAtStop()
            #expect((counters.text("handshakes_failed_wrong_key").flatMap(Int.init) ?? 0) >= 1)
            #expect(counters.text("handshakes_completed") == "2")
            #expect(counters.text("registrations_opened") == "1")
        }
    }

    @Test("A made-up identity does not register, and the server behind the gateway hears nothing")
    func madeUp() async throws {
        try await Stage.run { stage in
            let (gateway, _, management) = try await stage.everything()
            let device = try stage.device([
                "--server", gateway.secure, "--identity", "bg1-made-up", "--key", SIM().key, "--endpoint", "meter-1",
                "--once",
            ])
            let refused = try await gateway.journal.event("bootstrap.refused") {
                $0.text("cause") == "unknown identity"
            }
            #expect(refused.text("iccid") == nil)
            #expect(device.output.events("connected").isEmpty)
            await device.stop()
            #expect(management.program.output.events("registered").isEmpty)
            let counters = try await gateway.countersAtStop()
            #expect((counters.text("handshakes_failed_unknown_identity").flatMap(Int.init) ?? 0) >= 1)
            #expect(counters.text("registrations_opened") == nil)
        }
    }

    @Test("The identity of the SIM is for bootstraps alone: Register over it gets 4.04 and goes nowhere")
    func bootstrapIdentity() async throws {
        try await Stage.run { stage in
            let (gateway, _, management) = try await stage.everything()
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device([
                "--server", gateway.secure, "--identity", sim.iccid, "--key", sim.key, "--endpoint", sim.iccid,
                "--once",
            ])
            #expect(try await device.exit(within: .seconds(60)) == 1)
            #expect(device.output.events("connected").count == 1)
            #expect(try await device.event("failed").text("code") == "4.04")
            #expect(management.program.output.events.allSatisfy { $0.name == "listening" })

            let honest = try stage.device(stage.credentials(sim, at: gateway) + ["--once"])
            #expect(try await honest.exit(within: .seconds(60)) == 0)
            #expect(management.program.output.events("registered").count == 1)
            #expect(try await gateway.countersAtStop().text("registrations_opened") == "1")
        }
    }
}
