import Foundation
import Gateway
import Glibc
import Secrets
import Testing

@testable import Records

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

    @Test("Behind a damaged record no number is given out twice, and verification names that record alone")
    func damageInTheMiddle() throws {
        let journal = try self.scratch.journal()
        for index in 0..<5 { journal.record([event(index)]) }
        journal.close()
        let whole = try self.scratch.lines()
        var changed = whole
        changed[2] = changed[2].replacing("ep-2", with: "ep-9")
        try self.scratch.setBytes(Array((changed.joined(separator: "\n") + "\n").utf8))
        // Twice: the second start finds the new segment.
        try self.scratch.journal().close()
        let again = try self.scratch.journal()
        again.record([event(7)])
        again.close()
        let found = try self.scratch.verify()
        #expect(found.problemCount == 1, "\(found.problems)")
        #expect(found.problems.first?.seq == 3 && found.problems.first?.kind == .changed)
        #expect(found.lastSeq.map(Int.init) == found.records)
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
        // A named pipe: a byte for each record that the writer was told is on disk, and the kernel keeps those on their way.
        let acknowledged = self.scratch.path + "/acknowledged"
        try #require(mkfifo(acknowledged, 0o600) == 0)
        let pipe = open(acknowledged, O_RDONLY | O_NONBLOCK)
        try #require(pipe >= 0)
        defer { close(pipe) }
        var buffer = [UInt8](repeating: 0, count: 4096)
        var promised = 0
        let enough = 20 + round * 15
        try process.run()
        while promised < enough {
            var polled = pollfd(fd: pipe, events: Int16(POLLIN), revents: 0)
            guard poll(&polled, 1, 60_000) == 1 else { break }
            let count = read(pipe, &buffer, buffer.count)
            guard count > 0 else { break }
            promised += count
        }
        #expect(promised >= enough)
        #expect(process.isRunning)
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
        promised += max(0, read(pipe, &buffer, buffer.count))

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
        let acknowledged = open(folder + "/acknowledged", O_WRONLY)
        for index in 0..<100_000 {
            try await records.store([credential("killed-\(index)", server: "s\(index)")])
            journal.record([event(index)])
            try await journal.synchronize()
            _ = write(acknowledged, ".", 1)
        }
    }
}
