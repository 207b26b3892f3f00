internal import Foundation
internal import Testing

@Suite("Two LwM2M servers behind one DTLS port")
struct TwoServersTests {
    @Test("A device has an account for each, and the identity alone decides to which one its messages go")
    func twoServers() async throws {
        try await Stage.run { stage in
            let meters = try await stage.managementServer(["--step", "read:/3/0/0", "--step", "await:update"])
            let valves = try await stage.managementServer([
                "--step", "write:/3/0/14=+01:00", "--step", "await:update", "--step", "read:/3/0/14",
            ])
            let bootstrap = try await stage.bootstrapServer([
                "--server-uri", meters.uri, "--ssid", "1111", "--extra-server", "\(valves.uri),1112",
            ])
            var settings = Stage.Settings(upstreams: [bootstrap.uri], server: meters.uri)
            settings.secondServer = valves.uri
            let gateway = try await stage.gateway(settings)
            let sim = try await stage.addSIM(to: gateway)
            let file = stage.folder.appendingPathComponent("account").path
            let bootstrapping = try stage.device(
                stage.credentials(sim, at: gateway) + ["--bootstrap-only", "--save-account", file])
            #expect(try await bootstrapping.exit(within: .seconds(60)) == 0)
            let accounts = bootstrapping.output.events("account").filter { $0.boolean("bootstrap") == false }
            #expect(accounts.map { $0.text("uri") } == [gateway.secure, gateway.secure])
            #expect(accounts.map { $0.integer("ssid") } == [1111, 1112])
            #expect(Set(accounts.compactMap { $0.text("identity") }).count == 2)
            #expect(Set(accounts.compactMap { $0.text("keyFingerprint") }).count == 2)

            // The two halves of the device: one for each server, both registered at the same time.
            let first = try stage.device(["--account", file, "--endpoint", sim.iccid])
            let second = try stage.device(["--account", "\(file).1112", "--endpoint", sim.iccid])
            try await first.event("registered")
            try await second.event("registered")
            try await meters.program.event("answered")
            try await valves.program.event("answered")
            second.signal(SIGUSR1)
            try await valves.program.event("answered", number: 2)
            #expect(valves.program.output.events("answered").map { $0.text("payload") }.last == "+01:00")
            first.signal(SIGUSR1)
            try await meters.program.event("updated")

            #expect(first.output.events("request").map { $0.text("method") } == ["GET"])
            #expect(second.output.events("request").map { $0.text("method") } == ["PUT", "GET"])
            for server in [meters, valves] {
                #expect(server.program.output.events("registered").map { $0.text("endpoint") } == [sim.iccid])
                #expect(server.program.output.events("updated").count == 1)
            }
            try await gateway.journal.event("registration.opened", number: 2)
            let opened = gateway.journal.output.events("registration.opened")
            #expect(Set(opened.compactMap { $0.text("upstream") }) == [meters.uri, valves.uri])
            #expect(opened.allSatisfy { $0.text("iccid") == sim.iccid })
            try await gateway.journal.event("credential.active", number: 2)
            let counters = try await gateway.countersAtStop()
            #expect(counters.text("registrations_opened") == "2")
            #expect(gateway.journal.output.events("credential.replaced").isEmpty)
        }
    }
}
