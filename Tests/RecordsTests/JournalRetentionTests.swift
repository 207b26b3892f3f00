import Foundation
import Gateway
import Testing

@testable import Records

@Suite("Removing old segments of the audit journal")
struct JournalRetentionTests {
    let scratch = Scratch()
    let clock = ManualClock()

    private func journal(keep: Duration? = .seconds(400 * 86_400)) throws -> AuditJournal {
        try self.scratch.journal {
            $0.segmentSize = 1
            $0.keep = keep
            let clock = self.clock
            $0.clock = { clock.now }
        }
    }

    /// Each record in a segment of its own, with its checkpoint.
    private func write(_ range: Range<Int>, keep: Duration? = nil) async throws {
        let journal = try self.journal(keep: keep)
        for index in range {
            journal.record([event(index)])
            try await journal.flush()
        }
        journal.close()
    }

    /// Four old segments, then newer ones after 401 days, with the old ones removed.
    private func pruned() async throws {
        try await self.write(0..<4)
        self.clock.advance(days: 401)
        try await self.write(4..<6)
        let journal = try self.journal()
        try await journal.flush()
        journal.record([event(6)])
        try await journal.flush()
        journal.close()
    }

    private var numbers: [Int] { get throws { try JournalSegments(directory: self.scratch.audit).numbers() } }

    @Test("Old segments go, the journal says so, and what is left is proven from its first record on")
    func removal() async throws {
        try await self.pruned()
        #expect(try self.numbers.first == 5)
        let found = try self.scratch.verify()
        #expect(found.isIntact && found.unsigned == 0, "\(found.problems)")
        #expect(found.firstSeq == 9 && found.removal != nil && found.proven?.seq == found.lastSeq)
        let entries = try JournalReader(state: self.scratch.state).tail(100)
        let statement = try #require(entries.first { $0.event == "journal.pruned" })
        #expect(statement.detail["through"]?.integer == 8)
        #expect(statement.detail["first-segment"]?.integer == 1 && statement.detail["last-segment"]?.integer == 4)
        #expect(entries.compactMap(\.session) == [4, 5, 6])
        // And it goes on, in further rounds too.
        self.clock.advance(days: 800)
        try await self.write(7..<9)
        let journal = try self.journal()
        journal.record([event(9)])
        try await journal.flush()
        journal.close()
        let later = try self.scratch.verify()
        #expect(later.isIntact && later.firstSeq ?? 0 > 9 && later.removal != nil, "\(later.problems)")
    }

    @Test("Without keep, and before their time, segments stay")
    func stays() async throws {
        try await self.write(0..<4)
        self.clock.advance(days: 399)
        try await self.write(4..<5)
        try await self.write(5..<6, keep: .seconds(400 * 86_400))
        #expect(try self.numbers.first == 1)
        #expect(try self.scratch.verify().removal == nil)
    }

    @Test("A segment that went away and is not spoken of by a signed record is reported")
    func unannounced() async throws {
        try await self.write(0..<4)
        try FileManager.default.removeItem(atPath: self.scratch.segmentPath(1))
        #expect(try self.scratch.verify().problems.map(\.kind) == [.missingStart(through: 2)])
    }

