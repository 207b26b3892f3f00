import Foundation
import Gateway
import Secrets
import Testing

@testable import Records

@Suite("Verifying the audit journal")
struct JournalVerifyingTests {
    let scratch = Scratch()

    /// Three runs of a few records, each with its checkpoint, and an unsigned tail.
    private func prepare() async throws {
        for run in 0..<2 {
            let journal = try self.scratch.journal()
            for index in 0..<3 { journal.record([event(run * 10 + index)]) }
            journal.close()
        }
    }

    private func rewrite(_ change: (inout [String]) -> Void) throws {
        var lines = try self.scratch.lines()
        change(&lines)
        try self.scratch.setBytes(Array((lines.joined(separator: "\n") + "\n").utf8))
    }

    @Test("An untouched journal is proven up to its last checkpoint")
    func intact() async throws {
        try await self.prepare()
        let found = try self.scratch.verify()
        #expect(found.isIntact)
        #expect(found.records == 8 && found.proven?.seq == 8 && found.unsigned == 0)
    }

    @Test("Any byte that is another one is found")
    func everyByte() async throws {
        let journal = try self.scratch.journal()
        journal.record([event(1), event(2)])
        journal.close()
        let trust = try JournalTrust(signingKey: .file(self.scratch.path + "/audit.key"))
        let bytes = try self.scratch.bytes()
        var random = Seeded(state: 7)
        for position in bytes.indices {
            var changed = bytes
            changed[position] ^= 1 << UInt8.random(in: 0...7, using: &random)
            var check = ChainCheck(trust: trust)
            let lines = changed.split(separator: 0x0A, omittingEmptySubsequences: false)
            for line in lines.dropLast() { check.take(line) }
            let isFound = try !check.conclude().isIntact || #require(lines.last).count > 0
            #expect(isFound, "seed 7, byte \(position)")
        }
        // The same through the files, where it costs more, for a few of them.
        for position in Array(stride(from: 0, to: bytes.count, by: 97)) + [bytes.count - 1] {
            var changed = bytes
            changed[position] ^= 4
            try self.scratch.setBytes(changed)
            let found = try self.scratch.verify()
            #expect(!found.isIntact || found.incompleteBytes > 0, "byte \(position)")
        }
    }

    @Test("A changed record is named by segment and number, and no other is")
    func changed() async throws {
        try await self.prepare()
        try self.rewrite { $0[4] = $0[4].replacingOccurrences(of: "ep-10", with: "ep-11") }
        let found = try self.scratch.verify()
        #expect(found.problems == [.init(kind: .changed, segment: "00000001.jsonl", line: 5, seq: 5)])
        #expect(found.proven?.seq == 4)
        #expect(found.unsigned == 4)
    }

