internal import Gateway

/// A JSON value as it was written: members keep their order, numbers their digits, so that a number of 20 digits is
/// not rounded on the way.
package enum JSONValue: Sendable, Equatable {
    case null
    case boolean(Bool)
    case number(String)
    case text(String)
    case list([JSONValue])
    case object([(name: String, value: JSONValue)])

    package static func == (left: JSONValue, right: JSONValue) -> Bool {
        switch (left, right) {
        case (.null, .null): true
        case (.boolean(let left), .boolean(let right)): left == right
        case (.number(let left), .number(let right)), (.text(let left), .text(let right)): left == right
        case (.list(let left), .list(let right)): left == right
        case (.object(let left), .object(let right)):
            left.elementsEqual(right) { $0.name == $1.name && $0.value == $1.value }
        default: false
        }
    }

    /// The member of an object.
    package subscript(name: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members.first { $0.name == name }?.value
    }

    package var text: String? { if case .text(let text) = self { text } else { nil } }

    package var integer: Int64? { if case .number(let digits) = self { Int64(digits) } else { nil } }

    /// As a value of an audit record; nil for null and for fractions.
    var auditValue: AuditEvent.Value? {
        switch self {
        case .null: nil
        case .boolean(let flag): .boolean(flag)
        case .number(let digits): Int64(digits).map { .integer($0) }
        case .text(let text): .text(text)
        case .list(let values): .list(values.compactMap(\.auditValue))
        case .object: .object(self.auditFields)
        }
    }

    var auditFields: [AuditEvent.Field] {
        guard case .object(let members) = self else { return [] }
        return members.compactMap { member in member.value.auditValue.map { AuditEvent.Field(member.name, $0) } }
    }
}

/// Reads one JSON text (RFC 8259) strictly: nothing behind it, no name twice in an object, at most 16 levels.
struct JSONReader {
    /// Why a text is no JSON, and at which byte, counted from 1. The text itself is not part of it.
    struct Failure: Error, Equatable {
        var what: String
        var position: Int
    }

    private static let depthLimit = 16

    private let bytes: UnsafeBufferPointer<UInt8>
    private var index = 0

