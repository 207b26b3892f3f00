internal import Glibc

/// What opening a journal finds: where its chain stands, and what the last run left behind.
struct JournalRecovery {
    /// The number of the next record.
    var seq: UInt64 = 1
    /// The hash of the last whole record.
    var previous = JournalEncoder.noHash
    /// The segment to go on with.
    var segment = 1
    /// How many bytes of it are good; what follows is cut.
    var length: Int64 = 0
    /// Records behind the last checkpoint.
    var unsigned = 0
    /// Time of the last good record, microseconds since 1970.
    var time: Int64?
    /// Outbox rows that the last segment tells of.
    var outbox: Set<Int64> = []
    var finding = Finding.clean

    enum Finding: Equatable {
        case clean
        /// The process or the machine stopped in the middle of a write: this many bytes at the end are no record.
        case torn(bytes: Int64)
        /// Something inside the last segment is no record of this chain. It stays as it is, for whoever investigates,
        /// and the chain goes on in a new segment, from the last whole record.
        case damaged(segment: Int, offset: Int64)
    }

    /// Reads the last segment, and those before it while they hold no record.
    init(_ segments: JournalSegments) throws(RecordsError) {
        let numbers = try segments.numbers()
        guard let last = numbers.last else { return }
        self.segment = last
        var number: Int? = last
        while let current = number {
            let isLast = current == last
            let found = try self.scan(segments.path(current), segment: current, isLast: isLast)
            number = found ? nil : numbers.last { $0 < current }
        }
        if case .damaged = self.finding {
            self.segment = last + 1
            self.length = 0
        }
    }

    /// - Returns: whether the segment has a record.
    private mutating func scan(_ path: String, segment: Int, isLast: Bool) throws(RecordsError) -> Bool {
        var reader = try SegmentReader(path: path)
        var expected: (seq: UInt64, previous: JournalHash)?
        var goodEnd: Int64 = 0
        var end: Int64 = 0
        var isZeroed = true
        var lastTime: Int64?
        while let line = try reader.next() {
            end = line.offset + Int64(line.bytes.count) + (line.isComplete ? 1 : 0)
            let record = line.isComplete ? JournalLine(line.bytes).flatMap { $0.isAuthentic ? $0 : nil } : nil
            if goodEnd == line.offset, let record,
                expected.map({ $0.seq == record.seq && $0.previous == record.previous }) ?? true
            {
                goodEnd = end
            } else {
                isZeroed = isZeroed && (!line.isComplete || line.bytes.allSatisfy { $0 == 0 })
            }
            // Whole records behind a damaged place count too, or their numbers would be given out twice.
            guard let record, record.seq >= expected?.seq ?? 0 else { continue }
            expected = (record.seq + 1, record.hash)
            self.note(line.bytes)
            lastTime = line.bytes.withUnsafeBytes { JournalFields($0).flatMap { JournalTime.value($0.time) } }
        }
        if let expected { (self.seq, self.previous) = expected }
        self.time = lastTime ?? self.time
        guard isLast else { return expected != nil }
        self.length = goodEnd
        // A torn write has no line feed, or is the zeros of a block that never reached the disk.
        if end > goodEnd {
            self.finding = isZeroed ? .torn(bytes: end - goodEnd) : .damaged(segment: segment, offset: goodEnd)
        }
        return expected != nil
    }

    private mutating func note(_ line: ArraySlice<UInt8>) {
        self.unsigned += 1
        if JournalLine.isCheckpoint(line) { self.unsigned = 0 }
        if JournalLine.contains(line, "\"outbox\":"), let value = try? JSONReader.read(line),
            let uid = value["detail"]?["outbox"]?.integer
        {
            self.outbox.insert(uid)
        }
    }
}
