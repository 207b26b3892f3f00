internal import ArgumentParser
internal import Foundation

/// `bootgate demo`: a whole bootstrap with real sockets on loopback, and independent protocol code at the far ends.
struct DemoCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo",
        abstract: "Show a bootstrap: a legacy server, the gateway and a device, all on loopback.",
        discussion: """
            A LwM2M device on another CoAP and DTLS stack bootstraps over DTLS-PSK through the gateway from a bootstrap \
            server that knows only plain CoAP, and registers over DTLS at a LwM2M server that knows only plain CoAP. Exits \
            with 0 only if the device ended registered over DTLS.
            """
    )

    @Option(help: ArgumentHelp("The simulator; beside this program by default.", valueName: "file"))
    var simulator: String?

    @Flag(help: "Keep the folder with the configuration, the stores and the journal.")
    var keep = false

    func run() async throws {
        do {
            try await self.play()
        } catch let error as DemoError {
            Self.say("\ndemo failed: \(error)")
            throw ExitCode(70)
        }
    }

    private func play() async throws {
        let own = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        let simulator =
            self.simulator.map { URL(fileURLWithPath: $0) }
            ?? own.deletingLastPathComponent().appendingPathComponent("bootgate-simulator")
        let stage = try await DemoStage()
        defer { if !self.keep { stage.remove() } }

        Self.say("1. The legacy side: two servers that know only plain CoAP")
        let server = try DemoProcess(
            "LwM2M server", executable: simulator,
            arguments: ["lwm2m-server", "--listen", "127.0.0.1:0", "--read", "/3/0/0", "--timeout", "120"]
        )
        defer { server.stop() }
        let serverPort = try await Self.port(of: server)
        let legacy = "coap://127.0.0.1:\(serverPort)"
        let bootstrap = try DemoProcess(
            "bootstrap server", executable: simulator,
            arguments: [
                "bootstrap-server", "--listen", "127.0.0.1:0", "--server-uri", legacy,
                "--ssid", "\(DemoStage.shortServerID)", "--account-ssid", "\(DemoStage.accountShortServerID)",
                "--account-uri", "coap://192.0.2.1:5683", "--timeout", "120",
            ]
        )
        defer { bootstrap.stop() }
        let bootstrapPort = try await Self.port(of: bootstrap)
        Self.say("   bootstrap server  coap://127.0.0.1:\(bootstrapPort)")
        Self.say("   LwM2M server      \(legacy)")

        Self.say("\n2. The gateway in front of them")
        try stage.writeConfiguration(bootstrapPort: bootstrapPort, serverPort: serverPort)
        let configuration = ["--config", stage.configurationFile.path]
        _ = try await DemoProcess.run(
            "bootgate sim add", executable: own,
            arguments: ["sim", "add", "iccid=\(DemoStage.iccid)", "key=\(stage.key)"] + configuration
        )
        let gateway = try DemoProcess("gateway", executable: own, arguments: ["serve"] + configuration)
        defer { gateway.stop() }
        guard let ready = await gateway.firstLine(), ready.hasPrefix("ready") else {
            throw DemoError("the gateway did not start: \(gateway.standardError)")
        }
        Self.say("   gateway           \(stage.gatewayURI)")
        Self.say("   SIM record        ICCID \(DemoStage.iccid), identity and endpoint the same")

        Self.say("\n3. A device bootstraps over DTLS-PSK and registers")
        let device = try DemoProcess(
            "device", executable: simulator,
            arguments: [
                "device", "--bootstrap", stage.gatewayURI, "--identity", DemoStage.iccid, "--key", stage.key,
                "--endpoint", DemoStage.iccid, "--once", "--timeout", "60",
            ]
        )
        defer { device.stop() }
        var story = DemoStory(legacyServer: legacy)
        for await line in device.lines {
            guard let event = DemoEvent(line) else { continue }
            if let sentence = story.tell(event) { Self.say("   " + sentence) }
        }

        Self.say("\n4. What the server wrote, and what the device got")
        Self.say(story.comparison)

        Self.say("\n5. The audit journal of this SIM")
        let trail = try await DemoProcess.run(
            "bootgate audit show", executable: own, arguments: ["audit", "show", DemoStage.iccid] + configuration
        )
        for line in trail.split(separator: "\n") { Self.say("   " + line) }

        if self.keep { Self.say("\nkept: \(stage.folder.path)") }
        guard story.isRegisteredOverDTLS else {
            throw DemoError(
                story.failure ?? "the device did not register over DTLS. The gateway said: \(gateway.standardError)")
        }
        Self.say("\nThe device is bootstrapped and registered over DTLS; neither server knows more than plain CoAP.")
    }

    /// The port that a far end says it listens on, in its first line.
    private static func port(of process: DemoProcess) async throws -> Int {
        guard let line = await process.firstLine(), let event = DemoEvent(line), event.name == "listening",
            let port = event.integer("port")
        else { throw DemoError("the \(process.name) did not start: \(process.standardError)") }
        return port
    }

    private static func say(_ text: String) {
        FileHandle.standardOutput.write(Data((text + "\n").utf8))
    }
}
