import Foundation
import GRDB
import Gateway
import Secrets
import Testing

@testable import Records

@Suite("From the stores into the journal")
struct MaintenanceTests {
    let scratch = Scratch()

    private func events() throws -> [String] {
        try JournalReader(state: self.scratch.state).tail(1_000).map(\.event)
    }

    @Test("A command's change becomes a journal record, once, and the revoked credentials follow it")
    func settle() async throws {
        let records = try self.scratch.records()
        let journal = try self.scratch.journal()
        let sim = try ICCID(iccid(1))
        _ = try records.sims.add(fields(1), by: "ana")
        let one = try credential("a")
        try await records.store([one])
        _ = try records.sims.setStatus(.retired, of: sim, by: "ana")
        try await records.settle(into: journal)
        try await records.settle(into: journal)
        try await journal.flush()
        #expect(try self.events() == ["sim.changed", "sim.changed", "credential.revoked"])
        let last = try #require(try JournalReader(state: self.scratch.state).tail(1).first)
        #expect(last.detail["key"]?.text == KeyFingerprint.text(of: one.key))
        #expect(try records.outbox.rows(limit: 1).isEmpty)
        journal.close()
    }

    @Test("After a crash between record and removal the outbox is not told twice")
    func crashBetween() async throws {
        let records = try self.scratch.records()
        _ = try records.sims.add(fields(1), by: "ana")
        let first = try self.scratch.journal()
        // What the gateway does up to the moment of the crash: the record is on disk, the row is still there.
        first.record(try records.outbox.rows(limit: 9).map(\.event))
        try await first.synchronize()
        first.close()
        _ = try records.sims.set(try ICCID(iccid(1)), SIMFields([.note: "x"]), by: "ana")
        let second = try self.scratch.journal()
        try await records.settle(into: second)
        second.close()
        #expect(try self.events() == ["sim.changed", "sim.changed"])
        #expect(try records.outbox.rows(limit: 1).isEmpty)
    }

    @Test(
        "A row that does not hold what it should is an error with a remedy, and stops no process",
        arguments: [
            "INSERT INTO outbox (uid, at, event, detail) VALUES (1, x'ff', 'sim.changed', '{}')",
            "INSERT INTO revocations (iccid, at) VALUES ('1', x'ff')",
            "INSERT INTO narrow_revocations (iccid, server, identity, at) VALUES ('1', x'fffe00', x'', 1)",
        ])
    func damagedRow(sql: String) async throws {
        let records = try self.scratch.records()
        let journal = try self.scratch.journal()
        try await records.sims.pool.write { try $0.execute(sql: sql) }
        let error = await #expect(throws: RecordsError.self) { try await records.settle(into: journal) }
        #expect(error?.kind == .damaged && error?.description.contains("sims.db") == true)
        journal.close()
    }

    @Test("A row whose detail is no text is told without it")
    func damagedDetail() async throws {
        let records = try self.scratch.records()
        let journal = try self.scratch.journal()
        try await records.sims.pool.write {
            try $0.execute(sql: "INSERT INTO outbox (uid, at, event, detail) VALUES (1, 2, 'sim.changed', x'fffe00')")
        }
        try await records.settle(into: journal)
        journal.close()
        #expect(try self.events() == ["sim.changed"])
    }

    @Test("Rows stay in the outbox while the journal takes none")
    func journalStuck() async throws {
        let records = try self.scratch.records()
        let journal = try self.scratch.journal { $0.segmentSize = 1 }
        journal.record([event(0)])
        try await journal.flush()
        try FileManager.default.createDirectory(atPath: self.scratch.segmentPath(2), withIntermediateDirectories: true)
        _ = try records.sims.add(fields(1), by: "ana")
        for _ in 0..<3 { await #expect(throws: RecordsError.self) { try await records.settle(into: journal) } }
        #expect(try records.outbox.rows(limit: 9).count == 1)
        // Once there is room again, each stands in the journal once.
        try FileManager.default.removeItem(atPath: self.scratch.segmentPath(2))
        try await records.settle(into: journal)
        #expect(try records.outbox.rows(limit: 9).isEmpty)
        journal.close()
        #expect(try self.events() == ["bootstrap.requested", "sim.changed"])
    }

    @Test("What was revoked is told although the marks cannot be settled, and once")
    func settlingFails() async throws {
        let records = try self.scratch.records { $0.busyTimeout = .milliseconds(1) }
        let journal = try self.scratch.journal()
        let sim = try ICCID(iccid(1))
        _ = try records.sims.add(fields(1), by: "ana")
        try await records.store([try credential("a")])
        _ = try records.sims.setStatus(.suspended, of: sim, by: "ana")
        try await records.emptyOutbox(into: journal)
        // Another process that writes the SIM records keeps them to itself.
        var configuration = Configuration()
        configuration.allowsUnsafeTransactions = true
        let other = try DatabaseQueue(path: self.scratch.state + "/sims.db", configuration: configuration)
        try await other.writeWithoutTransaction { try $0.execute(sql: "BEGIN IMMEDIATE") }
        await #expect(throws: RecordsError.self) { try await records.settle(into: journal) }
        try await other.writeWithoutTransaction { try $0.execute(sql: "ROLLBACK") }
        try await records.settle(into: journal)
        journal.close()
        #expect(try self.events() == ["sim.changed", "sim.changed", "credential.revoked"])
    }

    @Test("Upkeep hears of a change by another process and ends with its task")
    func maintain() async throws {
        let records = try self.scratch.records { $0.changeInterval = .milliseconds(1) }
        let other = try self.scratch.records()
        let journal = try self.scratch.journal()
        journal.record([event(0)])
        try await journal.synchronize()
        let stream = try JournalReader(state: self.scratch.state).follow(every: .milliseconds(1))
        let upkeep = Task { await records.maintain(into: journal, logger: quiet) }
        _ = try other.sims.add(fields(1), by: "ana")
        for try await entry in stream where entry.event == "sim.changed" { break }
        upkeep.cancel()
        await upkeep.value
        journal.close()
        #expect(try self.events() == ["bootstrap.requested", "sim.changed"])
    }
}
