internal import ArgumentParser
internal import Foundation
internal import Gateway
internal import Records

/// `bootgate audit`: the audit journal, while a gateway writes it or not.
struct AuditCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "audit", abstract: "Read, search, sum up, export and verify the audit journal.",
        subcommands: [
            Tail.self, AuditSearchCommand.self, Show.self, AuditVerifyCommand.self, AuditExportCommand.self,
            AuditReportCommand.self,
        ]
    )

    struct Tail: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Show the last records.")
        @Option(name: .shortAndLong, help: "So many.") var count = 20
        @Flag(name: .shortAndLong, help: "Go on with what is written from now on.") var follow = false
        @Flag(help: "The records as they stand in the journal.") var json = false
        @OptionGroup var config: ConfigurationOption

        func run() async throws {
            let reader = JournalReader(state: try self.config.load().state)
            let following = self.follow ? try reporting { try reader.follow() } : nil
            for entry in try reporting({ try reader.tail(self.count) }) { AuditCommand.show(entry, json: self.json) }
            guard let following else { return }
            try await reporting { for try await entry in following { AuditCommand.show(entry, json: self.json) } }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Show everything that concerns one SIM.")
        @Argument(help: "19 or 20 digits.") var iccid: String
        @Flag(help: "The records as they stand in the journal.") var json = false
        @OptionGroup var config: ConfigurationOption

        func run() async throws {
            let reader = JournalReader(state: try self.config.load().state)
            var found = 0
            try reporting {
                try reader.show(iccid: try ICCID(self.iccid)) {
                    AuditCommand.show($0, json: self.json, withTimeline: true)
                    found += 1
                }
            }
            if found == 0 { Terminal.complain("the journal has no record of SIM \(self.iccid)") }
        }
    }

    static func write(_ entry: JournalEntry, json: Bool) { self.show(entry, json: json) }

    /// One record as a person reads it: when, what, who, and the rest of it.
    /// Timelines of bootstraps and what to do about failures only where there is room.
    private static func show(_ entry: JournalEntry, json: Bool, withTimeline: Bool = false) {
        guard !json else { return Terminal.say(entry.line) }
        var line = "\(entry.time.prefix(23))Z  \(entry.event)"
        if let cause = entry.cause { line += "  cause: \(cause)" }
        if let iccid = entry.iccid { line += "  \(iccid)" }
        if let endpoint = entry.endpoint, endpoint != entry.iccid { line += "  ep \(endpoint)" }
        if let peer = entry.peer { line += "  from \(peer)" }
        if let upstream = entry.upstream { line += "  to \(upstream)" }
        let timeline = TimelineText(entry.detail)
        let detail = TimelineText.without(entry.detail).plain
        if !detail.isEmpty { line += "\n    \(detail)" }
        if withTimeline {
            if let timeline { line += timeline.lines.map { "\n    \($0)" }.joined() }
            if let cause = entry.cause.flatMap(FailureCause.init(rawValue:)) {
                line += "\n    whose: \(cause.source.rawValue); what to do: \(cause.remedy)"
            }
        }
        Terminal.say(line.split(separator: "\n").map { Terminal.printable(String($0)) }.joined(separator: "\n"))
    }
}

extension JSONValue {
    /// As people read it: `name value, name (name value)`. Empty for nothing.
    fileprivate var plain: String {
        switch self {
        case .null: ""
        case .boolean(let value): value ? "yes" : "no"
        case .number(let digits): digits
        case .text(let text): text
        case .list(let values): values.map(\.plain).joined(separator: " ")
        case .object(let members):
            members.compactMap { member in
                let text = member.value.plain
                if text.isEmpty { return nil }
                if case .object = member.value { return "\(member.name): (\(text))" }
                return "\(member.name) \(text)"
            }.joined(separator: ", ")
        }
    }
}
