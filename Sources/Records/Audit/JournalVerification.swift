/// What verification found.
package struct JournalVerification: Sendable, Equatable {
    /// A place where the journal is not what was written.
    package struct Problem: Sendable, Equatable {
        package enum Kind: Sendable, Equatable {
            /// The record was changed after it was written, or is no record.
            case changed
            /// One or more records are not there: `seq` to `through`.
            case missing(through: UInt64)
            /// The record stands behind one with a higher number, or a second time.
            case reordered
            /// The checkpoint's signature is not of its key, or of no key that is trusted: what stands before it since the
            /// last good one may have been rewritten.
            case badSignature
            /// A whole segment is not there.
            case missingSegment
            /// The journal does not begin with record 1, and no signed record says that retention has removed what was before.
            case missingStart(through: UInt64)
            /// An exported checkpoint is not in the journal.
            case anchorMissing
            /// An exported checkpoint is not signed by a key of this journal.
            case anchorForeign
        }

        package var kind: Kind
        /// Name of the file.
        package var segment: String
        /// Line in the file, from 1; 0 where no line is meant.
        package var line: Int
        /// Number of the record, as far as it is known.
        package var seq: UInt64?
    }

    /// A checkpoint that holds.
    package struct Checkpoint: Sendable, Equatable {
        package var segment: String
        package var seq: UInt64
        package var time: String
        /// Lower-case hexadecimal hash of its record: what an anchor remembers.
        package var hash: String
    }

    package var segments = 0
    /// Records, checkpoints included.
    package var records = 0
    /// Number of the first record that is there: above 1 where old segments were taken away.
    package var firstSeq: UInt64?
    package var lastSeq: UInt64?
    /// The last checkpoint that holds, with nothing wrong before it: everything up to it is proven.
    package var proven: Checkpoint?
    /// Records behind ``proven``: chained, but anybody who can write the files could have written them.
    package var unsigned = 0
    /// What became of the anchor.
    package enum AnchorState: Sendable, Equatable {
        /// The journal holds it.
        case held
        /// It is older than what retention has kept; the removal is signed.
        case removed
    }

    /// Nil: none was given, or it is a problem.
    package var anchor: AnchorState?
    /// Number of the signed record that says that retention has removed what was before ``firstSeq``.
    package var removal: UInt64?
    /// Bytes of a last line that has no end: being written just now, or torn.
    package var incompleteBytes = 0
    /// The first problems, ``problemLimit`` at most.
    package var problems: [Problem] = []
    package var problemCount = 0

    package static let problemLimit = 50

    /// Whether nothing is wrong.
    package var isIntact: Bool { self.problemCount == 0 }

    init() {}

    mutating func note(_ problem: Problem) {
        self.problemCount += 1
        if self.problems.count < Self.problemLimit { self.problems.append(problem) }
    }
}

extension JournalVerification.Problem: CustomStringConvertible {
    package var description: String {
        let record = self.seq.map { "record \($0)" } ?? "what should be a record"
        let place = self.line > 0 ? "\(self.segment), line \(self.line)" : self.segment
        return switch self.kind {
        case .changed: "\(place): \(record) was changed"
        case .missing(let through) where through == self.seq: "\(place): \(record) is missing in front of this line"
        case .missing(let through): "\(place): \(record) to \(through) are missing in front of this line"
        case .reordered: "\(place): \(record) is not in its place, or stands twice"
        case .badSignature: "\(place): the signature of checkpoint \(self.seq ?? 0) does not hold"
        case .missingSegment: "\(place) is missing"
        case .missingStart(let through) where through == 1:
            "record 1 is missing, and no signed record says that retention removed it"
        case .missingStart(let through):
            "records 1 to \(through) are missing, and no signed record says that retention removed them"
        case .anchorForeign:
            "the exported checkpoint \(self.seq ?? 0) is not signed by a key of this journal"
        case .anchorMissing: "the journal does not hold the exported checkpoint \(self.seq ?? 0)"
        }
    }
}
