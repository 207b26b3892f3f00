internal import Foundation
internal import Records

/// The timeline of one bootstrap, as its last record in the journal holds it, for people: one step a line, times in seconds
/// since the device asked.
struct TimelineText {
    let lines: [String]

    private static let fields = ["took", "timeline", "more-steps"]
    /// Numbers by which the stores know what they have written; they tell a person nothing.
    private static let internals = ["outbox"]

    /// Nil where there is none.
    init?(_ detail: JSONValue) {
        guard case .list(let steps)? = detail["timeline"], !steps.isEmpty else { return nil }
        var table = Table(["AT", "TOOK", "STEP", "BYTES", "RESULT", "NOTES"])
        for step in steps {
            table.add([
                Self.seconds(step["at"]), step["took"] == nil ? "-" : Self.seconds(step["took"]), Self.name(of: step),
                step["bytes"]?.integer.map { "\($0)" } ?? "",
                step["code"]?.text ?? step["failure"]?.text ?? "still under way", Self.notes(on: step),
            ])
        }
        var lines = table.text.split(separator: "\n").map(String.init)
        if let more = detail["more-steps"]?.integer { lines.append("and \(more) more steps") }
        lines.append("over after \(Self.seconds(detail["took"]))")
        self.lines = lines
    }

    /// The rest of the record's detail, as far as people are concerned.
    static func without(_ detail: JSONValue) -> JSONValue {
        guard case .object(let members) = detail else { return detail }
        let hidden = Self.internals + (detail["timeline"] == nil ? [] : Self.fields)
        return .object(members.filter { !hidden.contains($0.name) })
    }

    private static func seconds(_ milliseconds: JSONValue?) -> String {
        String(format: "%.3f s", Double(milliseconds?.integer ?? 0) / 1000)
    }

    private static func name(of step: JSONValue) -> String {
        let kind = step["step"]?.text ?? ""
        switch kind {
        case "request": return "device asks: POST /bs"
        case "upstream": return "server is asked: POST /bs"
        case "pack-request": return "device asks: GET /bspack"
        case "upstream-pack": return "server is asked: GET /bspack"
        case "own-discover": return "gateway: discover \(step["path"]?.text ?? "")"
        case "finish": return "server: finish"
        case "other": return "server: no operation of a bootstrap"
        default: return "server: \(kind) \(step["path"]?.text ?? "")"
        }
    }

    private static func notes(on step: JSONValue) -> String {
        var notes: [String] = []
        if let server = step["server"]?.text { notes.append(server) }
        if let blocks = step["blocks"]?.integer { notes.append("\(blocks) blocks") }
        if let waited = step["waited"] {
            notes.append("waited \(Self.seconds(waited)) for the disk or for a server to take the key")
        }
        if let count = step["retransmissions"]?.integer { notes.append("sent again \(count) times") }
        if let count = step["repeated-by-device"]?.integer { notes.append("repeated by the device \(count) times") }
        return notes.joined(separator: ", ")
    }
}
