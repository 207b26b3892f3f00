/// Base64 in the two alphabets of RFC 4648 (spec 3.3, 3.4).
enum Base64 {
    /// Both alphabets, with padding and without: servers send all of them. Nil for anything else, also for bits behind the
    /// last byte, which would be lost.
    static func decode(_ text: some Collection<UInt8>) -> [UInt8]? {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(text.count / 4 * 3 + 2)
        var pending: UInt32 = 0
        var digits = 0
        var padding = 0
        for character in text {
            if character == UInt8(ascii: "=") {
                padding += 1
                continue
            }
            guard padding == 0, let digit = Self.digit(character) else { return nil }
            pending = pending << 6 | UInt32(digit)
            digits += 1
            if digits == 4 {
                bytes.append(UInt8(truncatingIfNeeded: pending >> 16))
                bytes.append(UInt8(truncatingIfNeeded: pending >> 8))
                bytes.append(UInt8(truncatingIfNeeded: pending))
                pending = 0
                digits = 0
            }
        }
        switch (digits, padding) {
        case (0, 0): break
        case (2, 0), (2, 2):
            guard pending & 0xF == 0 else { return nil }
            bytes.append(UInt8(truncatingIfNeeded: pending >> 4))
        case (3, 0), (3, 1):
            guard pending & 0b11 == 0 else { return nil }
            bytes.append(UInt8(truncatingIfNeeded: pending >> 10))
            bytes.append(UInt8(truncatingIfNeeded: pending >> 2))
        default: return nil
        }
        return bytes
    }

    /// With the standard alphabet and padding, as text and OMA JSON want it.
    static func encode(_ bytes: [UInt8]) -> [UInt8] {
        var text = Self.encode(bytes, plus: UInt8(ascii: "+"), slash: UInt8(ascii: "/"))
        while text.count % 4 != 0 { text.append(UInt8(ascii: "=")) }
        return text
    }

    /// With the alphabet for URLs and no padding, as SenML wants it.
    static func encodeForURL(_ bytes: [UInt8]) -> [UInt8] {
        Self.encode(bytes, plus: UInt8(ascii: "-"), slash: UInt8(ascii: "_"))
    }

    private static func encode(_ bytes: [UInt8], plus: UInt8, slash: UInt8) -> [UInt8] {
        var text: [UInt8] = []
        text.reserveCapacity((bytes.count + 2) / 3 * 4)
        var pending: UInt32 = 0
        var bits = 0
        func append(_ digit: UInt32) {
            switch UInt8(truncatingIfNeeded: digit & 0x3F) {
            case let digit where digit < 26: text.append(UInt8(ascii: "A") + digit)
            case let digit where digit < 52: text.append(UInt8(ascii: "a") + digit - 26)
            case let digit where digit < 62: text.append(UInt8(ascii: "0") + digit - 52)
            case 62: text.append(plus)
            default: text.append(slash)
            }
        }
        for byte in bytes {
            pending = pending << 8 | UInt32(byte)
            bits += 8
            while bits >= 6 {
                bits -= 6
                append(pending >> UInt32(bits))
            }
            pending &= 0xFF
        }
        if bits > 0 { append(pending << UInt32(6 - bits)) }
        return text
    }

    private static func digit(_ character: UInt8) -> UInt8? {
        switch character {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): character - UInt8(ascii: "A")
        case UInt8(ascii: "a")...UInt8(ascii: "z"): character - UInt8(ascii: "a") + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): character - UInt8(ascii: "0") + 52
        case UInt8(ascii: "+"), UInt8(ascii: "-"): 62
        case UInt8(ascii: "/"), UInt8(ascii: "_"): 63
        default: nil
        }
    }
}
