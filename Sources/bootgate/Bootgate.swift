internal import ArgumentParser

/// The command `bootgate`: what people and service managers start.
@main
struct Bootgate: AsyncParsableCommand {
    static let version = "0.1.0"

    static let configuration = CommandConfiguration(
        commandName: "bootgate",
        abstract: "An edge bootstrap gateway for LwM2M devices.",
        discussion: """
            Exit codes: 0 done, 64 wrong usage, 65 bad input data, 69 something needed is not available, \
            70 internal error, 73 cannot write, 77 not permitted, 78 bad configuration.
            """,
        version: Self.version,
        subcommands: [
            ServeCommand.self, CheckCommand.self, DemoCommand.self, SIMCommand.self, CredentialsCommand.self,
            AuditCommand.self, BackupCommand.self, ProbeCommand.self, StatusCommand.self,
        ]
    )

    /// Runs the command; what no part of it expected is an internal error with an exit code of its own.
    static func main() async {
        do {
            var command = try Self.parseAsRoot()
            if var asynchronous = command as? any AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
        } catch {
            guard Self.exitCode(for: error) == .failure else { Self.exit(withError: error) }
            Self.exit(withError: fail(.internal, "internal error: \(error); report this with what led to it"))
        }
    }
}
