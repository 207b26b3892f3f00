internal import ArgumentParser

struct ManagementServerCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lwm2m-server",
        abstract: "A LwM2M server: plain CoAP, or DTLS with --psk.",
        discussion: """
            After each registration it reads, writes, executes and observes, in this order and one at a time; then come the \
            steps, as they were given.
            """
    )

    @Option(help: ArgumentHelp("Where devices arrive; port 0 lets the system choose.", valueName: "host:port"))
    var listen = "127.0.0.1:5683"

    @Option(help: ArgumentHelp("Read this of each device; may be given several times.", valueName: "path"))
    var read: [String] = []

    @Option(help: ArgumentHelp("Write this to each device; may be given several times.", valueName: "path=value"))
    var write: [String] = []

    @Option(
        help: ArgumentHelp("Execute this on each device; may be given several times.", valueName: "path[=argument]")
    )
    var execute: [String] = []

    @Option(help: ArgumentHelp("Observe this on each device; may be given several times.", valueName: "path"))
    var observe: [String] = []

    @Option(
        help: ArgumentHelp(
            """
            One of read:PATH, write:PATH=VALUE, execute:PATH[=ARGUMENT], observe:PATH:N (cancelled after N \
            notifications), await:update and await:registration; may be given several times. What stands behind \
            await:registration is for the next registration of the device.
            """, valueName: "step"))
    var step: [String] = []

    @Option(help: ArgumentHelp("Answer every registration with this code.", valueName: "code"))
    var refuse: String?

    @Flag(help: "Never answer a request.")
    var silent = false

    @Flag(help: "With --psk: refuse a device whose name is not its identity.")
    var bindIdentities = false

    @OptionGroup var security: ServerSecurityOptions

    @OptionGroup var common: CommonOptions

    func run() throws {
        let events = EventStream(role: "LwM2M server", isVerbose: self.common.verbose)
        let refusal = try validated { try self.refuse.map { try code($0) } }
        let server = ManagementServer(
            script: try validated { try self.operations.map { .send($0) } + self.step.map { try .init(parsing: $0) } },
            refusal: refusal,
            isSilent: self.silent,
            bindsIdentities: self.bindIdentities,
            events: events
        )
        let stack = try validated { try CoAPStack(role: server, verbose: self.common.verbose) }
        let port = try validated { try self.security.listen(stack, on: self.listen) }
        events.report("listening", ["port": .integer(Int64(port))])
        _ = self.common.loop(stack, standard: 1e9).run { _ in
            server.sendDueOperations(stack)
            return false
        }
    }

    private var operations: [ManagementServer.Operation] {
        self.read.map { ManagementServer.Operation(kind: .read, path: $0) }
            + self.write.map { ManagementServer.Operation(kind: .write, pathAndArgument: $0) }
            + self.execute.map { ManagementServer.Operation(kind: .execute, pathAndArgument: $0) }
            + self.observe.map { ManagementServer.Operation(kind: .observe, path: $0) }
    }
}
