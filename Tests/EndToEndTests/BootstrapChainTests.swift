internal import Testing

@Suite("The whole chain: device, gateway, legacy servers")
struct BootstrapChainTests {
    @Test("A DTLS device bootstraps from a plain server and registers over DTLS with its one-time key")
    func secureDevice() async throws {
        try await Stage.run { stage in
            let (gateway, bootstrap, management) = try await stage.everything(
                managementServer: [
                    "--read", "/3/0/0", "--write", "/1/0/1=300", "--execute", "/3/0/4", "--observe", "/3/0/13",
                ])
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(sim, at: gateway) + ["--once"])
            #expect(try await device.exit(within: .seconds(60)) == 0)

            // What the device got.
            let accounts = device.output.events("account")
            let server = try #require(accounts.first { $0.boolean("bootstrap") == false })
            #expect(server.text("uri") == gateway.secure)
            #expect(server.integer("mode") == 0)
            #expect(server.integer("keyBytes") == 16)
            #expect(server.integer("ssid") == 1111)
            #expect(server.text("identity") != sim.iccid)
            let back = try #require(accounts.first { $0.boolean("bootstrap") == true })
            #expect(back.text("uri") == gateway.secure)
            #expect(back.integer("mode") == 0)
            #expect(back.text("identity") == sim.iccid)
            #expect(back.integer("ssid") == 2222)
            let settings = try #require(device.output.events("server").first)
            #expect(settings.integer("ssid") == 1111)
            #expect(settings.integer("lifetime") == 86400)

            // What the legacy servers saw: nothing but plain CoAP, and the device's name.
            try await bootstrap.program.event("finished") { $0.text("endpoint") == sim.iccid }
            try await management.program.event("registered") { $0.text("endpoint") == sim.iccid }
            try await management.program.event("deregistered")
            let answers = management.program.output.events("answered")
            #expect(answers.map { $0.text("operation") } == ["read", "write", "execute", "observe"])
            #expect(answers.map { $0.text("code") } == ["2.05", "2.04", "2.04", "2.05"])
            #expect(answers.first?.text("payload") == "Bootgate")
            let notifications = management.program.output.events("notification")
            #expect(notifications.map { $0.text("payload") } == ["1", "2", "3"])

            // What the journal keeps.
            for event in [
                "bootstrap.requested", "bootstrap.forwarded", "credential.minted", "bootstrap.written",
                "bootstrap.finished", "credential.active", "registration.opened", "registration.closed",
            ] { try await gateway.record(event, of: sim) }
            try await stage.run(
                "bootgate audit verify", Programs.gateway, ["audit", "verify", "--config", gateway.configuration])
        }
    }
}
