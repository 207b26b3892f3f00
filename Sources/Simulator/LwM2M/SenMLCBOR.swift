/// The CBOR form of SenML (RFC 8428, section 6): a list of maps whose keys are numbers.
enum SenMLCBOR {
    /// Labels of RFC 8428.
    private enum Label {
        static let baseName: Int64 = -2
        static let name: Int64 = 0
        static let value: Int64 = 2
        static let text: Int64 = 3
        static let boolean: Int64 = 4
        static let data: Int64 = 8
    }

    static func write(_ records: [SenML.Record]) -> [UInt8] {
        var out = Self.head(4, UInt64(records.count))
        for (base, name, value) in SenML.compacted(records) {
            out += Self.head(5, 1 + (base == nil ? 0 : 1) + (value == nil ? 0 : 1))
            if let base { out += Self.integer(Label.baseName) + Self.text(base) }
            out += Self.integer(Label.name) + Self.text(name)
            switch value {
            case nil: break
            case .text(let text): out += Self.integer(Label.text) + Self.text(text)
            case .integer(let number): out += Self.integer(Label.value) + Self.integer(number)
            case .boolean(let value): out += Self.integer(Label.boolean) + [value ? 0xF5 : 0xF4]
            case .bytes(let bytes): out += Self.integer(Label.data) + Self.head(2, UInt64(bytes.count)) + bytes
            }
        }
        return out
    }

    private static func head(_ type: UInt8, _ argument: UInt64) -> [UInt8] {
        if argument < 24 { return [type << 5 | UInt8(argument)] }
        let size = argument < 0x100 ? 0 : argument < 0x1_0000 ? 1 : argument < 0x1_0000_0000 ? 2 : 3
        let bytes = stride(from: ((1 << size) - 1) * 8, through: 0, by: -8)
            .map { UInt8(truncatingIfNeeded: argument >> UInt64($0)) }
        return [type << 5 | UInt8(24 + size)] + bytes
    }

    private static func integer(_ number: Int64) -> [UInt8] {
        number < 0 ? Self.head(1, UInt64(-1 - number)) : Self.head(0, UInt64(number))
    }

    private static func text(_ text: String) -> [UInt8] { Self.head(3, UInt64(text.utf8.count)) + text.utf8 }

    // MARK: - Reading

    /// Nil for anything else than a list of records with the values that are known here.
    static func read(_ bytes: [UInt8]) -> [SenML.Record]? {
        var reader = Reader(rest: bytes[...])
        guard case .list(let count)? = reader.item() else { return nil }
        var base = ""
        var records: [SenML.Record] = []
        var left = count
        while left != 0, !(left == nil && reader.endsHere()) {
            left = left.map { $0 - 1 }
            guard case .map(let pairs?)? = reader.item() else { return nil }
            var record = SenML.Record(name: "")
            for _ in 0..<pairs {
                guard case .integer(let label)? = reader.item(), let item = reader.item() else { return nil }
                switch (label, item) {
                case (Label.baseName, .text(let name)): base = name
                case (Label.name, .text(let name)): record.name = name
                case (Label.text, .text(let text)): record.value = .text(text)
                case (Label.value, .integer(let number)): record.value = .integer(number)
                case (Label.boolean, .boolean(let value)): record.value = .boolean(value)
                case (Label.data, .bytes(let bytes)): record.value = .bytes(bytes)
                default: return nil
                }
            }
            record.name = base + record.name
            records.append(record)
        }
        return reader.rest.isEmpty ? records : nil
    }

    private enum Item {
        case integer(Int64)
        case bytes([UInt8])
        case text(String)
        case boolean(Bool)
        /// Nil: until the break.
        case list(Int?)
        case map(Int?)
    }

    private struct Reader {
        var rest: ArraySlice<UInt8>

        /// Takes the break that ends a list of unknown length.
        mutating func endsHere() -> Bool {
            guard self.rest.first == 0xFF else { return false }
            self.rest.removeFirst()
            return true
        }

        mutating func item() -> Item? {
            guard let head = self.rest.popFirst() else { return nil }
            if head == 0xF4 || head == 0xF5 { return .boolean(head == 0xF5) }
            if head == 0x9F { return .list(nil) }
            guard let argument = self.argument(head & 0x1F) else { return nil }
            switch head >> 5 {
            case 0: return .integer(argument)
            case 1: return .integer(-1 - argument)
            case 2: return self.take(argument).map { .bytes($0) }
            case 3: return self.take(argument).map { .text(String(decoding: $0, as: UTF8.self)) }
            case 4: return .list(Int(argument))
            case 5: return argument < 16 ? .map(Int(argument)) : nil
            default: return nil
            }
        }

        private mutating func argument(_ short: UInt8) -> Int64? {
            if short < 24 { return Int64(short) }
            guard short < 28, let bytes = self.take(Int64(1) << Int64(short - 24)) else { return nil }
            return Int64(exactly: bytes.reduce(UInt64(0)) { $0 << 8 | UInt64($1) })
        }

        private mutating func take(_ count: Int64) -> [UInt8]? {
            guard count <= self.rest.count else { return nil }
            let bytes = Array(self.rest.prefix(Int(count)))
            self.rest = self.rest.dropFirst(Int(count))
            return bytes
        }
    }
}
