/// As much of SenML (RFC 8428) as accounts and composite operations need: names, texts, whole numbers, truth values and
/// bytes. Here its JSON form.
enum SenML {
    struct Record: Equatable {
        /// With the base name before it.
        var name: String
        /// Nil where only the name counts.
        var value: TypedValue?
    }

    /// Records with what their names share taken out: of each the base name, where it changes, and the rest.
    static func compacted(_ records: [Record]) -> [(base: String?, name: String, value: TypedValue?)] {
        var current = ""
        return records.map { record in
            guard let slash = record.name.lastIndex(of: "/") else { return (nil, record.name, record.value) }
            let base = String(record.name[...slash])
            defer { current = base }
            return (base == current ? nil : base, String(record.name[slash...].dropFirst()), record.value)
        }
    }

    /// Nil for anything else than a list of records with the values that are known here.
    static func read(_ bytes: [UInt8]) -> [Record]? {
        guard case .list(let entries)? = JSON(parsing: bytes) else { return nil }
        var base = ""
        var records: [Record] = []
        for entry in entries {
            guard case .object(let fields) = entry else { return nil }
            var record = Record(name: "")
            for (key, field) in fields {
                switch (key, field) {
                case ("bn", .text(let name)): base = name
                case ("n", .text(let name)): record.name = name
                case ("vs", .text(let text)): record.value = .text(text)
                case ("v", .number(let number)):
                    guard let whole = Int64(exactly: number) else { return nil }
                    record.value = .integer(whole)
                case ("vb", .boolean(let value)): record.value = .boolean(value)
                case ("vd", .text(let text)):
                    guard let data = Base64URL.read(text) else { return nil }
                    record.value = .bytes(data)
                case ("bt", .number), ("t", .number), ("bver", .number): break
                default: return nil
                }
            }
            record.name = base + record.name
            records.append(record)
        }
        return records
    }

    /// - Parameter sharesNames: with base names; otherwise each record has its whole name.
    static func write(_ records: [Record], sharesNames: Bool = false) -> [UInt8] {
        let entries = sharesNames ? Self.compacted(records) : records.map { (nil, $0.name, $0.value) }
        let parts = entries.map { base, name, value in
            var fields: [String] = []
            if let base { fields.append("\"bn\":\"\(base)\"") }
            fields.append("\"n\":\"\(name)\"")
            switch value {
            case nil: break
            case .text(let text): fields.append("\"vs\":\(JSON.quoted(text))")
            case .integer(let number): fields.append("\"v\":\(number)")
            case .boolean(let value): fields.append("\"vb\":\(value)")
            case .bytes(let bytes): fields.append("\"vd\":\"\(Base64URL.write(bytes))\"")
            }
            return "{\(fields.joined(separator: ","))}"
        }
        return Array("[\(parts.joined(separator: ","))]".utf8)
    }
}

/// Base 64 in the alphabet for URLs, without padding.
enum Base64URL {
    private static let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".utf8)

    static func write(_ bytes: [UInt8]) -> String {
        var out: [UInt8] = []
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let part = bytes[start..<min(start + 3, bytes.count)]
            let bits = part.reduce(0) { $0 << 8 | Int($1) } << (8 * (3 - part.count))
            for place in 0...part.count { out.append(Self.digits[bits >> (18 - 6 * place) & 0x3F]) }
        }
        return String(decoding: out, as: UTF8.self)
    }

    static func read(_ text: String) -> [UInt8]? {
        var out: [UInt8] = []
        var bits = 0
        var count = 0
        for digit in text.utf8 where digit != UInt8(ascii: "=") {
            guard let value = Self.digits.firstIndex(of: digit) else { return nil }
            bits = (bits << 6 | value) & 0xFFFF
            count += 6
            if count >= 8 {
                count -= 8
                out.append(UInt8(truncatingIfNeeded: bits >> count))
            }
        }
        return out
    }
}
