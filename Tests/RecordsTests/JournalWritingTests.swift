import Foundation
import Gateway
import Secrets
import Testing

@testable import Records

@Suite("Writing the audit journal")
struct JournalWritingTests {
    let scratch = Scratch()

    @Test("A record has all members in their order, and null where there is nothing")
    func form() async throws {
        let journal = try self.scratch.journal()
        journal.record([
            AuditEvent(
                .bootstrapRefused,
                time: 1_769_860_800_000_001,
                cause: .suspended,
                iccid: iccid(1),
                endpoint: "a\"\n",
                peer: "192.0.2.1:49152",
                session: 12,
                detail: [
                    .init("n", .integer(-1)), .init("l", .list([.boolean(true), .text("é")])), .init("o", .object([])),
                ]
            ),
            AuditEvent(.gatewayStarted, time: 0),
        ])
        try await journal.flush()
        let lines = try self.scratch.lines()
        let zeros = String(repeating: "0", count: 64)
        let first =
            #"{"seq":1,"time":"2026-01-31T12:00:00.000001Z","node":"edge-1","event":"bootstrap.refused","#
            + #""cause":"suspended","iccid":"\#(iccid(1))","endpoint":"a\"\n","peer":"192.0.2.1:49152","#
            + #""upstream":null,"session":12,"detail":{"n":-1,"l":[true,"é"],"o":{}},"previous":"\#(zeros)","hash":""#
        #expect(lines[0].hasPrefix(first))
        let second =
            #"{"seq":2,"time":"1970-01-01T00:00:00.000000Z","node":"edge-1","event":"gateway.started","cause":null,"#
            + #""iccid":null,"endpoint":null,"peer":null,"upstream":null,"session":null,"detail":{},"previous":""#
        #expect(lines[1].hasPrefix(second))
        #expect(lines.count == 3)
        #expect(lines[2].contains("\"event\":\"journal.checkpoint\""))
    }

