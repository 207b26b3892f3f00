internal import Foundation
internal import Testing

/// Each of the four parties loses its power while a device is registered. The device's own: ``RegistrationTests``.
@Suite("Restarts in mid-registration")
struct RestartTests {
    @Test("A LwM2M server that has forgotten everything answers 4.04, and gets the device again from the same port")
    func managementServer() async throws {
        try await Stage.run { stage in
            let (gateway, management) = try await stage.managed(["read:/3/0/0"])
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(sim, at: gateway))
            try await management.program.event("done")
            let first = try await management.program.event("registered")
            try await management.kill()

            let again = try await stage.pythonServer(["read:/3/0/0", "read:/3/0/1"], at: management.port)
            device.signal(SIGUSR1)
            #expect(try await device.event("forgotten").text("code") == "4.04")
            try await device.event("registered", number: 2)
            try await again.program.event("done")
            #expect(again.program.output.events("answered").map { $0.text("code") } == ["2.05", "2.05"])
            #expect(try await again.program.event("registered").text("peer") == first.text("peer"))
            // One handshake with the gateway is enough for both registrations.
            #expect(device.output.events("connecting").count == 2)
            try await gateway.record("registration.closed", of: sim, cause: "upstream refused")
            try await gateway.journal.event("registration.opened", number: 2)
            #expect(try await gateway.countersAtStop().text("registrations_opened") == "2")
        }
    }

    @Test("A registration does not notice that the bootstrap server starts again, and the next bootstrap works")
    func bootstrapServer() async throws {
        try await Stage.run { stage in
            let (gateway, bootstrap, management) = try await stage.managed([
                "wait:updated", "read:/3/0/0", "wait:updated", "execute:/1/0/9", "wait:registered", "wait:registered",
                "read:/3/0/1",
            ]) { _ in }
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(sim, at: gateway))
            try await device.event("registered")
            try await bootstrap.kill()
            device.signal(SIGUSR1)
            try await device.event("updated")
            try await management.program.event("answered") { $0.text("payload") == "Bootgate" }

            let port = try #require(bootstrap.port)
            let again = try await stage.bootstrapServer([
                "--server-uri", management.uri, "--ssid", "1111", "--listen", "\(stage.address):\(port)",
            ])
            device.signal(SIGUSR1)
            try await again.program.event("finished") { $0.text("endpoint") == sim.iccid }
            try await management.program.event("done")
            let events = management.program.output.events
            #expect(events.filter { $0.name == "undelivered" }.isEmpty)
            #expect(events.filter { $0.name == "answered" }.map { $0.text("code") } == ["2.05", "2.04", "2.05"])
            #expect(Set(events.compactMap { $0.text("peer") }).count == 1)
            try await gateway.journal.event("bootstrap.finished", number: 2)
            #expect(gateway.journal.output.events("bootstrap.failed").isEmpty)
        }
    }

    @Test(
        "After kill -9 of the gateway an Update goes to the server, and the device registers again",
        arguments: [true, false])
    func gateway(isSecure: Bool) async throws {
        try await Stage.run { stage in
            let (gateway, _, management) = try await stage.managed([
                "read:/3/0/0", "wait:registered", "wait:registered",
            ]) {
                $0.carriesPlainRegistrations = !isSecure
            }
            let sim = try await stage.addSIM(to: gateway, isSecure ? [] : ["address=\(stage.address)"])
            let device = try stage.device(
                isSecure
                    ? stage.credentials(sim, at: gateway)
                    : ["--bootstrap", gateway.plain, "--endpoint", sim.iccid, "--bind", stage.address])
            try await management.program.event("answered")
            try await device.event("registered")
            try await gateway.record("registration.opened", of: sim)
            gateway.program.signal(SIGKILL)
            #expect(try await gateway.program.exit(within: .seconds(10)) == 128 + SIGKILL)
            let again = try await stage.restart(gateway)

            // Over DTLS the old association is lost as well.
            device.signal(isSecure ? SIGUSR2 : SIGUSR1)
            #expect(try await device.event("forgotten").text("code") == "4.04")
            try await device.event("registered", number: 2)
            try await management.program.event("done")
            #expect(device.output.events("finished").count == 1)
            let registered = management.program.output.events("registered")
            #expect(registered.count == 2)
            // The Update went to the server, from a port of its own.
            let stray = try await management.program.event("updated")
            #expect(!registered.contains { $0.text("peer") == stray.text("peer") })
            #expect(registered.allSatisfy { $0.list("queries").contains("ep=\(sim.iccid)") })
            // The journal of both lives is one.
            try await again.journal.event("registration.opened", number: 2)
            try await stage.verifyJournal(of: again)
            #expect(try await again.countersAtStop().text("registrations_opened") == "1")
        }
    }
}
