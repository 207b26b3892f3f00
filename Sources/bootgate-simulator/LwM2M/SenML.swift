/// As much of SenML JSON (RFC 8428) as composite operations of text resources need: flat records with names and texts.
enum SenML {
    struct Record: Equatable {
        var name: String
        var text: String?
    }

    /// Nil for anything else than a list of flat records.
    static func read(_ bytes: [UInt8]) -> [Record]? {
        let text = String(decoding: bytes, as: UTF8.self)
        guard text.first == "[", text.last == "]" else { return nil }
        var records: [Record] = []
        for part in text.split(separator: "{").dropFirst() {
            guard let end = part.lastIndex(of: "}") else { return nil }
            var fields: [Substring: Substring] = [:]
            for field in part[..<end].split(separator: ",") {
                let sides = field.split(separator: ":", maxSplits: 1).map { $0.trimmed }
                guard sides.count == 2 else { return nil }
                fields[sides[0]] = sides[1]
            }
            guard let name = fields["n"] else { return nil }
            records.append(Record(name: String(name), text: fields["vs"].map(String.init)))
        }
        return records
    }

    static func write(_ records: [Record]) -> [UInt8] {
        let parts = records.map { "{\"n\":\"\($0.name)\",\"vs\":\"\($0.text ?? "")\"}" }
        return Array("[\(parts.joined(separator: ","))]".utf8)
    }
}

extension Substring {
    /// Without white space and quotes around it.
    fileprivate var trimmed: Substring {
        var text = self
        while let first = text.first, first.isWhitespace || first == "\"" { text = text.dropFirst() }
        while let last = text.last, last.isWhitespace || last == "\"" { text = text.dropLast() }
        return text
    }
}
