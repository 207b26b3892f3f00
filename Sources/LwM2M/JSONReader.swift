/// Reads JSON (RFC 8259) piece by piece: strict, within limits, and without a loss in numbers.
///
/// A caller asks for what its format demands next, and skips what the format ignores. Nothing is kept of what was skipped.
struct JSONReader {
    private let bytes: [UInt8]
    private(set) var position = 0
    private var depth = 0
    private var items = 0

    /// Throws when the document is too large or not UTF-8.
    init(_ bytes: [UInt8]) throws(PayloadError) {
        guard bytes.count <= PayloadCodec.maximumSize else {
            throw PayloadError(.tooLarge, at: PayloadCodec.maximumSize)
        }
        guard ResourceType.string.accepts(bytes[...]) else { throw PayloadError(.malformed, at: 0) }
        self.bytes = bytes
    }

    /// What the next value begins with; nil at the end.
    mutating func peek() -> UInt8? {
        self.skipWhitespace()
        return self.position < self.bytes.count ? self.bytes[self.position] : nil
    }

    /// Goes on from an earlier position on the same level.
    mutating func move(to position: Int) { self.position = position }

    /// The bytes from `start` to here.
    func literal(from start: Int) -> [UInt8] { Array(self.bytes[start..<self.position]) }

    /// After the document nothing but white space may follow.
    mutating func finish() throws(PayloadError) {
        guard self.peek() == nil else { throw PayloadError(.trailingBytes, at: self.position) }
    }

    // MARK: - Arrays and objects

    /// An array or an object that is being read.
    struct Container {
        fileprivate let close: UInt8
        fileprivate var isFirst = true
    }

    mutating func enterArray() throws(PayloadError) -> Container {
        try self.enter(UInt8(ascii: "["), close: UInt8(ascii: "]"))
    }

    mutating func enterObject() throws(PayloadError) -> Container {
        try self.enter(UInt8(ascii: "{"), close: UInt8(ascii: "}"))
    }

    /// Whether an element follows; at the end the container is left.
    mutating func next(in container: inout Container) throws(PayloadError) -> Bool {
        guard let byte = self.peek() else { throw PayloadError(.truncated, at: self.position) }
        if byte == container.close {
            self.position += 1
            self.depth -= 1
            return false
        }
        if !container.isFirst {
            guard byte == UInt8(ascii: ",") else { throw PayloadError(.malformed, at: self.position) }
            self.position += 1
        }
        container.isFirst = false
        return true
    }

    /// The name of a member, and its colon.
    mutating func readName() throws(PayloadError) -> String {
        let name = try self.readString()
        guard self.peek() == UInt8(ascii: ":") else { throw PayloadError(.malformed, at: self.position) }
        self.position += 1
        return String(decoding: name, as: UTF8.self)
    }

    private mutating func enter(_ open: UInt8, close: UInt8) throws(PayloadError) -> Container {
        guard let byte = self.peek() else { throw PayloadError(.truncated, at: self.position) }
        guard byte == open else { throw PayloadError(.wrongShape, at: self.position) }
        guard self.depth < PayloadCodec.maximumDepth else { throw PayloadError(.tooDeep, at: self.position) }
        try self.count()
        self.depth += 1
        self.position += 1
        return Container(close: close)
    }

    // MARK: - Values

    mutating func readBoolean() throws(PayloadError) -> Bool {
        switch self.peek() {
        case UInt8(ascii: "t"):
            try self.read("true")
            return true
        case UInt8(ascii: "f"):
            try self.read("false")
            return false
        default: throw PayloadError(.wrongField, at: self.position)
        }
    }

    /// A string with its escapes resolved.
    mutating func readString() throws(PayloadError) -> [UInt8] {
        guard let quote = self.peek() else { throw PayloadError(.truncated, at: self.position) }
        guard quote == UInt8(ascii: "\"") else { throw PayloadError(.wrongField, at: self.position) }
        try self.count()
        self.position += 1
        var text: [UInt8] = []
        var start = self.position
        while self.position < self.bytes.count {
            switch self.bytes[self.position] {
            case UInt8(ascii: "\""):
                text += self.bytes[start..<self.position]
                self.position += 1
                return text
            case UInt8(ascii: "\\"):
                text += self.bytes[start..<self.position]
                self.position += 1
                try self.readEscape(into: &text)
                start = self.position
            case ..<0x20: throw PayloadError(.malformed, at: self.position)
            default: self.position += 1
            }
        }
        throw PayloadError(.truncated, at: self.position)
    }

