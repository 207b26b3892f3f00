/// The fields of a SIM record by the names that import files and commands use.
package enum SIMField: String, Sendable, CaseIterable {
    case iccid, imsi, imei, msisdn
    case deviceID = "device-id"
    case endpoint
    case endpointPolicy = "endpoint-policy"
    case identity, key, address, status, profile, group, note
}

/// What somebody wrote for some fields of a record. A field that is absent was not mentioned; an empty text stands for
/// "nothing": it clears an optional field, brings back a default, and leaves a key as it is.
///
/// The texts may hold a key, so the type prints its field names alone.
package struct SIMFields: Sendable {
    package private(set) var values: [SIMField: String] = [:]

    package init() {}

    package init(_ values: [SIMField: String]) { self.values = values }

    package subscript(field: SIMField) -> String? {
        get { self.values[field] }
        set { self.values[field] = newValue }
    }

    /// `name=value` arguments of a command.
    package init(arguments: [String]) throws(RecordsError) {
        for argument in arguments {
            guard let split = argument.firstIndex(of: "="), let field = SIMField(rawValue: String(argument[..<split]))
            else {
                let name = argument.prefix { $0 != "=" }
                throw RecordsError(
                    .badData,
                    argument.contains("=") ? "no field is called \(name)" : "an argument is not FIELD=VALUE",
                    remedy: "use one of \(SIMField.allCases.map(\.rawValue).joined(separator: ", "))"
                )
            }
            guard self.values[field] == nil else {
                throw RecordsError(.badData, "\(field.rawValue) is given twice", remedy: "give it once")
            }
            self.values[field] = String(argument[argument.index(after: split)...])
        }
    }
}

extension SIMFields: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    package var description: String {
        "SIMFields(\(self.values.keys.map(\.rawValue).sorted().joined(separator: ", ")))"
    }
    package var debugDescription: String { self.description }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}
