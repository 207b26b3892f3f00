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
    private let seen = Mutex(Seen())

    /// What has been read of its lines.
    private struct Seen {
        var last: String?
        var isComplete = false
    }

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
        self.process = process
        self.lines = lines
        self.errors = errors
        do {
            try process.run()
        } catch {
            throw DemoError("\(name) cannot be started: \(executable.path): \(error.localizedDescription)")
        }
        Self.read(output.fileHandleForReading) { $0.isEmpty ? splitter.finish() : splitter.append($0) }
        Self.read(failure.fileHandleForReading) { errors.append($0) }
    }

    /// Hands over what comes, and at the end nothing. A thread of its own waits for it, because a `readabilityHandler`
    /// misses the end of a pipe now and then.
    private static func read(_ handle: FileHandle, _ take: @escaping @Sendable (Data) -> Void) {
        Thread.detachNewThread {
            var data: Data
            repeat {
                data = handle.availableData
                take(data)
            } while !data.isEmpty
        }
    }

    /// The next line; nil when it has ended, or has said nothing for `patience`. Nothing more comes after that.
    func nextLine(within patience: Duration = .seconds(20)) async -> String? {
        let line = await withTaskGroup(of: String?.self) { group in
            group.addTask {
                for await line in self.lines { return line }
                if !Task.isCancelled { self.seen.withLock { $0.isComplete = true } }
                return nil
            }
            group.addTask {
                try? await Task.sleep(for: patience)
                return nil
            }
            let line = await group.next() ?? nil
            group.cancelAll()
            return line
        }
        if let line { self.seen.withLock { $0.last = line } }
        return line
    }

    /// The next line that is an event.
    func nextEvent() async -> DemoEvent? {
        while let line = await self.nextLine() {
            if let event = DemoEvent(line) { return event }
        }
        return nil
    }

    /// What it wrote to standard error and the line of it that was read last, or how it ended; nil if there is nothing.
    var lastWords: String? {
        var words: [String] = []
        let seen = self.seen.withLock { $0 }
        // Its output has come to an end, so it is ending, and the status is its own.
        if seen.isComplete { self.stop() }
        if !self.process.isRunning { words.append("ended with \(self.process.terminationStatus)") }
        if let line = seen.last { words.append("said last: \(line)") }
        let errors = self.errors.text.split(separator: "\n").suffix(5)
        words += errors.map(String.init)
        return words.isEmpty ? nil : "\(self.name): " + words.joined(separator: "\n      ")
    }

    /// Asks it to stop and waits until it has.
    func stop() {
        if self.process.isRunning { self.process.terminate() }
        self.process.waitUntilExit()
    }

    /// Runs to the end and returns the lines that it wrote.
    static func run(_ name: String, executable: URL, arguments: [String]) async throws -> [String] {
        let process = try DemoProcess(name, executable: executable, arguments: arguments)
        var lines: [String] = []
        while let line = await process.nextLine() { lines.append(line) }
        process.stop()
        guard process.process.terminationStatus == 0 else {
            throw DemoError(
                "\(name) failed with status \(process.process.terminationStatus): \(process.errors.text)")
        }
        return lines
    }

    /// Cuts what arrives into lines. Its only caller is the one thread that reads the pipe.
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

/// Why the demo did not come to its end, in words for the person who watches; the part where it happened is known.
struct DemoError: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
