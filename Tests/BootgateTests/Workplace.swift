import Foundation
import Testing

/// What one run of the command ended with.
struct CommandResult {
    var status: Int32
    var output: String
    var complaints: String
}

/// A folder of its own for one test, with the built program to run in it; it goes away with the test.
final class Workplace {
    let folder: URL

    /// The plain listener keeps the commands independent of what the linked DTLS library can do.
    static let configuration = """
        state: state
        records: { key: { file: records.key } }
        audit: { signing-key: { file: audit.key } }
        listeners: ["coap://127.0.0.1:0"]
        bootstrap:
          upstreams: ["coap://127.0.0.1:5783"]
          account: { plain: "coap://127.0.0.1:5683" }
        servers:
          meters:
            match: { ssid: 1111 }
            device: { plain: "coap://127.0.0.1:5693" }
            relay: { to: "coap://127.0.0.1:5693" }

        """

    init(configuration: String = Workplace.configuration) throws {
        self.folder = FileManager.default.temporaryDirectory
            .appendingPathComponent("bootgate-tests-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: self.folder, withIntermediateDirectories: true)
        try self.write("bootgate.yaml", configuration)
    }

    deinit { try? FileManager.default.removeItem(at: self.folder) }

    func path(_ name: String) -> String { self.folder.appendingPathComponent(name).path }

    func write(_ name: String, _ text: String) throws {
        try text.write(toFile: self.path(name), atomically: false, encoding: .utf8)
    }

    /// The program lies beside the program of the tests.
    static let executable = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        .deletingLastPathComponent().appendingPathComponent("bootgate")

    /// A process that is not started yet, with its output in the files `output` and `complaints`.
    func process(_ arguments: [String], environment: [String: String] = [:], output: Any? = nil) throws -> Process {
        let process = Process()
        process.executableURL = Self.executable
        process.arguments = arguments
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        process.currentDirectoryURL = self.folder
        process.standardInput = FileHandle.nullDevice
        for name in ["output", "complaints"] { try self.write(name, "") }
        process.standardOutput = try output ?? FileHandle(forWritingTo: URL(fileURLWithPath: self.path("output")))
        process.standardError = try FileHandle(forWritingTo: URL(fileURLWithPath: self.path("complaints")))
        return process
    }

    /// Runs a command to its end, without `--config`.
    func runBare(_ arguments: [String], environment: [String: String] = [:]) throws -> CommandResult {
        let process = try self.process(arguments, environment: environment)
        try process.run()
        process.waitUntilExit()
        return CommandResult(
            status: process.terminationStatus,
            output: try String(contentsOfFile: self.path("output"), encoding: .utf8),
            complaints: try String(contentsOfFile: self.path("complaints"), encoding: .utf8)
        )
    }

    /// Runs a command to its end with the configuration of this place.
    func run(_ arguments: String...) throws -> CommandResult {
        try self.runBare(arguments + ["--config", self.path("bootgate.yaml")])
    }
}
