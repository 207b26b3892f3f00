internal import ArgumentParser
internal import Foundation
internal import Gateway
internal import Records

extension SIMCommand {
    struct Import: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Import records from CSV or JSON Lines, all or nothing.",
            discussion: "CSV begins with a line of field names. A row whose ICCID exists already changes that record."
        )

        @Argument(help: "A file that ends in .csv or .jsonl.") var file: String
        @Flag(help: "Check every row and import none.") var dryRun = false
        @OptionGroup var config: ConfigurationOption

        func validate() throws {
            guard SIMImport.Format(path: self.file) != nil else {
                throw ValidationError("the file must end in .csv or .jsonl, so that its format is known")
            }
        }

        func run() throws {
            guard let format = SIMImport.Format(path: self.file) else { return }
            let records = try self.config.openRecords()
            defer { records.close() }
            let summary = try reporting {
                try records.sims.importRecords(from: self.file, format: format, by: actor, dryRun: self.dryRun) {
                    Self.show($0)
                }
            }
            Terminal.progress("")
            for row in summary.badRows { Terminal.complain("\(self.file):\(row.line): \(row.error)") }
            for warning in summary.warnings {
                Terminal.complain("\(self.file):\(warning.line): warning: \(warning.text)")
            }
            let counts = "\(summary.added) added, \(summary.updated) changed, \(summary.unchanged) as they were"
            if !summary.badRows.isEmpty {
                let more = summary.isCutShort ? " at least" : ""
                let count = summary.badRows.count
                throw fail(.badData, "nothing imported: \(count) bad \(count == 1 ? "row" : "rows")\(more)")
            }
            Terminal.say(summary.isCommitted ? counts : "dry run: \(counts)")
        }

        private static func show(_ progress: SIMImport.Progress) {
            guard progress.totalBytes > 0 else { return Terminal.progress("\(progress.rows) rows") }
            let done = min(1, Double(progress.bytes) / Double(progress.totalBytes))
            let bar = String(repeating: "#", count: Int(done * 30)).padding(toLength: 30, withPad: "-", startingAt: 0)
            Terminal.progress("[\(bar)] \(Int(done * 100)) %  \(progress.rows) rows")
        }
    }
}
