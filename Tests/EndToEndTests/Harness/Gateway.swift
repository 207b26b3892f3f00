internal import Foundation

/// A gateway that runs on a stage, with its journal as it is written.
struct Gateway: Sendable {
    let program: Program
    /// `audit tail --follow`: its events are the journal's records.
    let journal: Program
    let configuration: String
    let address: String
    let securePort: UInt16
    let plainPort: UInt16
    /// Where devices go for the secure port: itself, or the NAT in front of it.
    let devicePort: UInt16
    /// What it was started with, before its own command.
    var launcher: [String] = []

    /// How devices reach it.
    var secure: String { "coaps://\(self.address):\(self.devicePort)" }
    var plain: String { "coap://\(self.address):\(self.plainPort)" }

    /// The record that the journal gets for `sim`.
    @discardableResult
    func record(_ event: String, of sim: SIM, cause: String? = nil) async throws -> Event {
        try await self.journal.event(event) { record in
            record.text("iccid") == sim.iccid && (cause == nil || record.text("cause") == cause)
        }
    }

    /// The log entry that tells the operator of this cause, which says what to do.
    @discardableResult
    func remedy(for cause: String) async throws -> String {
        let entry = try await self.program.logged(cause) { $0.text("cause") == cause }
        guard let remedy = entry.text("remedy"), !remedy.isEmpty else { throw Unexpected("no remedy in \(entry)") }
        return remedy
    }
}

extension Gateway {
    /// What it has counted, which it says when it stops.
    func countersAtStop() async throws -> Event {
        self.program.signal(SIGTERM)
        let counters = try await self.program.logged("the counters") { $0.text("message") == "gateway stopped" }
        guard try await self.program.exit(within: .seconds(30)) == 0 else {
            throw Unexpected("the gateway stopped badly")
        }
        return counters
    }
}

extension Stage {
    /// What a gateway is started with, besides what every one here has.
    struct Settings: Sendable {
        /// The upstream bootstrap servers: URIs, or mappings in braces.
        var upstreams: [String]
        /// The LwM2M server with short server ID 1111, as the bootstrap server writes it and as the relay reaches it.
        var server: String
        /// Whether the rule names that address, and not its short server ID alone.
        var matchesURI = true
        /// Further keys of the relay, with a comma before them.
        var relayCredentials = ""
        /// Repeats an unanswered upstream message after this time, so often.
        var upstreamPatience = "{ ack-timeout: 200ms, max-retransmit: 2 }"
        var devicePatience = "{ ack-timeout: 300ms, max-retransmit: 2 }"
        /// Plain devices are told the server itself, or the gateway, which then carries their registrations.
        var carriesPlainRegistrations = false
        /// `publish` of a server that terminates DTLS itself, in the place of `relay`.
        var publish: String?
        /// What devices go through on their way to the secure port.
        var relay: NATRelay?
        /// A second LwM2M server, with short server ID 1112.
        var secondServer: String?
        /// What running bootstraps have to finish when it stops.
        var drain = "1s"
        /// Whether sessions go on after a clean restart.
        var handsOver = false
        /// Further lines of the file.
        var more = ""
        /// A command that starts the gateway's own, which follows it: `prlimit`, `env`.
        var launcher: [String] = []

        /// What devices without DTLS are told.
        fileprivate var plainServer: String { self.server.replacingOccurrences(of: "coaps://", with: "coap://") }
    }

