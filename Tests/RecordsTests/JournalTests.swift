import Foundation
import Gateway
import Secrets
import Testing

@testable import Records

/// An event as the data path makes them.
func event(_ index: Int, iccid number: String? = iccid(1), detail: [AuditEvent.Field] = []) -> AuditEvent {
    AuditEvent(
        .bootstrapRequested,
        time: 1_700_000_000_000_000 + Int64(index),
        iccid: number,
        endpoint: "ep-\(index)",
        peer: "192.0.2.1:49152",
        session: UInt64(index),
        detail: detail
    )
}

extension Scratch {
    func lines(_ segment: Int = 1) throws -> [String] {
        try String(contentsOfFile: self.segmentPath(segment), encoding: .utf8).split(separator: "\n").map(String.init)
    }

    func segmentPath(_ number: Int) -> String { "\(self.audit)/\(JournalSegments.name(number))" }

    func bytes(_ segment: Int = 1) throws -> [UInt8] {
        Array(try Data(contentsOf: URL(fileURLWithPath: self.segmentPath(segment))))
    }

    func setBytes(_ bytes: some Collection<UInt8>, _ segment: Int = 1) throws {
        try Data(bytes).write(to: URL(fileURLWithPath: self.segmentPath(segment)))
    }
}

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
        await #expect(throws: RecordsError.self) { try await journal.flush() }
        try FileManager.default.removeItem(atPath: self.scratch.segmentPath(2))
        while (try? await journal.flush()) == nil {}
        #expect(journal.statistics.failure == nil)
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

@Suite("The journal after a crash")
struct JournalRecoveryTests {
    let scratch = Scratch()

    @Test("Cut anywhere, the journal opens again, keeps every whole record, says what it cut, and verifies")
    func tornAnywhere() throws {
        let journal = try self.scratch.journal()
        journal.record([event(1)])
        journal.close()
        let whole = try self.scratch.bytes()
        // Every place near the end of a line, and many of those between.
        let ends = [0] + whole.indices.filter { whole[$0] == 0x0A }
        let lengths = (0...whole.count).filter { length in
            length.isMultiple(of: 13) || ends.contains { abs($0 - length) < 4 }
        }
        for length in lengths {
            try self.scratch.setBytes(whole[..<length])
            try self.scratch.journal().close()
            let kept = whole[..<length].count { $0 == 0x0A }
            let entries = try JournalReader(state: self.scratch.state).tail(100, checkpoints: true)
            let isTorn = length > 0 && whole[length - 1] != 0x0A
            let found = try self.scratch.verify()
            #expect(found.isIntact && found.incompleteBytes == 0 && found.unsigned == 0, "length \(length)")
            #expect(entries.map(\.seq) == entries.indices.map { Int64($0) + 1 }, "length \(length)")
            #expect(entries.count { $0.event == "journal.recovered" } == (isTorn ? 1 : 0), "length \(length)")
            #expect(entries.prefix(kept).allSatisfy { $0.event != "journal.recovered" }, "length \(length)")
            if isTorn {
                let start = whole[..<length].lastIndex(of: 0x0A).map { $0 + 1 } ?? 0
                #expect(entries[kept].detail["cut"]?.integer == Int64(length - start), "length \(length)")
            }
        }
    }

    @Test("Zeros that a power cut left behind are cut")
    func zeros() throws {
        let journal = try self.scratch.journal()
        journal.record([event(1)])
        journal.close()
        try self.scratch.setBytes(try self.scratch.bytes() + Array(repeating: 0, count: 4_096))
        try self.scratch.journal().close()
        #expect(try self.scratch.verify().isIntact)
        #expect(try JournalReader(state: self.scratch.state).tail(1).first?.event == "journal.recovered")
    }

