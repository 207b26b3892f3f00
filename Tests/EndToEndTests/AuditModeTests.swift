internal import Foundation
internal import Testing

/// A legacy fleet with the gateway as a witness in front of its servers, and the switch to enforcing.
@Suite("Log-and-audit mode, end to end")
struct AuditModeTests {
    private static let watching = "mode: audit"

    private func plain(_ endpoint: String, at gateway: Gateway, on stage: Stage) throws -> Program {
        try stage.device([
            "--bootstrap", gateway.plain, "--endpoint", endpoint, "--bind", stage.address, "--bootstrap-only",
        ])
    }

    private func report(_ stage: Stage, _ gateway: Gateway, _ arguments: [String] = []) async throws -> String {
        try await stage.run(
            "bootgate audit report", Programs.gateway,
            ["audit", "report", "--config", gateway.configuration] + arguments
        ).joined(separator: "\n")
    }

    @Test("An unknown plain device gets the server's accounts, comes back to the gateway, and is in the report")
    func unknownPlainDevice() async throws {
        try await Stage.run { stage in
            let (gateway, bootstrap, management) = try await stage.everything(more: Self.watching)
            let device = try self.plain("legacy-7", at: gateway, on: stage)
            #expect(try await device.exit(within: .seconds(60)) == 0)
            let accounts = device.output.events("account")
            let server = try #require(accounts.first { $0.boolean("bootstrap") == false })
            #expect(server.text("uri") == management.uri && server.integer("mode") == 3)
            let back = try #require(accounts.first { $0.boolean("bootstrap") == true })
            #expect(back.text("uri") == gateway.plain && back.integer("mode") == 3)
            try await bootstrap.program.event("finished") { $0.text("endpoint") == "legacy-7" }

            let refused = try await gateway.journal.event("bootstrap.refused") {
                $0.text("endpoint") == "legacy-7"
            }
            #expect(refused.text("cause") == "unauthorized")
            try await gateway.journal.event("bootstrap.finished") { $0.text("endpoint") == "legacy-7" }
            let text = try await self.report(stage, gateway)
            #expect(text.contains("enforce would have refused:\n  unauthorized: once, 1 device"))
            #expect(text.contains("devices without a record:\n  address \(stage.address)  ep legacy-7"))
            #expect(text.contains("\(management.uri) NoSec"))
            let csv = try await self.report(stage, gateway, ["--csv", "-"])
            #expect(csv == "iccid,endpoint,address\n,legacy-7,\(stage.address)")
            try await stage.verifyJournal(of: gateway)
        }
    }

    @Test("A device over DTLS gets the server's plain account, no key is minted, and its way back stays secure")
    func secureDevice() async throws {
        try await Stage.run { stage in
            let (gateway, _, management) = try await stage.everything(more: Self.watching)
            let sim = try await stage.addSIM(to: gateway, ["status=suspended"])
            let device = try stage.device(stage.credentials(sim, at: gateway) + ["--bootstrap-only"])
            #expect(try await device.exit(within: .seconds(60)) == 0)
            let accounts = device.output.events("account")
            let server = try #require(accounts.first { $0.boolean("bootstrap") == false })
            #expect(server.text("uri") == management.uri && server.integer("keyBytes") == 0)
            let back = try #require(accounts.first { $0.boolean("bootstrap") == true })
            #expect(back.text("uri") == gateway.secure && back.text("identity") == sim.iccid)
            try await gateway.record("bootstrap.refused", of: sim, cause: "suspended")
            try await gateway.record("bootstrap.finished", of: sim)
            #expect(gateway.journal.output.events("credential.minted").isEmpty)
            let text = try await self.report(stage, gateway)
            #expect(text.contains("\(management.uri) NoSec would become \(gateway.secure) PSK"))
            #expect(text.contains("NoSec became \(gateway.secure) PSK"), "the way back")
        }
    }

    @Test("A wrong key cannot be let through: it is reported as not observable")
    func wrongKey() async throws {
        try await Stage.run { stage in
            let (gateway, bootstrap, _) = try await stage.everything(more: Self.watching)
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(
                stage.credentials(sim, at: gateway, key: String(sim.key.reversed()))
                    + ["--bootstrap-only", "--patience", "600"])
            try await gateway.record("bootstrap.refused", of: sim, cause: "wrong key")
            await device.stop()
            #expect(bootstrap.program.output.events("request").isEmpty)
            let text = try await self.report(stage, gateway)
            #expect(text.contains("not observable, over DTLS without the right key:\n  wrong key: once, 1 device"))
            #expect(text.contains(sim.iccid))
        }
    }

    @Test("After the switch to enforce on the same state a bootstrap mints credentials and strangers are refused")
    func enforcing() async throws {
        try await Stage.run { stage in
            let (gateway, _, _) = try await stage.everything(more: Self.watching)
            let sim = try await stage.addSIM(to: gateway)
            let watched = try stage.device(stage.credentials(sim, at: gateway) + ["--bootstrap-only"])
            #expect(try await watched.exit(within: .seconds(60)) == 0)
            try await gateway.record("bootstrap.finished", of: sim)
            let stranger = try self.plain("legacy-7", at: gateway, on: stage)
            #expect(try await stranger.exit(within: .seconds(60)) == 0)

            gateway.program.signal(SIGTERM)
            #expect(try await gateway.program.exit(within: .seconds(30)) == 0)
            let text = try String(contentsOfFile: gateway.configuration, encoding: .utf8)
            try text.replacingOccurrences(of: Self.watching, with: "mode: enforce")
                .write(toFile: gateway.configuration, atomically: true, encoding: .utf8)
            let enforcing = try await stage.restart(gateway)
            let device = try stage.device(stage.credentials(sim, at: enforcing) + ["--once"])
            #expect(try await device.exit(within: .seconds(60)) == 0)
            try await enforcing.record("credential.minted", of: sim)
            try await enforcing.record("registration.opened", of: sim)
            let refused = try self.plain("legacy-7", at: enforcing, on: stage)
            #expect(try await refused.exit(within: .seconds(60)) == 1)
            #expect(try await refused.event("failed").text("code") == "4.00")
            try await stage.verifyJournal(of: enforcing)
        }
    }
}
