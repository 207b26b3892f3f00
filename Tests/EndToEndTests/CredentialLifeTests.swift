internal import Foundation
internal import Testing

@Suite("The life of a credential, seen from outside")
struct CredentialLifeTests {
    private func credentials(_ arguments: [String], _ gateway: Gateway, _ stage: Stage) async throws -> [Event] {
        try await stage.run(
            "bootgate credentials", Programs.gateway,
            ["credentials"] + arguments + ["--config", gateway.configuration]
        ).compactMap(Event.init)
    }

    @Test("Revoked in mid-registration: the session ends, and the key is nobody's any more", arguments: [false, true])
    func revoked(byIdentity: Bool) async throws {
        try await Stage.run { stage in
            let (gateway, _, management) = try await stage.everything()
            let sim = try await stage.addSIM(to: gateway)
            let file = stage.folder.appendingPathComponent("account").path
            let device = try stage.device(stage.credentials(sim, at: gateway) + ["--save-account", file])
            try await management.program.event("registered")
            let listed = try await self.credentials(["list", "--json", "--full", "--state", "active"], gateway, stage)
            #expect(listed.map { $0.text("iccid") } == [sim.iccid])
            let identity = try #require(listed.first?.text("identity"))
            let target = byIdentity ? ["--identity", identity] : [sim.iccid]
            _ = try await self.credentials(["revoke"] + target, gateway, stage)
            try await gateway.record("credential.revoked", of: sim, cause: "revoked")
            try await gateway.record("registration.closed", of: sim, cause: "revoked")
            device.signal(SIGKILL)

            let returning = try stage.device(
                ["--account", file, "--endpoint", sim.iccid, "--once", "--patience", "3"])
            #expect(try await returning.exit(within: .seconds(60)) == 1)
            try await gateway.journal.event("bootstrap.refused") { $0.text("cause") == "unknown identity" }
        }
    }

    @Test("Replaced by a newer one that was used: the handshake completes, and Register gets 4.03")
    func replaced() async throws {
        try await Stage.run { stage in
            let (gateway, _, management) = try await stage.everything()
            let sim = try await stage.addSIM(to: gateway)
            let file = stage.folder.appendingPathComponent("account").path
            let old = try stage.device(stage.credentials(sim, at: gateway) + ["--save-account", file, "--once"])
            #expect(try await old.exit(within: .seconds(60)) == 0)
            let new = try stage.device(stage.credentials(sim, at: gateway) + ["--once"])
            #expect(try await new.exit(within: .seconds(60)) == 0)
            try await gateway.record("credential.replaced", of: sim)
            let registered = management.program.output.events("registered").count
            let returning = try stage.device(["--account", file, "--endpoint", sim.iccid, "--once"])
            #expect(try await returning.exit(within: .seconds(60)) == 1)
            #expect(try await returning.event("failed").text("code") == "4.03")
            try await gateway.record("registration.refused", of: sim, cause: "credential replaced or expired")
            #expect(management.program.output.events("registered").count == registered)
        }
    }

    @Test("A bootstrap that is under way when its SIM is suspended gets no Finish")
    func suspendedUnderWay() async throws {
        try await Stage.run { stage in
            let (gateway, bootstrap, _) = try await stage.everything(bootstrapServer: ["--pause", "2"])
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(
                stage.credentials(sim, at: gateway) + ["--bootstrap-only", "--patience", "5"])
            try await gateway.record("credential.minted", of: sim)
            try await stage.sim(["suspend", sim.iccid], at: gateway)
            try await gateway.record("bootstrap.failed", of: sim, cause: "suspended")
            #expect(try await device.exit(within: .seconds(60)) == 1)
            #expect(bootstrap.program.output.events("finished").isEmpty)
        }
    }

    @Test("A revocation ends the bootstrap that hands out what it revokes")
    func revokedUnderWay() async throws {
        try await Stage.run { stage in
            let (gateway, bootstrap, _) = try await stage.everything(bootstrapServer: ["--pause", "2"])
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(
                stage.credentials(sim, at: gateway) + ["--bootstrap-only", "--patience", "5"])
            try await gateway.record("credential.minted", of: sim)
            _ = try await self.credentials(["revoke", sim.iccid], gateway, stage)
            try await gateway.record("bootstrap.failed", of: sim, cause: "revoked")
            #expect(try await device.exit(within: .seconds(60)) == 1)
            #expect(bootstrap.program.output.events("finished").isEmpty)
        }
    }
}
