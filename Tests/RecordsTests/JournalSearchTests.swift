import Foundation
import Gateway
import Testing

@testable import Records

@Suite("Searching and exporting the audit journal")
struct JournalSearchTests {
    let scratch = Scratch()

    private func prepare() throws {
        let journal = try self.scratch.journal { $0.segmentSize = 2_000 }
        journal.record((0..<10).map { event($0, iccid: iccid($0 % 3)) })
        journal.record([
            AuditEvent(
                .bootstrapRefused, time: 1_700_000_100_000_000, cause: .upstreamSilent, iccid: iccid(1),
                endpoint: "=cmd|' /C calc'!A0", peer: "[2001:db8::7]:5683", upstream: "coap://10.1.0.11:5683",
                session: 77,
                detail: [.init("note", .text("say \"hé\", then\nstop"))]
            ),
            AuditEvent(.bootstrapFailed, time: 1_700_000_200_000_000, cause: .suspended, endpoint: "a\"b,c"),
        ])
        journal.close()
    }

    private func sessions(_ change: (inout JournalFilter) -> Void) throws -> [Int64?] {
        var filter = JournalFilter()
        change(&filter)
        var found: [Int64?] = []
        try JournalReader(state: self.scratch.state).search(filter) { entry in
            found.append(entry.session)
            return true
        }
        return found
    }