    func gateway(_ settings: Settings) async throws -> Gateway {
        let securePort = try self.freePort()
        let plainPort = try self.freePort()
        let listener = "\(self.address):\(securePort)"
        let gateway = "\(self.address):\(settings.relay?.port ?? securePort)"
        let second = settings.secondServer.map { uri in
            """
              valves:
                match: { uri: "\(uri)", ssid: 1112 }
                device: { secure: "coaps://\(gateway)", plain: "\(uri)" }
                relay: { to: "\(uri)" }
            """
        }
        let path = self.folder.path
        let plain = "coap://\(self.address):\(plainPort)"
        let text = """
            state: \(path)/state
            records: { key: { file: \(path)/records.key } }
            audit: { signing-key: { file: \(path)/audit.key } }
            listeners: [ "coaps://\(listener)", "coap://\(self.address):\(plainPort)" ]
            bootstrap:
              upstreams: [ \(settings.upstreams.map { $0.hasPrefix("{") ? $0 : "\"\($0)\"" }.joined(separator: ", ")) ]
              account: { secure: "coaps://\(gateway)", plain: "coap://\(self.address):\(plainPort)" }
            servers:
              meters:
                match: { \(settings.matchesURI ? "uri: \"\(settings.server)\", " : "")ssid: 1111 }
                device: { secure: "coaps://\(gateway)", plain: "\(settings.carriesPlainRegistrations ? plain : settings.plainServer)" }
                \(settings.publish.map { "publish: \($0)" } ?? "relay: { to: \"\(settings.server)\"\(settings.relayCredentials) }")
            \(second ?? "")
            coap:
              upstream: \(settings.upstreamPatience)
              device: \(settings.devicePatience)
            drain: \(settings.drain)
            log: { level: info, format: json }
            \(settings.handsOver ? "runtime: \(path)/run" : "")
            \(settings.more)

            """
        if settings.handsOver {
            try FileManager.default.createDirectory(
                atPath: "\(path)/run", withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        }
        let configuration = "\(path)/bootgate.yaml"
        try text.write(toFile: configuration, atomically: true, encoding: .utf8)
        settings.relay?.forward(to: securePort)
        return try await self.startGateway(
            configuration, securePort, plainPort, settings.relay?.port ?? securePort, settings.launcher)
    }

    /// Where the gateway leaves its sessions.
    var sessionFile: String { self.folder.appendingPathComponent("run/sessions.sealed").path }

    /// Starts a gateway with the file of one that ran before.
    func restart(_ gateway: Gateway) async throws -> Gateway {
        try await self.startGateway(
            gateway.configuration, gateway.securePort, gateway.plainPort, gateway.devicePort,
            gateway.launcher)
    }

    private func startGateway(
        _ configuration: String, _ securePort: UInt16, _ plainPort: UInt16, _ devicePort: UInt16,
        _ launcher: [String]
    ) async throws -> Gateway {
        let command = launcher + [Programs.gateway, "serve", "--config", configuration]
        let program = try self.start("gateway", command[0], Array(command.dropFirst()))
        guard await program.output.first(within: .seconds(30), where: { $0.hasPrefix("ready ") }) != nil else {
            throw Unexpected("the gateway does not get ready")
        }
        let journal = try self.start(
            "journal", Programs.gateway,
            ["audit", "tail", "--json", "--follow", "--count", "10000", "--config", configuration])
        return Gateway(
            program: program, journal: journal, configuration: configuration, address: self.address,
            securePort: securePort, plainPort: plainPort, devicePort: devicePort, launcher: launcher)
    }

    /// Adds a record for a new SIM; `fields` are further ones, `status=suspended`.
    func addSIM(to gateway: Gateway, _ fields: [String] = []) async throws -> SIM {
        let sim = SIM()
        try await self.sim(["add", "iccid=\(sim.iccid)", "key=\(sim.key)"] + fields, at: gateway)
        return sim
    }

    /// `bootgate sim …`
    @discardableResult
    func sim(_ arguments: [String], at gateway: Gateway) async throws -> [String] {
        try await self.run("bootgate sim", Programs.gateway, ["sim"] + arguments + ["--config", gateway.configuration])
    }

    /// A gateway, the bootstrap server of the simulator, and a LwM2M server on aiocoap that carries `operations` out.
    func managed(
        _ operations: [String], plain: Bool = false
    ) async throws -> (gateway: Gateway, management: Server) {
        let (gateway, _, management) = try await self.managed(operations) { $0.carriesPlainRegistrations = plain }
        return (gateway, management)
    }

    /// The same, with the bootstrap server at hand, which takes further arguments, and other settings.
    func managed(
        _ operations: [String], bootstrapServer arguments: [String] = [], adjust: (inout Settings) -> Void
    ) async throws -> (gateway: Gateway, bootstrap: Server, management: Server) {
        let management = try await self.pythonServer(operations)
        let bootstrap = try await self.bootstrapServer(
            ["--server-uri", management.uri, "--ssid", "1111"] + arguments)
        var settings = Settings(upstreams: [bootstrap.uri], server: management.uri)
        adjust(&settings)
        return (try await self.gateway(settings), bootstrap, management)
    }

    /// A LwM2M server on aiocoap, at a port of its own or at that of one that has ended.
    func pythonServer(_ operations: [String], at port: UInt16? = nil) async throws -> Server {
        let port = try port ?? self.freePort()
        let program = try self.start(
            "LwM2M server on aiocoap", Programs.python,
            [try Programs.resource("lwm2m_server.py"), self.address, "\(port)"] + operations)
        try await program.event("listening")
        return Server(program: program, uri: "coap://\(self.address):\(port)")
    }

    /// A whole set: both servers, and a gateway in front of them.
    func everything(
        bootstrapServer arguments: [String] = [], managementServer operations: [String] = [],
        blocks: (upstream: Int, device: Int)? = nil, relay: NATRelay? = nil, more: String = "",
        launcher: [String] = []
    ) async throws -> (gateway: Gateway, bootstrap: Server, management: Server) {
        let management = try await self.managementServer(operations)
        let bootstrap = try await self.bootstrapServer(
            [
                "--server-uri", management.uri, "--account-uri", "coap://192.0.2.1:5683", "--ssid", "1111",
                "--account-ssid", "2222",
            ] + arguments)
        var settings = Settings(upstreams: [bootstrap.uri], server: management.uri, relay: relay, more: more)
        settings.launcher = launcher
        if let blocks {
            settings.upstreamPatience = "{ ack-timeout: 200ms, max-retransmit: 2, block-size: \(blocks.upstream) }"
            settings.devicePatience = "{ ack-timeout: 300ms, max-retransmit: 2, block-size: \(blocks.device) }"
        }
        let gateway = try await self.gateway(settings)
        return (gateway, bootstrap, management)
    }
}

extension Stage {
    /// Proves that nothing of the journal was changed, removed or moved.
    func verifyJournal(of gateway: Gateway) async throws {
        try await self.run(
            "bootgate audit verify", Programs.gateway, ["audit", "verify", "--config", gateway.configuration])
    }
}
