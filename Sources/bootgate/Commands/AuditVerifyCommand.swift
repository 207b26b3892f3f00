internal import ArgumentParser
internal import Foundation
internal import Records

/// `bootgate audit verify`.
struct AuditVerifyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Prove that no record was changed, removed or moved.",
        discussion: """
            Exits with 0 if the journal is intact, with 65 if it is not. Segments that retention has removed are covered by a \
            signed record; any other that is missing is a problem.
            """
    )
    @Option(
        help: ArgumentHelp(
            "The checkpoint that audit export --anchor has written: the journal must still hold it.", valueName: "file")
    )
    var anchor: String?
    @Option(
        help: ArgumentHelp(
            "An exported part of a journal in JSON Lines, instead of the journal.", valueName: "file"))
    var file: String?
    @Flag(help: "As JSON.") var json = false
    @OptionGroup var config: ConfigurationOption

    func run() async throws {
        let configuration = try self.config.load()
        let (anchor, result) = try reporting {
            let trust = try JournalTrust(signingKey: configuration.audit.signingKey)
            let anchor = try self.anchor.map { try JournalAnchor(text: Self.text(of: $0)) }
            let verifier =
                self.file.map { JournalVerifier(file: $0, trust: trust) }
                ?? JournalVerifier(state: configuration.state, trust: trust)
            return (anchor, try verifier.verify(anchor: anchor, progress: Self.show))
        }
        Terminal.progress("")
        for problem in result.problems { Terminal.complain(problem.description) }
        if self.json { self.sayJSON(result) } else { self.say(result, anchor) }
        if !result.isIntact { throw fail(.badData, "the journal is not what was written") }
    }

    private static func text(of path: String) throws -> String {
        guard let text = try? String(contentsOfFile: path, encoding: .utf8) else {
            throw fail(.badData, "cannot read the anchor \(path); name a file that audit export --anchor has written")
        }
        return text
    }

    private static func show(_ progress: JournalVerifier.Progress) {
        let done = Double(progress.bytes) / Double(max(progress.totalBytes, 1))
        let width = 30
        let filled = min(width, Int(done * Double(width)))
        let bar = String(repeating: "#", count: filled) + String(repeating: ".", count: width - filled)
        Terminal.progress("[\(bar)] \(min(100, Int(done * 100))) %  \(progress.records) records")
    }

    private func say(_ result: JournalVerification, _ anchor: JournalAnchor?) {
        Terminal.say("\(result.records) records in \(result.segments) \(result.segments == 1 ? "segment" : "segments")")
        if let first = result.firstSeq, first > 1 {
            if let removal = result.removal {
                Terminal.say(
                    "begins with record \(first); retention removed what was before, as record \(removal) says")
            } else {
                Terminal.say("begins with record \(first)")
            }
        }
        if let proven = result.proven {
            Terminal.say("proven up to record \(proven.seq), signed at \(proven.time)")
        }
        if result.unsigned > 0 {
            let proof = result.proven == nil ? "nothing is proven" : "nothing after that is proven"
            Terminal.say(
                !result.isIntact
                    ? "\(proof): \(result.unsigned) records"
                    : result.proven == nil
                        ? "no checkpoint yet: nothing is proven, \(result.unsigned) records are unsigned"
                        : "records after that, not signed yet: \(result.unsigned)")
        }
        if result.incompleteBytes > 0 { Terminal.say("\(result.incompleteBytes) bytes of a line without an end") }
        switch (result.anchor, anchor) {
        case (.held, let anchor?): Terminal.say("holds the anchor, record \(anchor.seq) of \(anchor.time)")
        case (.removed, let anchor?):
            Terminal.say("the anchor, record \(anchor.seq), is older than what is kept; export a new one")
        default: break
        }
    }

    private func sayJSON(_ result: JournalVerification) {
        var object: [String: Any] = [
            "intact": result.isIntact, "records": result.records, "segments": result.segments,
            "first": Int(clamping: result.firstSeq ?? 0), "last": Int(clamping: result.lastSeq ?? 0),
            "proven": Int(clamping: result.proven?.seq ?? 0), "unsigned": result.unsigned,
            "problems": result.problemCount,
        ]
        if let removal = result.removal { object["removal"] = Int(clamping: removal) }
        if let anchor = result.anchor { object["anchor"] = anchor == .held ? "held" : "removed" }
        Terminal.say(JSONText.line(object))
    }
}