    @Test("Missing records are named, the first ones and a whole segment too")
    func missing() async throws {
        try await self.prepare()
        try self.rewrite { $0.removeSubrange(4...5) }
        #expect(
            try self.scratch.verify().problems == [
                .init(kind: .missing(through: 6), segment: "00000001.jsonl", line: 5, seq: 5)
            ]
        )
        try FileManager.default.moveItem(atPath: self.scratch.segmentPath(1), toPath: self.scratch.segmentPath(3))
        try self.scratch.setBytes([], 1)
        #expect(try self.scratch.verify().problems.first?.kind == .missingSegment)
        #expect(try self.scratch.verify().problems.first?.segment == "00000002.jsonl")
    }

    @Test("Records that changed places are named")
    func reordered() async throws {
        try await self.prepare()
        try self.rewrite { $0.swapAt(4, 5) }
        let found = try self.scratch.verify()
        #expect(found.problems.contains(.init(kind: .reordered, segment: "00000001.jsonl", line: 6, seq: 5)))
        try self.rewrite { $0.insert($0[1], at: 6) }
        #expect(try self.scratch.verify().problems.contains { $0.kind == .reordered && $0.seq == 2 })
    }

    @Test("Who rewrites the whole chain cannot sign it")
    func forgedChain() async throws {
        try await self.prepare()
        let lines = try self.scratch.lines()
        let genuine = try #require(lines.compactMap { JournalEntry(Array($0.utf8)[...]) }.last)
        // A forger with the program but without the key: every record anew, the old signature put back in.
        var encoder = JournalEncoder(node: "edge-1", seq: 1, previous: JournalEncoder.noHash)
        for index in 0..<7 { encoder.append(event(index + 50)) }
        try encoder.appendCheckpoint(at: 1, signedBy: try JournalKey(Secret.random(count: 32)))
        let forged = String(decoding: encoder.lines.bytes, as: UTF8.self)
        try self.scratch.setBytes(Array(forged.utf8))
        let found = try self.scratch.verify()
        #expect(found.problems.map(\.kind) == [.badSignature])
        #expect(found.problems.first?.seq == UInt64(genuine.seq))
        #expect(found.proven == nil)
        // Without any checkpoint the chain is whole, but nothing of it is proven.
        let unsigned = forged.split(separator: "\n").dropLast().joined(separator: "\n") + "\n"
        try self.scratch.setBytes(Array(unsigned.utf8))
        let rest = try self.scratch.verify()
        #expect(rest.isIntact && rest.proven == nil && rest.unsigned == 7)
    }

    @Test("A record that was replaced by another whole one does not fit its neighbours")
    func replacedRecord() async throws {
        try await self.prepare()
        let before = try #require(JournalLine(Array(try self.scratch.lines()[0].utf8)[...]))
        var encoder = JournalEncoder(node: "edge-1", seq: 2, previous: before.hash)
        encoder.append(event(99))
        let forged = String(decoding: encoder.lines.bytes.dropLast(), as: UTF8.self)
        try self.rewrite { $0[1] = forged }
        let found = try self.scratch.verify()
        #expect(found.problems.map(\.seq) == [2])
        #expect(found.problems.first?.kind == .changed)
    }

    @Test("The tail behind the last checkpoint is told as unsigned while the gateway runs")
    func liveTail() async throws {
        let journal = try self.scratch.journal()
        journal.record([event(1), event(2)])
        try await journal.flush()
        journal.record([event(3), event(4)])
        try await journal.synchronize()
        let found = try self.scratch.verify()
        #expect(found.isIntact && found.proven?.seq == 3 && found.unsigned == 2)
        journal.close()
    }

    @Test("An exported checkpoint shows that the end was cut off")
    func anchor() async throws {
        try await self.prepare()
        let anchor = try #require(try self.scratch.anchor())
        let copy = try JournalAnchor(text: anchor.text)
        #expect(copy == anchor && anchor.seq == 8)
        #expect(try self.scratch.verify(anchor: copy).anchor == .held)
        try self.rewrite { $0.removeLast(2) }
        #expect(try self.scratch.verify().isIntact)
        #expect(try self.scratch.verify(anchor: copy).problems.map(\.kind) == [.anchorMissing])
    }

    @Test("An anchor of another journal is told as such, one with the same key and another hash as missing")
    func foreignAnchor() async throws {
        try await self.prepare()
        let other = Scratch()
        let journal = try other.journal()
        for index in 0..<20 { journal.record([event(index)]) }
        journal.close()
        let foreign = try #require(try other.anchor())
        #expect(try self.scratch.verify(anchor: foreign).problems.map(\.kind) == [.anchorForeign])
        var own = try #require(try self.scratch.anchor())
        own.hash = foreign.hash
        #expect(try self.scratch.verify(anchor: own).problems.map(\.kind) == [.anchorMissing])
        own.seq -= 1
        #expect(try self.scratch.verify(anchor: own).problems.map(\.kind) == [.anchorForeign])
        #expect(throws: RecordsError.self) { try JournalAnchor(text: "{\"seq\":1}") }
        #expect(throws: RecordsError.self) { try JournalAnchor(text: "") }
    }

    @Test("Earlier public keys stay valid, strangers' do not")
    func trust() async throws {
        try await self.prepare()
        let path = self.scratch.path + "/audit.key"
        let good = try String(contentsOfFile: path + ".pub", encoding: .utf8)
        let stranger = String(repeating: "ab", count: 32) + "\n"
        try Data((stranger + good).utf8).write(to: URL(fileURLWithPath: path + ".pub"))
        #expect(try self.scratch.verify().isIntact)
        try Data(stranger.utf8).write(to: URL(fileURLWithPath: path + ".pub"))
        #expect(try !self.scratch.verify().isIntact)
        try FileManager.default.removeItem(atPath: path + ".pub")
        #expect(try self.scratch.verify().isIntact)
    }

    @Test("Random noise instead of a segment never traps", arguments: 1...20)
    func noise(seed: Int) async throws {
        try await self.prepare()
        var random = Seeded(state: UInt64(seed))
        var bytes = try self.scratch.bytes()
        for _ in 0..<Int.random(in: 1...30, using: &random) {
            let start = Int.random(in: 0..<bytes.count, using: &random)
            let end = min(bytes.count, start + Int.random(in: 0...40, using: &random))
            bytes.replaceSubrange(
                start..<end,
                with: (0..<Int.random(in: 0...40, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random)
                }
            )
        }
        try self.scratch.setBytes(bytes)
        let found = try self.scratch.verify()
        #expect(!found.isIntact, "seed \(seed)")
        try self.scratch.journal().close()
    }
}
