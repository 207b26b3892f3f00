/// The rules of the chain, line by line. Pure.
struct ChainCheck {
    private(set) var lastGood: JournalVerification.Checkpoint?
    var result = JournalVerification()

    private let trust: JournalTrust
    private let anchor: JournalAnchor?
    private let anchorHash: JournalHash?
    private let mayBeginAnywhere: Bool
    private var foundAnchor = false
    private var segment = ""
    private var line = 0
    /// Number and claimed hash of the line before; nil after a line that says neither.
    private var before: (seq: UInt64, hash: JournalHash)?
    /// The highest number so far.
    private var highest: UInt64?
    private var recordsUpToProven = 0
    /// What is missing in front of the first line: up to `through`, whose hash is that, where it can be known.
    private var gap: (through: UInt64, hash: JournalHash?)?
    /// Lines in front of the first record that are no records.
    private var unreadableAtStart: UInt64 = 0
    /// A record that says the gap was made by retention, not signed yet, and its number.
    private var statement: UInt64?

    /// - Parameter mayBeginAnywhere: for a part of a journal, whose beginning proves nothing and need not.
    init(trust: JournalTrust, anchor: JournalAnchor? = nil, mayBeginAnywhere: Bool = false) {
        self.trust = trust
        self.anchor = anchor
        self.anchorHash = anchor.flatMap { JournalHash(text: $0.hash) }
        self.mayBeginAnywhere = mayBeginAnywhere
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
        if let anchor = self.anchor, anchor.seq == record.seq, self.anchorHash == record.hash {
            self.foundAnchor = true
        }
        let (isCheckpoint, isStatement) = bytes.withUnsafeBytes { bytes in
            let event = JournalFields(bytes)?.event
            return (event?.isText("journal.checkpoint") ?? false, event?.isText("journal.pruned") ?? false)
        }
        if isCheckpoint { self.checkSignature(of: record, bytes) }
        if isStatement, self.gap != nil { self.checkStatement(record, bytes) }
    }

    mutating func conclude() -> JournalVerification {
        if let gap = self.gap, self.result.removal == nil, !self.mayBeginAnywhere {
            self.result.note(
                .init(kind: .missingStart(through: gap.through), segment: self.segment, line: 0, seq: 1)
            )
        }
        if let anchor = self.anchor {
            if !anchor.isSigned(by: self.trust.keys) {
                self.result.note(.init(kind: .anchorForeign, segment: self.segment, line: 0, seq: anchor.seq))
            } else if self.foundAnchor {
                self.result.anchor = .held
            } else if let gap = self.gap, anchor.seq <= gap.through, self.result.removal != nil {
                self.result.anchor = .removed
            } else {
                self.result.note(.init(kind: .anchorMissing, segment: self.segment, line: 0, seq: anchor.seq))
            }
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
        if self.highest == nil { self.unreadableAtStart += 1 }
        // The number that belongs there is accounted for, so that the next line is not reported as well.
        self.before = nil
        if let seq { self.highest = max(self.highest ?? 0, seq) } else { self.highest = self.highest.map { $0 &+ 1 } }
    }

    /// - Returns: whether the record follows the one in the line before.
    private mutating func checkOrder(of record: JournalLine) -> Bool {
        guard let highest = self.highest else {
            // The very first record has nothing before it; a journal whose old segments were taken away does not begin
            // with it, and says so further on.
            if record.seq == 1 {
                if record.previous != .zero { self.note(.changed, record.seq) }
            } else if record.seq > self.unreadableAtStart + 1 {
                let hash = self.unreadableAtStart == 0 ? record.previous : nil
                self.gap = (record.seq - self.unreadableAtStart - 1, hash)
            }
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
        guard let entry = JournalEntry(bytes) else { return }
        guard let checkpoint = JournalAnchor(entry), checkpoint.isSigned(by: self.trust.keys) else {
            self.note(.badSignature, record.seq)
            return
        }
        if let statement = self.statement {
            self.result.removal = statement
            self.statement = nil
        }
        guard self.result.isIntact else { return }
        self.lastGood = JournalVerification.Checkpoint(
            segment: self.segment,
            seq: record.seq,
            time: entry.time,
            hash: record.hash.text
        )
        self.recordsUpToProven = self.result.records
    }

    /// A record of retention counts for what is missing at the start if it speaks of the very record that comes before the
    /// first one that is there, or of a later one: then a stop kept the gateway from removing all that it said.
    private mutating func checkStatement(_ record: JournalLine, _ bytes: ArraySlice<UInt8>) {
        guard let gap = self.gap, self.result.removal == nil, let entry = JournalEntry(bytes),
            let removal = JournalRemoval(entry)
        else { return }
        if removal.throughSeq > gap.through {
            self.statement = record.seq
        } else if removal.throughSeq == gap.through, gap.hash.map({ $0 == removal.hash }) ?? true {
            self.statement = record.seq
        }
    }

    private mutating func note(_ kind: JournalVerification.Problem.Kind, _ seq: UInt64?) {
        // Between a statement and the signature behind it nothing may be wrong.
        self.statement = nil
        self.result.note(.init(kind: kind, segment: self.segment, line: self.line, seq: seq))
    }
}
