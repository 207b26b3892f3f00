import Foundation
import GRDB
import Gateway
import Secrets
import Testing

@testable import Records

@Suite("Copies of the state: backup, upgrade, and the way back")
struct BackupTests {
    private let scratch = Scratch()

    private var sims: String { self.scratch.state + "/sims.db" }
    private var copy: String { self.scratch.path + "/copy" }

    private func error(_ body: () throws -> Void) -> RecordsError? {
        do { try body() } catch { return error as? RecordsError }
        return nil
    }

    private func migrations(_ path: String) throws -> [String] {
        var configuration = Configuration()
        configuration.readonly = true
        let queue = try DatabaseQueue(path: path, configuration: configuration)
        defer { try? queue.close() }
        return try queue.read { try String.fetchAll($0, sql: "SELECT identifier FROM grdb_migrations ORDER BY rowid") }
    }

    /// As an older program has left it: without the newest migration.
    private func makeOld() throws {
        let records = try self.scratch.records()
        _ = try records.sims.add(fields(1), by: "test")
        try records.sims.pool.write { db in
            try db.execute(sql: "DROP TABLE traces; DELETE FROM grdb_migrations WHERE identifier = 'traces'")
        }
        records.close()
    }

    @Test("A copy that was made while the stores are open opens with the same key, and has what was committed")
    func backup() throws {
        let records = try self.scratch.records()
        _ = try records.sims.add(fields(1), by: "test")
        let journal = try self.scratch.journal()
        journal.record([AuditEvent(.gatewayStarted, time: 0)])
        journal.close()
        let summary = try Backup(state: self.scratch.state, to: self.copy)
            .run(keys: [self.scratch.path + "/records.key"])
        #expect(
            summary.files == ["credentials.db", "sims.db", "audit/00000001.jsonl", "keys/records.key"])
        for name in summary.files {
            let attributes = try FileManager.default.attributesOfItem(atPath: "\(self.copy)/\(name)")
            #expect(attributes[.posixPermissions] as? Int == 0o600, "\(name)")
        }
        records.close()

        let restored = try self.scratch.records {
            $0 = RecordsConfiguration(state: self.copy, key: .file(self.copy + "/keys/records.key"))
        }
        #expect(try restored.sims.record(ICCID(iccid(1))) != nil)
        restored.close()
        #expect(
            try Data(contentsOf: URL(fileURLWithPath: self.copy + "/audit/00000001.jsonl"))
                == Data(contentsOf: URL(fileURLWithPath: self.scratch.audit + "/00000001.jsonl")))
    }

    @Test("A line that is being written stays out of the copy")
    func tornLine() throws {
        try self.scratch.records().close()
        let journal = try self.scratch.journal()
        journal.record([AuditEvent(.gatewayStarted, time: 0)])
        journal.close()
        let path = self.scratch.audit + "/00000001.jsonl"
        let whole = try String(contentsOfFile: path, encoding: .utf8)
        try (whole + "{\"seq\":").write(toFile: path, atomically: false, encoding: .utf8)
        _ = try Backup(state: self.scratch.state, to: self.copy).run()
        #expect(try String(contentsOfFile: self.copy + "/audit/00000001.jsonl", encoding: .utf8) == whole)
    }

    @Test("A folder with something in it, and a state without stores, are refused")
    func refused() throws {
        try self.scratch.records().close()
        try self.scratch.journal().close()
        let full = self.error { _ = try Backup(state: self.scratch.state, to: self.scratch.path).run() }
        #expect(full?.kind == .cannotWrite)
        let missing = self.error { _ = try Backup(state: self.scratch.path + "/no", to: self.copy).run() }
        #expect(missing?.kind == .notFound)
        #expect(!FileManager.default.fileExists(atPath: self.copy))
    }

    @Test("A copy that does not become whole leaves nothing that looks like one")
    func unfinished() throws {
        try self.scratch.records().close()
        // No journal yet.
        #expect(self.error { _ = try Backup(state: self.scratch.state, to: self.copy).run() }?.kind == .notFound)
        #expect(!FileManager.default.fileExists(atPath: self.copy))
        try FileManager.default.createDirectory(atPath: self.copy, withIntermediateDirectories: false)
        #expect(self.error { _ = try Backup(state: self.scratch.state, to: self.copy).run() }?.kind == .notFound)
        #expect(try FileManager.default.contentsOfDirectory(atPath: self.copy).isEmpty)
    }

    @Test("A store is copied before it is migrated, under the number of migrations that it had")
    func upgrade() throws {
        try self.makeOld()
        let before = try self.migrations(self.sims)
        try self.scratch.records().close()
        let copy = "\(self.sims).form-\(before.count)"
        #expect(try self.migrations(copy) == before)
        #expect(try self.migrations(self.sims).count == before.count + 1)
        #expect(!FileManager.default.fileExists(atPath: self.scratch.state + "/credentials.db.form-1"))
        // The way back: the copy takes the place of the store, and has what was in it.
        for suffix in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: self.sims + suffix) }
        try FileManager.default.moveItem(atPath: copy, toPath: self.sims)
        let records = try self.scratch.records()
        #expect(try records.sims.record(ICCID(iccid(1))) != nil)
        records.close()
    }

    @Test("A store of today's form is not copied")
    func noCopy() throws {
        try self.scratch.records().close()
        try self.scratch.records().close()
        let names = try FileManager.default.contentsOfDirectory(atPath: self.scratch.state)
        #expect(!names.contains { $0.contains(".form-") }, "\(names)")
    }

    @Test("When one store is newer, the other one is not migrated either")
    func newer() throws {
        try self.makeOld()
        let before = try self.migrations(self.sims)
        let other = try DatabaseQueue(path: self.scratch.state + "/credentials.db")
        try other.write { try $0.execute(sql: "INSERT INTO grdb_migrations (identifier) VALUES ('99')") }
        try other.close()
        let error = self.error { try self.scratch.records().close() }
        #expect(error?.kind == .newerSchema && error?.remedy.contains("credentials.db.form-") == true)
        #expect(try self.migrations(self.sims) == before)
    }
}
