internal import Foundation
internal import Testing

/// Metrics, health and status of a gateway that serves devices.
@Suite("What monitoring sees of a running gateway")
struct MonitoringTests {
    private static let token = "a-token-of-a-viewer"

    @Test("Metrics count a bootstrap and a registration, and rise with the next")
    func metrics() async throws {
        try await Stage.run { stage in
            let more = try Monitoring.configuration(on: stage, token: Self.token)
            let (gateway, _, _) = try await stage.everything(more: more)
            let monitoring = try await Monitoring(of: gateway, token: Self.token)
            let finished = #"bootstraps_total{result="finished",cause="",security="dtls"}"#
            let before = try await monitoring.metrics()
            #expect(before[finished] == 0)
            #expect(before["bootstrap_seconds_count"] == 0)
            #expect(before["handshake_seconds_count"] == 0)
            #expect(before["registrations"] == 0)
            #expect(before.keys.contains { $0.hasPrefix(#"build_info{version=""#) })
            #expect(before[#"credentials{state="active"}"#] == 0)
            #expect(before["audit_lag_seconds"] != nil)

            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(sim, at: gateway))
            try await device.event("registered")
            try await gateway.record("registration.opened", of: sim)
            let after = try await monitoring.until("counted", monitoring.metrics) { $0["registrations"] == 1 }
            #expect(after[finished] == 1)
            #expect(after["bootstrap_seconds_count"] == 1)
            #expect(after[#"bootstrap_seconds_bucket{le="+Inf"}"#] == 1)
            #expect(after["bootstrap_seconds_sum", default: 0] > 0)
            // The bootstrap's and the registration's.
            let suites = after.filter { $0.key.hasPrefix(#"handshakes_total{result="completed""#) }
            #expect(suites.map(\.value) == [2])
            #expect(suites.keys.first?.contains(#"suite="TLS_PSK_WITH_"#) == true)
            #expect(after["handshake_seconds_count"] == 2)
            #expect(after["pool_wait_seconds_count", default: 0] >= 2)
            #expect(after[#"datagrams_total{leg="upstream",direction="in"}"#, default: 0] > 0)
            #expect(after["audit_records_total", default: 0] > before["audit_records_total", default: .infinity])
            let leases = after.filter { $0.key.hasPrefix("pool_leases{") && $0.key.contains(#"state="leased""#) }
            #expect(leases.values.reduce(0, +) == 1)

            let stranger = try stage.device(stage.credentials(sim, at: gateway, endpoint: "another"))
            try await gateway.record("bootstrap.refused", of: sim, cause: "endpoint mismatch")
            let refused = #"bootstraps_total{result="failed",cause="endpoint_mismatch",security="dtls"}"#
            _ = try await monitoring.until("refused", monitoring.metrics) { $0[refused, default: 0] >= 1 }
            await stranger.stop()
        }
    }

    @Test("Retransmissions count on the leg where nobody acknowledges")
    func retransmissions() async throws {
        try await Stage.run { stage in
            let more = try Monitoring.configuration(on: stage, token: Self.token)
            let (gateway, bootstrap, _) = try await stage.everything(more: more)
            let monitoring = try await Monitoring(of: gateway, token: Self.token)
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(sim, at: gateway))
            try await device.event("registered")
            try await gateway.record("registration.opened", of: sim)
            let before = try await monitoring.metrics()

            // The device sleeps while it is asked to bootstrap again.
            device.signal(SIGSTOP)
            try await stage.sim(["rebootstrap", sim.iccid], at: gateway)
            let toDevice = #"coap_retransmits_total{leg="device"}"#
            _ = try await monitoring.until("sent again", monitoring.metrics) {
                $0[toDevice, default: 0] > before[toDevice, default: 0]
            }
            device.signal(SIGKILL)

            // The server sleeps while a device asks.
            bootstrap.program.signal(SIGSTOP)
            let other = try await stage.addSIM(to: gateway)
            let asking = try stage.device(stage.credentials(other, at: gateway))
            let toServer = #"coap_retransmits_total{leg="upstream"}"#
            _ = try await monitoring.until("sent again", monitoring.metrics) {
                $0[toServer, default: 0] > before[toServer, default: 0]
            }
            bootstrap.program.signal(SIGKILL)
            await asking.stop()
        }
    }

    @Test("A reload counts by what became of it")
    func reloads() async throws {
        try await Stage.run { stage in
            let more = try Monitoring.configuration(on: stage, token: Self.token)
            let (gateway, _, _) = try await stage.everything(more: more)
            let monitoring = try await Monitoring(of: gateway, token: Self.token)
            try await gateway.rewrite { $0 + "\nunmatched: perhaps\n" }
            try await gateway.reload()
            try await gateway.rewrite { $0.replacing("unmatched: perhaps", with: "unmatched: keep") }
            try await gateway.reload(number: 2)
            let metrics = try await monitoring.metrics()
            #expect(metrics[#"reloads_total{outcome="applied"}"#] == 1)
            #expect(metrics[#"reloads_total{outcome="refused"}"#] == 1)
        }
    }

    @Test("What log-and-audit mode lets through counts by the cause for which it would be refused")
    func wouldRefuse() async throws {
        try await Stage.run { stage in
            let more = "admin: { listen: \"\(stage.address):0\", metrics: open }\nmode: audit"
            let (gateway, _, _) = try await stage.everything(more: more)
            let monitoring = try await Monitoring(of: gateway)
            let device = try stage.device([
                "--bootstrap", gateway.plain, "--endpoint", "legacy", "--bind", stage.address, "--bootstrap-only",
            ])
            #expect(try await device.exit(within: .seconds(60)) == 0)
            let metrics = try await monitoring.metrics()
            #expect(metrics[#"would_refuse_total{cause="unauthorized"}"#] == 1)
            #expect(metrics[#"bootstraps_total{result="finished",cause="",security="plain"}"#] == 1)
        }
    }

    @Test("Without a token only health is told, and a token that is not right is none")
    func tokens() async throws {
        try await Stage.run { stage in
            let more = try Monitoring.configuration(on: stage, token: Self.token)
            let (gateway, _, _) = try await stage.everything(more: more)
            let monitoring = try await Monitoring(of: gateway)
            #expect(try await monitoring.get("/healthz").status == 200)
            #expect(try await monitoring.get("/readyz").status == 200)
            for path in ["/metrics", "/v1/status"] {
                for wrong in [nil, "Bearer", "Bearer ", "Bearer \(Self.token)x", "Basic \(Self.token)", Self.token] {
                    let answer = try await monitoring.get(path, authorization: wrong)
                    #expect(answer.status == 401, "\(path) with \(wrong ?? "nothing")")
                    #expect(!answer.body.contains("bootgate_"))
                }
                #expect(try await monitoring.get(path, authorization: "Bearer \(Self.token)").status == 200)
                #expect(try await monitoring.get(path, authorization: "bearer \(Self.token)").status == 200)
            }
            let page = try await monitoring.get("/metrics", authorization: "Bearer \(Self.token)")
            #expect(page.type == "text/plain; version=0.0.4; charset=utf-8")
            #expect(try await monitoring.get("/v1/other", authorization: "Bearer \(Self.token)").status == 404)
            // Nobody learns the token from what the gateway writes.
            #expect(!gateway.program.errors.all.contains { $0.contains(Self.token) })
        }
    }

    @Test("With open metrics monitoring needs no token for them, but for the status")
    func open() async throws {
        try await Stage.run { stage in
            let more = "admin: { listen: \"\(stage.address):0\", metrics: open }"
            let (gateway, _, _) = try await stage.everything(more: more)
            let monitoring = try await Monitoring(of: gateway)
            #expect(try await monitoring.metrics()["ready"] == 1)
            #expect(try await monitoring.get("/v1/status").status == 401)
        }
    }

    @Test("Readiness ends when the bootstrap server is down, says so everywhere, and returns with the server")
    func readiness() async throws {
        try await Stage.run { stage in
            let more = try Monitoring.configuration(on: stage, token: Self.token)
            let (gateway, bootstrap, management) = try await stage.everything(more: more)
            let monitoring = try await Monitoring(of: gateway, token: Self.token)
            #expect(try await monitoring.get("/readyz").body == "ready\n")
            let sim = try await stage.addSIM(to: gateway)
            let port = try #require(bootstrap.port)
            try await bootstrap.kill()
            // The first device that asks finds out.
            let device = try stage.device(stage.credentials(sim, at: gateway))
            let down = try await monitoring.until("down", { try await monitoring.get("/readyz") }) { $0.status == 503 }
            #expect(down.body == "no bootstrap server is reachable\n")
            #expect(try await monitoring.get("/healthz").status == 200)
            let series = #"upstream_up{upstream="\#(bootstrap.uri)",leg="bootstrap"}"#
            let metrics = try await monitoring.until("down", monitoring.metrics) { $0["ready"] == 0 }
            #expect(metrics[series] == 0)
            let status = try stage.status(of: gateway)
            #expect(try await status.exit(within: .seconds(30)) == 69)
            #expect(status.output.all.first?.hasPrefix("NOT READY") == true)
            #expect(status.output.all.contains("  no bootstrap server is reachable"))
            #expect(status.output.all.contains { $0.contains(bootstrap.uri) && $0.contains("DOWN") })
            await device.stop()

            _ = try await stage.bootstrapServer([
                "--server-uri", management.uri, "--ssid", "1111", "--listen", "\(stage.address):\(port)",
            ])
            _ = try await monitoring.until("up", { try await monitoring.get("/readyz") }) { $0.status == 200 }
            _ = try await monitoring.until("up", monitoring.metrics) { $0[series] == 1 }
        }
    }

    @Test("The status needs no HTTP: it comes through the state folder, and is for people and for programs")
    func status() async throws {
        try await Stage.run { stage in
            let (gateway, _, management) = try await stage.everything()
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(sim, at: gateway))
            try await device.event("registered")
            try await gateway.record("registration.opened", of: sim)

            let text = try await stage.run(
                "bootgate status", Programs.gateway, ["status", "--config", gateway.configuration])
            #expect(text.first?.hasPrefix("ready, version ") == true)
            #expect(text.contains { $0.hasPrefix("listeners") && $0.contains(gateway.secure) })
            #expect(text.contains("registrations   1"))
            #expect(text.contains("bootstraps      1 finished, 0 failed"))
            #expect(text.contains { $0.contains(management.uri) && $0.contains("registration") && $0.contains("up") })

            let lines = try await stage.run(
                "bootgate status", Programs.gateway, ["status", "--json", "--config", gateway.configuration])
            let status = try #require(lines.first.flatMap(Event.init))
            #expect(lines.count == 1)
            #expect(status.boolean("isReady") == true)
            #expect(status.integer("registrations") == 1)
            #expect(status.integer("bootstrapsFinished") == 1)
            #expect(status.list("listeners") == [gateway.secure, gateway.plain])

            // Whoever may not open the state folder's socket may not ask.
            let socket = stage.folder.appendingPathComponent("state/gateway.sock").path
            let mode = try FileManager.default.attributesOfItem(atPath: socket)[.posixPermissions] as? NSNumber
            #expect(mode?.intValue == 0o660)
            // Nothing listens where nothing was asked for.
            #expect(!gateway.program.errors.all.contains { Event($0)?.text("message") == "monitoring" })

            await gateway.program.stop()
            #expect(!FileManager.default.fileExists(atPath: socket))
            let gone = try stage.status(of: gateway)
            #expect(try await gone.exit(within: .seconds(30)) == 69)
            #expect(gone.output.all.isEmpty)
            #expect(gone.errors.all.first?.contains("no gateway answers") == true)
        }
    }

    @Test("The socket that a killed gateway leaves behind does not hinder the next start")
    func staleSocket() async throws {
        try await Stage.run { stage in
            let (gateway, _, _) = try await stage.everything()
            gateway.program.signal(SIGKILL)
            #expect(try await gateway.program.exit(within: .seconds(10)) == 128 + SIGKILL)
            let socket = stage.folder.appendingPathComponent("state/gateway.sock").path
            #expect(FileManager.default.fileExists(atPath: socket))
            let gone = try stage.status(of: gateway)
            #expect(try await gone.exit(within: .seconds(30)) == 69)

            let again = try await stage.restart(gateway)
            let status = try stage.status(of: again)
            #expect(try await status.exit(within: .seconds(30)) == 0)
        }
    }

    @Test("An address of monitoring that another program has ends the start with 69 and says so")
    func taken() async throws {
        try await Stage.run { stage in
            let more = try Monitoring.configuration(on: stage, token: Self.token)
            let (gateway, _, _) = try await stage.everything(more: more)
            let monitoring = try await Monitoring(of: gateway)
            let folder = stage.folder.appendingPathComponent("other").path
            let text = try String(contentsOfFile: gateway.configuration, encoding: .utf8)
                .replacingOccurrences(of: "\(stage.folder.path)/state", with: folder)
                .replacingOccurrences(
                    of: "listen: \"\(stage.address):0\"", with: "listen: \"\(stage.address):\(monitoring.port)\""
                )
                .replacingOccurrences(of: gateway.secure, with: "coaps://\(stage.address):\(try stage.freePort())")
                .replacingOccurrences(of: gateway.plain, with: "coap://\(stage.address):\(try stage.freePort())")
            let path = stage.folder.appendingPathComponent("other.yaml").path
            try text.write(toFile: path, atomically: true, encoding: .utf8)
            let second = try stage.start("second gateway", Programs.gateway, ["serve", "--config", path])
            #expect(try await second.exit(within: .seconds(30)) == 69)
            #expect(second.output.all.isEmpty)
            #expect(second.errors.all.contains { $0.contains("\(stage.address):\(monitoring.port)") })
        }
    }
}

extension Stage {
    /// `bootgate status`, which may end badly.
    fileprivate func status(of gateway: Gateway) throws -> Program {
        try self.start("bootgate status", Programs.gateway, ["status", "--config", gateway.configuration])
    }
}
