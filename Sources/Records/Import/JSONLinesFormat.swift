/// JSON Lines: one object per line, its members the fields of a record. Values are texts; numbers are taken by their
/// digits; `address` may be a list of texts; null stands for "nothing". Empty lines are skipped, and so is a byte order
/// mark at the start.
struct JSONLinesFormat: ImportFormat {
    static let lineLimit = 64 * 1024

    private var pending: [UInt8] = []
    private var line = 1

    init() {}

    mutating func rows(from piece: [UInt8]) throws(RecordsError) -> [ImportRow] {
        var rows: [ImportRow] = []
        var start = piece.startIndex
        while let end = piece[start...].firstIndex(of: 0x0A) {
            self.pending += piece[start..<end]
            try self.endLine(&rows)
            start = end + 1
        }
        self.pending += piece[start...]
        guard self.pending.count <= Self.lineLimit else {
            throw RecordsError(
                .badData,
                "line \(self.line): more than \(Self.lineLimit) bytes",
                remedy: "write one object per line"
            )
        }
        if piece.isEmpty, !self.pending.isEmpty { try self.endLine(&rows) }
        return rows
    }

    private mutating func endLine(_ rows: inout [ImportRow]) throws(RecordsError) {
        defer {
            self.pending.removeAll(keepingCapacity: true)
            self.line += 1
        }
        if self.line == 1, self.pending.starts(with: [0xEF, 0xBB, 0xBF]) { self.pending.removeFirst(3) }
        guard !self.pending.allSatisfy({ $0 == 0x20 || $0 == 0x09 || $0 == 0x0D }) else { return }
        rows.append(ImportRow(line: self.line, fields: Self.fields(self.pending)))
    }

    private static func fields(_ bytes: [UInt8]) -> Result<SIMFields, RecordsError> {
        let value: JSONValue
        do { value = try JSONReader.read(bytes) } catch {
            return .failure(
                RecordsError(
                    .badData,
                    "not JSON: \(error.what) (byte \(error.position))",
                    remedy: "write one object per line"
                )
            )
        }
        guard case .object(let members) = value else {
            return .failure(RecordsError(.badData, "not an object", remedy: "write {\"iccid\": …} on each line"))
        }
        var fields = SIMFields()
        for member in members {
            guard let field = SIMField(rawValue: member.name) else {
                let known = SIMField.allCases.map(\.rawValue).joined(separator: ", ")
                return .failure(RecordsError(.badData, "an unknown field", remedy: "use \(known)"))
            }
            guard let text = Self.text(member.value) else {
                return .failure(
                    RecordsError(.badData, "\(field.rawValue): neither text nor number", remedy: "write a text")
                )
            }
            fields[field] = text
        }
        return .success(fields)
    }

    private static func text(_ value: JSONValue) -> String? {
        switch value {
        case .null: return ""
        case .text(let text): return text
        case .number(let digits): return digits
        case .list(let values):
            var parts: [String] = []
            for value in values {
                guard case .text(let part) = value else { return nil }
                parts.append(part)
            }
            return parts.joined(separator: " ")
        case .boolean, .object: return nil
        }
    }
}