    /// A number; an integer of at most 64 bits is exact also when it is written as `3.0` or `3e0`.
    mutating func readNumber() throws(PayloadError) -> Scalar {
        guard let first = self.peek() else { throw PayloadError(.truncated, at: self.position) }
        guard first == UInt8(ascii: "-") || Self.isDigit(first) else {
            throw PayloadError(.wrongField, at: self.position)
        }
        let start = self.position
        let number = try self.takeNumber()
        guard let scalar = number.scalar else { throw PayloadError(.unsupportedNumber, at: start) }
        return scalar
    }

    /// Any value.
    mutating func skip() throws(PayloadError) {
        switch self.peek() {
        case UInt8(ascii: "\""): _ = try self.readString()
        case UInt8(ascii: "t"), UInt8(ascii: "f"): _ = try self.readBoolean()
        case UInt8(ascii: "n"): try self.read("null")
        case UInt8(ascii: "["):
            var array = try self.enterArray()
            while try self.next(in: &array) { try self.skip() }
        case UInt8(ascii: "{"):
            var object = try self.enterObject()
            while try self.next(in: &object) {
                _ = try self.readName()
                try self.skip()
            }
        case .some(let byte) where byte == UInt8(ascii: "-") || Self.isDigit(byte):
            _ = try self.takeNumber()
        case .some: throw PayloadError(.malformed, at: self.position)
        case nil: throw PayloadError(.truncated, at: self.position)
        }
    }

    private mutating func takeNumber() throws(PayloadError) -> JSONNumber {
        guard let number = JSONNumber(self.bytes[self.position...]) else {
            throw PayloadError(.malformed, at: self.position)
        }
        try self.count()
        self.position += number.length
        return number
    }

    /// Counts a value or a name.
    private mutating func count() throws(PayloadError) {
        self.items += 1
        guard self.items <= PayloadCodec.maximumItems else { throw PayloadError(.tooManyItems, at: self.position) }
    }

    private mutating func read(_ word: StaticString) throws(PayloadError) {
        let end = self.position + word.utf8CodeUnitCount
        guard end <= self.bytes.count else { throw PayloadError(.truncated, at: self.position) }
        let matches = word.withUTF8Buffer { self.bytes[self.position..<end].elementsEqual($0) }
        guard matches else { throw PayloadError(.malformed, at: self.position) }
        try self.count()
        self.position = end
    }

    /// What follows a backslash.
    private mutating func readEscape(into text: inout [UInt8]) throws(PayloadError) {
        guard self.position < self.bytes.count else { throw PayloadError(.truncated, at: self.position) }
        let escape = self.bytes[self.position]
        self.position += 1
        switch escape {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(escape)
        case UInt8(ascii: "b"): text.append(0x08)
        case UInt8(ascii: "f"): text.append(0x0C)
        case UInt8(ascii: "n"): text.append(0x0A)
        case UInt8(ascii: "r"): text.append(0x0D)
        case UInt8(ascii: "t"): text.append(0x09)
        case UInt8(ascii: "u"):
            var code = try self.readCodeUnit()
            if 0xD800..<0xDC00 ~= code {
                // The second half of a pair; without it there is no character.
                guard self.position + 1 < self.bytes.count, self.bytes[self.position] == UInt8(ascii: "\\"),
                    self.bytes[self.position + 1] == UInt8(ascii: "u")
                else { throw PayloadError(.malformed, at: self.position) }
                self.position += 2
                let low = try self.readCodeUnit()
                guard 0xDC00..<0xE000 ~= low else { throw PayloadError(.malformed, at: self.position) }
                code = 0x1_0000 + (code - 0xD800) << 10 + (low - 0xDC00)
            }
            guard let scalar = Unicode.Scalar(code) else { throw PayloadError(.malformed, at: self.position) }
            text += UTF8.encode(scalar) ?? UTF8.encodedReplacementCharacter
        default: throw PayloadError(.malformed, at: self.position - 1)
        }
    }

    private mutating func readCodeUnit() throws(PayloadError) -> UInt32 {
        guard self.bytes.count - self.position >= 4 else { throw PayloadError(.truncated, at: self.position) }
        var code: UInt32 = 0
        for byte in self.bytes[self.position..<(self.position + 4)] {
            let digit: UInt8
            switch byte {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = byte - UInt8(ascii: "0")
            case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = byte - UInt8(ascii: "a") + 10
            case UInt8(ascii: "A")...UInt8(ascii: "F"): digit = byte - UInt8(ascii: "A") + 10
            default: throw PayloadError(.malformed, at: self.position)
            }
            code = code << 4 | UInt32(digit)
        }
        self.position += 4
        return code
    }

    private mutating func skipWhitespace() {
        while self.position < self.bytes.count {
            switch self.bytes[self.position] {
            case 0x20, 0x09, 0x0A, 0x0D: self.position += 1
            default: return
            }
        }
    }

    private static func isDigit(_ byte: UInt8) -> Bool { 0x30...0x39 ~= byte }
}
