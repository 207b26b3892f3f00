/// JSON texts as the journal writes them. Whatever a text holds, the result is one JSON string on one line that a
/// terminal shows harmlessly.
enum AuditText {
    /// Appends `text` as a JSON string with its quotes.
    ///
    /// Escaped are quotes and backslashes, control characters (U+0000 to U+001F and U+007F to U+009F), the line and
    /// paragraph separators U+2028 and U+2029, and the characters that turn the direction of writing (U+202A to U+202E,
    /// U+2066 to U+2069). Everything else stands as UTF-8. A Swift string is always valid UTF-8.
    static func append(_ text: String, to bytes: inout [UInt8]) {
        bytes.append(UInt8(ascii: "\""))
        var text = text
        text.withUTF8 { source in
            var start = 0
            var index = 0
            while index < source.count {
                if Self.isPlain(source[index]) {
                    index += 1
                    continue
                }
                guard let (scalar, length) = Self.special(source, at: index) else {
                    index += 1
                    continue
                }
                bytes.append(contentsOf: UnsafeBufferPointer(rebasing: source[start..<index]))
                Self.appendEscape(scalar, to: &bytes)
                index += length
                start = index
            }
            bytes.append(contentsOf: UnsafeBufferPointer(rebasing: source[start...]))
        }
        bytes.append(UInt8(ascii: "\""))
    }

    /// Nothing that begins with this byte is ever escaped.
    @inline(__always)
    private static func isPlain(_ byte: UInt8) -> Bool {
        byte < 0x80
            ? byte >= 0x20 && byte != UInt8(ascii: "\"") && byte != UInt8(ascii: "\\") && byte != 0x7F
            : byte != 0xC2 && byte != 0xE2
    }

    /// The character at `index` and its length in bytes, when it has to be escaped.
    private static func special(_ source: UnsafeBufferPointer<UInt8>, at index: Int) -> (scalar: UInt32, length: Int)? {
        let byte = source[index]
        if byte < 0x80 { return (UInt32(byte), 1) }
        guard index + 1 < source.count else { return nil }
        let second = source[index + 1]
        if byte == 0xC2 { return second < 0xA0 ? (UInt32(second), 2) : nil }
        guard index + 2 < source.count else { return nil }
        let third = source[index + 2]
        switch (second, third) {
        case (0x80, 0xA8...0xAE): return (0x2000 + UInt32(third & 0x3F), 3)
        case (0x81, 0xA6...0xA9): return (0x2040 + UInt32(third & 0x3F), 3)
        default: return nil
        }
    }

    private static func appendEscape(_ scalar: UInt32, to bytes: inout [UInt8]) {
        bytes.append(UInt8(ascii: "\\"))
        switch scalar {
        case 0x22, 0x5C: bytes.append(UInt8(truncatingIfNeeded: scalar))
        case 0x09: bytes.append(UInt8(ascii: "t"))
        case 0x0A: bytes.append(UInt8(ascii: "n"))
        case 0x0D: bytes.append(UInt8(ascii: "r"))
        default:
            bytes.append(UInt8(ascii: "u"))
            for shift in [12, 8, 4, 0] as [UInt32] {
                bytes.append(Self.digit(UInt8(truncatingIfNeeded: scalar >> shift & 15)))
            }
        }
    }

    /// A lower-case hexadecimal digit.
    @inline(__always)
    static func digit(_ nibble: UInt8) -> UInt8 {
        nibble < 10 ? UInt8(ascii: "0") + nibble : UInt8(ascii: "a") - 10 + nibble
    }

    /// Appends lower-case hexadecimal digits.
    static func appendHexadecimal(_ source: some Sequence<UInt8>, to bytes: inout [UInt8]) {
        for byte in source {
            bytes.append(Self.digit(byte >> 4))
            bytes.append(Self.digit(byte & 15))
        }
    }

    static func hexadecimal(_ source: some Sequence<UInt8>) -> String {
        var bytes: [UInt8] = []
        Self.appendHexadecimal(source, to: &bytes)
        return String(decoding: bytes, as: UTF8.self)
    }

    /// The bytes that lower-case hexadecimal digits stand for; nil for anything else.
    static func bytes(hexadecimal text: some Collection<UInt8>) -> [UInt8]? {
        var result: [UInt8] = []
        var high: UInt8?
        for byte in text {
            let nibble: UInt8
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): nibble = byte - UInt8(ascii: "0")
            case UInt8(ascii: "a")...UInt8(ascii: "f"): nibble = byte - UInt8(ascii: "a") + 10
            default: return nil
            }
            if let upper = high {
                result.append(upper << 4 | nibble)
                high = nil
            } else {
                high = nibble
            }
        }
        return high == nil ? result : nil
    }
}
