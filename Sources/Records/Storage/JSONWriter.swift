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
///
/// A journal is made of many short pieces: they are written in place, because appending each to an array costs several
/// times as much.
struct JSONWriter {
    static let textLimit = 4096

    /// What was written stands in front; the rest is room.
    private var storage: [UInt8]
    /// Bytes that were written.
    private(set) var count = 0

    init(capacity: Int = 256) { self.storage = [UInt8](repeating: 0, count: capacity) }

    /// A copy of what was written.
    var bytes: [UInt8] { Array(self.storage[..<self.count]) }

    func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        try self.storage.withUnsafeBytes { try body(UnsafeRawBufferPointer(rebasing: $0[..<self.count])) }
    }

    /// Hands out what was written, without leaving a copy.
    mutating func take() -> [UInt8] {
        var bytes: [UInt8] = []
        swap(&bytes, &self.storage)
        bytes.removeLast(bytes.count - self.count)
        self.count = 0
        return bytes
    }

    /// Forgets what was written behind the first `count` bytes.
    mutating func truncate(to count: Int) { self.count = min(count, self.count) }

    mutating func removeAll() { self.count = 0 }

    // MARK: - Bytes

    /// `count` bytes more, which `body` writes all.
    @inline(__always)
    private mutating func extend(by count: Int, _ body: (UnsafeMutablePointer<UInt8>) -> Void) {
        let start = self.count
        if self.storage.count - start < count { self.grow(by: count) }
        self.storage.withUnsafeMutableBufferPointer { if let base = $0.baseAddress { body(base + start) } }
        self.count = start + count
    }

    @inline(never)
    private mutating func grow(by count: Int) {
        let room = max(2 * self.storage.count, self.count + count)
        self.storage.append(contentsOf: repeatElement(0, count: room - self.storage.count))
    }

    private mutating func append(_ bytes: UnsafeBufferPointer<UInt8>) {
        guard let source = bytes.baseAddress else { return }
        self.extend(by: bytes.count) { $0.update(from: source, count: bytes.count) }
    }

    private mutating func append(_ byte: UInt8) { self.extend(by: 1) { $0.pointee = byte } }

    /// Bytes that are JSON already.
    mutating func raw(_ bytes: [UInt8]) { bytes.withUnsafeBufferPointer { self.append($0) } }

    mutating func raw(_ text: StaticString) { text.withUTF8Buffer { self.append($0) } }

    // MARK: - Values

    mutating func integer(_ value: some BinaryInteger) {
        if value < 0 { self.append(UInt8(ascii: "-")) }
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
        // `withUTF8` needs a copy of its own, which only a text from elsewhere than Swift is worth.
        guard text.utf8.withContiguousStorageIfAvailable({ self.quoted($0) }) == nil else { return }
        var text = text
        text.withUTF8 { self.quoted($0) }
    }

    private mutating func quoted(_ utf8: UnsafeBufferPointer<UInt8>) {
        if let source = utf8.baseAddress, utf8.count <= Self.textLimit, Self.isPlain(utf8) {
            self.extend(by: utf8.count + 2) {
                $0[0] = UInt8(ascii: "\"")
                ($0 + 1).update(from: source, count: utf8.count)
                $0[utf8.count + 1] = UInt8(ascii: "\"")
            }
        } else {
            self.append(UInt8(ascii: "\""))
            self.escaped(Self.limited(utf8))
            self.append(UInt8(ascii: "\""))
        }
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
                self.member(name, behind: isFirst ? UInt8(ascii: "{") : UInt8(ascii: ","))
                isFirst = false
                switch member {
                case .text(let text): self.text(text)
                case .integer(let number): self.integer(number)
                }
            }
            self.raw("}")
        }
        self.raw("]")
    }

    /// The name of a member, in one piece.
    private mutating func member(_ name: StaticString, behind mark: UInt8) {
        name.withUTF8Buffer { name in
            self.extend(by: name.count + 4) { bytes in
                bytes[0] = mark
                bytes[1] = UInt8(ascii: "\"")
                for index in 0..<name.count { bytes[2 + index] = name[index] }
                bytes[2 + name.count] = UInt8(ascii: "\"")
                bytes[3 + name.count] = UInt8(ascii: ":")
            }
        }
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
        self.extend(by: 2 * bytes.count) { digits in
            var position = 0
            for byte in bytes {
                digits[position] = table.utf8Start[Int(byte >> 4)]
                digits[position + 1] = table.utf8Start[Int(byte & 15)]
                position += 2
            }
        }
    }

    /// `value` with leading zeros, as dates need it.
    mutating func padded(_ value: Int, width: Int) { self.digits(of: UInt64(clamping: value), width: width) }

    /// The last `width` digits.
    private mutating func digits(of value: UInt64, width: Int) {
        self.extend(by: width) { digits in
            var rest = value
            for position in stride(from: width - 1, through: 0, by: -1) {
                digits[position] = UInt8(ascii: "0") + UInt8(rest % 10)
                rest /= 10
            }
        }
    }

    // MARK: - Escaping

    /// Whether every byte is printable ASCII that stands for itself, looked at eight at a time. May say no where it is so;
    /// never says yes where it is not.
    private static func isPlain(_ bytes: UnsafeBufferPointer<UInt8>) -> Bool {
        let raw = UnsafeRawBufferPointer(bytes)
        var index = 0
        while index + 8 <= raw.count {
            if Self.hasSpecial(raw.loadUnaligned(fromByteOffset: index, as: UInt64.self)) { return false }
            index += 8
        }
        var last: UInt64 = 0x2020_2020_2020_2020
        while index < raw.count {
            last = last << 8 | UInt64(raw[index])
            index += 1
        }
        return !Self.hasSpecial(last)
    }

    /// Whether one of eight bytes is below 0x20, a quotation mark, a backslash, or above 0x7E. A borrow or carry out of such
    /// a byte can only mark another one besides.
    private static func hasSpecial(_ word: UInt64) -> Bool {
        let ones: UInt64 = 0x0101_0101_0101_0101
        let quotes = word ^ (0x22 &* ones)
        let backslashes = word ^ (0x5C &* ones)
        let found =
            (word &- 0x20 &* ones) & ~word
            | (quotes &- ones) & ~quotes
            | (backslashes &- ones) & ~backslashes
            | word | (word &+ ones)
        return found & (0x80 &* ones) != 0
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
                self.append(UnsafeBufferPointer(rebasing: bytes[start..<index]))
                self.escape(scalar)
                start = index + length
            }
            index += length
        }
        self.append(UnsafeBufferPointer(rebasing: bytes[start...]))
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
        self.append(UInt8(ascii: "\\"))
        switch scalar {
        case 0x22, 0x5C: self.append(UInt8(truncatingIfNeeded: scalar))
        case 0x0A: self.append(UInt8(ascii: "n"))
        case 0x0D: self.append(UInt8(ascii: "r"))
        case 0x09: self.append(UInt8(ascii: "t"))
        default:
            self.append(UInt8(ascii: "u"))
            self.hexadecimal([UInt8(scalar >> 8), UInt8(scalar & 0xFF)])
        }
    }
}
