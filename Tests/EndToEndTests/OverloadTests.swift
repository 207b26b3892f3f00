internal import Foundation
internal import Synchronization
internal import Testing

/// What a gateway turns away when too much comes, and whom it spares.
@Suite("A flood keeps strangers out, and nobody who is in")
struct OverloadTests {
    private static let token = "a-token-of-a-viewer"

    /// A gateway with room for few handshakes, that gives them up soon.
    private func gateway(
        on stage: Stage, limits: String, bootstrapServer arguments: [String] = []
    ) async throws -> Gateway {
        let management = try await stage.managementServer()
        let bootstrap = try await stage.bootstrapServer(["--server-uri", management.uri, "--ssid", "1111"] + arguments)
        var settings = Stage.Settings(upstreams: [bootstrap.uri], server: management.uri)
        settings.devicePatience = "{ ack-timeout: 300ms, max-retransmit: 2, handshake-timeout: 8s }"
        settings.more = try Monitoring.configuration(on: stage, token: Self.token) + "\nlimits: \(limits)\n"
        return try await stage.gateway(settings)
    }

    @Test(
        "Half-open handshakes from many sources raise the level; running and registered devices go on, and it returns")
    func levels() async throws {
        try await Stage.run { stage in
            let gateway = try await self.gateway(
                on: stage, limits: "{ half-open: 40, overload: { hold: 500ms } }", bootstrapServer: ["--pause", "1"])
            let monitoring = try await Monitoring(of: gateway, token: Self.token)
            #expect(try await monitoring.metrics()["overload_level"] == 0)
            let plainSIM = try await stage.addSIM(to: gateway, ["address=\(stage.address)"])
            let registered = try stage.device(
                stage.credentials(try await stage.addSIM(to: gateway), at: gateway) + ["--bind", stage.otherAddress])
            try await registered.event("registered")
            let runningSIM = try await stage.addSIM(to: gateway)
            let running = try stage.device(
                stage.credentials(runningSIM, at: gateway) + ["--bind", stage.otherAddress, "--once"])
            try await gateway.record("bootstrap.forwarded", of: runningSIM)

            var flood = try HandshakeFlood(gateway)
            try flood.open(31) { "127.200.\($0 / 200).\(1 + $0 % 200)" }
            _ = try await monitoring.until("overload", monitoring.metrics) { $0["overload_level", default: 0] == 2 }
            let record = try await gateway.journal.event("gateway.overload")
            #expect(record.description.contains("half-open"))
            let status = try await monitoring.get("/v1/status").body
            #expect(status.contains(#""overloadMeasure":"half-open""#))
            // A stranger gets no cookie, a plain device is told to come later.
            let stranger = try UDPSocket(from: "127.201.0.1")
            let hello = ClientHello(using: &flood.generator).datagram()
            stranger.send(hello, to: gateway.address, port: gateway.securePort)
            let turnedAway = #"dropped_total{reason="overload"}"#
            _ = try await monitoring.until("no cookie", monitoring.metrics) { $0[turnedAway, default: 0] >= 1 }
            let plain = try stage.device([
                "--bootstrap", gateway.plain, "--endpoint", plainSIM.iccid, "--bind", stage.address, "--bootstrap-only",
            ])
            #expect(try await plain.event("failed").text("code") == "5.03")
            #expect(stranger.receive(milliseconds: 0) == nil)

            registered.signal(SIGUSR1)
            try await registered.event("updated")
            #expect(try await running.exit(within: .seconds(60)) == 0)

            _ = try await monitoring.until("normal", monitoring.metrics) { $0["overload_level"] == 0 }
            stranger.send(hello, to: gateway.address, port: gateway.securePort)
            #expect(stranger.receive(milliseconds: 20_000).flatMap { ClientHello.cookie(of: $0) } != nil)
            let later = try stage.device([
                "--bootstrap", gateway.plain, "--endpoint", plainSIM.iccid, "--bind", stage.address, "--bootstrap-only",
            ])
            #expect(try await later.exit(within: .seconds(60)) == 0)
            let levels = gateway.journal.output.events("gateway.overload")
            #expect(levels.count >= 3, "\(levels)")
        }
    }

