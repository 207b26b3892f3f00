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
            let devices = UnknownDevices(report)
            if devices.leftOut > 0 {
                Terminal.complain(
                    "\(devices.leftOut) addresses left out: a device gets \(UnknownDevices.addressesPerDevice) at most")
            }
            if path == "-" { return Terminal.put(Array(devices.csv.utf8)) }
            let file = try OutputFile(path)
            try file.write(Array(devices.csv.utf8))
            try file.close()
            Terminal.complain("\(devices.count) \(devices.count == 1 ? "device" : "devices") in \(path)")
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
struct UnknownDevices {
    /// Addresses of one device that are written down, the most frequent first: an import takes no rows without end.
    static let addressesPerDevice = 1_000

    private struct Row {
        var iccid: String
        var endpoint: String
        var addresses: [String]
    }

    private var rows: [Row] = []
    /// Addresses that found no place.
    private(set) var leftOut = 0

    /// One row for each device, as an import takes each SIM once. Only what the journal knows: `iccid` where the device
    /// calls itself by it, else it is the operator's to fill in. A name that a spreadsheet would take for a formula is
    /// left out, so that the file may be opened in one; devices without a name are not told apart but by their address.
    init(_ report: JournalReport) {
        var places: [String: Int] = [:]
        for stranger in report.strangers.rows.map(\.key) where !stranger.address.isEmpty {
            let iccid = (try? ICCID(stranger.endpoint))?.digits ?? ""
            let isFormula = stranger.endpoint.first.map { "=+-@\t\r".contains($0) } ?? false
            let endpoint = isFormula ? "" : stranger.endpoint
            let device = iccid.isEmpty ? endpoint : iccid
            guard !device.isEmpty, let place = places[device] else {
                if !device.isEmpty { places[device] = self.rows.count }
                self.rows.append(Row(iccid: iccid, endpoint: endpoint, addresses: [stranger.address]))
                continue
            }
            if self.rows[place].addresses.contains(stranger.address) { continue }
            if self.rows[place].addresses.count < Self.addressesPerDevice {
                self.rows[place].addresses.append(stranger.address)
            } else {
                self.leftOut += 1
            }
        }
    }

    var count: Int { self.rows.count }

    var csv: String {
        let lines = self.rows.map { row in
            [row.iccid, row.endpoint, row.addresses.joined(separator: " ")].map(Self.cell).joined(separator: ",")
        }
        return (["iccid,endpoint,address"] + lines).joined(separator: "\n") + "\n"
    }

    private static func cell(_ text: String) -> String {
        guard text.contains(where: { ",\"\r\n".contains($0) || $0.isNewline }) else { return text }
        return "\"" + text.replacingOccurrences(of: "\"", with: "\"\"") + "\""
    }
}
