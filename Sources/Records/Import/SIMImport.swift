internal import Foundation
internal import GRDB
internal import Gateway

/// An import of SIM records from a file: what is wanted, what came of it.
package enum SIMImport {
    package enum Format: Sendable {
        case csv, jsonLines

        /// By the end of the name: `.csv` is CSV; `.jsonl`, `.ndjson` and `.json` are JSON Lines.
        package init?(path: String) {
            switch path.split(separator: ".").last?.lowercased() {
            case "csv": self = .csv
            case "jsonl", "ndjson", "json": self = .jsonLines
            default: return nil
            }
        }
    }

    /// How far an import is.
    package struct Progress: Sendable {
        package var rows: Int
        package var bytes: Int64
        /// 0 when nobody knows.
        package var totalBytes: Int64
    }

    /// One row that cannot be taken.
    package struct BadRow: Sendable, Equatable {
        package var line: Int
        package var error: RecordsError
    }

    package struct Warning: Sendable, Equatable {
        package var line: Int
        package var text: String
    }

    package struct Summary: Sendable {
        package var added = 0
        /// Rows whose ICCID existed already and whose fields differed.
        package var updated = 0
        /// Rows whose ICCID existed already and that say nothing new.
        package var unchanged = 0
        /// The first bad rows, ``SIMImport/badRowLimit`` at most. One is enough for nothing to be imported.
        package var badRows: [BadRow] = []
        /// Whether reading stopped because there were so many bad rows.
        package var isCutShort = false
        /// The first ones, and how many there are.
        package var warnings: [Warning] = []
        package var warningCount = 0
        /// Lower-case hexadecimal SHA-256 of the file.
        package var fileSHA256 = ""
        /// Whether the records were written: false after a dry run and where a row was bad.
        package var isCommitted = false
    }

    /// Bad rows after which an import gives up.
    package static let badRowLimit = 100
    static let warningLimit = 20
}

extension SIMStore {
    /// Imports a file, all rows or none, in one transaction. Memory does not grow with the file.
    ///
    /// A row whose ICCID exists already updates that record: fields that the file has replace the record's, an empty one
    /// clears an optional field or brings its default back, fields that the file lacks stay. An empty `key` keeps the key,
    /// because files that were written from a listing have none. A suspended or retired status ends credentials as the
    /// commands do. Names and addresses must be free at the moment of their row: two SIMs cannot swap them in one file.
    ///
    /// A bad row does not throw: the summary names it. The call blocks until it is done; other writers of SIM records
    /// wait meanwhile, bootstraps do not.
    ///
    /// - Parameters:
    ///   - dryRun: does everything except the last step.
    ///   - progress: called now and then on the calling thread.
    package func importRecords(
        from path: String,
        format: SIMImport.Format,
        by actor: String,
        dryRun: Bool = false,
        progress: (SIMImport.Progress) -> Void = { _ in }
    ) throws(RecordsError) -> SIMImport.Summary {
        switch format {
        case .csv: try self.run(CSVFormat(), path, actor, dryRun, progress)
        case .jsonLines: try self.run(JSONLinesFormat(), path, actor, dryRun, progress)
        }
    }

    private func run(
        _ format: some ImportFormat,
        _ path: String,
        _ actor: String,
        _ dryRun: Bool,
        _ progress: (SIMImport.Progress) -> Void
    ) throws(RecordsError) -> SIMImport.Summary {
        try self.file.translating {
            let summary = try self.pool.writeWithoutTransaction { db in
                // A larger cache while many pages change; the transaction itself goes to the log on disk.
                try db.execute(sql: "PRAGMA cache_size = -65536")
                defer { try? db.execute(sql: "PRAGMA cache_size = -16384") }
                try db.execute(
                    sql: """
                        CREATE TEMP TABLE IF NOT EXISTS imported (iccid TEXT PRIMARY KEY, line INTEGER) WITHOUT ROWID;
                        DELETE FROM imported;
                        """
                )
                defer { try? db.execute(sql: "DROP TABLE imported") }
                var summary = SIMImport.Summary()
                try db.inTransaction(.immediate) {
                    summary = try self.read(format, path, in: db, progress)
                    guard summary.badRows.isEmpty && !dryRun else { return .rollback }
                    try self.conclude(summary, path: path, by: actor, in: db)
                    return .commit
                }
                summary.isCommitted = summary.badRows.isEmpty && !dryRun
                return summary
            }
            // Brings the log back to its usual size. Readers may hold it up; then a later commit does it.
            if summary.isCommitted { _ = try? self.pool.writeWithoutTransaction { try $0.checkpoint(.passive) } }
            return summary
        }
    }