    @Test("Each condition finds its records alone, and all of them together what they share")
    func conditions() throws {
        try self.prepare()
        #expect(try self.sessions { _ in }.count == 12)
        #expect(try self.sessions { $0.event = TextPatterns(["bootstrap.re*,*failed"]) }.count == 12)
        #expect(try self.sessions { $0.event = TextPatterns(["bootstrap.refused"]) } == [77])
        #expect(try self.sessions { $0.event = TextPatterns(["journal.*"]) }.count > 0)
        #expect(try self.sessions { $0.cause = TextPatterns(["upstream *"]) } == [77])
        #expect(try self.sessions { $0.iccid = TextPatterns([iccid(2)]) } == [2, 5, 8])
        #expect(try self.sessions { $0.endpoint = TextPatterns(["ep-?"]) }.count == 10)
        #expect(try self.sessions { $0.endpoint = TextPatterns(["a\"b*c"]) } == [nil])
        #expect(try self.sessions { $0.peer = IPPrefix("192.0.2.0/24") }.count == 10)
        #expect(try self.sessions { $0.peer = IPPrefix("2001:db8::/32") } == [77])
        #expect(try self.sessions { $0.peerPort = 49152 }.count == 10)
        #expect(try self.sessions { $0.upstream = TextPatterns(["coap://10.1.0.11*"]) } == [77])
        #expect(try self.sessions { $0.session = 4 } == [4])
        #expect(try self.sessions { $0.since = 1_700_000_000_000_008 } == [8, 9, 77, nil])
        #expect(try self.sessions { $0.until = 1_700_000_000_000_002 } == [0, 1])
        #expect(try self.sessions { $0.text = "say \"hé\", then\nstop" } == [77])
        #expect(try self.sessions { $0.text = "HÉ" }.isEmpty)
        #expect(
            try self.sessions {
                $0.iccid = TextPatterns([iccid(1)])
                $0.since = 1_700_000_000_000_004
                $0.text = "ep-"
            } == [4, 7]
        )
    }

    @Test("Hashes are not searched as text, and a line that is no record is counted")
    func unreadable() throws {
        try self.prepare()
        let record = try #require(JournalLine(Array(try self.scratch.lines()[0].utf8)[...]))
        #expect(try self.sessions { $0.text = record.hash.text }.isEmpty)
        try self.scratch.setBytes(Array("{\"seq\":1}\nnoise\n".utf8) + (try self.scratch.bytes()))
        let summary = try JournalReader(state: self.scratch.state).search(JournalFilter()) { _ in true }
        #expect(summary.unreadable == 2 && summary.found == 12)
    }

    @Test("A search ends when its caller has enough")
    func limit() throws {
        try self.prepare()
        var count = 0
        let summary = try JournalReader(state: self.scratch.state).search(JournalFilter()) { _ in
            count += 1
            return count < 3
        }
        #expect(count == 3 && summary.found == 3)
    }

    @Test("Patterns are those of a shell, without surprises at their ends")
    func patterns() {
        let good = [
            ("*", ""), ("a*", "a"), ("a*c", "abc"), ("*b*", "abc"), ("a?c", "abc"), ("a*b*c", "axxbxbc"), ("**", "x"),
        ]
        let bad = [("a", "ab"), ("a?", "a"), ("?", ""), ("a*c", "ab"), ("", "a"), ("*x", "xy")]
        for (pattern, text) in good { #expect(TextPatterns([pattern]).matches(text), "\(pattern) \(text)") }
        for (pattern, text) in bad { #expect(!TextPatterns([pattern]).matches(text), "\(pattern) \(text)") }
        let stars = String(repeating: "*a", count: 40) + "b"
        #expect(!TextPatterns([stars]).matches(String(repeating: "a", count: 4_000)))
    }

    @Test("Random lines never trap the search, and every piece of a line is found in it", arguments: 1...10)
    func noise(seed: Int) throws {
        try self.prepare()
        var random = Seeded(state: UInt64(seed))
        let line = Array(try self.scratch.lines()[0].utf8)
        for _ in 0..<200 {
            let start = Int.random(in: 0..<line.count, using: &random)
            let end = Int.random(in: start...line.count, using: &random)
            let piece = String(decoding: line[start..<end], as: UTF8.self)
            #expect(line.withUnsafeBytes { ByteNeedle(piece).isIn($0) }, "seed \(seed)")
            var changed = line
            changed.replaceSubrange(start..<end, with: (0..<5).map { _ in UInt8.random(in: 0...255, using: &random) })
            _ = changed.withUnsafeBytes { JournalFilter().matches($0) }
        }
        #expect(!line.withUnsafeBytes { ByteNeedle("nowhere~").isIn($0) })
    }

    private func export(_ form: JournalExport.Form, since: Int64? = nil, until: Int64? = nil) throws -> (
        [UInt8], JournalExport.Summary
    ) {
        var output: [UInt8] = []
        let summary = try JournalExport(state: self.scratch.state, form: form, since: since, until: until)
            .run { output += $0 }
        return (output, summary)
    }

    @Test("JSON Lines are the journal byte for byte; a part of it verifies by itself")
    func jsonLines() throws {
        try self.prepare()
        let whole = try self.export(.jsonl)
        let numbers = try JournalSegments(directory: self.scratch.audit).numbers()
        #expect(try whole.0 == numbers.flatMap { try self.scratch.bytes($0) })
        #expect(numbers.count > 1 && whole.1.unsigned == 0)

        let part = try self.export(.jsonl, since: 1_700_000_000_000_005, until: 1_700_000_000_000_009)
        #expect(part.1.unsigned == 0 && part.1.firstSeq ?? 0 > 1)
        let trust = try JournalTrust(signingKey: .file(self.scratch.path + "/audit.key"))
        let path = try self.scratch.write(String(decoding: part.0, as: UTF8.self), to: "part.jsonl")
        let found = try JournalVerifier(file: path, trust: trust).verify()
        #expect(found.isIntact && found.records == part.1.records && found.unsigned == 0, "\(found.problems)")
        let changed = try self.scratch.write(
            String(decoding: part.0, as: UTF8.self).replacing("ep-6", with: "ep-9"), to: "part.jsonl")
        #expect(try !JournalVerifier(file: changed, trust: trust).verify().isIntact)
        #expect(try self.export(.jsonl, since: 1_900_000_000_000_000).0.isEmpty)
    }

    @Test("A copy is not made over a segment that retention takes away meanwhile; the next one begins behind it")
    func removedMeanwhile() throws {
        try self.prepare()
        for index in 1...2 {
            let journal = try self.scratch.journal { $0.segmentSize = 2_000 }
            journal.record((0..<10).map { event(index * 1_000_000_000 + $0) })
            journal.close()
        }
        let numbers = try JournalSegments(directory: self.scratch.audit).numbers()
        let export = JournalExport(state: self.scratch.state, form: .jsonl)
        let plan = try #require(try export.plan())
        // One that does not need what goes.
        let late = JournalExport(
            state: self.scratch.state, form: .jsonl, since: 1_700_002_000_000_000, until: 1_700_003_000_000_000)
        let latePlan = try #require(try late.plan())
        try #require(numbers.count > 1 && latePlan.first.segment > numbers[0])
        try FileManager.default.removeItem(atPath: self.scratch.segmentPath(numbers[0]))
        let error = #expect(throws: RecordsError.self) { try export.copy(plan) { _ in } }
        #expect(error?.kind == .unavailable && error?.what.contains("00000001.jsonl was removed") == true)
        #expect(try late.copy(latePlan) { _ in }.records > 0)
        #expect(try self.export(.jsonl).0 == numbers.dropFirst().flatMap { try self.scratch.bytes($0) })
    }

    @Test("CSV has stable columns and quotes what needs it; no cell is a formula")
    func csv() throws {
        try self.prepare()
        let text = String(decoding: try self.export(.csv).0, as: UTF8.self)
        let rows = text.split(separator: "\r\n")
        #expect(rows[0] == "seq,time,node,event,cause,iccid,endpoint,peer,upstream,session,detail,previous,hash")
        let refused = try #require(rows.first { $0.contains("bootstrap.refused") })
        #expect(refused.contains(",'=cmd|' /C calc'!A0,[2001:db8::7]:5683,coap://10.1.0.11:5683,77,"))
        #expect(refused.contains(#","{""note"":""say \""hé\"", then\nstop""}","#))
        let failed = try #require(rows.first { $0.contains("bootstrap.failed") })
        #expect(failed.contains(#",suspended,,"a""b,c",,,,{},"#))
        #expect(rows.count == (try self.export(.jsonl).1.records) + 1)
        for sign in ["=", "+", "-", "@"] { #expect(!text.contains(",\(sign)") && !text.contains(",\"\(sign)")) }
    }
}
