internal import Foundation
internal import Testing

/// A registered device bootstraps again, and the bootstrap comes to nothing at some step. What the device had before goes
/// on working: its registration, its key, and its port at the server.
@Suite("A bootstrap that is aborted leaves the registration from the one before alone")
struct AbortedBootstrapTests {
    /// The commands of the bootstrap server here: Delete, three Writes, Discover, Read, and Finish.
    private static let commands = ["--discover", "--read", "/1/0", "--account-uri", "coap://192.0.2.1:5683"]
    static let beforeFinish = 6

    enum Abort: Sendable, CustomTestStringConvertible {
        /// The device takes so many commands and is gone; after 6 of them Finish does not arrive.
        case deviceVanishes(after: Int)
        /// The server sends so many commands and is gone; 0: it only accepts the request.
        case serverStops(after: Int)
        case finishRefused

        static let all: [Abort] =
            (0...beforeFinish).map { .deviceVanishes(after: $0) } + (0...beforeFinish).map { .serverStops(after: $0) }
            + [.finishRefused]

        var testDescription: String {
            switch self {
            case .deviceVanishes(let count): "the device vanishes after \(count) commands"
            case .serverStops(let count): "the server stops after \(count) commands"
            case .finishRefused: "the device refuses Finish"
            }
        }

        var device: [String] {
            switch self {
            case .deviceVanishes(let count): ["--vanish-after", "\(count)"]
            // The gateway gives up first.
            case .serverStops: ["--patience", "8"]
            case .finishRefused: ["--refuse-finish", "--patience", "3"]
            }
        }

        var server: [String] {
            if case .serverStops(let count) = self { ["--stop-after", "\(count)"] } else { [] }
        }

        /// How long the gateway waits for the server's next command: longer than for the device's answer, unless the server
        /// is the one that stops.
        var patience: String { if case .serverStops = self { "2s" } else { "247s" } }

        var cause: String {
            switch self {
            case .deviceVanishes: "device unreachable"
            case .serverStops: "upstream silent"
            case .finishRefused: "finish refused"
            }
        }

        /// Whether nobody but the device can know if it took Finish: then it may come with the new key.
        var leavesNewKey: Bool { if case .deviceVanishes(beforeFinish) = self { true } else { false } }
    }

    /// A gateway, and a device registered through it.
    ///
    /// - Parameter patience: how long the gateway waits for the next command of the bootstrap server.
    private func registered(
        _ stage: Stage, patience: String = "247s", relay: NATRelay? = nil
    ) async throws -> (gateway: Gateway, bootstrap: Stage.Server, management: Stage.Server, sim: SIM, device: Program) {
        let (gateway, bootstrap, management) = try await stage.managed(
            ["wait:updated", "read:/3/0/0"], bootstrapServer: Self.commands
        ) {
            $0.upstreamPatience = "{ ack-timeout: 200ms, max-retransmit: 2, exchange-lifetime: \(patience) }"
            $0.devicePatience = "{ ack-timeout: 300ms, max-retransmit: 2, exchange-lifetime: \(patience) }"
            $0.relay = relay
        }
        let sim = try await stage.addSIM(to: gateway)
        let device = try stage.device(stage.credentials(sim, at: gateway))
        try await device.event("registered")
        return (gateway, bootstrap, management, sim, device)
    }

    /// Another handshake with the old key, an Update, and a request of the server.
    private func expectAlive(_ device: Program, at management: Stage.Server) async throws {
        device.signal(SIGUSR2)
        try await device.event("updated")
        try await management.program.event("done")
        let events = management.program.output.events
        #expect(events.filter { $0.name == "answered" }.map { $0.text("code") } == ["2.05"])
        #expect(events.filter { $0.name == "registered" }.count == 1)
        #expect(Set(events.compactMap { $0.text("peer") }).count == 1)
    }

    private func credentials(_ stage: Stage, _ gateway: Gateway, _ state: String) async throws -> Int {
        try await stage.run(
            "bootgate credentials", Programs.gateway,
            ["credentials", "list", "--json", "--state", state, "--config", gateway.configuration]
        ).compactMap(Event.init).count
    }

    @Test("At every single step", arguments: Abort.all)
    func aborted(_ abort: Abort) async throws {
        try await Stage.run { stage in
            let (gateway, first, management, sim, device) = try await self.registered(
                stage, patience: abort.patience)
            var bootstrap = first
            if case .serverStops = abort {
                // Another one in its place, which does not come to the end.
                try await first.kill()
                let place = first.uri.replacingOccurrences(of: "coap://", with: "")
                bootstrap = try await stage.bootstrapServer(
                    ["--server-uri", management.uri, "--ssid", "1111", "--listen", place] + Self.commands + abort.server
                )
            }
            let again = try stage.device(
                stage.credentials(sim, at: gateway) + ["--bootstrap-only"] + abort.device)
            let failed = try await gateway.record("bootstrap.failed", of: sim, cause: abort.cause)
            #expect(failed.text("peer") != nil)
            #expect(again.output.events("finished").isEmpty)
            switch abort {
            case .deviceVanishes(let count):
                #expect(try await again.event("vanished").integer("served") == count)
                try await bootstrap.program.event("aborted") { $0.integer("steps") == count + 1 }
            case .serverStops(let count):
                #expect(bootstrap.program.output.events("sent").count == count)
                #expect(again.output.events("request").count == count)
            case .finishRefused:
                #expect(try await bootstrap.program.event("aborted").text("reason") == "answer 4.06")
            }
            again.signal(SIGKILL)

            try await self.expectAlive(device, at: management)
            #expect(try await self.credentials(stage, gateway, "active") == 1)
            #expect(try await self.credentials(stage, gateway, "pending") == (abort.leavesNewKey ? 1 : 0))
            #expect(gateway.journal.output.events("bootstrap.finished").count == 1)
            #expect(gateway.journal.output.events("credential.replaced").isEmpty)
            let counters = try await gateway.countersAtStop()
            let counter = "bootstraps_failed_" + abort.cause.replacingOccurrences(of: " ", with: "_")
            #expect(counters.text(counter) == "1")
            #expect(counters.text("bootstraps_finished") == "1")
        }
    }

    @Test("When only the answer to Finish is lost, the old key works until the device uses the new one")
    func answerToFinishLost() async throws {
        try await Stage.run { stage in
            // Device 1 bootstraps, device 2 is its registration; of device 3 the request and six answers arrive.
            let relay = try stage.relay { passage in
                passage.device == 3 && passage.isFromDevice && passage.messages > 1 + Self.beforeFinish ? .lose : .pass
            }
            let (gateway, bootstrap, management, sim, device) = try await self.registered(stage, relay: relay)
            let file = stage.folder.appendingPathComponent("account").path
            let again = try stage.device(
                stage.credentials(sim, at: gateway) + ["--bootstrap-only", "--save-account", file])
            #expect(try await again.exit(within: .seconds(60)) == 0)
            try await gateway.record("bootstrap.failed", of: sim, cause: "device unreachable")
            try await bootstrap.program.event("aborted")
            try await self.expectAlive(device, at: management)
            #expect(gateway.journal.output.events("credential.replaced").isEmpty)

            let new = try stage.device(["--account", file, "--endpoint", sim.iccid, "--once"])
            #expect(try await new.exit(within: .seconds(60)) == 0)
            try await gateway.record("credential.replaced", of: sim)
            #expect(try await device.event("failed").text("reason") == "connection closed")
        }
    }
}
