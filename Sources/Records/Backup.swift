internal import Foundation
internal import Glibc

/// A copy of the state folder that a gateway can start from, made while one runs.
///
/// The order is what makes it safe: `credentials.db` before `sims.db`, so that whatever was revoked before the copy is seen
/// as revoked in it, and the journal last, so that it tells of everything that the stores hold. Keys are not part of it:
/// who has both has all keys.
package struct Backup: Sendable {
    private let state: String
    private let folder: String

    package init(state: String, to folder: String) {
        self.state = state
        self.folder = folder
    }

    /// What was copied.
    package struct Summary: Sendable, Equatable {
        package var files: [String] = []
        package var bytes: Int64 = 0
    }

    /// A copy that does not become whole is taken away again, so that nobody takes it for one.
    ///
    /// - Parameters:
    ///   - keys: key files that go into `keys/` of the copy, under their own names.
    ///   - signingKeys: those of the journal; see ``names(keys:signingKeys:)``.
    package func run(keys: [String] = [], signingKeys: [String] = []) throws(RecordsError) -> Summary {
        let isNew = mkdir(self.folder, 0o700) == 0
        if !isNew { try self.makeFolder(self.folder, mustBeEmpty: true) }
        do throws(RecordsError) {
            return try self.copyAll(Self.names(keys: keys, signingKeys: signingKeys))
        } catch {
            for name in ["credentials.db", "sims.db", "audit", "keys"] {
                try? FileManager.default.removeItem(atPath: "\(self.folder)/\(name)")
            }
            if isNew { rmdir(self.folder) }
            throw error
        }
    }

    /// Under which name each key file goes into `keys/`: its own one. Where a signing key has the name of another key, all of
    /// its files get `audit-` in front, so that they still belong together.
    package static func names(keys: [String], signingKeys: [String]) -> [(path: String, name: String)] {
        func name(_ path: String) -> String { path.split(separator: "/").last.map(String.init) ?? path }
        let own = keys.map { (path: $0, name: name($0)) }
        // One file may be both.
        let signing = signingKeys.filter { !keys.contains($0) }
        let isTaken = signing.contains { path in own.contains { $0.name == name(path) } }
        return own + signing.map { (path: $0, name: (isTaken ? "audit-" : "") + name($0)) }
    }

    private func copyAll(_ keys: [(path: String, name: String)]) throws(RecordsError) -> Summary {
        var summary = Summary()
        for name in ["credentials.db", "sims.db"] {
            let file = StoreFile(path: "\(self.state)/\(name)", busyTimeout: .seconds(5))
            guard file.exists else {
                throw RecordsError(
                    .notFound, "there is no \(file.path)", remedy: "name the configuration of a gateway that has run"
                )
            }
            try file.copy(to: "\(self.folder)/\(name)")
            self.note(name, in: &summary)
        }
        let segments = JournalSegments(directory: "\(self.state)/audit")
        let numbers = try segments.numbers()
        try self.makeFolder("\(self.folder)/audit", mustBeEmpty: false)
        for number in numbers {
            let name = "audit/\(JournalSegments.name(number))"
            if try self.copyLines(of: segments, number, to: "\(self.folder)/\(name)") {
                self.note(name, in: &summary)
            } else {
                // Retention goes from the oldest on: what was copied before has gone as well, and would leave a hole.
                self.forgetSegments(in: &summary)
            }
        }
        if !keys.isEmpty { try self.makeFolder("\(self.folder)/keys", mustBeEmpty: false) }
        for key in keys {
            try self.copyFile(key.path, to: "\(self.folder)/keys/\(key.name)")
            self.note("keys/\(key.name)", in: &summary)
        }
        synchronizeDirectory(of: "\(self.folder)/audit")
        return summary
    }

    private func note(_ name: String, in summary: inout Summary) {
        var status = stat()
        if stat("\(self.folder)/\(name)", &status) == 0 { summary.bytes += Int64(status.st_size) }
        summary.files.append(name)
    }

    private func forgetSegments(in summary: inout Summary) {
        for name in summary.files where name.hasPrefix("audit/") {
            var status = stat()
            if stat("\(self.folder)/\(name)", &status) == 0 { summary.bytes -= Int64(status.st_size) }
            unlink("\(self.folder)/\(name)")
        }
        summary.files.removeAll { $0.hasPrefix("audit/") }
    }

    private func makeFolder(_ path: String, mustBeEmpty: Bool) throws(RecordsError) {
        if mkdir(path, 0o700) == 0 { return }
        guard errno == EEXIST, !mustBeEmpty || Self.isEmptyFolder(path) else {
            let reason = errno == EEXIST ? "it exists and is not empty" : errorText(errno)
            throw RecordsError(.cannotWrite, "cannot make \(path): \(reason)", remedy: "name a new folder")
        }
    }

    private static func isEmptyFolder(_ path: String) -> Bool {
        guard let folder = opendir(path) else { return false }
        defer { closedir(folder) }
        var count = 0
        while readdir(folder) != nil { count += 1 }
        // Itself and the one above.
        return count <= 2
    }

    /// Whole lines only: the last one may be in the middle of being written. False when retention has removed it meanwhile.
    private func copyLines(of segments: JournalSegments, _ number: Int, to path: String) throws(RecordsError) -> Bool {
        guard var reader = try segments.reader(number) else { return false }
        let copy = try NewFile(path)
        while let line = try reader.next(), line.isComplete {
            try copy.write(line.bytes)
            try copy.write([0x0A])
        }
        try copy.close()
        return true
    }

    private func copyFile(_ source: String, to path: String) throws(RecordsError) {
        var reader = try SegmentReader(path: source)
        let copy = try NewFile(path)
        while let line = try reader.next() {
            try copy.write(line.bytes)
            if line.isComplete { try copy.write([0x0A]) }
        }
        try copy.close()
    }
}

/// A file that did not exist, for its owner alone. What is written waits in memory until there is a good piece of it.
private final class NewFile {
    private let path: String
    private let descriptor: Int32
    private var pending: [UInt8] = []
    private static let piece = 1 << 18

    init(_ path: String) throws(RecordsError) {
        self.path = path
        self.descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard self.descriptor >= 0 else { throw self.failure() }
    }

    deinit { if self.descriptor >= 0 { Glibc.close(self.descriptor) } }

    func write(_ bytes: ArraySlice<UInt8>) throws(RecordsError) {
        self.pending += bytes
        if self.pending.count >= Self.piece { try self.flush() }
    }

    /// Returns when all of it is on disk.
    func close() throws(RecordsError) {
        try self.flush()
        guard fsync(self.descriptor) == 0 else { throw self.failure() }
    }

    private func flush() throws(RecordsError) {
        var rest = self.pending[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(self.descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw self.failure() }
            rest = rest.dropFirst(count)
        }
        self.pending.removeAll(keepingCapacity: true)
    }

    private func failure() -> RecordsError {
        RecordsError(
            .cannotWrite, "cannot write \(self.path): \(errorText(errno))",
            remedy: "see that there is space and a right"
        )
    }
}
