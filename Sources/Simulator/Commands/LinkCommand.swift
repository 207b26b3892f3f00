internal import ArgumentParser
internal import Glibc

struct LinkCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "link",
        abstract: "A bad link: passes datagrams to a server and back, and loses, doubles, delays and reorders them.",
        discussion: """
            The shares hold for each direction by itself. What becomes of a datagram is decided by the seed, by which \
            client it belongs to, counted in the order in which clients came, and by how many came before it. It ends \
            with SIGTERM, when what is on its way has arrived, and with the event 'counts' for each direction.
            """
    )

    @Option(help: ArgumentHelp("Where clients arrive; port 0 lets the system choose.", valueName: "host:port"))
    var listen = "127.0.0.1:0"

    @Option(help: ArgumentHelp("The server.", valueName: "host:port"))
    var to: String

    @Option(help: ArgumentHelp("How many are lost.", valueName: "percent"))
    var loss: Double = 0

    @Option(help: ArgumentHelp("How many arrive twice.", valueName: "percent"))
    var duplicate: Double = 0

    @Option(help: ArgumentHelp("How many are overtaken by those behind them.", valueName: "percent"))
    var reorder: Double = 0

    @Option(help: ArgumentHelp("How long each is on its way: 50ms, 1.5s.", valueName: "time"))
    var delay = Milliseconds(0)

    @Option(help: ArgumentHelp("At most so much longer.", valueName: "time"))
    var jitter = Milliseconds(0)

    @Option(help: "The same seed makes the same decisions again.")
    var seed: UInt64 = 1

    @OptionGroup var common: CommonOptions

    func validate() throws {
        for share in [self.loss, self.duplicate, self.reorder] where !(0...100 ~= share) {
            throw ValidationError("\(share) is no share: write 0 to 100, in percent")
        }
    }

    func run() throws {
        let events = EventStream(role: "link", isVerbose: self.common.verbose)
        let behaviour = LinkBehaviour(
            loss: self.loss, duplicate: self.duplicate, reorder: self.reorder, delay: self.delay.value,
            jitter: self.jitter.value, seed: self.seed)
        let link = try validated {
            try Link(
                behaviour, from: try SocketAddress(parsing: self.listen), to: try SocketAddress(parsing: self.to))
        }
        // Held back, to be seen between two turns.
        var ends = sigset_t()
        sigemptyset(&ends)
        for signal in [SIGTERM, SIGINT] { sigaddset(&ends, signal) }
        pthread_sigmask(SIG_BLOCK, &ends, nil)
        events.report("listening", ["port": .integer(Int64(link.port)), "seed": .text("\(self.seed)")])

        let deadline = ContinuousClock.now + .seconds(min(max(0, self.common.timeout ?? 1e9), 1e9))
        let parent = self.common.withParent ? getppid() : nil
        while ContinuousClock.now < deadline, !Self.isEnded, parent == nil || getppid() == parent {
            link.process(milliseconds: 50)
        }
        // What has come before the end still arrives.
        let last = ContinuousClock.now + .seconds(2)
        while link.process(milliseconds: 0) || link.isBusy, ContinuousClock.now < last {}
        for direction in LinkDirection.allCases {
            guard let counts = link.counts[direction] else { continue }
            events.report(
                "counts",
                [
                    "direction": .text("\(direction)"), "clients": .integer(Int64(link.clientCount)),
                    "received": .integer(Int64(counts.received)), "sent": .integer(Int64(counts.sent)),
                    "lost": .integer(Int64(counts.lost)), "duplicated": .integer(Int64(counts.duplicated)),
                    "reordered": .integer(Int64(counts.reordered)), "dropped": .integer(Int64(counts.dropped)),
                ])
        }
    }

    /// Whether a signal asks for the end.
    private static var isEnded: Bool {
        var pending = sigset_t()
        sigpending(&pending)
        return sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1
    }
}

/// A time as an argument: `50ms`, `1.5s`.
struct Milliseconds: ExpressibleByArgument, CustomStringConvertible {
    var value: Double

    init(_ value: Double) { self.value = value }

    init?(argument: String) {
        let factor: Double = argument.hasSuffix("ms") ? 1 : 1000
        guard argument.hasSuffix("s"), let number = Double(argument.dropLast(factor == 1 ? 2 : 1)),
            0...60_000 ~= number * factor
        else { return nil }
        self.value = number * factor
    }

    var description: String { "\(self.value)ms" }
}