    static func read(_ bytes: some Collection<UInt8>) throws(Failure) -> JSONValue {
        // A typed error does not get through the closure of `withContiguousStorageIfAvailable`.
        let array = ContiguousArray(bytes)
        let result: Result<JSONValue, Failure> = array.withUnsafeBufferPointer { buffer in
            do throws(Failure) {
                var reader = JSONReader(bytes: buffer)
                let value = try reader.value(depth: 0)
                reader.skipSpaces()
                guard reader.index == buffer.count else { throw reader.failure("something stands behind the value") }
                return .success(value)
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    private init(bytes: UnsafeBufferPointer<UInt8>) { self.bytes = bytes }

    private func failure(_ what: String) -> Failure { Failure(what: what, position: self.index + 1) }

    private var next: UInt8? { self.index < self.bytes.count ? self.bytes[self.index] : nil }

    private mutating func skipSpaces() {
        while let byte = self.next, byte == 0x20 || byte == 0x09 || byte == 0x0A || byte == 0x0D { self.index += 1 }
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard self.next == byte else { return false }
        self.index += 1
        return true
    }

    private mutating func value(depth: Int) throws(Failure) -> JSONValue {
        guard depth < Self.depthLimit else { throw self.failure("more than \(Self.depthLimit) levels") }
        self.skipSpaces()
        switch self.next {
        case UInt8(ascii: "{"): return try self.object(depth: depth)
        case UInt8(ascii: "["): return try self.list(depth: depth)
        case UInt8(ascii: "\""): return .text(try self.string())
        case UInt8(ascii: "t"): return try self.word("true", .boolean(true))
        case UInt8(ascii: "f"): return try self.word("false", .boolean(false))
        case UInt8(ascii: "n"): return try self.word("null", .null)
        case .some(UInt8(ascii: "-")), .some(UInt8(ascii: "0")...UInt8(ascii: "9")): return try self.number()
        case nil: throw self.failure("the text ends too early")
        default: throw self.failure("no value begins here")
        }
    }

    private mutating func word(_ word: StaticString, _ value: JSONValue) throws(Failure) -> JSONValue {
        for offset in 0..<word.utf8CodeUnitCount {
            guard self.take(word.utf8Start[offset]) else { throw self.failure("no value begins here") }
        }
        return value
    }

    private mutating func object(depth: Int) throws(Failure) -> JSONValue {
        self.index += 1
        var members: [(name: String, value: JSONValue)] = []
        self.skipSpaces()
        if self.take(UInt8(ascii: "}")) { return .object(members) }
        while true {
            self.skipSpaces()
            guard self.next == UInt8(ascii: "\"") else { throw self.failure("a name is missing") }
            let name = try self.string()
            guard !members.contains(where: { $0.name == name }) else { throw self.failure("a name stands twice") }
            self.skipSpaces()
            guard self.take(UInt8(ascii: ":")) else { throw self.failure("a colon is missing") }
            members.append((name, try self.value(depth: depth + 1)))
            self.skipSpaces()
            if self.take(UInt8(ascii: "}")) { return .object(members) }
            guard self.take(UInt8(ascii: ",")) else { throw self.failure("a comma or brace is missing") }
        }
    }

    private mutating func list(depth: Int) throws(Failure) -> JSONValue {
        self.index += 1
        var values: [JSONValue] = []
        self.skipSpaces()
        if self.take(UInt8(ascii: "]")) { return .list(values) }
        while true {
            values.append(try self.value(depth: depth + 1))
            self.skipSpaces()
            if self.take(UInt8(ascii: "]")) { return .list(values) }
            guard self.take(UInt8(ascii: ",")) else { throw self.failure("a comma or bracket is missing") }
        }
    }

    private mutating func number() throws(Failure) -> JSONValue {
        let start = self.index
        _ = self.take(UInt8(ascii: "-"))
        let leading = self.next
        guard self.digits() > 0 else { throw self.failure("a digit is missing") }
        if leading == UInt8(ascii: "0"), self.bytes[start..<self.index].drop(while: { $0 == 0x2D }).count > 1 {
            throw self.failure("a number begins with 0")
        }
        if self.take(UInt8(ascii: ".")), self.digits() == 0 { throw self.failure("a digit is missing") }
        if self.take(UInt8(ascii: "e")) || self.take(UInt8(ascii: "E")) {
            if !self.take(UInt8(ascii: "+")) { _ = self.take(UInt8(ascii: "-")) }
            guard self.digits() > 0 else { throw self.failure("a digit is missing") }
        }
        return .number(String(decoding: self.bytes[start..<self.index], as: UTF8.self))
    }

    private mutating func digits() -> Int {
        let start = self.index
        while let byte = self.next, (0x30...0x39).contains(byte) { self.index += 1 }
        return self.index - start
    }

    private mutating func string() throws(Failure) -> String {
        self.index += 1
        var start = self.index
        var units: [UInt8] = []
        while true {
            guard let byte = self.next else { throw self.failure("a text has no end") }
            switch byte {
            case UInt8(ascii: "\""):
                units.append(contentsOf: self.bytes[start..<self.index])
                self.index += 1
                guard let text = String(validating: units, as: UTF8.self) else {
                    throw self.failure("a text is not UTF-8")
                }
                return text
            case UInt8(ascii: "\\"):
                units.append(contentsOf: self.bytes[start..<self.index])
                self.index += 1
                try self.escape(into: &units)
                start = self.index
            case 0..<0x20: throw self.failure("a control character stands in a text")
            default: self.index += 1
            }
        }
    }

    private mutating func escape(into units: inout [UInt8]) throws(Failure) {
        guard let byte = self.next else { throw self.failure("a text has no end") }
        self.index += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): units.append(byte)
        case UInt8(ascii: "b"): units.append(0x08)
        case UInt8(ascii: "f"): units.append(0x0C)
        case UInt8(ascii: "n"): units.append(0x0A)
        case UInt8(ascii: "r"): units.append(0x0D)
        case UInt8(ascii: "t"): units.append(0x09)
        case UInt8(ascii: "u"):
            var code = try self.fourDigits()
            if (0xD800..<0xDC00).contains(code) {
                guard self.take(UInt8(ascii: "\\")), self.take(UInt8(ascii: "u")) else {
                    throw self.failure("half a surrogate pair")
                }
                let low = try self.fourDigits()
                guard (0xDC00..<0xE000).contains(low) else { throw self.failure("half a surrogate pair") }
                code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
            }
            guard let scalar = Unicode.Scalar(code) else { throw self.failure("half a surrogate pair") }
            units.append(contentsOf: UTF8.encode(scalar)?.map { $0 } ?? [])
        default: throw self.failure("an unknown escape")
        }
    }

    private mutating func fourDigits() throws(Failure) -> UInt32 {
        var code: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = self.next, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
                throw self.failure("four hexadecimal digits are missing")
            }
            code = code << 4 | UInt32(digit)
            self.index += 1
        }
        return code
    }
}
