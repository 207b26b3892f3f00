internal import ArgumentParser
internal import Foundation
internal import Gateway
internal import Records

/// `bootgate audit report`.
struct AuditReportCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "report",
        abstract: "Sum up who was refused or would have been, what became of accounts, and what is missing.",
        discussion: """
            In mode audit it says what enforce would have done, so that records and configuration can be completed before the \
            switch; in mode enforce, what was done.
            """
    )

    @OptionGroup var span: TimeSpanOptions
    @Option(
        help: ArgumentHelp(
            "Write plain devices without a record to this new file, in the form of `sim import`; - for standard output alone.",
            valueName: "file"))
    var csv: String?
    @Flag(help: "As JSON.") var json = false
    @OptionGroup var config: ConfigurationOption

    func run() async throws {
        let reader = JournalReader(state: try self.config.load().state)
        let (since, until) = self.span.microseconds
        let report = try reporting { try reader.report(since: since, until: until) }
        if let path = self.csv {
            let text = UnknownDevices.csv(report)
            if path == "-" { return Terminal.put(Array(text.utf8)) }
            let file = try OutputFile(path)
            try file.write(Array(text.utf8))
            try file.close()
            let count = report.strangers.rows.count { !$0.key.address.isEmpty }
            Terminal.complain("\(count) \(count == 1 ? "device" : "devices") in \(path)")
        }
        if self.json {
            Terminal.say(JSONText.line(ReportText.object(report)))
        } else {
            for line in ReportText.lines(report) { Terminal.say(Terminal.printable(line)) }
        }
        if report.unreadable > 0 {
            Terminal.complain("\(report.unreadable) lines are no records; bootgate audit verify names them")
        }
    }
}

/// Plain devices without a record as rows of an import.
enum UnknownDevices {
    /// Only what the journal knows: `iccid` where the device calls itself by it, else it is the operator's to fill in.
    /// A name that a spreadsheet would take for a formula is left out, so that the file may be opened in one.
    static func csv(_ report: JournalReport) -> String {
        let rows = report.strangers.rows.filter { !$0.key.address.isEmpty }.map { row in
            let iccid = (try? ICCID(row.key.endpoint))?.digits ?? ""
            let isFormula = row.key.endpoint.first.map { "=+-@\t\r".contains($0) } ?? false
            return [iccid, isFormula ? "" : row.key.endpoint, row.key.address].map(Self.cell).joined(separator: ",")
        }
        return (["iccid,endpoint,address"] + rows).joined(separator: "\n") + "\n"
    }

    private static func cell(_ text: String) -> String {
        guard text.contains(where: { ",\"\r\n".contains($0) || $0.isNewline }) else { return text }
        return "\"" + text.replacingOccurrences(of: "\"", with: "\"\"") + "\""
    }
}
