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
            AuditCommand.self,
        ]
    )
}
