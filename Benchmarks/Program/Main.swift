/// What decoders, encoders and the rewriter cost: `bootgate-benchmarks [part of a name]`.
@main
enum Program {
    static func main() throws {
        let harness = Harness(filter: CommandLine.arguments.dropFirst().first ?? "")
        harness.printHeader()
        try Accounts.measure(harness)
        HostileDocuments.measure(harness)
    }
}
