/// How a default identity or endpoint name is made of a record's other fields: text with the placeholders `{iccid}`,
/// `{imei}`, `{imsi}`, `{msisdn}` and `{device-id}`.
package struct NamePattern: Sendable, Equatable {
    /// The fields that a pattern may name.
    package enum Placeholder: String, Sendable, CaseIterable {
        case iccid, imei, imsi, msisdn
        case deviceID = "device-id"
    }

    private enum Part: Sendable, Equatable {
        case text(String)
        case field(Placeholder)
    }

    private let parts: [Part]

    /// The ICCID itself.
    package static let iccid = NamePattern(parts: [.field(.iccid)])

    /// A pattern without a placeholder is refused: it would give all devices the same name.
    package init(_ text: String) throws(RecordsError) {
        var parts: [Part] = []
        var rest = text[...]
        while let start = rest.firstIndex(where: { $0 == "{" || $0 == "}" }) {
            if start > rest.startIndex { parts.append(.text(String(rest[..<start]))) }
            guard rest[start] == "{", let end = rest[start...].firstIndex(of: "}"),
                let field = Placeholder(rawValue: String(rest[rest.index(after: start)..<end]))
            else {
                let known = Placeholder.allCases.map { "{\($0.rawValue)}" }.joined(separator: ", ")
                throw RecordsError(
                    .configuration,
                    "the pattern \(text) has a brace that starts no known placeholder",
                    remedy: "use \(known)"
                )
            }
            parts.append(.field(field))
            rest = rest[rest.index(after: end)...]
        }
        if !rest.isEmpty { parts.append(.text(String(rest))) }
        guard parts.contains(where: { if case .field = $0 { true } else { false } }) else {
            throw RecordsError(
                .configuration,
                "the pattern \(text) names no field, so all devices would share one name",
                remedy: "put {iccid} or another field into it"
            )
        }
        self.parts = parts
    }

    private init(parts: [Part]) { self.parts = parts }

    /// The name for one record; throws when the record lacks a field that the pattern needs.
    func name(_ value: (Placeholder) -> String?) throws(RecordsError) -> String {
        var name = ""
        for part in self.parts {
            switch part {
            case .text(let text): name += text
            case .field(let field):
                guard let value = value(field) else {
                    throw RecordsError(
                        .badData,
                        "the default name needs \(field.rawValue), which the record does not have",
                        remedy: "give \(field.rawValue) or the name itself"
                    )
                }
                name += value
            }
        }
        return name
    }
}
