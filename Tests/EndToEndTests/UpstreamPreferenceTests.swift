internal import Foundation
internal import Testing

/// Two bootstrap servers in order of preference, one of which goes and comes back.
@Suite("The next server stands in while the preferred one is away")
struct UpstreamPreferenceTests {
    private static let token = "a-token-of-a-viewer"

    @Test(
        "A preferred server that dies is noticed without a device, the second one serves, and the first one again later"
    )
    func preferredServer() async throws {
        try await Stage.run { stage in
            let management = try await stage.managementServer()
            let accounts = ["--server-uri", management.uri, "--ssid", "1111"]
            let first = try await stage.bootstrapServer(accounts)
            let second = try await stage.bootstrapServer(accounts)
            var settings = Stage.Settings(upstreams: [first.uri, second.uri], server: management.uri)
            settings.more =
                try Monitoring.configuration(on: stage, token: Self.token)
                + "\npool: { probe: 500ms, return-after: 1s }\n"
            let gateway = try await stage.gateway(settings)
            let monitoring = try await Monitoring(of: gateway, token: Self.token)
            func bootstrap() async throws {
                let sim = try await stage.addSIM(to: gateway)
                let device = try stage.device(stage.credentials(sim, at: gateway) + ["--bootstrap-only"])
                #expect(try await device.exit(within: .seconds(60)) == 0)
            }
            func label(_ metric: String, _ server: Stage.Server) -> String {
                "\(metric){upstream=\"\(server.uri)\",leg=\"bootstrap\"}"
            }
            try await bootstrap()
            #expect(first.program.output.events("request").count == 1)

            try await first.kill()
            _ = try await monitoring.until("down", monitoring.metrics) { $0[label("upstream_up", first)] == 0 }
            try await gateway.program.logged("the outage") { $0.text("message") == "an upstream does not answer" }
            #expect(try await monitoring.get("/readyz").status == 200)
            try await bootstrap()
            #expect(second.program.output.events("request").count == 1)

            let again = try await stage.bootstrapServer(accounts + ["--listen", "\(stage.address):\(first.port ?? 0)"])
            _ = try await monitoring.until("steady", monitoring.metrics) { $0[label("upstream_steady", first)] == 1 }
            try await bootstrap()
            #expect(again.program.output.events("request").count == 1)
            #expect(second.program.output.events("request").count == 1)

            try await again.kill()
            try await second.kill()
            _ = try await monitoring.until("not ready", { try await monitoring.get("/readyz") }) { $0.status == 503 }
        }
    }

    @Test("A server that hangs is noticed by its silence, and is ready again with its first word")
    func hangingServer() async throws {
        try await Stage.run { stage in
            let server = try await stage.bootstrapServer([])
            var settings = Stage.Settings(upstreams: [server.uri], server: "coap://192.0.2.1")
            settings.more =
                try Monitoring.configuration(on: stage, token: Self.token) + "\npool: { probe: 500ms }\n"
            let gateway = try await stage.gateway(settings)
            let monitoring = try await Monitoring(of: gateway, token: Self.token)
            server.program.signal(SIGSTOP)
            _ = try await monitoring.until("not ready", { try await monitoring.get("/readyz") }) { $0.status == 503 }
            server.program.signal(SIGCONT)
            _ = try await monitoring.until("ready", { try await monitoring.get("/readyz") }) { $0.status == 200 }
        }
    }
}
