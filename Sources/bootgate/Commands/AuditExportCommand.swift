internal import ArgumentParser
internal import Foundation
internal import Glibc
internal import Records

/// `bootgate audit export`.
struct AuditExportCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export",
        abstract: "Copy the journal or a part of it, or its newest checkpoint.",
        discussion: """
            JSON Lines are the journal byte for byte, in one piece up to the checkpoint that signs the last record, so that \
            `audit verify --file` proves them. In CSV a cell that begins with = + - @, a tab or a return has an apostrophe in \
            front, so that spreadsheets do not take it for a formula.
            """
    )

    @Option(help: "jsonl or csv.") var format = JournalExport.Form.jsonl
    @OptionGroup var span: TimeSpanOptions
    @Option(help: ArgumentHelp("A new file, instead of standard output.", valueName: "file")) var out: String?
    @Option(
        help: ArgumentHelp(
            "Write the newest checkpoint to this file, for `audit verify --anchor`; alone, nothing else is exported.",
            valueName: "file"))
    var anchor: String?
    @OptionGroup var config: ConfigurationOption

    func run() async throws {
        let configuration = try self.config.load()
        if let path = self.anchor {
            try self.writeAnchor(configuration, to: path)
            if self.out == nil, self.span.since == nil, self.span.until == nil { return }
        }
        let (since, until) = self.span.microseconds
        let export = JournalExport(state: configuration.state, form: self.format, since: since, until: until)
        let file = try self.out.map { try OutputFile($0) }
        let summary: JournalExport.Summary
        do {
            summary = try reporting {
                try export.run { bytes in
                    if let file { try file.write(bytes) } else { Terminal.put(bytes) }
                }
            }
            try file?.close()
        } catch {
            file?.discard()
            throw error
        }
        if file != nil || Terminal.isInteractive {
            let range = summary.firstSeq.map { ", \($0) to \(summary.lastSeq ?? $0)" } ?? ""
            Terminal.complain("\(summary.records) records\(range)")
        }
        if summary.unsigned > 0 {
            Terminal.complain("\(summary.unsigned) records at the end have no checkpoint behind them yet")
        }
    }

    private func writeAnchor(_ configuration: BootgateConfiguration, to path: String) throws {
        let anchor = try reporting {
            try JournalAnchor.newest(
                state: configuration.state, trust: JournalTrust(signingKey: configuration.audit.signingKey)
            )
        }
        guard let anchor else {
            throw fail(.badData, "the journal has no checkpoint that holds; bootgate audit verify says why")
        }
        let file = try OutputFile(path, replaces: true)
        try file.write(Array(anchor.text.utf8))
        try file.close()
        Terminal.complain("anchor: record \(anchor.seq), signed at \(anchor.time)")
    }
}

extension JournalExport.Form: ExpressibleByArgument {}

/// A file for a result, readable by its owner alone. What exists stays as it is unless the caller says otherwise.
struct OutputFile {
    private let path: String
    private let descriptor: Int32
    private let replaces: Bool

    init(_ path: String, replaces: Bool = false) throws {
        self.path = path
        self.replaces = replaces
        self.descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | (replaces ? 0 : O_EXCL), 0o600)
        guard self.descriptor >= 0 else { throw self.failure() }
    }

    func write(_ bytes: [UInt8]) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(self.descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw self.failure() }
            rest = rest.dropFirst(count)
        }
    }

    func close() throws {
        // Only now: a disk without room leaves what was there.
        if self.replaces { _ = ftruncate(self.descriptor, lseek(self.descriptor, 0, SEEK_CUR)) }
        guard fsync(self.descriptor) == 0 || errno == EINVAL, Glibc.close(self.descriptor) == 0 else {
            throw self.failure()
        }
    }

    /// Takes a new file away that did not become whole.
    func discard() {
        Glibc.close(self.descriptor)
        if !self.replaces { unlink(self.path) }
    }

    private func failure() -> ExitCode {
        let code = errno
        let reason = code == EEXIST ? "it exists already; name a new file" : String(cString: strerror(code))
        return fail(.cannotWrite, "cannot write \(self.path): \(reason)")
    }
}
