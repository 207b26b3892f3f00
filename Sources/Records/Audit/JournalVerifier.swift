internal import Foundation

/// Checks a journal: each record by its hash, their order and completeness by the chain, and what nobody can have
/// rewritten by the signed checkpoints. Reads it once, in constant memory, while a gateway writes it or not.
///
/// Where retention has taken the oldest segments away, the journal itself must say so in a signed record,
/// `journal.pruned`; else what is missing is a problem.
///
/// What it cannot know: whether whole records behind the last checkpoint were cut off at the end. An exported checkpoint
/// (`anchor`) shows whether the journal still holds what it held then.
package struct JournalVerifier: Sendable {
    /// How far verification is.
    package struct Progress: Sendable, Equatable {
        package var bytes: Int64 = 0
        package var totalBytes: Int64 = 0
        package var records = 0
    }

    private enum Source: Sendable {
        case journal(JournalSegments)
        case file(String)
    }

    private let source: Source
    private let trust: JournalTrust

    /// - Parameter state: the state folder.
    package init(state: String, trust: JournalTrust) {
        self.source = .journal(JournalSegments(directory: state + "/audit"))
        self.trust = trust
    }

    /// - Parameter file: an exported part of a journal, as JSON Lines. It may begin with any record.
    package init(file: String, trust: JournalTrust) {
        self.source = .file(file)
        self.trust = trust
    }

    /// Blocks until everything is read.
    ///
    /// - Parameters:
    ///   - anchor: a checkpoint that was exported earlier.
    ///   - progress: called now and then.
    package func verify(
        anchor: JournalAnchor? = nil,
        progress: (Progress) -> Void = { _ in }
    ) throws(RecordsError) -> JournalVerification {
        switch self.source {
        case .file(let path):
            var chain = ChainCheck(trust: self.trust, anchor: anchor, mayBeginAnywhere: true)
            chain.beginSegment((path as NSString).lastPathComponent)
            var reader = try SegmentReader(path: path)
            var state = Progress(totalBytes: Self.size(path))
            try Self.take(&reader, isLast: true, &chain, &state, progress)
            return chain.conclude()
        case .journal(let segments):
            // Retention may take segments away while we read; then what is left is read anew.
            for _ in 0..<3 {
                if let result = try self.verify(segments, anchor, progress) { return result }
            }
            throw RecordsError(
                .unavailable, "segments disappear from \(segments.directory) while they are read",
                remedy: "try again when old segments have been removed"
            )
        }
    }

    /// Nil when a segment went away meanwhile.
    private func verify(
        _ segments: JournalSegments, _ anchor: JournalAnchor?, _ progress: (Progress) -> Void
    ) throws(RecordsError) -> JournalVerification? {
        let numbers = try segments.numbers()
        var chain = ChainCheck(trust: self.trust, anchor: anchor)
        var state = Progress(totalBytes: numbers.reduce(0) { $0 + segments.size($1) })
        var expected = numbers.first
        for number in numbers {
            while let missing = expected, missing < number {
                chain.segmentIsMissing(JournalSegments.name(missing))
                expected = missing + 1
            }
            expected = number + 1
            chain.beginSegment(JournalSegments.name(number))
            guard var reader = try segments.reader(number) else { return nil }
            try Self.take(&reader, isLast: number == numbers.last, &chain, &state, progress)
        }
        return chain.conclude()
    }

    private static func take(
        _ reader: inout SegmentReader, isLast: Bool, _ chain: inout ChainCheck, _ state: inout Progress,
        _ progress: (Progress) -> Void
    ) throws(RecordsError) {
        while let line = try reader.next() {
            state.bytes += Int64(line.bytes.count) + 1
            if line.isComplete || !isLast {
                chain.take(line.bytes)
                if chain.result.records.isMultiple(of: 20_000) {
                    state.records = chain.result.records
                    progress(state)
                }
            } else {
                chain.result.incompleteBytes = line.bytes.count
            }
        }
    }

    private static func size(_ path: String) -> Int64 {
        let attributes = try? FileManager.default.attributesOfItem(atPath: path)
        return (attributes?[.size] as? NSNumber)?.int64Value ?? 0
    }
}
