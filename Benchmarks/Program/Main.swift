/// What decoders, encoders, the rewriter and saved sessions cost: `bootgate-benchmarks [part of a name]`.
@main
enum Program {
    static func main() throws {
        let harness = Harness(filter: CommandLine.arguments.dropFirst().first ?? "")
        harness.printHeader()
        try Accounts.measure(harness)
        HostileDocuments.measure(harness)
        try SavedSessions.measure(harness)
    }
}