    @Test("Half-open handshakes of one source fill its own share and keep nobody else out")
    func oneSource() async throws {
        try await Stage.run { stage in
            let gateway = try await self.gateway(on: stage, limits: "{ half-open: 40, half-open-per-source: 5 }")
            let monitoring = try await Monitoring(of: gateway, token: Self.token)
            var flood = try HandshakeFlood(gateway)
            try flood.open(60) { _ in stage.otherAddress }
            let metrics = try await monitoring.until("full", monitoring.metrics) {
                $0[#"dropped_total{reason="half_open_per_source"}"#, default: 0] >= 55
            }
            #expect(metrics["half_open", default: 99] <= 5)
            #expect(metrics["overload_level"] == 0)
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(sim, at: gateway) + ["--bind", stage.address, "--once"])
            #expect(try await device.exit(within: .seconds(60)) == 0)
        }
    }

    @Test("Wrong keys make an identity wait at their source, and not the true device at another")
    func wrongKeys() async throws {
        try await Stage.run { stage in
            let gateway = try await self.gateway(on: stage, limits: "{ half-open: 40 }")
            let sim = try await stage.addSIM(to: gateway)
            let wrong = stage.credentials(sim, at: gateway, key: String(sim.key.reversed()))
            for number in 1...3 {
                let thief = try stage.device(wrong + ["--bind", stage.otherAddress, "--bootstrap-only"])
                let count = Atomic(0)
                try await gateway.journal.event("bootstrap.refused") { record in
                    record.text("cause") == "wrong key"
                        && count.add(1, ordering: .relaxed).newValue == number
                }
                await thief.stop()
            }
            try await gateway.record("bootstrap.refused", of: sim, cause: "too many wrong keys")
            try await gateway.remedy(for: "too many wrong keys")
            // There even the right key meets the silence of a wrong one.
            let there = try stage.device(
                stage.credentials(sim, at: gateway) + [
                    "--bind", stage.otherAddress, "--bootstrap-only", "--patience", "3",
                ])
            #expect(try await there.exit(within: .seconds(60)) == 1)
            #expect(there.output.events("connected").isEmpty)
            let device = try stage.device(stage.credentials(sim, at: gateway) + ["--bind", stage.address, "--once"])
            #expect(try await device.exit(within: .seconds(60)) == 0)
            let refused = gateway.journal.output.events("bootstrap.refused")
            #expect(refused.count == 4, "\(refused)")
            let counters = try await gateway.countersAtStop()
            #expect(counters.text("back_offs") == "1")
            #expect(counters.text("dropped_back_off") == "1")
        }
    }
}

/// Handshakes that go as far as the server's own flight, and no further.
struct HandshakeFlood: ~Copyable {
    private let gateway: Gateway
    var generator: SeededGenerator

    init(_ gateway: Gateway, seed: UInt64 = 1) throws {
        self.gateway = gateway
        self.generator = SeededGenerator(seed: seed)
    }

    /// Opens so many, each from a port of its own at the address for its number.
    mutating func open(_ count: Int, from address: (Int) -> String) throws {
        for number in 0..<count {
            let socket = try UDPSocket(from: address(number))
            let hello = ClientHello(using: &self.generator)
            for _ in 0..<20 {
                socket.send(hello.datagram(), to: self.gateway.address, port: self.gateway.securePort)
                guard let cookie = socket.receive(milliseconds: 1000).flatMap({ ClientHello.cookie(of: $0) }) else {
                    continue
                }
                socket.send(hello.datagram(cookie: cookie), to: self.gateway.address, port: self.gateway.securePort)
                break
            }
        }
    }
}
