internal import ArgumentParser
internal import Foundation

/// `bootgate demo`: the life of a device with real sockets on loopback, and independent protocol code at the far ends.
struct DemoCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "demo",
        abstract: "Show bootstraps and what comes after: legacy servers, the gateway and a device, all on loopback.",
        discussion: """
            A LwM2M device on another CoAP and DTLS stack bootstraps over DTLS-PSK through the gateway from a bootstrap \
            server that knows only plain CoAP, and registers over DTLS at a LwM2M server that knows only plain CoAP. That \
            server reads, observes and writes resources through the gateway, and has the device bootstrap a second time. \
            The device then registers with its new key, and the key from before gets 4.03. Exits with 0 only if all of \
            that has happened and the audit journal has it.
            """
    )

    @Option(help: ArgumentHelp("The simulator; beside this program by default.", valueName: "file"))
    var simulator: String?

    @Flag(help: "Keep the folder with the configuration, the stores and the journal.")
    var keep = false

    func run() async throws {
        let own = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        let simulator =
            self.simulator.map { URL(fileURLWithPath: $0) }
            ?? own.deletingLastPathComponent().appendingPathComponent("bootgate-simulator")
        let stage = try await DemoStage()
        defer { if !self.keep { stage.remove() } }
        let play = DemoPlay(on: stage, gateway: own, simulator: simulator)
        defer { play.end() }
        do {
            try await play.perform()
        } catch let error as DemoError {
            Terminal.announce("\nThe demo failed in part \(play.part)\n   \(error)")
            for words in play.lastWords { Terminal.announce("   \(words)") }
            Terminal.announce(
                self.keep
                    ? "   Look at \(stage.folder.path): bootgate audit tail --config \(stage.configurationFile.path)"
                    : "   With --keep the configuration, the stores and the journal stay to be looked at.")
            throw ExitCode(70)
        }
        if self.keep { Terminal.announce("\nkept: \(stage.folder.path)") }
    }
}
