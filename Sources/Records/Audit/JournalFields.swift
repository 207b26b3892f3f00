internal import Glibc

/// Where the members of a record stand in its line, found without reading JSON: records have one form, see
/// ``JournalEncoder``. Texts are as they are written, escapes included. Valid as long as the line's bytes are.
struct JournalFields {
    /// A member with a text: its bytes between the quotation marks, or nil for null.
    typealias Text = UnsafeRawBufferPointer

    private(set) var seq: UInt64 = 0
    private(set) var time: Text
    private(set) var node: Text
    private(set) var event: Text
    private(set) var cause: Text?
    private(set) var iccid: Text?
    private(set) var endpoint: Text?
    private(set) var peer: Text?
    private(set) var upstream: Text?
    private(set) var session: UInt64?
    /// The JSON object.
    private(set) var detail: UnsafeRawBufferPointer
    private(set) var previous: Text
    private(set) var hash: Text
    /// From the first member to the end of `detail`: everything that people search.
    private(set) var content: UnsafeRawBufferPointer

    static let timeLength = 27

    /// Nil when the line has another form: then it is no record as the journal writes them.
    init?(_ line: UnsafeRawBufferPointer) {
        let linksStart = line.count - JournalLine.linksLength
        var scanner = Scanner(line)
        guard linksStart > 0, scanner.take("{\"seq\":"), let seq = scanner.number(), scanner.take(",\"time\":"),
            let time = scanner.text(), time.count == Self.timeLength, scanner.take(",\"node\":"),
            let node = scanner.text(), scanner.take(",\"event\":"), let event = scanner.text(),
            scanner.take(",\"cause\":"), let cause = scanner.textOrNull(), scanner.take(",\"iccid\":"),
            let iccid = scanner.textOrNull(), scanner.take(",\"endpoint\":"), let endpoint = scanner.textOrNull(),
            scanner.take(",\"peer\":"), let peer = scanner.textOrNull(), scanner.take(",\"upstream\":"),
            let upstream = scanner.textOrNull(), scanner.take(",\"session\":")
        else { return nil }
        self.seq = seq
        self.time = time
        self.node = node
        self.event = event
        self.cause = cause
        self.iccid = iccid
        self.endpoint = endpoint
        self.peer = peer
        self.upstream = upstream
        if !scanner.take("null") {
            guard let session = scanner.number() else { return nil }
            self.session = session
        }
        guard scanner.take(",\"detail\":"), scanner.position < linksStart else { return nil }
        self.detail = UnsafeRawBufferPointer(rebasing: line[scanner.position..<linksStart])
        scanner.position = linksStart
        guard scanner.take(",\"previous\":"), let previous = scanner.text(), scanner.take(",\"hash\":"),
            let hash = scanner.text(), scanner.take("}"), scanner.position == line.count
        else { return nil }
        self.previous = previous
        self.hash = hash
        self.content = UnsafeRawBufferPointer(rebasing: line[..<linksStart])
    }

    private struct Scanner {
        let bytes: UnsafeRawBufferPointer
        var position = 0

        init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

        mutating func take(_ text: StaticString) -> Bool {
            let count = text.utf8CodeUnitCount
            guard let base = self.bytes.baseAddress, self.position + count <= self.bytes.count,
                memcmp(base + self.position, text.utf8Start, count) == 0
            else { return false }
            self.position += count
            return true
        }

        mutating func number() -> UInt64? {
            let start = self.position
            var number: UInt64 = 0
            while self.position < self.bytes.count, case let byte = self.bytes[self.position],
                (0x30...0x39).contains(byte)
            {
                let (high, overflow) = number.multipliedReportingOverflow(by: 10)
                let (sum, carry) = high.addingReportingOverflow(UInt64(byte - 0x30))
                if overflow || carry { return nil }
                number = sum
                self.position += 1
            }
            return self.position > start ? number : nil
        }

        mutating func text() -> Text? {
            guard self.take("\"") else { return nil }
            let start = self.position
            while self.position < self.bytes.count {
                switch self.bytes[self.position] {
                case UInt8(ascii: "\""):
                    self.position += 1
                    return UnsafeRawBufferPointer(rebasing: self.bytes[start..<(self.position - 1)])
                case UInt8(ascii: "\\"): self.position += 2
                default: self.position += 1
                }
            }
            return nil
        }

        /// The outer nil: neither.
        mutating func textOrNull() -> Text?? {
            if self.take("null") { return .some(nil) }
            return self.text().map { .some($0) }
        }
    }
}

extension UnsafeRawBufferPointer {
    func isText(_ text: StaticString) -> Bool {
        guard self.count == text.utf8CodeUnitCount else { return false }
        return self.baseAddress.map { memcmp($0, text.utf8Start, self.count) == 0 } ?? true
    }

    /// What the text of a record means. Most have no escapes in them.
    var recordText: String {
        guard self.contains(UInt8(ascii: "\\")) else { return String(decoding: self, as: UTF8.self) }
        let quoted = [UInt8(ascii: "\"")] + self + [UInt8(ascii: "\"")]
        return (try? JSONReader.read(quoted))?.text ?? String(decoding: self, as: UTF8.self)
    }
}

/// Looks for a piece of text in bytes. It looks for the rarest byte of the piece first, since a line of JSON consists
/// mostly of quotation marks and vowels.
struct ByteNeedle: Sendable {
    private let bytes: [UInt8]
    private let rare: Int

    init(_ text: String) {
        let bytes = Array(text.utf8)
        let common = Set("\",:{}[] .-_/0123456789etaoinsrlcdp".utf8)
        self.bytes = bytes
        self.rare = bytes.firstIndex { !common.contains($0) } ?? max(0, bytes.count / 2)
    }

    func isIn(_ haystack: UnsafeRawBufferPointer) -> Bool {
        guard let base = haystack.baseAddress, self.bytes.count <= haystack.count else { return self.bytes.isEmpty }
        if self.bytes.isEmpty { return true }
        return self.bytes.withUnsafeBytes { needle in
            guard let sought = needle.baseAddress else { return true }
            var position = self.rare
            let end = haystack.count - (needle.count - self.rare) + 1
            while position < end, let found = memchr(base + position, Int32(needle[self.rare]), end - position) {
                let index = UnsafeRawPointer(found) - base
                if memcmp(base + index - self.rare, sought, needle.count) == 0 { return true }
                position = index + 1
            }
            return false
        }
    }
}
