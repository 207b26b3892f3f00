internal import Crypto
internal import Glibc

/// One line of the journal as verification sees it: its number, its links in the chain, and whether it is what it was
/// when it was written.
struct JournalLine {
    var seq: UInt64
    var previous: JournalHash
    var hash: JournalHash
    /// Whether `hash` is the hash of the line.
    var isAuthentic: Bool

    private static let head: StaticString = "{\"seq\":"
    private static let previousName: StaticString = ",\"previous\":\""
    private static let hashName: StaticString = "\",\"hash\":\""
    private static let tail: StaticString = "\"}"

    /// How many bytes the links take at the end of each line.
    static let linksLength =
        previousName.utf8CodeUnitCount + hashName.utf8CodeUnitCount + tail.utf8CodeUnitCount + 2
        * JournalHash.digitCount

    /// Nil when the line has not the shape of a record.
    init?(_ line: ArraySlice<UInt8>) {
        guard let record = line.withUnsafeBytes({ JournalLine($0) }) else { return nil }
        self = record
    }

    init?(_ line: UnsafeRawBufferPointer) {
        let linksStart = line.count - Self.linksLength
        guard linksStart > Self.head.utf8CodeUnitCount else { return nil }
        let previousStart = linksStart + Self.previousName.utf8CodeUnitCount
        let previousEnd = previousStart + JournalHash.digitCount
        let hashStart = previousEnd + Self.hashName.utf8CodeUnitCount
        let hashEnd = hashStart + JournalHash.digitCount
        guard Self.stands(Self.head, in: line, at: 0), Self.stands(Self.previousName, in: line, at: linksStart),
            Self.stands(Self.hashName, in: line, at: previousEnd), Self.stands(Self.tail, in: line, at: hashEnd),
            let previous = JournalHash(digits: UnsafeRawBufferPointer(rebasing: line[previousStart..<previousEnd])),
            let hash = JournalHash(digits: UnsafeRawBufferPointer(rebasing: line[hashStart..<hashEnd])),
            let seq = Self.number(line, from: Self.head.utf8CodeUnitCount)
        else { return nil }
        self.seq = seq
        self.previous = previous
        self.hash = hash
        // The line as it was before its hash was put in: up to the digits of `previous`, then the end.
        var sha = SHA256()
        sha.update(bufferPointer: UnsafeRawBufferPointer(rebasing: line[..<previousEnd]))
        sha.update(bufferPointer: UnsafeRawBufferPointer(rebasing: line[hashEnd...]))
        self.isAuthentic = sha.finalize().withUnsafeBytes { JournalHash($0) } == hash
    }

    private static func stands(_ text: StaticString, in line: UnsafeRawBufferPointer, at position: Int) -> Bool {
        guard let base = line.baseAddress, position + text.utf8CodeUnitCount <= line.count else { return false }
        return memcmp(base + position, text.utf8Start, text.utf8CodeUnitCount) == 0
    }

    /// Whether `text` stands in the line. A name with its quotation marks stands only where it is a name: inside texts
    /// quotation marks are escaped.
    static func contains(_ line: ArraySlice<UInt8>, _ text: String) -> Bool {
        var text = text
        return line.withUnsafeBytes { line in
            text.withUTF8 { text in
                guard let first = text.first, let sought = text.baseAddress else { return true }
                var rest = line[...]
                while rest.count >= text.count, let base = UnsafeRawBufferPointer(rebasing: rest).baseAddress,
                    let found = memchr(base, Int32(first), rest.count - text.count + 1)
                {
                    if memcmp(found, sought, text.count) == 0 { return true }
                    rest = rest[(rest.startIndex + (UnsafeRawPointer(found) - base) + 1)...]
                }
                return false
            }
        }
    }

    /// The digits in front of the first comma.
    private static func number(_ line: UnsafeRawBufferPointer, from start: Int) -> UInt64? {
        var number: UInt64 = 0
        for position in start..<line.count {
            let byte = line[position]
            if byte == UInt8(ascii: ",") { return position > start ? number : nil }
            guard (0x30...0x39).contains(byte), position - start < 19 else { return nil }
            number = number * 10 + UInt64(byte - 0x30)
        }
        return nil
    }
}