    private func read(
        _ format: some ImportFormat,
        _ path: String,
        in db: Database,
        _ progress: (SIMImport.Progress) -> Void
    ) throws -> SIMImport.Summary {
        var file = try ImportFile(path: path)
        var format = format
        var summary = SIMImport.Summary()
        let trail = SIMTrail(now: self.clock())
        var rows = 0
        while true {
            let piece = try file.next()
            for row in try format.rows(from: piece) {
                rows += 1
                do {
                    try self.take(row, trail: trail, into: &summary, in: db)
                } catch let error as RecordsError where Self.isRowError(error) {
                    summary.badRows.append(SIMImport.BadRow(line: row.line, error: error))
                    guard summary.badRows.count < SIMImport.badRowLimit else {
                        summary.isCutShort = true
                        return summary
                    }
                }
            }
            progress(SIMImport.Progress(rows: rows, bytes: file.position, totalBytes: file.size))
            if piece.isEmpty { break }
        }
        summary.fileSHA256 = file.digest()
        return summary
    }

    /// Whether an error is the row's own and the next row may be good.
    private static func isRowError(_ error: RecordsError) -> Bool {
        switch error.kind {
        case .badData, .conflict: true
        case .notFound, .unavailable, .cannotWrite, .notPermitted, .damaged, .wrongKey, .newerSchema, .inUse,
            .configuration, .internal:
            false
        }
    }

    private func take(
        _ row: ImportRow,
        trail: SIMTrail,
        into summary: inout SIMImport.Summary,
        in db: Database
    ) throws {
        let fields = try row.fields.get()
        let iccid = try ICCID(fields[.iccid] ?? "")
        let seen = try db.cachedStatement(sql: "INSERT OR IGNORE INTO imported (iccid, line) VALUES (?, ?)")
        try seen.execute(arguments: [iccid.digits, row.line])
        if db.changesCount == 0 {
            let line = try Int.fetchOne(
                try db.cachedStatement(sql: "SELECT line FROM imported WHERE iccid = ?"),
                arguments: [iccid.digits]
            )
            throw RecordsError(
                .badData,
                "SIM \(iccid) stands in line \(line ?? 0) already",
                remedy: "name each SIM once"
            )
        }
        let existing = try self.table.changeable(iccid: iccid.digits, in: db)
        let outcome = try self.rules.record(iccid, from: fields, existing: existing)
        if let existing {
            if outcome.record == existing {
                summary.unchanged += 1
            } else {
                try self.update(outcome.record, existing: existing, trail: trail, in: db)
                summary.updated += 1
            }
        } else {
            try self.refuseConflicts(of: outcome.record, in: db)
            try self.table.insert(outcome.record, in: db)
            summary.added += 1
        }
        summary.warningCount += outcome.warnings.count
        for text in outcome.warnings where summary.warnings.count < SIMImport.warningLimit {
            summary.warnings.append(SIMImport.Warning(line: row.line, text: text))
        }
    }

    /// One row for the running gateway and one for the journal, however many records there were.
    private func conclude(_ summary: SIMImport.Summary, path: String, by actor: String, in db: Database) throws {
        let trail = SIMTrail(now: self.clock())
        try trail.change(iccid: nil, in: db)
        try trail.outbox(
            .simChanged,
            iccid: nil,
            detail: [
                .init("action", .text("import")), .init("by", .text(actor)),
                .init("file", .text(path.split(separator: "/").last.map(String.init) ?? path)),
                .init("sha256", .text(summary.fileSHA256)),
                .init("added", .integer(Int64(summary.added))), .init("updated", .integer(Int64(summary.updated))),
                .init("unchanged", .integer(Int64(summary.unchanged))),
            ],
            in: db
        )
    }
}
