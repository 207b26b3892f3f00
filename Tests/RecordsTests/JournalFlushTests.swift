import Foundation
import Glibc
import Secrets
import Testing

@testable import Records

@Suite("A flush of the audit journal that fails")
struct JournalFlushTests {
    /// Flushes of which some fail.
    private final class Flushes {
        private var isFailing = false
        var descriptors: [Int32] = []

        func failNext() { self.isFailing = true }

        func flush(_ descriptor: Int32) -> Int32 {
            self.descriptors.append(descriptor)
            guard self.isFailing else { return fdatasync(descriptor) }
            self.isFailing = false
            errno = EIO
            return -1
        }
    }

    private let scratch = Scratch()
    private let flushes = Flushes()

    private func file() throws -> JournalFile {
        try FileManager.default.createDirectory(atPath: self.scratch.audit, withIntermediateDirectories: true)
        let segments = JournalSegments(directory: self.scratch.audit)
        return try JournalFile(
            segments: segments, node: "edge-1", key: try JournalKey(Secret([UInt8](repeating: 7, count: 32))),
            segmentSize: 1 << 20, recovery: try JournalRecovery(segments), flush: self.flushes.flush
        )
    }

    @Test("Everything since the last flush that worked is given to the system again before the next one counts")
    func again() throws {
        let file = try self.file()
        file.append(event(1))
        try file.reach(.synchronized, at: 0)
        file.append(event(2))
        self.flushes.failNext()
        #expect(throws: JournalFile.Failure(what: "flush", code: EIO)) { try file.reach(.synchronized, at: 0) }
        let written = try self.scratch.bytes()
        self.flushes.descriptors = []
        try file.reach(.synchronized, at: 0)
        // What was written again goes through a descriptor of its own.
        #expect(Set(self.flushes.descriptors).count == 2)
        #expect(try self.scratch.bytes() == written)
        self.flushes.descriptors = []
        file.append(event(3))
        try file.reach(.synchronized, at: 0)
        #expect(self.flushes.descriptors.count == 1)
        #expect(try self.scratch.lines().count == 3)
    }

    @Test("A new start trusts nothing that it did not flush itself, though it has nothing to write")
    func newStart() throws {
        let first = try self.file()
        first.append(event(1))
        try first.reach(.written, at: 0)
        #expect(self.flushes.descriptors.isEmpty)
        try self.file().reach(.synchronized, at: 0)
        #expect(Set(self.flushes.descriptors).count == 2)
        #expect(try self.scratch.lines().count == 1)
    }

    @Test("What the disk has lost meanwhile is never called durable; what it had before stays")
    func lost() throws {
        let file = try self.file()
        file.append(event(1))
        try file.reach(.synchronized, at: 0)
        let durable = try self.scratch.bytes()
        file.append(event(2))
        self.flushes.failNext()
        #expect(throws: JournalFile.Failure.self) { try file.reach(.synchronized, at: 0) }
        let handle = try #require(FileHandle(forWritingAtPath: self.scratch.segmentPath(1)))
        try handle.seek(toOffset: UInt64(durable.count))
        try handle.write(contentsOf: Data(count: 100))
        try handle.close()
        for _ in 0..<3 {
            #expect(throws: JournalFile.Failure(what: "read back", code: EIO)) { try file.reach(.synchronized, at: 0) }
        }
        #expect(try Array(self.scratch.bytes().prefix(durable.count)) == durable)
    }
}
