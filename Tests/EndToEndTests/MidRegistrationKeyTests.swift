internal import Foundation
internal import Testing

@Suite("A key that changes while its device is registered")
struct MidRegistrationKeyTests {
    @Test(
        "A newer key leaves the registration alone until it is used; then it takes it over, and the old one gets 4.03")
    func replaced() async throws {
        try await Stage.run { stage in
            let (gateway, management) = try await stage.managed([
                "wait:updated", "read:/3/0/0", "wait:registered", "wait:registered", "read:/3/0/1",
            ])
            let sim = try await stage.addSIM(to: gateway)
            let file = { stage.folder.appendingPathComponent($0).path }
            let old = try stage.device(stage.credentials(sim, at: gateway) + ["--save-account", file("old")])
            try await old.event("registered")
            let second = try stage.device(
                stage.credentials(sim, at: gateway) + ["--bootstrap-only", "--save-account", file("new")])
            #expect(try await second.exit(within: .seconds(60)) == 0)
            try await gateway.journal.event("bootstrap.finished", number: 2)

            // Even after another handshake.
            old.signal(SIGUSR2)
            try await old.event("updated")
            try await management.program.event("answered") { $0.text("payload") == "Bootgate" }
            #expect(gateway.journal.output.events("credential.replaced").isEmpty)

            let new = try stage.device(["--account", file("new"), "--endpoint", sim.iccid])
            try await new.event("registered")
            try await management.program.event("done")
            #expect(try await old.event("failed").text("reason") == "connection closed")
            try await gateway.record("credential.replaced", of: sim)
            let late = try stage.device(["--account", file("old"), "--endpoint", sim.iccid])
            #expect(try await late.exit(within: .seconds(60)) == 1)
            #expect(try await late.event("failed").text("code") == "4.03")
            try await gateway.record("registration.refused", of: sim, cause: "credential replaced or expired")

            // The server has seen one device all the time, and the new key's registration has outlived the attempt.
            let events = management.program.output.events
            #expect(Set(events.compactMap { $0.text("peer") }).count == 1)
            #expect(events.last { $0.name == "answered" }?.text("payload") == "simulator")
            new.signal(SIGUSR1)
            try await new.event("updated")
            let counters = try await gateway.countersAtStop()
            #expect(counters.text("registrations_refused_credential_replaced_or_expired") == "1")
            #expect(counters.text("registrations_opened") == "2")
        }
    }

    @Test("A revoked key ends the registration of its device and of no other; with a new key it is back")
    func revoked() async throws {
        try await Stage.run { stage in
            let (gateway, _, management) = try await stage.everything()
            let sim = try await stage.addSIM(to: gateway)
            let other = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(sim, at: gateway))
            try await device.event("registered")
            let neighbour = try stage.device(stage.credentials(other, at: gateway))
            try await neighbour.event("registered")
            try await stage.run(
                "bootgate credentials", Programs.gateway,
                ["credentials", "revoke", sim.iccid, "--config", gateway.configuration])
            #expect(try await device.event("failed").text("reason") == "connection closed")
            try await gateway.record("credential.revoked", of: sim, cause: "revoked")
            try await gateway.record("registration.closed", of: sim, cause: "revoked")

            neighbour.signal(SIGUSR1)
            try await neighbour.event("updated")
            let returning = try stage.device(stage.credentials(sim, at: gateway) + ["--once"])
            #expect(try await returning.exit(within: .seconds(60)) == 0)
            let names = management.program.output.events("registered").map { $0.text("endpoint") }
            #expect(names == [sim.iccid, other.iccid, sim.iccid])
            #expect(gateway.journal.output.events("credential.revoked").allSatisfy { $0.text("iccid") == sim.iccid })
        }
    }
}
