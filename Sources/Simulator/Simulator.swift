package import ArgumentParser
internal import Glibc

/// Devices and legacy servers on libcoap, for demonstrations and tests. Shares no code with the gateway, so that each
/// tests the other.
package struct SimulatorCommand: ParsableCommand {
    package static let configuration = CommandConfiguration(
        commandName: "bootgate-simulator",
        abstract: "A LwM2M device, a server that knows only plain CoAP or DTLS with a pre-shared key, or a bad link.",
        discussion: """
            Each role writes what happens as JSON, one object a line, to standard output; --verbose says it on standard \
            error too. Keys are never written, only their length and the first digits of their SHA-256.
            """,
        subcommands: [
            BootstrapServerCommand.self, ManagementServerCommand.self, DeviceCommand.self, LinkCommand.self,
        ]
    )

    package init() {}

    /// Runs the role that the arguments name, to its end. Called by the programs, first thing.
    package static func start() {
        // A program that starts this one from a thread pool hands its blocked signals on, SIGTERM among them.
        var none = sigset_t()
        sigemptyset(&none)
        pthread_sigmask(SIG_SETMASK, &none, nil)
        Self.main(nil)
    }
}

/// What every role takes.
struct CommonOptions: ParsableArguments {
    @Option(help: ArgumentHelp("End after this time whatever happens.", valueName: "seconds"))
    var timeout: Double?

    @Flag(help: "End when the program that started this one ends.")
    var withParent = false

    @Flag(name: .shortAndLong, help: "Say what happens on standard error too.")
    var verbose = false

    /// The loop for `stack`, ending after `timeout` or else after `standard` seconds.
    func loop(_ stack: CoAPStack, standard: Double) -> EventLoop {
        let seconds = min(max(0, self.timeout ?? standard), 1e9)
        return EventLoop(
            stack: stack,
            deadline: .now.advanced(by: .seconds(seconds)),
            parent: self.withParent ? getppid() : nil
        )
    }
}

/// Turns what is wrong with an argument into what the argument parser shows.
func validated<R>(_ body: () throws -> R) throws -> R {
    do { return try body() } catch let problem as ArgumentProblem { throw ValidationError(problem.description) }
}