    @Test("The hash is what sha256sum says of the line without it")
    func hashWithCommonTools() async throws {
        let journal = try self.scratch.journal()
        journal.record([event(1)])
        try await journal.flush()
        let script =
            "head -1 \(self.scratch.segmentPath(1)) | sed 's/,\"hash\":\"[0-9a-f]*\"}$/}/' | tr -d '\\n' | sha256sum"
        let process = Process()
        let pipe = Pipe()
        process.executableURL = URL(fileURLWithPath: "/bin/sh")
        process.arguments = ["-c", script]
        process.standardOutput = pipe
        try process.run()
        process.waitUntilExit()
        let digest = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile().prefix(64), as: UTF8.self)
        #expect(try self.scratch.lines()[0].hasSuffix(",\"hash\":\"\(digest)\"}"))
    }

    @Test("Times are the same as the calendar's", arguments: 1...5)
    func times(seed: Int) {
        var random = Seeded(state: UInt64(seed))
        let formatter = ISO8601DateFormatter()
        for _ in 0..<200 {
            let second = Int64.random(in: 0...253_402_300_799, using: &random)
            let text = formatter.string(from: Date(timeIntervalSince1970: TimeInterval(second)))
            #expect(JournalTime.text(second * 1_000_000 + 7) == text.dropLast() + ".000007Z", "seed \(seed)")
        }
        #expect(JournalTime.text(.min) == "1970-01-01T00:00:00.000000Z")
        #expect(JournalTime.text(.max).hasPrefix("9999-12-31T23:59:59"))
    }

    @Test("The chain goes on over restarts and segments, and a checkpoint ends each run and segment")
    func chain() async throws {
        for run in 0..<4 {
            let journal = try self.scratch.journal { $0.segmentSize = 4_000 }
            for index in 0..<25 {
                journal.record([event(run * 100 + index)])
                if index.isMultiple(of: 5) { try await journal.synchronize() }
            }
            journal.close()
        }
        let found = try self.scratch.verify()
        #expect(found.isIntact && found.unsigned == 0 && found.segments > 5)
        #expect(found.firstSeq == 1 && found.lastSeq == UInt64(found.records))
        #expect(found.proven?.seq == found.lastSeq)
        let entries = try JournalReader(state: self.scratch.state).tail(1_000)
        var expected: [Int64] = []
        for run in 0..<4 { for index in 0..<25 { expected.append(Int64(run * 100 + index)) } }
        #expect(entries.compactMap(\.session) == expected)
        for number in 1...found.segments {
            #expect(try self.scratch.lines(number).last?.contains("journal.checkpoint") == true)
        }
    }

    @Test("A checkpoint comes after so many records without being asked for")
    func checkpointByCount() async throws {
        let journal = try self.scratch.journal { $0.checkpointRecords = 10 }
        for index in 0..<95 {
            journal.record([event(index)])
            try await journal.synchronize()
        }
        #expect(try self.scratch.lines().count { $0.contains("journal.checkpoint") } == 9)
        #expect(journal.statistics.written == 95)
    }

    @Test("A checkpoint comes by itself when time has passed")
    func checkpointByTime() async throws {
        let journal = try self.scratch.journal { $0.checkpointInterval = .milliseconds(1) }
        let stream = try JournalReader(state: self.scratch.state).follow(every: .milliseconds(1), checkpoints: true)
        journal.record([event(1)])
        var events: [String] = []
        for try await entry in stream {
            events.append(entry.event)
            if entry.isCheckpoint { break }
        }
        #expect(events == ["bootstrap.requested", "journal.checkpoint"])
    }

    @Test("Two gateways cannot have the same state folder")
    func lock() throws {
        let journal = try self.scratch.journal()
        let error = #expect(throws: RecordsError.self) { try self.scratch.journal() }
        #expect(error?.kind == .inUse)
        #expect(error?.description.contains("\(ProcessInfo.processInfo.processIdentifier)") == true)
        journal.close()
    }

    @Test("While the disk takes nothing records wait up to a limit; the lost ones are counted in a record of their own")
    func stuckDisk() async throws {
        let journal = try self.scratch.journal {
            $0.segmentSize = 1
            $0.queueLimit = 10
        }
        journal.record([event(0)])
        try await journal.flush()
        // The next record needs a new segment, whose name is taken.
        try FileManager.default.createDirectory(atPath: self.scratch.segmentPath(2), withIntermediateDirectories: true)
        journal.record([event(1)])
        await #expect(throws: RecordsError.self) { try await journal.synchronize() }
        #expect(journal.statistics.failure != nil)
        journal.record((2..<20).map { event($0) })
        #expect(journal.statistics.lost == 8)
        #expect(journal.statistics.waiting == 10)
        // A record waits for as long as the disk takes nothing, and each look finds it older.
        let lag = journal.statistics.lag
        #expect(lag > .zero)
        await #expect(throws: RecordsError.self) { try await journal.flush() }
        #expect(journal.statistics.lag > lag)
        try FileManager.default.removeItem(atPath: self.scratch.segmentPath(2))
        while (try? await journal.flush()) == nil {}
        #expect(journal.statistics.failure == nil)
        #expect(journal.statistics.lag == .zero)
        journal.close()
        let entries = try JournalReader(state: self.scratch.state).tail(100)
        #expect(entries.compactMap(\.session) == Array(0...11))
        #expect(entries.last?.event == "journal.lost")
        #expect(entries.last?.detail["records"]?.integer == 8)
        #expect(try self.scratch.verify().isIntact)
    }

    @Test("A stop does not wait for a disk that takes nothing")
    func stopWhileStuck() async throws {
        let journal = try self.scratch.journal { $0.segmentSize = 1 }
        journal.record([event(0)])
        try await journal.flush()
        try FileManager.default.createDirectory(atPath: self.scratch.segmentPath(2), withIntermediateDirectories: true)
        journal.record([event(1)])
        await #expect(throws: RecordsError.self) { try await journal.synchronize() }
        journal.close()
        await #expect(throws: RecordsError.self) { try await journal.flush() }
        try FileManager.default.removeItem(atPath: self.scratch.segmentPath(2))
        #expect(try self.scratch.verify().isIntact)
    }

    @Test("Without the old signing key no journal is continued; a key in the state folder is warned of")
    func signingKey() throws {
        let journal = try self.scratch.journal { $0.signingKey = .file(self.scratch.state + "/audit.key") }
        #expect(journal.warnings.count == 1)
        journal.record([event(1)])
        journal.close()
        let error = #expect(throws: RecordsError.self) { try self.scratch.journal() }
        #expect(error?.kind == .wrongKey)
    }

    @Test("A record above the limit keeps its place and loses its detail")
    func hugeRecord() async throws {
        let journal = try self.scratch.journal()
        let text = AuditEvent.Value.text(String(repeating: "x", count: 4_000))
        journal.record([event(1, detail: [.init("list", .list(Array(repeating: text, count: 200)))]), event(2)])
        journal.close()
        let entries = try JournalReader(state: self.scratch.state).tail(9)
        #expect(entries.map(\.detail) == [.object([("truncated", .boolean(true))]), .object([])])
        #expect(try self.scratch.verify().isIntact)
    }
}
