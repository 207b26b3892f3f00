/// Copies a part of the journal out of it: whole lines in one piece, so that the copy verifies by itself.
package struct JournalExport: Sendable {
    package enum Form: String, Sendable, CaseIterable {
        /// Byte for byte as the journal has it.
        case jsonl
        /// A heading and a row for each record, for spreadsheets.
        case csv
    }

    /// What was copied.
    package struct Summary: Sendable, Equatable {
        package var records = 0
        package var firstSeq: UInt64?
        package var lastSeq: UInt64?
        /// Records behind the last checkpoint of the copy: nothing in it proves them.
        package var unsigned = 0
    }

    private let segments: JournalSegments
    private let form: Form
    private var range = JournalFilter()

    /// - Parameters:
    ///   - state: the state folder.
    ///   - since: microseconds since 1970. The copy begins with the first record that is not older.
    ///   - until: microseconds since 1970. The copy ends with the first checkpoint behind the last record that is older,
    ///     as the journal does not sign single records.
    package init(state: String, form: Form, since: Int64? = nil, until: Int64? = nil) {
        self.segments = JournalSegments(directory: state + "/audit")
        self.form = form
        self.range.since = since
        self.range.until = until
    }

    /// Writes the copy in pieces of moderate size, in constant memory.
    package func run(_ write: ([UInt8]) throws -> Void) throws -> Summary {
        guard let range = try self.plan() else {
            if self.form == .csv { try write(Array(CSVRow.heading.utf8)) }
            return Summary()
        }
        return try self.copy(range, write)
    }

    /// Throws when retention has taken a segment away since the range was found: a copy with a hole is none.
    func copy(_ range: Range, _ write: ([UInt8]) throws -> Void) throws -> Summary {
        var summary = Summary()
        var output: [UInt8] = []
        output.reserveCapacity(Self.pieceSize + SegmentReader.lineLimit)
        if self.form == .csv { output += Array(CSVRow.heading.utf8) }
        var number = 0
        for segment in range.segments {
            guard var reader = try self.segments.reader(segment) else { throw self.removed(segment) }
            number = 0
            while let line = try reader.next(), line.isComplete {
                number += 1
                if segment == range.first.segment, number < range.first.line { continue }
                if segment == range.last.segment, number > range.last.line { break }
                line.bytes.withUnsafeBytes { bytes in
                    self.append(bytes, to: &output)
                    summary.note(JournalFields(bytes))
                }
                if output.count >= Self.pieceSize {
                    try write(output)
                    output.removeAll(keepingCapacity: true)
                }
            }
        }
        if !output.isEmpty { try write(output) }
        return summary
    }

    private static let pieceSize = 256 * 1024

    private func removed(_ segment: Int) -> RecordsError {
        RecordsError(
            .unavailable,
            "\(self.segments.path(segment)) was removed while the journal was being copied; the copy is not whole",
            remedy: "export again: the copy then begins behind what retention has removed"
        )
    }

    private func append(_ line: UnsafeRawBufferPointer, to output: inout [UInt8]) {
        switch self.form {
        case .jsonl:
            output.append(contentsOf: line)
            output.append(0x0A)
        case .csv: if let fields = JournalFields(line) { CSVRow.append(fields, to: &output) }
        }
    }

    /// A line of the journal.
    struct Place {
        var segment: Int
        var line: Int
    }

    /// What is to be copied.
    struct Range {
        var first: Place
        var last: Place
        /// All from the first to the last.
        var segments: [Int]
    }

    /// Where the copy begins and ends; nil when no record is of that time. A pass of its own, since records of several
    /// threads are not strictly in the order of their times.
    func plan() throws -> Range? {
        var first: Place?
        var last: Place?
        var endsWithCheckpoint = false
        let numbers = try self.segments.numbers()
        for segment in numbers {
            guard var reader = try self.segments.reader(segment) else { continue }
            var line = 0
            while let next = try reader.next(), next.isComplete {
                line += 1
                let (isInTime, isCheckpoint) = next.bytes.withUnsafeBytes { bytes in
                    guard let fields = JournalFields(bytes) else { return (false, false) }
                    return (self.range.isInTime(fields.time), fields.event.isText("journal.checkpoint"))
                }
                if isInTime {
                    if first == nil { first = Place(segment: segment, line: line) }
                    last = Place(segment: segment, line: line)
                    endsWithCheckpoint = isCheckpoint
                } else if isCheckpoint, first != nil, !endsWithCheckpoint {
                    last = Place(segment: segment, line: line)
                    endsWithCheckpoint = true
                }
            }
        }
        guard let first, let last else { return nil }
        let segments = numbers.filter { (first.segment...last.segment).contains($0) }
        return Range(first: first, last: last, segments: segments)
    }
}

extension JournalExport.Summary {
    fileprivate mutating func note(_ fields: JournalFields?) {
        self.records += 1
        self.unsigned += 1
        guard let fields else { return }
        self.firstSeq = self.firstSeq ?? fields.seq
        self.lastSeq = fields.seq
        if fields.event.isText("journal.checkpoint") { self.unsigned = 0 }
    }
}

/// Rows of the CSV form (RFC 4180): the members of a record in their order, texts without their escapes, `detail` as JSON.
enum CSVRow {
    static let heading =
        "seq,time,node,event,cause,iccid,endpoint,peer,upstream,session,detail,previous,hash\r\n"

    static func append(_ fields: JournalFields, to output: inout [UInt8]) {
        output += Array(String(fields.seq).utf8)
        let texts = [
            fields.time, fields.node, fields.event, fields.cause, fields.iccid, fields.endpoint, fields.peer,
            fields.upstream,
        ]
        for text in texts {
            output.append(UInt8(ascii: ","))
            guard let text else { continue }
            if text.contains(UInt8(ascii: "\\")) {
                self.cell(Array(text.recordText.utf8), to: &output)
            } else {
                self.cell(text, to: &output)
            }
        }
        output.append(UInt8(ascii: ","))
        if let session = fields.session { output += Array(String(session).utf8) }
        for text in [fields.detail, fields.previous, fields.hash] {
            output.append(UInt8(ascii: ","))
            self.cell(text, to: &output)
        }
        output += [0x0D, 0x0A]
    }

    /// A spreadsheet takes a cell that begins with one of these as a formula, whatever quotation marks are around it; an
    /// apostrophe in front makes it a text. Texts come from devices.
    private static let dangerous: [UInt8] = Array("=+-@\t\r".utf8)

    private static func cell(_ text: some Collection<UInt8>, to output: inout [UInt8]) {
        let isDangerous = text.first.map { self.dangerous.contains($0) } ?? false
        let needsQuotes = text.contains { $0 == 0x22 || $0 == 0x2C || $0 == 0x0A || $0 == 0x0D }
        if needsQuotes { output.append(0x22) }
        if isDangerous { output.append(UInt8(ascii: "'")) }
        if needsQuotes {
            for byte in text {
                if byte == 0x22 { output.append(0x22) }
                output.append(byte)
            }
            output.append(0x22)
        } else {
            output.append(contentsOf: text)
        }
    }
}
