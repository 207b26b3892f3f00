internal import Crypto
internal import Glibc

/// One line of the journal as verification sees it: its number, its links in the chain, and whether it is what it was
/// when it was written.
struct JournalLine {
    var seq: UInt64
    var previous: [UInt8]
    var hash: [UInt8]
    /// Whether `hash` is the hash of the line.
    var isAuthentic: Bool

    private static let head = Array("{\"seq\":".utf8)
    private static let previousName = Array(",\"previous\":\"".utf8)
    private static let hashName = Array("\",\"hash\":\"".utf8)
    private static let tail = Array("\"}".utf8)

    /// Nil when the line has not the shape of a record.
    init?(_ line: ArraySlice<UInt8>) {
        let digits = 64
        let hashStart = line.endIndex - Self.tail.count - digits
        let previousStart = hashStart - Self.hashName.count - digits
        let linksStart = previousStart - Self.previousName.count
        guard linksStart > line.startIndex + Self.head.count,
            line.starts(with: Self.head),
            line[(hashStart + digits)...].elementsEqual(Self.tail),
            line[(previousStart + digits)..<hashStart].elementsEqual(Self.hashName),
            line[linksStart..<previousStart].elementsEqual(Self.previousName),
            let previous = Self.bytes(line[previousStart..<(previousStart + digits)]),
            let hash = Self.bytes(line[hashStart..<(hashStart + digits)]),
            let seq = Self.number(line[(line.startIndex + Self.head.count)...])
        else { return nil }
        self.seq = seq
        self.previous = previous
        self.hash = hash
        // The line as it was before its hash was put in: up to the digits of `previous`, then the end.
        var sha = SHA256()
        line[..<(previousStart + digits)].withUnsafeBytes { sha.update(bufferPointer: $0) }
        Self.tail.withUnsafeBytes { sha.update(bufferPointer: $0) }
        self.isAuthentic = sha.finalize().elementsEqual(hash)
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

    /// Lower-case digits alone: another way to write the same hash is a changed line.
    private static func bytes(_ digits: ArraySlice<UInt8>) -> [UInt8]? {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(32)
        var high: UInt8?
        for digit in digits {
            let nibble: UInt8
            switch digit {
            case 0x30...0x39: nibble = digit - 0x30
            case 0x61...0x66: nibble = digit - 0x57
            default: return nil
            }
            if let upper = high {
                bytes.append(upper << 4 | nibble)
                high = nil
            } else {
                high = nibble
            }
        }
        return bytes
    }

    /// The digits in front of the first comma.
    private static func number(_ bytes: ArraySlice<UInt8>) -> UInt64? {
        let digits = bytes.prefix { $0 != UInt8(ascii: ",") }
        guard (1...19).contains(digits.count), digits.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
        return digits.reduce(0) { $0 * 10 + UInt64($1 - 0x30) }
    }
}
