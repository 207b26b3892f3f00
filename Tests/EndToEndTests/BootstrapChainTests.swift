internal import Foundation
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
            try await stage.verifyJournal(of: gateway)
        }
    }

    @Test("T13: a plain device at the address of its SIM bootstraps, and no key goes out in clear")
    func plainDevice() async throws {
        try await Stage.run { stage in
            let (gateway, _, management) = try await stage.everything()
            let sim = try await stage.addSIM(to: gateway, ["address=\(stage.address)"])
            let device = try stage.device([
                "--bootstrap", gateway.plain, "--endpoint", sim.iccid, "--bind", stage.address, "--bootstrap-only",
            ])
            #expect(try await device.exit(within: .seconds(60)) == 0)
            let accounts = device.output.events("account")
            #expect(accounts.count == 2)
            for account in accounts {
                #expect(account.integer("mode") == 3)
                #expect(account.integer("keyBytes") == 0)
                #expect(account.text("identity") == nil)
            }
            #expect(accounts.first { $0.boolean("bootstrap") == false }?.text("uri") == management.uri)
            #expect(accounts.first { $0.boolean("bootstrap") == true }?.text("uri") == gateway.plain)
            try await gateway.record("bootstrap.finished", of: sim)
        }
    }

    @Test("T13: a plain device at another address gets 4.00, and the bootstrap server hears nothing of it")
    func plainStranger() async throws {
        try await Stage.run { stage in
            let (gateway, bootstrap, _) = try await stage.everything()
            let sim = try await stage.addSIM(to: gateway, ["address=192.0.2.7"])
            let device = try stage.device([
                "--bootstrap", gateway.plain, "--endpoint", sim.iccid, "--bind", stage.address, "--bootstrap-only",
            ])
            #expect(try await device.exit(within: .seconds(60)) == 1)
            #expect(try await device.event("failed").text("code") == "4.00")
            try await gateway.journal.event("bootstrap.refused") { $0.text("cause") == "unauthorized" }
            try await gateway.remedy(for: "unauthorized")
            #expect(bootstrap.program.output.events("request").isEmpty)
        }
    }

    @Test(
        "A device bootstraps in every way that devices and servers differ in",
        arguments: [
            Variation("registers from the port that it bootstrapped from", device: ["--same-port"]),
            Variation("leaves its endpoint name out", device: ["--no-ep"]),
            Variation("registers as version 1.0", device: ["--version", "1.0"]),
            Variation("asks again in the middle", device: ["--repeat-request", "2"]),
            Variation("gets whole objects", server: ["--object-level"]),
        ])
    func variation(_ variation: Variation) async throws {
        try await Stage.run { stage in
            let (gateway, bootstrap, management) = try await stage.everything(
                bootstrapServer: variation.server, managementServer: ["--read", "/3/0/0"])
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(sim, at: gateway) + ["--once"] + variation.device)
            #expect(try await device.exit(within: .seconds(60)) == 0)
            try await bootstrap.program.event("finished") { $0.text("endpoint") == sim.iccid }
            try await management.program.event("answered") { $0.text("code") == "2.05" }
            try await management.program.event("deregistered") { $0.text("endpoint") == sim.iccid }
            let server = try #require(device.output.events("account").last { $0.boolean("bootstrap") == false })
            #expect(server.text("uri") == gateway.secure)
            #expect(server.integer("keyBytes") == 16)
        }
    }

    struct Variation: Sendable, CustomTestStringConvertible {
        let testDescription: String
        let device: [String]
        let server: [String]

        init(_ description: String, device: [String] = [], server: [String] = []) {
            self.testDescription = description
            self.device = device
            self.server = server
        }
    }

    @Test("A device under another name is known upstream by its record's name where the policy is to replace")
    func replacedName() async throws {
        try await Stage.run { stage in
            let (gateway, bootstrap, management) = try await stage.everything()
            let sim = try await stage.addSIM(to: gateway, ["endpoint-policy=replace", "endpoint=meter-7"])
            let device = try stage.device(stage.credentials(sim, at: gateway, endpoint: "my-own-name") + ["--once"])
            #expect(try await device.exit(within: .seconds(60)) == 0)
            try await bootstrap.program.event("finished") { $0.text("endpoint") == "meter-7" }
            try await management.program.event("registered") { $0.text("endpoint") == "meter-7" }
        }
    }

    @Test("Devices one after another all finish, each with keys of its own")
    func manyDevices() async throws {
        try await Stage.run { stage in
            let (gateway, _, _) = try await stage.everything()
            let sim = try await stage.addSIM(to: gateway)
            let other = try await stage.addSIM(to: gateway)
            var keys: [String] = []
            // The upstream sockets are used again and again, within the time for which a server remembers messages.
            for sim in [sim, other, sim, other, sim, other] {
                let device = try stage.device(stage.credentials(sim, at: gateway) + ["--bootstrap-only"])
                #expect(try await device.exit(within: .seconds(60)) == 0)
                let server = try #require(device.output.events("account").first { $0.boolean("bootstrap") == false })
                keys.append(try #require(server.text("keyFingerprint")))
            }
            #expect(Set(keys).count == 6)
        }
    }

    @Test("A server that asks for it makes the device bootstrap and register again")
    func triggeredBootstrap() async throws {
        try await Stage.run { stage in
            let (gateway, bootstrap, management) = try await stage.everything(
                managementServer: ["--execute", "/1/0/9"])
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(sim, at: gateway))
            // Each registration is asked to bootstrap again, so there is a second one.
            try await management.program.event("registered") { $0.text("location") == "/rd/2" }
            device.signal(SIGKILL)
            #expect(bootstrap.program.output.events("finished").count >= 2)
        }
    }

    @Test("After kill -9 the journal verifies, and a device gets in with the key that it has")
    func killedGateway() async throws {
        try await Stage.run { stage in
            let (gateway, _, management) = try await stage.everything()
            let sim = try await stage.addSIM(to: gateway)
            let file = stage.folder.appendingPathComponent("account").path
            let device = try stage.device(
                stage.credentials(sim, at: gateway) + ["--bootstrap-only", "--save-account", file])
            #expect(try await device.exit(within: .seconds(60)) == 0)
            try await gateway.record("bootstrap.finished", of: sim)
            gateway.program.signal(SIGKILL)
            #expect(try await gateway.program.exit(within: .seconds(10)) == 128 + SIGKILL)

            let again = try await stage.restart(gateway)
            let returning = try stage.device(["--account", file, "--endpoint", sim.iccid, "--once"])
            #expect(try await returning.exit(within: .seconds(60)) == 0)
            try await management.program.event("deregistered") { $0.text("endpoint") == sim.iccid }
            try await again.record("credential.active", of: sim)
            try await stage.verifyJournal(of: again)
        }
    }
}

