internal import Foundation
internal import Synchronization

/// A program that the demo runs: one of the far ends, or the gateway itself. Its lines arrive as it writes them; it is
/// ended by its own number and never outlives the demo.
final class DemoProcess: Sendable {
    let name: String
    /// What it writes to standard output, line by line; ends with it.
    let lines: AsyncStream<String>
    private let process: Process
    private let words = Words()

    /// What it says, kept for the case that something fails.
    private final class Words: Sendable {
        private struct State {
            var errors = Data()
            var last: String?
            var isComplete = false
        }

        private let state = Mutex(State())

        /// More of its standard error, of which the beginning is kept.
        func append(_ more: Data) { self.state.withLock { if $0.errors.count < 65_536 { $0.errors += more } } }
        func said(_ line: String) { self.state.withLock { $0.last = line } }
        func fellSilent() { self.state.withLock { $0.isComplete = true } }

        var errors: String { self.state.withLock { String(decoding: $0.errors, as: UTF8.self) } }
        /// The last line of its standard output.
        var last: String? { self.state.withLock { $0.last } }
        /// There will be no more lines, since it ends.
        var areComplete: Bool { self.state.withLock { $0.isComplete } }
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
        let words = self.words
        let (lines, continuation) = AsyncStream.makeStream(of: String.self)
        let splitter = LineSplitter {
            words.said($0)
            continuation.yield($0)
        }
        self.process = process
        self.lines = lines
        do {
            try process.run()
        } catch {
            throw DemoError("\(name) cannot be started: \(executable.path): \(error.localizedDescription)")
        }
        Self.read(output.fileHandleForReading) {
            splitter.append($0)
            guard $0.isEmpty else { return }
            splitter.finish()
            words.fellSilent()
            continuation.finish()
        }
        Self.read(failure.fileHandleForReading) { words.append($0) }
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
        await withTaskGroup(of: String?.self) { group in
            group.addTask {
                for await line in self.lines { return line }
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
    }

    /// The next line that is an event.
    func nextEvent() async -> DemoEvent? {
        while let line = await self.nextLine() {
            if let event = DemoEvent(line) { return event }
        }
        return nil
    }

    /// How it ended, the last line that it wrote, and the end of its standard error; nil if there is nothing.
    var lastWords: String? {
        var words: [String] = []
        // Its output has come to an end, so it is ending, and the status is its own.
        if self.words.areComplete { self.stop() }
        if !self.process.isRunning { words.append("ended with \(self.process.terminationStatus)") }
        if let line = self.words.last { words.append("said last: \(line)") }
        words += self.words.errors.split(separator: "\n").suffix(5).map(String.init)
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
                "\(name) failed with status \(process.process.terminationStatus): \(process.words.errors)")
        }
        return lines
    }

    /// Cuts what arrives into lines.
    // Unchecked, because it has state without a lock: it is handed to one thread, the one that reads the pipe, and nothing
    // else ever calls it.
    private final class LineSplitter: @unchecked Sendable {
        private var rest: [UInt8] = []
        private let take: (String) -> Void

        init(_ take: @escaping (String) -> Void) { self.take = take }

        func append(_ data: Data) {
            for byte in data {
                if byte == UInt8(ascii: "\n") { self.emit() } else { self.rest.append(byte) }
            }
        }

        func finish() {
            if !self.rest.isEmpty { self.emit() }
        }

        private func emit() {
            self.take(String(decoding: self.rest, as: UTF8.self))
            self.rest.removeAll(keepingCapacity: true)
        }
    }
}

/// Why the demo did not come to its end, in words for the person who watches; the part where it happened is known.
struct DemoError: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}