    @Test("Damage inside the last segment stays as it is; the chain goes on in a new segment")
    func damage() throws {
        let journal = try self.scratch.journal()
        for index in 0..<5 { journal.record([event(index)]) }
        journal.close()
        var bytes = try self.scratch.bytes()
        let position = try #require(bytes.firstIndex(of: UInt8(ascii: "9")))
        bytes[position] = UInt8(ascii: "8")
        try self.scratch.setBytes(bytes)
        try self.scratch.journal().close()
        #expect(try self.scratch.bytes() == bytes)
        #expect(try self.scratch.lines(2).first?.contains("journal.recovered") == true)
        let found = try self.scratch.verify()
        #expect(!found.isIntact)
        #expect(found.problems.first?.segment == JournalSegments.name(1))
    }

    @Test("A copy of the live files, taken at any moment, opens, verifies and goes on")
    func copiesWhileWriting() async throws {
        let journal = try self.scratch.journal {
            $0.segmentSize = 20_000
            $0.window = .zero
            $0.checkpointRecords = 7
        }
        let writer = Task.detached {
            var index = 0
            while !Task.isCancelled {
                journal.record([event(index)])
                try await journal.synchronize()
                index += 1
            }
        }
        for round in 0..<25 {
            let copy = Scratch()
            try FileManager.default.createDirectory(atPath: copy.audit, withIntermediateDirectories: true)
            let key = self.scratch.path + "/audit.key"
            try FileManager.default.copyItem(atPath: key, toPath: copy.path + "/audit.key")
            // The newest segments last, as a file system that stopped would have them.
            for number in try JournalSegments(directory: self.scratch.audit).numbers() {
                try copy.setBytes(try self.scratch.bytes(number), number)
            }
            let before = try copy.verify()
            #expect(before.isIntact, "round \(round): \(before.problems)")
            let reopened = try copy.journal()
            reopened.record([event(0)])
            reopened.close()
            let after = try copy.verify()
            #expect(after.isIntact && after.unsigned == 0 && after.records > before.records, "round \(round)")
        }
        writer.cancel()
        _ = try? await writer.value
        journal.close()
        #expect(try self.scratch.verify().isIntact)
    }

    @Test("A writer that is killed loses nothing that it was told is on disk", arguments: 0..<3)
    func killed(round: Int) async throws {
        // This very test, started again in a process of its own, is the writer; the variable tells it so.
        let variable = "BOOTGATE_KILLED_WRITER_STATE"
        if let folder = ProcessInfo.processInfo.environment[variable] {
            if round == 0 { try await Self.writeUntilKilled(folder) }
            return
        }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
        process.arguments = ["--testing-library", "swift-testing", "--filter", "JournalRecoveryTests/killed"]
        process.environment = ProcessInfo.processInfo.environment.merging([variable: self.scratch.path]) { $1 }
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        let acknowledged = self.scratch.path + "/acknowledged"
        let count = { (try? Data(contentsOf: URL(fileURLWithPath: acknowledged)))?.count ?? 0 }
        try process.run()
        while process.isRunning && count() < 20 + round * 15 { try await Task.sleep(for: .milliseconds(1)) }
        #expect(process.isRunning)
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
        let promised = count()

        let journal = try self.scratch.journal()
        journal.close()
        let found = try self.scratch.verify()
        #expect(found.isIntact && found.unsigned == 0, "\(found.problems)")
        let entries = try JournalReader(state: self.scratch.state).tail(100_000)
        #expect(entries.compactMap(\.session).count >= promised)
        let records = try self.scratch.records()
        let identities = try (0..<promised).map { try #require(PSKIdentity("killed-\($0)")) }
        let resolutions = try await records.resolve(identities: identities)
        #expect(!resolutions.contains(.unknown))
    }

    private static func writeUntilKilled(_ folder: String) async throws {
        var configuration = RecordsConfiguration(state: folder + "/state", key: .file(folder + "/records.key"))
        configuration.commitWindow = .zero
        let records = try Records(configuration, logger: quiet)
        _ = try records.sims.add(fields(1), by: "test")
        let journal = try AuditJournal(
            AuditConfiguration(state: folder + "/state", node: "edge-1", signingKey: .file(folder + "/audit.key")),
            logger: quiet
        )
        let acknowledged = open(folder + "/acknowledged", O_WRONLY | O_CREAT | O_APPEND, 0o600)
        for index in 0..<100_000 {
            try await records.store([credential("killed-\(index)", server: "s\(index)")])
            journal.record([event(index)])
            try await journal.synchronize()
            _ = write(acknowledged, ".", 1)
        }
    }
}

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
        let proven = try #require(try self.scratch.verify().proven)
        #expect(try self.scratch.verify(anchor: (proven.seq, proven.hash)).isIntact)
        try self.rewrite { $0.removeLast(2) }
        #expect(try self.scratch.verify().isIntact)
        #expect(try self.scratch.verify(anchor: (proven.seq, proven.hash)).problems.map(\.kind) == [.anchorMissing])
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

@Suite("Reading the audit journal")
struct JournalReadingTests {
    let scratch = Scratch()

