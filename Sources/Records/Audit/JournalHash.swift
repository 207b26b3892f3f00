/// A SHA-256 hash as a plain value: verification makes millions of them.
struct JournalHash: Sendable, Hashable {
    private var words: (UInt64, UInt64, UInt64, UInt64)

    static let byteCount = 32
    static let digitCount = 64
    /// What stands in front of the very first record.
    static let zero = JournalHash(words: (0, 0, 0, 0))

    private init(words: (UInt64, UInt64, UInt64, UInt64)) { self.words = words }

    /// 32 bytes, or nil.
    init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count == Self.byteCount else { return nil }
        self.words = (
            bytes.loadUnaligned(as: UInt64.self), bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self),
            bytes.loadUnaligned(fromByteOffset: 16, as: UInt64.self),
            bytes.loadUnaligned(fromByteOffset: 24, as: UInt64.self)
        )
    }

    /// 64 digits in lower case alone: another way to write the same hash is a changed line.
    init?(digits: UnsafeRawBufferPointer) {
        guard digits.count == Self.digitCount else { return nil }
        var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)
        let isGood = withUnsafeMutableBytes(of: &words) { bytes in
            for index in 0..<Self.byteCount {
                guard let high = Self.nibble(digits[2 * index]), let low = Self.nibble(digits[2 * index + 1]) else {
                    return false
                }
                bytes[index] = high << 4 | low
            }
            return true
        }
        guard isGood else { return nil }
        self.words = words
    }

    init?(text: String) {
        var text = text
        let hash = text.withUTF8 { JournalHash(digits: UnsafeRawBufferPointer($0)) }
        guard let hash else { return nil }
        self = hash
    }

    private static func nibble(_ digit: UInt8) -> UInt8? {
        switch digit {
        case 0x30...0x39: digit - 0x30
        case 0x61...0x66: digit - 0x57
        default: nil
        }
    }

    /// 64 lower-case digits.
    var text: String { withUnsafeBytes(of: self.words) { hexadecimalText($0) } }

    static func == (left: JournalHash, right: JournalHash) -> Bool { left.words == right.words }

    func hash(into hasher: inout Hasher) { hasher.combine(self.words.0) }
}
