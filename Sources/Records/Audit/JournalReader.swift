/// Reads a journal for people, while a gateway writes it or not. It shows what stands there; whether that is what was
/// written is for ``JournalVerifier`` to say.
package struct JournalReader: Sendable {
    let segments: JournalSegments

    /// - Parameter state: the state folder.
    package init(state: String) { self.segments = JournalSegments(directory: state + "/audit") }

    /// The last `count` records, oldest first. Checkpoints do not count and do not show unless asked for.
    package func tail(_ count: Int, checkpoints: Bool = false) throws(RecordsError) -> [JournalEntry] {
        var found: [JournalEntry] = []
        for number in try self.segments.numbers().reversed() where found.count < count {
            var ring = LastLines(limit: count - found.count)
            guard var reader = try self.segments.reader(number) else { continue }
            while let line = try reader.next() {
                guard line.isComplete, checkpoints || !JournalLine.isCheckpoint(line.bytes) else { continue }
                ring.append(line.bytes)
            }
            found = ring.lines.compactMap { JournalEntry($0[...]) } + found
        }
        return found
    }

    /// Every record that names this SIM, oldest first, one at a time: a life of many years is no matter.
    package func show(
        iccid: ICCID,
        from seq: Int64 = 0,
        _ body: (JournalEntry) throws -> Void
    ) throws {
        let needle = "\"iccid\":\"\(iccid.digits)\""
        for number in try self.segments.numbers() {
            guard var reader = try self.segments.reader(number) else { continue }
            while let line = try reader.next() {
                guard line.isComplete, JournalLine.contains(line.bytes, needle), let entry = JournalEntry(line.bytes),
                    entry.iccid == iccid.digits, entry.seq >= seq
                else { continue }
                try body(entry)
            }
        }
    }

    /// What is written from now on, looked for a few times a second until the reading task is cancelled.
    package func follow(
        every interval: Duration = .milliseconds(250),
        checkpoints: Bool = false
    ) throws(RecordsError) -> AsyncThrowingStream<JournalEntry, any Error> {
        let start = try self.end()
        return AsyncThrowingStream { continuation in
            let task = Task {
                var position = start
                do {
                    while !Task.isCancelled {
                        for entry in try self.entries(after: &position) where checkpoints || !entry.isCheckpoint {
                            continuation.yield(entry)
                        }
                        try await Task.sleep(for: interval)
                    }
                    continuation.finish()
                } catch {
                    continuation.finish(throwing: error is CancellationError ? nil : error)
                }
            }
            continuation.onTermination = { _ in task.cancel() }
        }
    }

    /// A place in the journal: behind the last complete line that was read.
    struct Position: Sendable, Equatable {
        var segment: Int
        var offset: Int64
    }

    /// Behind the last complete line.
    func end() throws(RecordsError) -> Position {
        guard let last = try self.segments.numbers().last else { return Position(segment: 1, offset: 0) }
        var position = Position(segment: last, offset: 0)
        // Without keeping or parsing what is passed over: a segment has 64 MiB.
        guard var reader = try self.segments.reader(last) else { return position }
        while let line = try reader.next(), line.isComplete {
            position.offset = line.offset + Int64(line.bytes.count) + 1
        }
        return position
    }

    /// Complete lines behind `position`, which moves behind them.
    func entries(after position: inout Position) throws(RecordsError) -> [JournalEntry] {
        var entries: [JournalEntry] = []
        for number in try self.segments.numbers() where number >= position.segment {
            if number > position.segment { position = Position(segment: number, offset: 0) }
            guard var reader = try self.segments.reader(number, offset: position.offset) else { continue }
            while let line = try reader.next(), line.isComplete {
                position.offset = line.offset + Int64(line.bytes.count) + 1
                if let entry = JournalEntry(line.bytes) { entries.append(entry) }
            }
        }
        return entries
    }
}

/// The last few lines of many.
private struct LastLines {
    let limit: Int
    private var ring: [[UInt8]] = []
    private var next = 0

    init(limit: Int) { self.limit = limit }

    mutating func append(_ line: ArraySlice<UInt8>) {
        guard self.limit > 0 else { return }
        if self.ring.count < self.limit {
            self.ring.append(Array(line))
        } else {
            self.ring[self.next] = Array(line)
            self.next = (self.next + 1) % self.limit
        }
    }

    /// Oldest first.
    var lines: [[UInt8]] { Array(self.ring[self.next...] + self.ring[..<self.next]) }
}
