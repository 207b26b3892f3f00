import Foundation
import GRDB
import Gateway
import Secrets
import Testing

@testable import Records

@Suite("Opening the stores")
struct OpeningTests {
    let scratch = Scratch()

    private var simsPath: String { self.scratch.state + "/sims.db" }
    private var keyPath: String { self.scratch.path + "/records.key" }

    private func failure(_ body: () throws -> Void) -> RecordsError? {
        do {
            try body()
            return nil
        } catch { return error as? RecordsError }
    }

    private func openingFails() -> RecordsError? { self.failure { try self.scratch.records().close() } }

    private func mode(_ path: String) throws -> Int {
        let attributes = try FileManager.default.attributesOfItem(atPath: path)
        return try #require(attributes[.posixPermissions] as? Int)
    }

    @Test("The first start makes the folder, the stores and the key, for their owner alone")
    func firstStart() throws {
        try self.scratch.records().close()
        for path in [self.keyPath, self.simsPath, self.scratch.state + "/credentials.db"] {
            #expect(try self.mode(path) == 0o600)
        }
        let digits = try String(contentsOfFile: self.keyPath, encoding: .utf8)
        #expect(digits.utf8.count == 65)
        try self.scratch.records().close()
        #expect(try String(contentsOfFile: self.keyPath, encoding: .utf8) == digits)
    }

    @Test("While another process writes, the stores open, and can be read")
    func lockedByAnother() throws {
        let first = try self.scratch.records()
        _ = try first.sims.add(fields(1), by: "test")
        first.close()
        var configuration = Configuration()
        configuration.allowsUnsafeTransactions = true
        for path in [self.simsPath, self.scratch.state + "/credentials.db"] {
            let other = try DatabaseQueue(path: path, configuration: configuration)
            try other.inDatabase { try $0.execute(sql: "BEGIN IMMEDIATE") }
            let records = try self.scratch.records { $0.busyTimeout = .zero }
            #expect(try records.sims.list(SIMQuery()).count == 1)
            records.close()
            try other.inDatabase { try $0.execute(sql: "ROLLBACK") }
        }
    }

    @Test("Another records key is told at once, whichever store comes first")
    func wrongKey() throws {
        try self.scratch.records().close()
        try Data(String(repeating: "ab", count: 32).utf8).write(to: URL(fileURLWithPath: self.keyPath))
        #expect(self.openingFails()?.kind == .wrongKey)
        try FileManager.default.removeItem(atPath: self.simsPath)
        let error = self.openingFails()
        #expect(error?.kind == .wrongKey)
        #expect(error?.description.contains("credentials.db") == true)
    }

    @Test("No new key is made where stores lie that were made with another one")
    func lostKey() throws {
        try self.scratch.records().close()
        try FileManager.default.removeItem(atPath: self.keyPath)
        #expect(self.openingFails()?.kind == .wrongKey)
        #expect(!FileManager.default.fileExists(atPath: self.keyPath))
    }

    @Test("A key file that others can read is refused, one that its group can read is warned of")
    func permissions() throws {
        try self.scratch.records().close()
        for mode in [0o604, 0o602, 0o620, 0o644, 0o660] {
            try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: self.keyPath)
            let error = self.openingFails()
            #expect(error?.kind == .notPermitted)
            #expect(error?.remedy.contains("chmod") == true)
        }
        try FileManager.default.setAttributes([.posixPermissions: 0o640], ofItemAtPath: self.keyPath)
        let records = try self.scratch.records()
        #expect(records.warnings.count == 1)
    }

    @Test("A key file that holds no key is refused without being shown", arguments: ["", "hello", "012", "zzzz"])
    func badKey(text: String) throws {
        let text = String(repeating: text, count: 16)
        try Data(text.utf8).write(to: URL(fileURLWithPath: self.keyPath))
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: self.keyPath)
        let error = self.openingFails()
        #expect(error?.kind == .badData)
        #expect(text.isEmpty || error?.description.contains(text) == false)
    }

    @Test("The key may come from the environment")
    func environment() throws {
        let name = "BOOTGATE_TEST_\(UInt64.random(in: 0 ... .max))"
        let error = self.failure { try self.scratch.records { $0.key = .environment(name) }.close() }
        #expect(error?.kind == .configuration)
        setenv(name, String(repeating: "0f", count: 32), 1)
        defer { unsetenv(name) }
        try self.scratch.records { $0.key = .environment(name) }.close()
    }

    @Test("A file that is no database is told as damaged")
    func noDatabase() throws {
        try FileManager.default.createDirectory(atPath: self.scratch.state, withIntermediateDirectories: true)
        try Data(String(repeating: "no database ", count: 500).utf8).write(to: URL(fileURLWithPath: self.simsPath))
        _ = try self.scratch.write(String(repeating: "0f", count: 32), to: "records.key")
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: self.keyPath)
        let error = self.openingFails()
        #expect(error?.kind == .damaged)
        #expect(error?.description.contains("sims.db") == true)
    }

    @Test("A store of a newer version is left alone")
    func newerSchema() throws {
        let records = try self.scratch.records()
        try records.sims.pool.write { db in
            try db.execute(sql: "INSERT INTO grdb_migrations (identifier) VALUES ('99')")
        }
        records.close()
        #expect(self.openingFails()?.kind == .newerSchema)
    }

    @Test("A state folder that cannot be made is told with the reason")
    func noFolder() throws {
        _ = try self.scratch.write("a file", to: "state")
        let error = self.openingFails()
        #expect(error?.kind == .cannotWrite)
        #expect(error?.description.contains(self.scratch.state) == true)
    }

    @Test("A write that another process holds up is told as such")
    func busy() throws {
        let records = try self.scratch.records { $0.busyTimeout = .zero }
        var configuration = Configuration()
        configuration.label = "other"
        let other = try DatabaseQueue(path: self.simsPath, configuration: configuration)
        try other.inDatabase { db in
            try db.inTransaction(.immediate) {
                let error = self.failure { _ = try records.sims.add(fields(1), by: "test") }
                #expect(error?.kind == .unavailable)
                return .rollback
            }
        }
        #expect(throws: Never.self) { try records.sims.add(fields(1), by: "test") }
    }

    @Test("A closed store answers with an error")
    func closed() async throws {
        let records = try self.scratch.records()
        records.close()
        records.close()
        await #expect(throws: RecordsError.self) { try await records.resolve(identities: [#require(PSKIdentity("a"))]) }
        await #expect(throws: RecordsError.self) { try await records.store([credential("a")]) }
    }
}
