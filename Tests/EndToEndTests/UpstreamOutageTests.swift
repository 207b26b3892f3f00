internal import CoAP
internal import Foundation
internal import Testing

/// Both servers are away for a while. What counts is what the gateway has seen of it, not how long it was.
@Suite("Servers that are away for a while")
struct UpstreamOutageTests {
    enum Outage: String, CaseIterable, Sendable, CustomTestStringConvertible {
        /// The machines are there, the programs are not.
        case refused
        /// Nothing comes back at all.
        case silent

        var testDescription: String { self.rawValue }
    }

    @Test(
        "Bootstraps get 5.03 with Max-Age, registered devices 5.04, and all goes on afterwards",
        arguments: Outage.allCases)
    func outage(outage: Outage) async throws {
        try await Stage.run { stage in
            let (gateway, bootstrap, management) = try await stage.everything(
                more: "admin: { listen: \"\(stage.address):0\", metrics: open }")
            let monitoring = try await Monitoring(of: gateway)
            let port = (stage.address, gateway.securePort)
            let account = stage.folder.appendingPathComponent("account").path
            let sim = try await stage.addSIM(to: gateway)
            let first = try stage.device(
                stage.credentials(sim, at: gateway) + ["--bootstrap-only", "--save-account", account])
            #expect(try await first.exit(within: .seconds(60)) == 0)
            let registered = try RoamingDevice(
                account: account, from: stage.otherAddress, to: port, patience: .seconds(120))
            let created = try registered.request(.post, ["rd"], query: ["ep=\(sim.iccid)", "lt=300", "lwm2m=1.1"])
            #expect(created.code == .created)
            let location = created.options.strings(.locationPath) ?? []
            let newcomer = try await stage.addSIM(to: gateway)
            let device = try RoamingDevice(
                newcomer.iccid, key: newcomer.key, from: stage.otherAddress, to: port, patience: .seconds(120))

            let servers = [bootstrap, management]
            for server in servers { server.program.signal(outage == .silent ? SIGSTOP : SIGKILL) }
            if outage == .refused {
                for server in servers { _ = try await server.program.exit(within: .seconds(10)) }
            }
            let update = try registered.request(.post, location)
            #expect(update.code == .gatewayTimeout)
            // At most so many find out that nobody answers; then nobody is kept waiting any more.
            var answers: [CoAPMessage] = []
            repeat {
                answers.append(try device.request(.post, ["bs"], query: ["ep=\(newcomer.iccid)"]))
            } while answers.count < 8 && answers.last?.code == .gatewayTimeout
            #expect(answers.last?.code == .serviceUnavailable, "\(answers.map(\.code))")
            let wait = try #require(answers.last?.options.uint(.maxAge))
            #expect((1...60).contains(wait))
            _ = try await monitoring.until("down", { try await monitoring.get("/readyz") }) { answer in
                answer.status == 503 && answer.body.contains("no bootstrap server is reachable")
            }
            try await gateway.remedy(for: outage == .silent ? "upstream silent" : "upstream unreachable")

            if outage == .silent {
                for server in servers { server.program.signal(SIGCONT) }
            } else {
                let places = try servers.map { "\(stage.address):\(try #require($0.port))" }
                _ = try await stage.bootstrapServer([
                    "--server-uri", management.uri, "--ssid", "1111", "--listen", places[0],
                ])
                _ = try await stage.managementServer(["--listen", places[1]])
            }
            // The gateway finds out by itself.
            _ = try await monitoring.until("ready", { try await monitoring.get("/readyz") }) { $0.status == 200 }
            _ = try await monitoring.until("up", monitoring.metrics) { series in
                let upstreams = series.filter { $0.key.hasPrefix("upstream_up{") }
                return upstreams.count == 2 && upstreams.values.allSatisfy { $0 == 1 }
            }
            let late = try stage.device(stage.credentials(newcomer, at: gateway) + ["--once"])
            #expect(try await late.exit(within: .seconds(60)) == 0)
            // A server that lost its memory says so itself.
            #expect(try registered.request(.post, location).code == (outage == .silent ? .changed : .notFound))
            try await stage.verifyJournal(of: gateway)
        }
    }
}
