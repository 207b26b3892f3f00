internal import Foundation
internal import Testing

/// SIGHUP at a gateway that serves devices.
@Suite("The configuration is read again")
struct ReloadTests {
    @Test("A new listener and other rules count at once, and a registered device notices nothing")
    func addsListener() async throws {
        try await Stage.run { stage in
            let (gateway, management) = try await stage.managed(["wait:updated", "read:/3/0/0", "wait:registered"])
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(sim, at: gateway))
            try await device.event("registered")
            let port = try stage.freePort()
            let listener = "coaps://\(stage.address):\(port)"
            try await gateway.rewrite { text in
                text.replacing("listeners: [ ", with: "listeners: [ \"\(listener)\", ")
                    .replacing("device: { secure: \"\(gateway.secure)\"", with: "device: { secure: \"\(listener)\"")
            }
            let record = try await gateway.reload()
            #expect(record.description.contains(#""outcome":"applied""#))
            #expect(record.description.contains(#""changed":["listeners","servers.meters"]"#))

            device.signal(SIGUSR1)
            try await device.event("updated")
            try await management.program.event("answered") { $0.text("code") == "2.05" }
            #expect(device.output.events("connecting").count == 2)

            // Comes by the new address, and is sent to it.
            let other = try await stage.addSIM(to: gateway)
            let second = try stage.device([
                "--bootstrap", listener, "--identity", other.iccid, "--key", other.key, "--endpoint", other.iccid,
            ])
            try await second.event("registered")
            #expect(second.output.events("connecting").compactMap { $0.text("uri") } == [listener, listener])
            try await gateway.record("registration.opened", of: other)
            #expect(gateway.journal.output.events("registration.closed").isEmpty)
        }
    }

    @Test("A bad file changes nothing: the log names line and column, the journal has it, devices go on")
    func badFile() async throws {
        try await Stage.run { stage in
            let (gateway, management) = try await stage.managed(["wait:updated", "read:/3/0/0"])
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(sim, at: gateway))
            try await device.event("registered")
            let good = try String(contentsOfFile: gateway.configuration, encoding: .utf8)
            try await gateway.rewrite { $0 + "\ndrian: 5s\nunmatched: perhaps\n" }
            let record = try await gateway.reload()
            #expect(record.description.contains(#""outcome":"refused""#))
            let line = good.split(separator: "\n", omittingEmptySubsequences: false).count + 1
            let place = "\(gateway.configuration):\(line):1: "
            try await gateway.program.logged("the mistake") {
                $0.text("message")?.hasPrefix(place) == true && $0.text("message")?.contains("did you mean") == true
            }
            #expect(record.list("reasons").isEmpty && record.description.contains(":\(line):1: "))

            device.signal(SIGUSR1)
            try await device.event("updated")
            try await management.program.event("done")
            #expect(device.output.events("connecting").count == 2)

            // The next good file counts.
            try await gateway.rewrite { _ in good.replacing("drain: 1s", with: "drain: 2s") }
            #expect(try await gateway.reload(number: 2).description.contains(#""changed":["drain"]"#))
        }
    }

    @Test("A listener that cannot be bound: everything stays as it was, and the log says which address")
    func portTaken() async throws {
        try await Stage.run { stage in
            let (gateway, _, _) = try await stage.everything()
            let taken = try UDPSocket(from: stage.address)
            let free = try stage.freePort()
            let place = "\(stage.address):\(taken.port)"
            // The first of the two can be bound, and is given back.
            try await gateway.rewrite {
                $0.replacing(
                    "listeners: [ \"\(gateway.secure)\"",
                    with: "listeners: [ \"coaps://\(stage.address):\(free)\", \"coaps://\(place)\"")
            }
            let record = try await gateway.reload()
            #expect(record.description.contains(#""outcome":"refused""#) && record.description.contains(place))
            try await gateway.program.logged("the address") {
                $0.text("message")?.hasPrefix("cannot listen on \(place)") == true
            }
            _ = try UDPSocket(from: stage.address, port: free)
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(sim, at: gateway) + ["--once"])
            #expect(try await device.exit(within: .seconds(60)) == 0)
            withExtendedLifetime(taken.port) {}
        }
    }

    @Test("A listener that goes is closed; who is registered by another one goes on")
    func removesListener() async throws {
        try await Stage.run { stage in
            let extra = try stage.freePort()
            let listener = "coaps://\(stage.address):\(extra)"
            let (gateway, _) = try await stage.managed(["wait:updated"])
            try await gateway.rewrite { $0.replacing("listeners: [ ", with: "listeners: [ \"\(listener)\", ") }
            try await gateway.reload()
            let sim = try await stage.addSIM(to: gateway)
            let bootstrapping = try stage.device([
                "--bootstrap", listener, "--identity", sim.iccid, "--key", sim.key, "--endpoint", sim.iccid,
            ])
            try await bootstrapping.event("registered")
            try await gateway.rewrite { $0.replacing("\"\(listener)\", ", with: "") }
            let record = try await gateway.reload(number: 2)
            #expect(record.description.contains(#""changed":["listeners"]"#))
            // The port is free again, and who registered by another one goes on.
            _ = try UDPSocket(from: stage.address, port: extra)
            bootstrapping.signal(SIGUSR1)
            try await bootstrapping.event("updated")
            #expect(bootstrapping.output.events("registered").count == 1)
        }
    }

    @Test("What needs a restart is said in one line, and the rest of the file does not count either")
    func needsRestart() async throws {
        try await Stage.run { stage in
            let (gateway, _, _) = try await stage.everything()
            let state = stage.folder.appendingPathComponent("elsewhere").path
            try await gateway.rewrite {
                $0.replacing("state: \(stage.folder.path)/state", with: "state: \(state)")
                    .replacing("level: info", with: "level: debug")
            }
            let record = try await gateway.reload()
            #expect(record.description.contains(#""reasons":["needs a restart: state"]"#))
            try await gateway.program.logged("the restart") { $0.text("message") == "needs a restart: state" }
            #expect(!FileManager.default.fileExists(atPath: state))
        }
    }

    @Test("Other bootstrap servers count for the next device; who is registered goes on")
    func otherBootstrapServer() async throws {
        try await Stage.run { stage in
            let (gateway, bootstrap, management) = try await stage.everything()
            let registered = try await stage.addSIM(to: gateway)
            let first = try stage.device(stage.credentials(registered, at: gateway))
            try await first.event("registered")
            let other = try await stage.bootstrapServer([
                "--server-uri", management.uri, "--account-uri", "coap://192.0.2.1:5683", "--ssid", "1111",
                "--account-ssid", "2222",
            ])
            try await gateway.rewrite { $0.replacing(bootstrap.uri, with: other.uri) }
            let record = try await gateway.reload()
            #expect(record.description.contains(#""changed":["bootstrap.upstreams"]"#))
            // Nobody asks it any more.
            try await bootstrap.kill()
            let sim = try await stage.addSIM(to: gateway)
            let second = try stage.device(stage.credentials(sim, at: gateway) + ["--once"])
            #expect(try await second.exit(within: .seconds(60)) == 0)
            try await other.program.event("finished") { $0.text("endpoint") == sim.iccid }
            first.signal(SIGUSR1)
            try await first.event("updated")
            #expect(first.output.events("connecting").count == 2)
        }
    }

    @Test("Level and format of the log change for what is logged from then on")
    func log() async throws {
        try await Stage.run { stage in
            let (gateway, _, _) = try await stage.everything()
            try await gateway.rewrite { $0.replacing("log: { level: info", with: "log: { level: error") }
            try await gateway.reload()
            try await gateway.rewrite { $0.replacing("log: { level: error", with: "log: { level: info") }
            try await gateway.reload(number: 2)
            try await gateway.program.logged("the reload") { $0.text("message") == "configuration reloaded" }
            // That of the first was below its level already.
            let lines = gateway.program.errors.events.filter { $0.text("message") == "configuration reloaded" }
            #expect(lines.count == 1)
            try await gateway.rewrite { $0.replacing("format: json", with: "format: text") }
            try await gateway.reload(number: 3)
            let line = await gateway.program.errors.first(within: .seconds(30)) {
                $0.contains("notice configuration reloaded changed=log")
            }
            #expect(line != nil)
        }
    }

    @Test("Other suites count for new handshakes; a session that lives goes on")
    func suites() async throws {
        try await Stage.run { stage in
            let (gateway, management) = try await stage.managed(["wait:updated", "read:/3/0/0"])
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(sim, at: gateway))
            try await device.event("registered")
            #expect(try await Self.suite(stage, gateway, sim) == "PSK-AES128-CCM8")
            try await gateway.rewrite { $0 + "\ndtls: { suites: [TLS_PSK_WITH_AES_128_GCM_SHA256] }\n" }
            try await gateway.reload()

            #expect(try await Self.suite(stage, gateway, sim) == "PSK-AES128-GCM-SHA256")
            device.signal(SIGUSR1)
            try await device.event("updated")
            try await management.program.event("done")
            #expect(device.output.events("connecting").count == 2)
        }
    }

    @Test("Another server behind a relay gets the devices that come from then on; those of the first stay there")
    func movesRelay() async throws {
        try await Stage.run { stage in
            let (gateway, management) = try await stage.managed(["wait:updated", "read:/3/0/0"])
            let next = try await stage.managementServer()
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(sim, at: gateway))
            try await device.event("registered")
            try await gateway.rewrite {
                $0.replacing("relay: { to: \"\(management.uri)\" }", with: "relay: { to: \"\(next.uri)\" }")
            }
            #expect(try await gateway.reload().description.contains(#""changed":["servers.meters"]"#))
            let other = try await stage.addSIM(to: gateway)
            let second = try stage.device(stage.credentials(other, at: gateway))
            try await second.event("registered")
            try await next.program.event("registered") { $0.text("endpoint") == other.iccid }
            device.signal(SIGUSR1)
            try await device.event("updated")
            try await management.program.event("done")
            #expect(device.output.events("connecting").count == 2)
            #expect(gateway.journal.output.events("registration.closed").isEmpty)
        }
    }

    @Test("A secret that cannot be read refuses the file; another one counts from the next request on")
    func secrets() async throws {
        try await Stage.run { stage in
            let more = try Monitoring.configuration(on: stage, token: "the-first-token")
            let (gateway, _, _) = try await stage.everything(more: more)
            var monitoring = try await Monitoring(of: gateway, token: "the-first-token")
            #expect(try await monitoring.get("/metrics").status == 200)
            let good = stage.folder.appendingPathComponent("viewer.token").path
            try await gateway.rewrite { $0.replacing(good, with: good + ".missing") }
            let refused = try await gateway.reload()
            #expect(refused.description.contains(#""outcome":"refused""#) && refused.description.contains("prometheus"))
            #expect(try await monitoring.get("/metrics").status == 200)

            _ = try stage.keyFile("viewer.token.missing", "the-second-token")
            try await gateway.reload(number: 2)
            #expect(try await monitoring.get("/metrics").status == 401)
            monitoring.token = "the-second-token"
            #expect(try await monitoring.get("/metrics").status == 200)
        }
    }

    @Test("Two signals in a row: the file that is there at the end counts")
    func twice() async throws {
        try await Stage.run { stage in
            let (gateway, _, _) = try await stage.everything()
            for seconds in 2...6 {
                try await gateway.rewrite {
                    $0.replacing("drain: \(seconds - 1)s", with: "drain: \(seconds)s")
                }
                gateway.program.signal(SIGHUP)
            }
            try await gateway.rewrite { $0.replacing("drain: 6s", with: "drain: 6s\nunmatched: keep") }
            gateway.program.signal(SIGHUP)
            try await gateway.journal.event("gateway.reloaded") { $0.description.contains("unmatched") }
            #expect(try await gateway.countersAtStop().text("message") == "gateway stopped")
        }
    }

    @Test("A signal while the gateway drains is heard and not obeyed")
    func whileDraining() async throws {
        try await Stage.run { stage in
            let (gateway, _, _) = try await stage.everything(bootstrapServer: ["--stop-after", "0"])
            try await gateway.rewrite { $0.replacing("drain: 1s", with: "drain: 60s") }
            try await gateway.reload()
            let sim = try await stage.addSIM(to: gateway)
            _ = try stage.device(stage.credentials(sim, at: gateway))
            try await gateway.record("bootstrap.forwarded", of: sim)
            gateway.program.signal(SIGTERM)
            try await gateway.rewrite { $0 + "\nunmatched: keep\n" }
            // One that comes before the gateway has begun to drain is obeyed.
            let ignored: @Sendable (String) -> Bool = { $0.contains("the configuration is not read again") }
            repeat {
                gateway.program.signal(SIGHUP)
            } while await gateway.program.errors.first(within: .milliseconds(200), where: ignored) == nil
            gateway.program.signal(SIGKILL)
            _ = try await gateway.program.exit(within: .seconds(10))
        }
    }

    /// What the gateway chooses of two suites that OpenSSL's client offers.
    private static func suite(_ stage: Stage, _ gateway: Gateway, _ sim: SIM) async throws -> String? {
        let client = try stage.start(
            "openssl s_client", "/usr/bin/openssl",
            [
                "s_client", "-dtls1_2", "-connect", "\(gateway.address):\(gateway.securePort)", "-psk", sim.key,
                "-psk_identity", sim.iccid, "-cipher", "PSK-AES128-CCM8:PSK-AES128-GCM-SHA256:@SECLEVEL=0",
            ], input: [])
        let line = await client.output.first(within: .seconds(30)) { $0.contains("Cipher is ") }
        await client.stop()
        return line.flatMap { $0.split(separator: " ").last.map { String($0) } }
    }
}

extension Gateway {
    /// Puts another text in the place of the configuration.
    func rewrite(_ change: (String) -> String) async throws {
        // The journal's reader has read the file then.
        try await self.journal.event("gateway.started")
        let text = try String(contentsOfFile: self.configuration, encoding: .utf8)
        let changed = change(text)
        guard changed != text else { throw Unexpected("nothing of the configuration changes") }
        try changed.write(toFile: self.configuration, atomically: true, encoding: .utf8)
    }

    /// Lets it read the file again; the record of the journal that tells the outcome.
    @discardableResult
    func reload(number: Int = 1) async throws -> Event {
        self.program.signal(SIGHUP)
        return try await self.journal.event("gateway.reloaded", number: number)
    }
}