    @Test("More than the signed record speaks of is reported, and so is a record that is not signed")
    func moreThanAnnounced() async throws {
        try await self.pruned()
        try FileManager.default.removeItem(atPath: self.scratch.segmentPath(5))
        #expect(try self.scratch.verify().problems.map(\.kind) == [.missingStart(through: 10)])
        // Everything behind the statement cut off, its checkpoint too: then nothing vouches for it.
        let other = JournalRetentionTests()
        try await other.pruned()
        let numbers = try other.numbers
        let holder = try #require(
            try numbers.first { try other.scratch.lines($0).contains { $0.contains("journal.pruned") } })
        let lines = try other.scratch.lines(holder)
        let kept = lines.prefix { !$0.contains("journal.pruned") }.count + 1
        try other.scratch.setBytes(Array((lines[..<kept].joined(separator: "\n") + "\n").utf8), holder)
        for later in numbers where later > holder {
            try FileManager.default.removeItem(atPath: other.scratch.segmentPath(later))
        }
        #expect(try other.scratch.verify().problems.map(\.kind) == [.missingStart(through: 8)])
    }

    @Test("A changed, a missing and a moved record are found after a removal as well")
    func tampered() async throws {
        try await self.pruned()
        let bytes = try self.scratch.bytes(5)
        let lines = try self.scratch.lines(5)
        try self.scratch.setBytes(Array((lines[0].replacing("ep-4", with: "ep-5") + "\n" + lines[1] + "\n").utf8), 5)
        var found = try self.scratch.verify()
        #expect(found.problems.first?.kind == .changed && found.problems.first?.seq == nil, "\(found.problems)")
        try self.scratch.setBytes(Array((lines[1] + "\n").utf8), 5)
        found = try self.scratch.verify()
        #expect(found.problems.map(\.kind) == [.missingStart(through: 9)])
        try self.scratch.setBytes(Array((lines[1] + "\n" + lines[0] + "\n").utf8), 5)
        #expect(try self.scratch.verify().problems.contains { $0.kind == .reordered })
        try self.scratch.setBytes(bytes, 5)
        #expect(try self.scratch.verify().isIntact)
    }

    @Test("A removal that a crash cut short leaves a journal that verifies, and goes on at the next start")
    func cutShort() async throws {
        try await self.write(0..<4)
        let third = try self.scratch.bytes(3)
        let fourth = try self.scratch.bytes(4)
        self.clock.advance(days: 401)
        try await self.write(4..<6)
        let journal = try self.journal()
        try await journal.flush()
        journal.record([event(6)])
        try await journal.flush()
        journal.close()
        try self.scratch.setBytes(third, 3)
        try self.scratch.setBytes(fourth, 4)
        let found = try self.scratch.verify()
        #expect(found.isIntact && found.firstSeq == 5, "\(found.problems)")
        let again = try self.journal()
        try await again.flush()
        again.record([event(7)])
        try await again.flush()
        again.close()
        #expect(try self.numbers.first ?? 0 >= 5)
        #expect(try self.scratch.verify().isIntact)
    }

    @Test("A segment whose end nobody has signed stays, and those behind it")
    func unsignedStays() async throws {
        try await self.write(0..<4)
        let lines = try self.scratch.lines(2)
        try self.scratch.setBytes(Array((lines[0] + "\n").utf8), 2)
        self.clock.advance(days: 401)
        try await self.write(4..<6)
        let journal = try self.journal()
        try await journal.flush()
        journal.record([event(6)])
        try await journal.flush()
        journal.close()
        #expect(try self.numbers.first == 2)
        // And the log can say which one it is.
        var retention = JournalRetention(
            segments: JournalSegments(directory: self.scratch.audit), keep: .seconds(400 * 86_400),
            trust: try JournalTrust(signingKey: .file(self.scratch.path + "/audit.key")), newestRecord: self.clock.now
        )
        #expect(try retention.due(before: 7, now: self.clock.now) == nil)
        #expect(retention.obstacle == 2)
    }

    @Test("A clock that was set years ahead does not cost the journal")
    func clockJump() async throws {
        try await self.write(0..<4)
        self.clock.advance(days: 4_000)
        let journal = try self.journal()
        try await journal.flush()
        journal.record([event(6)])
        try await journal.flush()
        journal.close()
        #expect(try self.numbers.first == 1)
    }

    @Test("An anchor from before the removal is told as older than what is kept")
    func oldAnchor() async throws {
        try await self.write(0..<2)
        let anchor = try #require(try self.scratch.anchor())
        try await self.write(2..<4)
        self.clock.advance(days: 401)
        try await self.write(4..<6)
        let journal = try self.journal()
        try await journal.flush()
        journal.record([event(6)])
        try await journal.flush()
        journal.close()
        let found = try self.scratch.verify(anchor: anchor)
        #expect(found.isIntact && found.anchor == .removed)
    }

    @Test("Times of the journal are read back as they were written", arguments: 1...3)
    func times(seed: Int) {
        var random = Seeded(state: UInt64(seed))
        for _ in 0..<300 {
            let time = Int64.random(in: 0...253_402_300_799_999_999, using: &random)
            let back = Array(JournalTime.text(time).utf8).withUnsafeBytes { JournalTime.value($0) }
            #expect(back == time, "seed \(seed)")
        }
        for text in ["2026-02-30T12:00:00.000001Z", "2026-01-31 12:00:00.000001Z", "x026-01-31T12:00:00.000001Z", ""] {
            #expect(Array(text.utf8).withUnsafeBytes { JournalTime.value($0) } == nil)
        }
    }
}
