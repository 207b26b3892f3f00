import Foundation
import GRDB
import Gateway
import Secrets
import Testing

@testable import Records

@Suite("Importing SIM records")
struct ImportTests {
    let scratch = Scratch()

    private func importing(
        _ text: String,
        as name: String = "sims.csv",
        dryRun: Bool = false,
        into records: Records
    ) throws -> SIMImport.Summary {
        let path = try self.scratch.write(text, to: name)
        let format = try #require(SIMImport.Format(path: path))
        return try records.sims.importRecords(from: path, format: format, by: "test", dryRun: dryRun)
    }

    private func csv(_ indices: some Sequence<Int>, _ line: (Int) -> String = { "\(iccid($0)),\(keyDigits)" }) -> String
    {
        "iccid,key\n" + indices.map { line($0) + "\n" }.joined()
    }

    private func rowCount(_ table: String, _ records: Records) throws -> Int {
        try records.sims.pool.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM \(table)") ?? 0 }
    }

    @Test("CSV and JSON Lines bring the same records")
    func formats() throws {
        let records = try self.scratch.records()
        let first = try self.importing(
            "address,iccid,group\n\"192.0.2.1 192.0.2.2\",\(iccid(1)),a\n,\(iccid(2)),\n",
            into: records
        )
        #expect(first.added == 2 && first.isCommitted && first.badRows.isEmpty)
        let second = try self.importing(
            """
            {"iccid": "\(iccid(1))", "group": "a", "address": ["192.0.2.1", "192.0.2.2"]}
            {"group": null, "iccid": \(iccid(2))}
            """,
            as: "sims.jsonl",
            into: records
        )
        #expect(second.unchanged == 2 && second.updated == 0 && second.isCommitted)
    }

    @Test("One bad row, and nothing is imported; each bad row is named by its line")
    func allOrNothing() throws {
        let records = try self.scratch.records()
        let text = self.csv(1...50) { index in
            switch index {
            case 10: "12345,\(keyDigits)"
            case 20: "\(iccid(20)),hunter2hunter2hunter2"
            case 30: "\(iccid(29)),\(keyDigits)"
            case 40: "\(iccid(40))"
            default: "\(iccid(index)),\(keyDigits)"
            }
        }
        let summary = try self.importing(text, into: records)
        #expect(!summary.isCommitted)
        #expect(summary.badRows.map(\.line) == [11, 21, 31, 41])
        #expect(summary.badRows[2].error.description.contains("line 30"))
        #expect(!"\(summary.badRows)".contains("hunter2"))
        #expect(try records.sims.count() == 0)
        for table in ["changes", "outbox", "addresses"] { #expect(try self.rowCount(table, records) == 0) }
    }

    @Test("An import gives up after so many bad rows")
    func bound() throws {
        let records = try self.scratch.records()
        let summary = try self.importing(self.csv(1...500) { "x\($0)," }, into: records)
        #expect(summary.badRows.count == SIMImport.badRowLimit)
        #expect(summary.isCutShort)
    }

    @Test("A dry run finds what an import would find and writes nothing")
    func dryRun() throws {
        let records = try self.scratch.records()
        _ = try records.sims.add(fields(1, [.identity: iccid(3)]), by: "test")
        let summary = try self.importing(self.csv(1...3), dryRun: true, into: records)
        #expect(summary.badRows.map(\.line) == [4])
        let good = try self.importing(self.csv(4...6), dryRun: true, into: records)
        #expect(good.added == 3 && good.badRows.isEmpty && !good.isCommitted)
        #expect(try records.sims.count() == 1)
        #expect(try self.rowCount("outbox", records) == 1)
    }

    @Test("An existing record is updated in the fields that the file has")
    func update() throws {
        let records = try self.scratch.records()
        _ = try records.sims.add(fields(1, [.note: "keep", .group: "old"]), by: "test")
        let summary = try self.importing("iccid,group,key\n\(iccid(1)),new,\n", into: records)
        #expect(summary.updated == 1)
        let record = try #require(try records.sims.record(try ICCID(iccid(1))))
        #expect(record.group == "new" && record.note == "keep" && record.key != nil)
    }

    @Test("An import that suspends SIMs ends their credentials")
    func suspendingImport() async throws {
        let records = try self.scratch.records()
        _ = try records.sims.add(fields(1), by: "test")
        try await records.store([credential("a", at: records.configuration.clock())])
        _ = try self.importing("iccid,status\n\(iccid(1)),suspended\n", into: records)
        _ = try self.importing("iccid,status\n\(iccid(1)),active\n", into: records)
        let resolution = try await records.resolve(identities: [#require(PSKIdentity("a"))])
        #expect(resolution == [.unknown])
    }

    @Test("An import is one row for the gateway and one for the journal, with the file's hash and the counts")
    func trail() throws {
        let records = try self.scratch.records()
        let text = "iccid\n\(iccid(1))\n\(iccid(2))\n"
        let summary = try self.importing(text, into: records)
        // What `sha256sum` says of these 46 bytes.
        let digest = "c0f9109be864c97ebbaa1bf8f8e73fdf34e97166a5d2cb74797ce42cdb6542a7"
        #expect(summary.fileSHA256 == digest)
        #expect(try self.rowCount("changes", records) == 1)
        let rows = try records.outbox.rows(limit: 10)
        #expect(rows.count == 1)
        let detail = try #require(rows.first).event.detail
        #expect(detail.contains(.init("sha256", .text(digest))))
        #expect(detail.contains(.init("added", .integer(2))))
        #expect(detail.contains(.init("file", .text("sims.csv"))))
    }

    @Test("Progress reaches the end, and warnings are counted")
    func progress() throws {
        let records = try self.scratch.records()
        let long = String(repeating: "i", count: 40)
        let path = try self.scratch.write(
            "iccid,key,identity\n" + (1...30).map { "\(iccid($0)),\(keyDigits),\(long)\($0)\n" }.joined(),
            to: "w.csv"
        )
        var last: SIMImport.Progress?
        let summary = try records.sims.importRecords(from: path, format: .csv, by: "test") { last = $0 }
        #expect(last?.rows == 30)
        #expect(last?.bytes == last?.totalBytes)
        #expect(summary.warningCount == 30)
        #expect(summary.warnings.count == SIMImport.warningLimit)
        #expect(summary.warnings.first?.line == 2)
    }

    @Test("A file that cannot be read, and a name that tells no format, are refused")
    func files() throws {
        let records = try self.scratch.records()
        #expect(SIMImport.Format(path: "sims.xlsx") == nil)
        let error = #expect(throws: RecordsError.self) {
            try records.sims.importRecords(from: self.scratch.path + "/none.csv", format: .csv, by: "test")
        }
        #expect(error?.kind == .badData)
    }
}
