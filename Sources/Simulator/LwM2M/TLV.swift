/// The TLV content format of LwM2M (11542): a list of records, some of which hold records themselves.
enum TLV {
    enum Kind: UInt8 {
        case objectInstance = 0b00
        case resourceInstance = 0b01
        case multipleResource = 0b10
        case resource = 0b11
    }

    struct Record: Equatable {
        var kind: Kind
        var identifier: UInt16
        var value: [UInt8]
    }

    /// The bytes end inside a record.
    struct Truncated: Error {}

    /// Reads the records of one level.
    static func read(_ bytes: [UInt8]) throws(Truncated) -> [Record] {
        var records: [Record] = []
        var rest = bytes[...]
        while let type = rest.popFirst() {
            // Two bits always name one of the four kinds.
            guard let kind = Kind(rawValue: type >> 6) else { throw Truncated() }
            let identifier = try Self.integer(&rest, bytes: type & 0x20 == 0 ? 1 : 2)
            let lengthBytes = Int(type >> 3 & 0x03)
            let length = lengthBytes == 0 ? Int(type & 0x07) : try Self.integer(&rest, bytes: lengthBytes)
            guard rest.count >= length else { throw Truncated() }
            records.append(
                Record(
                    kind: kind,
                    identifier: UInt16(truncatingIfNeeded: identifier),
                    value: Array(rest.prefix(length))
                )
            )
            rest = rest.dropFirst(length)
        }
        return records
    }

    static func write(_ records: [Record]) -> [UInt8] {
        var out: [UInt8] = []
        for record in records {
            let length = record.value.count
            let lengthBytes = length < 8 ? 0 : length < 0x100 ? 1 : length < 0x10000 ? 2 : 3
            var type = record.kind.rawValue << 6 | UInt8(lengthBytes) << 3
            if record.identifier > 0xFF { type |= 0x20 }
            if lengthBytes == 0 { type |= UInt8(length) }
            out.append(type)
            if record.identifier > 0xFF { out.append(UInt8(record.identifier >> 8)) }
            out.append(UInt8(truncatingIfNeeded: record.identifier))
            for shift in stride(from: (lengthBytes - 1) * 8, through: 0, by: -8) {
                out.append(UInt8(truncatingIfNeeded: length >> shift))
            }
            out += record.value
        }
        return out
    }

    /// A signed integer in the fewest of 1, 2, 4 or 8 bytes.
    static func integer(_ number: Int64) -> [UInt8] {
        for bytes in [1, 2, 4] where number >> (bytes * 8 - 1) == 0 || number >> (bytes * 8 - 1) == -1 {
            return Self.bigEndian(number, bytes: bytes)
        }
        return Self.bigEndian(number, bytes: 8)
    }

    /// What a signed integer of at most 8 bytes stands for.
    static func integer(of value: [UInt8]) -> Int64? {
        guard let first = value.first, value.count <= 8 else { return nil }
        return value.reduce(first & 0x80 == 0 ? 0 : -1) { $0 << 8 | Int64($1) }
    }

    private static func bigEndian(_ number: Int64, bytes: Int) -> [UInt8] {
        stride(from: (bytes - 1) * 8, through: 0, by: -8).map { UInt8(truncatingIfNeeded: number >> Int64($0)) }
    }

    private static func integer(_ rest: inout ArraySlice<UInt8>, bytes: Int) throws(Truncated) -> Int {
        guard rest.count >= bytes else { throw Truncated() }
        let value = rest.prefix(bytes).reduce(0) { $0 << 8 | Int($1) }
        rest = rest.dropFirst(bytes)
        return value
    }
}
