/// Checks a journal: each record by its hash, their order and completeness by the chain, and what nobody can have
/// rewritten by the signed checkpoints. Reads it once, in constant memory, while a gateway writes it or not.
///
/// What it cannot know: whether whole records behind the last checkpoint were cut off at the end. An exported checkpoint
/// (`anchor`) shows whether the journal still holds what it held then.
package struct JournalVerifier: Sendable {
    private let segments: JournalSegments
    private let trust: JournalTrust

    /// - Parameter state: the state folder.
    package init(state: String, trust: JournalTrust) {
        self.segments = JournalSegments(directory: state + "/audit")
        self.trust = trust
    }

    /// Blocks until the whole journal is read.
    ///
    /// - Parameters:
    ///   - anchor: number and hash of a checkpoint that was exported earlier.
    ///   - progress: called with the number of records now and then.
    package func verify(
        anchor: (seq: UInt64, hash: String)? = nil,
        progress: (Int) -> Void = { _ in }
    ) throws(RecordsError) -> JournalVerification {
        let numbers = try self.segments.numbers()
        var chain = ChainCheck(trust: self.trust, anchor: anchor)
        var expected = numbers.first
        for number in numbers {
            while let missing = expected, missing < number {
                chain.segmentIsMissing(JournalSegments.name(missing))
                expected = missing + 1
            }
            expected = number + 1
            chain.beginSegment(JournalSegments.name(number))
            var reader = try SegmentReader(path: self.segments.path(number))
            while let line = try reader.next() {
                if line.isComplete {
                    chain.take(line.bytes)
                    if chain.result.records.isMultiple(of: 50_000) { progress(chain.result.records) }
                } else if number == numbers.last {
                    chain.result.incompleteBytes = line.bytes.count
                } else {
                    chain.take(line.bytes)
                }
            }
        }
        return chain.conclude()
    }
}

/// The rules of the chain, line by line. Pure.
struct ChainCheck {
    private(set) var lastGood: JournalVerification.Checkpoint?
    var result = JournalVerification()

    private let trust: JournalTrust
    private let anchor: (seq: UInt64, hash: String)?
    private var foundAnchor = false
    private var segment = ""
    private var line = 0
    /// Number and claimed hash of the line before; nil after a line that says neither.
    private var before: (seq: UInt64, hash: [UInt8])?
    /// The highest number so far.
    private var highest: UInt64?
    private var recordsUpToProven = 0

    init(trust: JournalTrust, anchor: (seq: UInt64, hash: String)? = nil) {
        self.trust = trust
        self.anchor = anchor
    }

    mutating func beginSegment(_ name: String) {
        self.segment = name
        self.line = 0
        self.result.segments += 1
    }

    mutating func segmentIsMissing(_ name: String) {
        self.result.note(.init(kind: .missingSegment, segment: name, line: 0, seq: nil))
    }

    mutating func take(_ bytes: ArraySlice<UInt8>) {
        self.line += 1
        self.result.records += 1
        guard let record = JournalLine(bytes), record.isAuthentic else {
            self.isChanged()
            return
        }
        if self.result.firstSeq == nil { self.result.firstSeq = record.seq }
        if self.checkOrder(of: record) { self.checkLink(of: record) }
        self.before = (record.seq, record.hash)
        self.highest = max(self.highest ?? 0, record.seq)
        if self.anchor?.seq == record.seq, self.anchor?.hash == hexadecimalText(record.hash) { self.foundAnchor = true }
        if JournalLine.contains(bytes, "\"event\":\"\(JournalEncoder.checkpointEvent)\"") {
            self.checkSignature(of: record, bytes)
        }
    }

    mutating func conclude() -> JournalVerification {
        if let anchor = self.anchor, !self.foundAnchor {
            self.result.note(.init(kind: .anchorMissing, segment: self.segment, line: 0, seq: anchor.seq))
        }
        self.result.lastSeq = self.highest
        self.result.proven = self.lastGood
        self.result.unsigned = self.result.records - self.recordsUpToProven
        return self.result
    }

    /// The line is in nobody's hand any more: what stands behind it can only be taken as it is.
    private mutating func isChanged() {
        let seq = self.before.map { $0.seq &+ 1 }
        self.note(.changed, seq)
        // The number that belongs there is accounted for, so that the next line is not reported as well.
        self.before = nil
        if let seq { self.highest = max(self.highest ?? 0, seq) } else { self.highest = self.highest.map { $0 &+ 1 } }
    }

    /// - Returns: whether the record follows the one in the line before.
    private mutating func checkOrder(of record: JournalLine) -> Bool {
        guard let highest = self.highest else {
            // The very first record has nothing before it; a journal whose old segments were taken away does not begin
            // with it.
            if record.seq == 1, record.previous != JournalEncoder.noHash { self.note(.changed, record.seq) }
            return false
        }
        if record.seq <= highest {
            self.note(.reordered, record.seq)
            return false
        }
        if record.seq > highest + 1 { self.note(.missing(through: record.seq - 1), highest + 1) }
        return self.before?.seq == record.seq - 1
    }

    /// Both records are whole, but do not fit: the former was replaced by another whole one.
    private mutating func checkLink(of record: JournalLine) {
        if let before = self.before, before.hash != record.previous { self.note(.changed, before.seq) }
    }

    private mutating func checkSignature(of record: JournalLine, _ bytes: ArraySlice<UInt8>) {
        guard let entry = JournalEntry(bytes), entry.isCheckpoint else { return }
        guard let publicKey = Self.bytes(entry.detail["key"]), let signature = Self.bytes(entry.detail["signature"]),
            self.trust.keys.contains(publicKey),
            JournalKey.isValid(
                signature,
                of: JournalEncoder.checkpointText(
                    seq: record.seq,
                    time: entry.time,
                    node: entry.node,
                    previous: hexadecimalText(record.previous)
                ),
                by: publicKey
            )
        else {
            self.note(.badSignature, record.seq)
            return
        }
        guard self.result.isIntact else { return }
        self.lastGood = JournalVerification.Checkpoint(
            segment: self.segment,
            seq: record.seq,
            time: entry.time,
            hash: hexadecimalText(record.hash)
        )
        self.recordsUpToProven = self.result.records
    }

    private mutating func note(_ kind: JournalVerification.Problem.Kind, _ seq: UInt64?) {
        self.result.note(.init(kind: kind, segment: self.segment, line: self.line, seq: seq))
    }

    private static func bytes(_ value: JSONValue?) -> [UInt8]? {
        guard let digits = value?.text?.utf8, digits.count.isMultiple(of: 2) else { return nil }
        var bytes: [UInt8] = []
        var rest = Substring(value?.text ?? "")
        while !rest.isEmpty {
            guard let byte = UInt8(rest.prefix(2), radix: 16) else { return nil }
            bytes.append(byte)
            rest = rest.dropFirst(2)
        }
        return bytes
    }
}