    @Test("Tail gives the last records over segments, with checkpoints only when asked")
    func tail() throws {
        for run in 0..<3 {
            let journal = try self.scratch.journal { $0.segmentSize = 2_000 }
            for index in 0..<10 { journal.record([event(run * 10 + index)]) }
            journal.close()
        }
        let reader = JournalReader(state: self.scratch.state)
        for count in [0, 1, 3, 12, 29, 30, 1_000] {
            let sessions = try reader.tail(count).compactMap(\.session)
            let expected = Array((0..<30).suffix(count)).map { Int64($0) }
            #expect(sessions == expected)
        }
        #expect(try reader.tail(1, checkpoints: true).first?.isCheckpoint == true)
    }

    @Test("Show gives one SIM's records, whatever a device wrote into its texts")
    func show() throws {
        let journal = try self.scratch.journal()
        journal.record([
            event(1, iccid: iccid(1)), event(2, iccid: iccid(2)),
            AuditEvent(.bootstrapRefused, time: 1, endpoint: "\"iccid\":\"\(iccid(1))\"", session: 3),
            event(4, iccid: nil, detail: [.init("iccid", .text(iccid(1)))]), event(5, iccid: iccid(1)),
        ])
        journal.close()
        var sessions: [Int64] = []
        try JournalReader(state: self.scratch.state).show(iccid: try ICCID(iccid(1))) {
            sessions.append($0.session ?? 0)
        }
        #expect(sessions == [1, 5])
    }

    @Test("Follow tells what comes, over a new segment too")
    func follow() async throws {
        let journal = try self.scratch.journal { $0.segmentSize = 1_500 }
        journal.record([event(0)])
        try await journal.synchronize()
        let stream = try JournalReader(state: self.scratch.state).follow(every: .milliseconds(1))
        journal.record((1...20).map { event($0) })
        var sessions: [Int64] = []
        for try await entry in stream {
            sessions.append(entry.session ?? -1)
            if sessions.count == 20 { break }
        }
        #expect(sessions == Array(1...20))
        journal.close()
    }

    @Test("Where no journal is, the error says so")
    func nothing() {
        let error = #expect(throws: RecordsError.self) { try JournalReader(state: self.scratch.state).tail(1) }
        #expect(error?.kind == .notFound)
    }
}

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

    @Test("Rows stay in the outbox while the journal takes none")
    func journalStuck() async throws {
        let records = try self.scratch.records()
        let journal = try self.scratch.journal { $0.segmentSize = 1 }
        journal.record([event(0)])
        try await journal.flush()
        try FileManager.default.createDirectory(atPath: self.scratch.segmentPath(2), withIntermediateDirectories: true)
        _ = try records.sims.add(fields(1), by: "ana")
        await #expect(throws: RecordsError.self) { try await records.settle(into: journal) }
        #expect(try records.outbox.rows(limit: 9).count == 1)
        journal.close()
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
