internal import Foundation

/// What can be wrong with the clock and the disk of a program that a test starts. It needs no rights: a small library
/// stands between the program and the system, and does what this says.
final class Faults: Sendable {
    private let library: String
    private let folder: String
    private let file: String

    /// - Parameter disk: the folder to which writing can fail.
    init(on stage: Stage, disk: String) async throws {
        self.library = stage.folder.appendingPathComponent("faults.so").path
        self.file = stage.folder.appendingPathComponent("faults").path
        // As the kernel names it.
        self.folder = stage.folder.resolvingSymlinksInPath().appendingPathComponent(disk).path
        try Data(count: 16).write(to: URL(fileURLWithPath: self.file))
        try await stage.run(
            "compiler", "/usr/bin/env",
            ["cc", "-shared", "-fPIC", "-O1", "-o", self.library, try Programs.resource("faults.c"), "-ldl"],
            within: .seconds(60))
    }

    /// What starts a program with them; its own command follows.
    var launcher: [String] {
        [
            "/usr/bin/env", "LD_PRELOAD=\(self.library)", "BOOTGATE_FAULTS=\(self.file)",
            "BOOTGATE_FAULT_FOLDER=\(self.folder)",
        ]
    }

    /// Sets the wall clock so many seconds ahead of the true one, or behind it.
    func setClock(_ seconds: Int64) throws { try self.set(seconds, at: 0) }

    /// Lets writing fail with this error, or (nil) work again.
    func setDisk(_ error: Int32?) throws { try self.set(Int64(error ?? 0), at: 8) }

    private func set(_ value: Int64, at offset: UInt64) throws {
        let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: self.file))
        defer { try? handle.close() }
        try handle.seek(toOffset: offset)
        try handle.write(contentsOf: withUnsafeBytes(of: value) { Data($0) })
    }
}

extension Stage {
    /// Keeps these stores of a gateway from answering until it is told to let go.
    func hold(_ what: String, of stores: [String]) async throws -> Program {
        let files = stores.map { self.folder.appendingPathComponent("state/\($0)").path }
        let holder = try self.start(
            "holder of the store", "/usr/bin/env", ["python3", try Programs.resource("hold_store.py"), what] + files)
        try await holder.event("held", within: .seconds(60))
        return holder
    }
}