@Suite("Bodies in blocks, from end to end")
struct BlockChainTests {
    @Test(
        "A server writes more than 3 KiB at once and reads as much back, each side in blocks of its own",
        arguments: [(server: 64, device: 512), (256, 16), (512, 64), (1024, 1024)])
    func largeAccounts(server: Int, device: Int) async throws {
        try await Stage.run { stage in
            // Servers without a rule, so that a written object is large.
            let extra = (0..<60).flatMap { ["--extra-server", "coap://server-\($0).example.net:5683,\(2_000 + $0)"] }
            let (gateway, bootstrap, _) = try await stage.everything(
                bootstrapServer: ["--object-level", "--discover", "--block-size", "\(server)"] + extra,
                blocks: (upstream: 128, device: device), more: "unmatched: keep")
            let sim = try await stage.addSIM(to: gateway)
            let client = try stage.device(stage.credentials(sim, at: gateway) + ["--bootstrap-only"])
            #expect(try await client.exit(within: .seconds(60)) == 0)
            try await bootstrap.program.event("finished") { $0.text("endpoint") == sim.iccid }

            let sent = bootstrap.program.output.events("sent").compactMap { $0.integer("bytes") }
            #expect(sent.contains { $0 > 3_072 })
            let accounts = client.output.events("account")
            #expect(accounts.count == 62)
            for index in 0..<60 {
                let uri = "coap://server-\(index).example.net:5683"
                #expect(accounts.contains { $0.text("uri") == uri && $0.integer("ssid") == 2_000 + index })
            }
            let own = try #require(accounts.first { $0.integer("ssid") == 1111 })
            #expect(own.text("uri") == gateway.secure && own.integer("keyBytes") == 16)
            let answers = bootstrap.program.output.events("answered")
            #expect(answers.allSatisfy { $0.text("code")?.hasPrefix("2.") == true })
            let links = try #require(answers.first { $0.text("method") == "GET" }?.text("payload"))
            #expect(links.utf8.count > 1_024 && links.contains("</0/61>") && links.hasSuffix("</3/0>"))
            try await gateway.record("bootstrap.finished", of: sim)
            // As many messages as blocks of that size make.
            let counters = try await gateway.countersAtStop()
            let count = try #require(counters.text("datagrams_to_devices").flatMap(Int.init))
            #expect(count > sent.reduce(0, +) / device)
        }
    }
}
