/// A small JSON reader: values without meaning, a few levels deep.
enum JSON {
    case null
    case boolean(Bool)
    case number(Double)
    case text(String)
    case list([JSON])
    /// In the order of the document, because base names count from where they stand.
    case object([(String, JSON)])

    init?(parsing bytes: [UInt8]) {
        var reader = Reader(rest: bytes[...])
        guard let value = reader.value(depth: 0) else { return nil }
        reader.skipSpace()
        guard reader.rest.isEmpty else { return nil }
        self = value
    }

    static func quoted(_ text: String) -> String { EventValue.text(text).json }

    private struct Reader {
        var rest: ArraySlice<UInt8>

        mutating func skipSpace() { self.rest = self.rest.drop { [0x20, 0x09, 0x0A, 0x0D].contains($0) } }

        mutating func take(_ text: StaticString) -> Bool {
            let bytes = text.description.utf8
            guard self.rest.starts(with: bytes) else { return false }
            self.rest = self.rest.dropFirst(bytes.count)
            return true
        }

        mutating func value(depth: Int) -> JSON? {
            guard depth < 8 else { return nil }
            self.skipSpace()
            switch self.rest.first {
            case UInt8(ascii: "["): return self.list(depth)
            case UInt8(ascii: "{"): return self.object(depth)
            case UInt8(ascii: "\""): return self.text().map { .text($0) }
            default: break
            }
            if self.take("true") { return .boolean(true) }
            if self.take("false") { return .boolean(false) }
            if self.take("null") { return .null }
            let digits = self.rest.prefix { $0 >= 0x30 && $0 <= 0x39 || "+-.eE".utf8.contains($0) }
            self.rest = self.rest.dropFirst(digits.count)
            return Double(String(decoding: digits, as: UTF8.self)).map { .number($0) }
        }

        private mutating func list(_ depth: Int) -> JSON? {
            var values: [JSON] = []
            self.rest.removeFirst()
            self.skipSpace()
            if self.take("]") { return .list(values) }
            while let value = self.value(depth: depth + 1) {
                values.append(value)
                self.skipSpace()
                if self.take("]") { return .list(values) }
                guard self.take(",") else { return nil }
            }
            return nil
        }

        private mutating func object(_ depth: Int) -> JSON? {
            var fields: [(String, JSON)] = []
            self.rest.removeFirst()
            self.skipSpace()
            if self.take("}") { return .object(fields) }
            while true {
                self.skipSpace()
                guard let key = self.text() else { return nil }
                self.skipSpace()
                guard self.take(":"), let value = self.value(depth: depth + 1) else { return nil }
                fields.append((key, value))
                self.skipSpace()
                if self.take("}") { return .object(fields) }
                guard self.take(",") else { return nil }
            }
        }

        private mutating func text() -> String? {
            guard self.take("\"") else { return nil }
            var units: [UInt16] = []
            var plain: [UInt8] = []
            func flushed() -> [UInt16] { Array(String(decoding: plain, as: UTF8.self).utf16) }
            while let byte = self.rest.popFirst() {
                switch byte {
                case UInt8(ascii: "\""):
                    units += flushed()
                    return String(decoding: units, as: UTF16.self)
                case UInt8(ascii: "\\"):
                    units += flushed()
                    plain = []
                    guard let escape = self.escape() else { return nil }
                    units.append(escape)
                default: plain.append(byte)
                }
            }
            return nil
        }

        private mutating func escape() -> UInt16? {
            guard let letter = self.rest.popFirst() else { return nil }
            switch letter {
            case UInt8(ascii: "n"): return 0x0A
            case UInt8(ascii: "r"): return 0x0D
            case UInt8(ascii: "t"): return 0x09
            case UInt8(ascii: "b"): return 0x08
            case UInt8(ascii: "f"): return 0x0C
            case UInt8(ascii: "u"):
                let digits = self.rest.prefix(4)
                self.rest = self.rest.dropFirst(4)
                return digits.count == 4 ? UInt16(String(decoding: digits, as: UTF8.self), radix: 16) : nil
            case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return UInt16(letter)
            default: return nil
            }
        }
    }
}
