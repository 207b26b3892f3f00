internal import Gateway

extension Unicode.Scalar {
    /// Control characters (C0, DEL, C1), line separators and marks of writing direction. In a text from outside they could
    /// make a terminal move its cursor, or a line read otherwise than it is.
    package var isControl: Bool {
        switch self.value {
        case 0..<0x20, 0x7F..<0xA0, 0x200E...0x200F, 0x2028...0x202E, 0x2066...0x2069: true
        default: false
        }
    }
}

/// Writes JSON into one buffer that is used again and again.
///
/// Texts may come from the network, and the output may end on somebody's terminal, so every control character
/// (C0, DEL, C1), line separator and mark of writing direction is escaped; a text of more than ``textLimit`` bytes is
/// cut and ends in `…`.
struct JSONWriter {
    static let textLimit = 4096

    var bytes: [UInt8] = []

    init() {}

    mutating func removeAll() { self.bytes.removeAll(keepingCapacity: true) }

    mutating func raw(_ text: StaticString) {
        text.withUTF8Buffer { self.bytes.append(contentsOf: $0) }
    }

    mutating func integer(_ value: some BinaryInteger) {
        if value < 0 { self.bytes.append(UInt8(ascii: "-")) }
        let magnitude = UInt64(value.magnitude)
        var width = 1
        var rest = magnitude / 10
        while rest > 0 {
            width += 1
            rest /= 10
        }
        self.digits(of: magnitude, width: width)
    }

    mutating func text(_ text: String) {
        var text = text
        self.bytes.append(UInt8(ascii: "\""))
        text.withUTF8 { self.escaped(Self.limited($0)) }
        self.bytes.append(UInt8(ascii: "\""))
    }

    mutating func value(_ value: AuditEvent.Value) {
        switch value {
        case .text(let text): self.text(text)
        case .integer(let number): self.integer(number)
        case .boolean(let flag): if flag { self.raw("true") } else { self.raw("false") }
        case .list(let values):
            self.raw("[")
            for (index, value) in values.enumerated() {
                if index > 0 { self.raw(",") }
                self.value(value)
            }
            self.raw("]")
        case .object(let fields): self.object(fields)
        case .steps(let steps, let servers): self.steps(steps, servers)
        }
    }

    private mutating func steps(_ steps: [Timeline.Step], _ servers: [String]) {
        self.raw("[")
        for (index, step) in steps.enumerated() {
            if index > 0 { self.raw(",") }
            var isFirst = true
            step.tell(servers) { name, member in
                self.raw(isFirst ? "{\"" : ",\"")
                isFirst = false
                self.raw(name)
                self.raw("\":")
                switch member {
                case .text(let text): self.text(text)
                case .integer(let number): self.integer(number)
                }
            }
            self.raw("}")
        }
        self.raw("]")
    }

    mutating func object(_ fields: [AuditEvent.Field]) {
        self.raw("{")
        for (index, field) in fields.enumerated() {
            if index > 0 { self.raw(",") }
            self.text(field.key)
            self.raw(":")
            self.value(field.value)
        }
        self.raw("}")
    }

    /// Lower-case hexadecimal digits.
    mutating func hexadecimal(_ bytes: some Collection<UInt8>) {
        let table: StaticString = "0123456789abcdef"
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: 2 * bytes.count) { digits in
            var position = 0
            for byte in bytes {
                digits.initializeElement(at: position, to: table.utf8Start[Int(byte >> 4)])
                digits.initializeElement(at: position + 1, to: table.utf8Start[Int(byte & 15)])
                position += 2
            }
            self.bytes.append(contentsOf: digits)
        }
    }

    /// `value` with leading zeros, as dates need it.
    mutating func padded(_ value: Int, width: Int) { self.digits(of: UInt64(clamping: value), width: width) }

    /// The last `width` digits, written in place: a slice that is turned round is copied first.
    private mutating func digits(of value: UInt64, width: Int) {
        let end = self.bytes.count + width
        self.bytes.append(contentsOf: repeatElement(UInt8(ascii: "0"), count: width))
        var rest = value
        for position in 1...width {
            self.bytes[end - position] = 48 + UInt8(rest % 10)
            rest /= 10
        }
    }

    /// The start of `text` that fits, cut between characters.
    private static func limited(_ text: UnsafeBufferPointer<UInt8>) -> (UnsafeBufferPointer<UInt8>, isCut: Bool) {
        guard text.count > Self.textLimit else { return (text, false) }
        var end = Self.textLimit
        while end > 0, text[end] & 0xC0 == 0x80 { end -= 1 }
        return (UnsafeBufferPointer(rebasing: text[..<end]), true)
    }

    private mutating func escaped(_ text: (UnsafeBufferPointer<UInt8>, isCut: Bool)) {
        let bytes = text.0
        var start = 0
        var index = 0
        while index < bytes.count {
            let byte = bytes[index]
            if byte >= 0x20 && byte < 0x7F && byte != 0x22 && byte != 0x5C {
                index += 1
                continue
            }
            let (scalar, length) = Self.scalarToEscape(bytes, at: index)
            if let scalar {
                self.bytes.append(contentsOf: UnsafeBufferPointer(rebasing: bytes[start..<index]))
                self.escape(scalar)
                start = index + length
            }
            index += length
        }
        self.bytes.append(contentsOf: UnsafeBufferPointer(rebasing: bytes[start...]))
        if text.isCut { self.raw("…") }
    }

    /// The scalar at `index` if it must not stand as it is, and how many bytes to go on.
    private static func scalarToEscape(_ bytes: UnsafeBufferPointer<UInt8>, at index: Int) -> (UInt16?, Int) {
        let byte = bytes[index]
        if byte < 0x80 { return (UInt16(byte), 1) }
        guard index + 1 < bytes.count else { return (nil, 1) }
        let second = bytes[index + 1]
        if byte == 0xC2 { return (second < 0xA0 ? UInt16(second) : nil, 2) }
        guard byte == 0xE2, index + 2 < bytes.count, second == 0x80 || second == 0x81 else { return (nil, 1) }
        let scalar = 0x2000 + UInt16(second & 0x3F) << 6 + UInt16(bytes[index + 2] & 0x3F)
        switch scalar {
        case 0x200E...0x200F, 0x2028...0x202E, 0x2066...0x2069: return (scalar, 3)
        default: return (nil, 3)
        }
    }

    private mutating func escape(_ scalar: UInt16) {
        self.bytes.append(UInt8(ascii: "\\"))
        switch scalar {
        case 0x22, 0x5C: self.bytes.append(UInt8(truncatingIfNeeded: scalar))
        case 0x0A: self.bytes.append(UInt8(ascii: "n"))
        case 0x0D: self.bytes.append(UInt8(ascii: "r"))
        case 0x09: self.bytes.append(UInt8(ascii: "t"))
        default:
            self.bytes.append(UInt8(ascii: "u"))
            self.hexadecimal([UInt8(scalar >> 8), UInt8(scalar & 0xFF)])
        }
    }
}
