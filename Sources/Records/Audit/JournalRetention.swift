internal import Gateway
internal import Glibc

/// What retention says of the segments that it takes away: a record `journal.pruned` in the journal itself, written and
/// signed before the first of them goes. So the journal proves its own beginning.
struct JournalRemoval: Sendable, Equatable {
    /// Files that go: numbers of the first and the last.
    var segments: ClosedRange<Int>
    /// Number and hash of the last record in them.
    var throughSeq: UInt64
    var hash: JournalHash
    /// When that record was written, as it stands in it: a checkpoint, and so the newest of all that go.
    var newest: String

    init(segments: ClosedRange<Int>, throughSeq: UInt64, hash: JournalHash, newest: String) {
        self.segments = segments
        self.throughSeq = throughSeq
        self.hash = hash
        self.newest = newest
    }

    init?(_ entry: JournalEntry) {
        let detail = entry.detail
        guard entry.event == AuditEvent.Name.journalPruned.rawValue,
            let first = detail["first-segment"]?.integer.flatMap(Int.init(exactly:)),
            let last = detail["last-segment"]?.integer.flatMap(Int.init(exactly:)), first <= last,
            let seq = detail["through"]?.integer.flatMap(UInt64.init(exactly:)),
            let hash = detail["hash"]?.text.flatMap(JournalHash.init(text:)), let newest = detail["newest"]?.text
        else { return nil }
        self.init(segments: first...last, throughSeq: seq, hash: hash, newest: newest)
    }

    func event(at time: Int64, keep: Duration) -> AuditEvent {
        AuditEvent(
            .journalPruned,
            time: time,
            detail: [
                .init("first-segment", .integer(Int64(self.segments.lowerBound))),
                .init("last-segment", .integer(Int64(self.segments.upperBound))),
                .init("through", .integer(Int64(clamping: self.throughSeq))), .init("hash", .text(self.hash.text)),
                .init("newest", .text(self.newest)), .init("keep-seconds", .integer(keep.components.seconds)),
            ]
        )
    }
}

/// Decides which segments are old enough to go.
struct JournalRetention {
    /// So many segments go with one record.
    static let batchLimit = 256
    /// How far the wall clock may run ahead of what the journal's own records and the time since then allow.
    private static let clockTolerance: Duration = .seconds(86_400)

    private let segments: JournalSegments
    var keep: Duration
    private let trust: JournalTrust
    /// The newest record when the journal was opened, and when that was.
    private let opened: (record: Int64?, at: ContinuousClock.Instant)
    /// The segment that has nobody's signature at its end, at which the last look stopped: it stays, and all behind it.
    private(set) var obstacle: Int?

    init(segments: JournalSegments, keep: Duration, trust: JournalTrust, newestRecord: Int64?) {
        self.segments = segments
        self.keep = keep
        self.trust = trust
        self.opened = (newestRecord, ContinuousClock.now)
    }

    /// Old segments in front of `current`, from the oldest on: whole ones that end with a checkpoint of a trusted key which
    /// is older than what is kept. Stops at the first that is not. Nil: none.
    ///
    /// A clock that was set wrong must not cost the whole journal, so `now` counts only as far as the journal's newest
    /// record at start and the time since then bear it out.
    mutating func due(before current: Int, now: Int64) throws(RecordsError) -> JournalRemoval? {
        let limit = self.borneOut(now).subtractingReportingOverflow(Self.microseconds(self.keep))
        guard !limit.overflow else { return nil }
        var removal: JournalRemoval?
        self.obstacle = nil
        for number in try self.segments.numbers() where number < current {
            guard let end = try self.signedEnd(number) else {
                self.obstacle = number
                break
            }
            guard end.time < limit.partialValue else { break }
            let first = removal?.segments.lowerBound ?? number
            removal = JournalRemoval(
                segments: first...number, throughSeq: end.record.seq, hash: end.record.hash, newest: end.text
            )
            if number - first + 1 >= Self.batchLimit { break }
        }
        return removal
    }

    private func borneOut(_ now: Int64) -> Int64 {
        guard let record = self.opened.record else { return now }
        let elapsed = ContinuousClock.now - self.opened.at + Self.clockTolerance
        return min(now, record + Self.microseconds(elapsed))
    }

    /// Takes the files away, oldest first. Each name is gone for good before the next one goes, so that a power cut leaves no
    /// hole.
    func remove(_ removal: JournalRemoval) throws(JournalFile.Failure) {
        for number in removal.segments {
            let path = self.segments.path(number)
            guard unlink(path) == 0 || errno == ENOENT else {
                throw JournalFile.Failure(what: "remove an old segment of", code: errno)
            }
            synchronizeDirectory(of: path)
        }
    }

    /// The last line of a segment, if it is a whole checkpoint of a trusted key and nothing stands behind it.
    private func signedEnd(_ number: Int) throws(RecordsError) -> (record: JournalLine, time: Int64, text: String)? {
        let tail = Int64(SegmentReader.lineLimit) / 8
        guard var reader = try self.segments.reader(number, offset: max(0, self.segments.size(number) - tail)) else {
            return nil
        }
        var last: [UInt8] = []
        while let line = try reader.next() { last = line.isComplete ? Array(line.bytes) : [] }
        guard let record = JournalLine(last[...]), record.isAuthentic, let entry = JournalEntry(last[...]),
            let checkpoint = JournalAnchor(entry), checkpoint.isSigned(by: self.trust.keys),
            let time = Array(entry.time.utf8).withUnsafeBytes({ JournalTime.value($0) })
        else { return nil }
        return (record, time, entry.time)
    }

    private static func microseconds(_ duration: Duration) -> Int64 {
        let (seconds, attoseconds) = duration.components
        return seconds * 1_000_000 + attoseconds / 1_000_000_000_000
    }
}
