internal import Foundation
internal import Synchronization

/// A program that the demo runs: one of the far ends, or the gateway itself. Its lines arrive as it writes them; it is
/// ended by its own number and never outlives the demo.
final class DemoProcess: Sendable {
    let name: String
    /// What it writes to standard output, line by line; ends with it.
    let lines: AsyncStream<String>
    private let process: Process
    private let errors: Errors

    /// What was written to standard error, kept for the case that something fails.
    private final class Errors: Sendable {
        private let data = Mutex(Data())

        func append(_ more: Data) { self.data.withLock { if $0.count < 65_536 { $0 += more } } }
        var text: String { self.data.withLock { String(decoding: $0, as: UTF8.self) } }
    }

    init(_ name: String, executable: URL, arguments: [String]) throws {
        self.name = name
        let process = Process()
        process.executableURL = executable
        process.arguments = arguments
        process.standardInput = FileHandle.nullDevice
        let output = Pipe()
        let failure = Pipe()
        process.standardOutput = output
        process.standardError = failure
        let errors = Errors()
        let (lines, continuation) = AsyncStream.makeStream(of: String.self)
        let splitter = LineSplitter(continuation)
        output.fileHandleForReading.readabilityHandler = { handle in
            let data = handle.availableData
            if data.isEmpty {
                handle.readabilityHandler = nil
                splitter.finish()
            } else {
                splitter.append(data)
            }
        }
        failure.fileHandleForReading.readabilityHandler = { handle in
            let data = handle.availableData
            if data.isEmpty { handle.readabilityHandler = nil } else { errors.append(data) }
        }
        self.process = process
        self.lines = lines
        self.errors = errors
        do {
            try process.run()
        } catch {
            throw DemoError("\(name) cannot be started: \(executable.path): \(error.localizedDescription)")
        }
    }

    var standardError: String { self.errors.text }

    /// The next line; nil when it has ended.
    func firstLine() async -> String? {
        for await line in self.lines { return line }
        return nil
    }

    /// Asks it to stop and waits until it has.
    func stop() {
        if self.process.isRunning { self.process.terminate() }
        self.process.waitUntilExit()
    }

    /// Runs to the end and returns what it wrote.
    static func run(_ name: String, executable: URL, arguments: [String]) async throws -> String {
        let process = try DemoProcess(name, executable: executable, arguments: arguments)
        var text = ""
        for await line in process.lines { text += line + "\n" }
        process.process.waitUntilExit()
        guard process.process.terminationStatus == 0 else {
            throw DemoError("\(name) failed with status \(process.process.terminationStatus): \(process.standardError)")
        }
        return text
    }

    /// Cuts what arrives into lines. Its only caller is the pipe's handler, which runs on one queue at a time.
    private final class LineSplitter: @unchecked Sendable {
        private var rest: [UInt8] = []
        private let continuation: AsyncStream<String>.Continuation

        init(_ continuation: AsyncStream<String>.Continuation) { self.continuation = continuation }

        func append(_ data: Data) {
            for byte in data {
                if byte == UInt8(ascii: "\n") { self.emit() } else { self.rest.append(byte) }
            }
        }

        func finish() {
            if !self.rest.isEmpty { self.emit() }
            self.continuation.finish()
        }

        private func emit() {
            self.continuation.yield(String(decoding: self.rest, as: UTF8.self))
            self.rest.removeAll(keepingCapacity: true)
        }
    }
}

/// Why the demo did not come to its end, in words for the person who watches.
struct DemoError: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
