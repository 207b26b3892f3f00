internal import Foundation

/// What happens in the demo, part by part. Each part waits for what it is about and throws a ``DemoError`` otherwise.
final class DemoPlay {
    let stage: DemoStage
    let bootgate: URL
    let simulator: URL
    /// Number and title of the part that is on.
    private(set) var part = ""
    private var parts = 0
    /// All that run, in the order of their start.
    private var processes: [DemoProcess] = []
    /// Where the server that the device registers at listens, `coap://127.0.0.1:40000`.
    var legacyServer = ""

    init(on stage: DemoStage, gateway: URL, simulator: URL) {
        self.stage = stage
        self.bootgate = gateway
        self.simulator = simulator
    }

    func perform() async throws {
        let server = try await self.startServers()
        let gateway = try await self.startGateway()

        self.begin("A device bootstraps over DTLS-PSK: SIM key in, one-time key out")
        let device = try self.simulate(
            "device",
            [
                "device", "--bootstrap", self.stage.gatewayURI, "--identity", DemoStage.iccid, "--key", self.stage.key,
                "--endpoint", DemoStage.iccid, "--notifications", "1000", "--save-account", self.stage.accountFile,
            ])
        var story = DemoStory(legacyServer: self.legacyServer)
        let first = try await self.bootstrap(device, &story)

        self.begin("The device registers, and the plain server manages it through the gateway")
        try await self.register(device, &story)
        try await self.manage(from: server)
        try await self.update(device, &story, at: server)

        self.begin("The server asks for a second bootstrap, which brings another key")
        try await self.answer("execute", DemoPlay.bootstrapTrigger, from: server, "Execute /1/0/9, bootstrap request")
        let second = try await self.bootstrap(device, &story)
        guard first.fingerprint != second.fingerprint, first.identity != second.identity else {
            throw DemoError("the second bootstrap brought the key \(second.fingerprint) again")
        }
        try await self.register(device, &story)
        try await self.answer(
            "read", DemoPlay.offset, from: server, "Read /3/0/14, UTC offset", value: DemoPlay.newOffset)

        self.begin("Somebody registers with the key from before")
        try await self.register(withOldKeyOf: first)

        // The device first: it would take the end of the gateway for a failure.
        device.stop()
        // The journal is complete, and signed, when the gateway has ended.
        gateway.stop()
        try await self.compareKeys(old: first, new: second)
        self.begin("The audit journal of this SIM")
        try await self.showTrail(old: first, new: second)
        self.say(
            """

            Done: two bootstraps, two keys, and only the second one counts. Neither server knows more than plain CoAP.
            """)
    }

    // MARK: - The legacy side, and the gateway before it

    private func startServers() async throws -> DemoProcess {
        self.begin("The legacy side: two servers that know only plain CoAP")
        let server = try self.simulate(
            "LwM2M server",
            ["lwm2m-server", "--listen", "127.0.0.1:0"] + DemoPlay.script.flatMap { ["--step", $0] })
        self.legacyServer = "coap://127.0.0.1:\(try await self.port(of: server))"
        let bootstrap = try self.simulate(
            "bootstrap server",
            [
                "bootstrap-server", "--listen", "127.0.0.1:0", "--server-uri", self.legacyServer,
                "--ssid", "\(DemoStage.shortServerID)", "--account-ssid", "\(DemoStage.accountShortServerID)",
                "--account-uri", DemoStage.legacyBootstrapAccount,
            ])
        let bootstrapServer = "coap://127.0.0.1:\(try await self.port(of: bootstrap))"
        self.say("   bootstrap server   \(bootstrapServer)")
        self.say("   LwM2M server       \(self.legacyServer)")
        try self.stage.writeConfiguration(bootstrapServer: bootstrapServer, server: self.legacyServer)
        return server
    }

    private func startGateway() async throws -> DemoProcess {
        self.begin("The gateway in front of them")
        _ = try await self.run(["sim", "add", "iccid=\(DemoStage.iccid)", "key=\(self.stage.key)"])
        let gateway = try self.start(
            "gateway", self.bootgate, ["serve", "--config", self.stage.configurationFile.path])
        guard let ready = await gateway.nextLine(), ready.hasPrefix("ready") else {
            throw DemoError("the gateway did not get ready")
        }
        self.say("   gateway            \(self.stage.gatewayURI)")
        self.say("   SIM record         ICCID \(DemoStage.iccid), identity and endpoint the same")
        return gateway
    }

    // MARK: - Programs

    /// Starts a role of the simulator. It ends with the demo, or by itself if the demo gets stuck.
    func simulate(_ name: String, _ arguments: [String]) throws -> DemoProcess {
        try self.start(name, self.simulator, arguments + ["--timeout", "120", "--with-parent"])
    }

    private func start(_ name: String, _ executable: URL, _ arguments: [String]) throws -> DemoProcess {
        let process = try DemoProcess(name, executable: executable, arguments: arguments)
        self.processes.append(process)
        return process
    }

    /// Runs a command of the gateway to its end and returns its lines.
    func run(_ arguments: [String]) async throws -> [String] {
        try await DemoProcess.run(
            "bootgate \(arguments.prefix(2).joined(separator: " "))", executable: self.bootgate,
            arguments: arguments + ["--config", self.stage.configurationFile.path])
    }

    /// Ends whatever still runs.
    func end() {
        for process in self.processes.reversed() { process.stop() }
    }

    /// For the case that something failed: what each program said last.
    var lastWords: [String] { self.processes.compactMap(\.lastWords) }

    /// The port that a far end says it listens on, in its first line.
    private func port(of process: DemoProcess) async throws -> Int {
        guard let event = await process.nextEvent(), event.name == "listening", let port = event.integer("port") else {
            throw DemoError("the \(process.name) did not start")
        }
        return port
    }

    // MARK: - What people see

    private func begin(_ title: String) {
        self.parts += 1
        self.part = "\(self.parts). \(title)"
        self.say((self.parts == 1 ? "" : "\n") + self.part)
    }

    func say(_ text: String) { Terminal.announce(text) }

    /// One step in columns: from whom to whom, what, and what came of it.
    func say(_ direction: String, _ what: String, _ result: String) {
        self.say(DemoStory.line(direction, what, result))
    }
}
