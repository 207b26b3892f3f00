internal import Foundation
internal import Testing

@Suite("One address and port, one association, several purposes")
struct AssociationTests {
    @Test("A device registers from the very address and port that it bootstrapped from, by another handshake")
    func samePort() async throws {
        try await Stage.run { stage in
            let (gateway, bootstrap, management) = try await stage.everything(managementServer: ["--read", "/3/0/0"])
            let sim = try await stage.addSIM(to: gateway)
            let place = "\(stage.otherAddress):\(try UDPSocket(from: stage.otherAddress).port)"
            let device = try stage.device(
                stage.credentials(sim, at: gateway) + ["--bind", place, "--same-port", "--once"])
            #expect(try await device.exit(within: .seconds(60)) == 0)
            try await bootstrap.program.event("finished") { $0.text("endpoint") == sim.iccid }
            try await management.program.event("answered") { $0.text("code") == "2.05" }
            try await management.program.event("deregistered") { $0.text("endpoint") == sim.iccid }

            let connecting = device.output.events("connecting")
            #expect(
                connecting.compactMap { $0.integer("localPort").map { "\(stage.otherAddress):\($0)" } } == [
                    place, place,
                ])
            #expect(connecting.first?.text("identity") == sim.iccid)
            #expect(connecting.last?.text("identity") != sim.iccid)
            let finished = try await gateway.record("bootstrap.finished", of: sim)
            let opened = try await gateway.record("registration.opened", of: sim)
            #expect(finished.text("peer") == place && opened.text("peer") == place)
            #expect(finished.integer("session") != opened.integer("session"))
            let counters = try await gateway.countersAtStop()
            #expect(counters.text("handshakes_completed") == "2")
            #expect(counters.text("sessions_opened") == "2")
            #expect(counters.text("dropped_unknown_session") == nil)
        }
    }

    @Test("A device bootstraps twice over one association; only the key of the second time is left")
    func secondBootstrap() async throws {
        try await Stage.run { stage in
            let (gateway, bootstrap, management) = try await stage.everything(managementServer: ["--read", "/3/0/0"])
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(sim, at: gateway) + ["--bootstraps", "2", "--once"])
            #expect(try await device.exit(within: .seconds(60)) == 0)
            try await management.program.event("answered") { $0.text("code") == "2.05" }
            try await management.program.event("deregistered") { $0.text("endpoint") == sim.iccid }

            // One association for both, another for the registration.
            #expect(device.output.events("connected").count == 2)
            #expect(bootstrap.program.output.events("finished").count == 2)
            #expect(bootstrap.program.output.events("request").allSatisfy { $0.list("queries") == ["ep=\(sim.iccid)"] })
            let keys = device.output.events("account").filter { $0.boolean("bootstrap") == false }
                .compactMap { $0.text("keyFingerprint") }
            #expect(keys.count == 2 && Set(keys).count == 2)

            try await gateway.journal.event("registration.closed")
            let finished = gateway.journal.output.events("bootstrap.finished")
            #expect(finished.count == 2 && Set(finished.compactMap { $0.integer("session") }).count == 1)
            let replaced = try await gateway.record("credential.replaced", of: sim)
            let active = try await gateway.record("credential.active", of: sim)
            #expect(replaced.description.contains(keys[0]) && active.description.contains(keys[1]))
            let counters = try await gateway.countersAtStop()
            #expect(counters.text("handshakes_completed") == "2")
            #expect(counters.text("bootstraps_requested") == "2")
            #expect(counters.text("bootstraps_finished") == "2")
        }
    }
}
