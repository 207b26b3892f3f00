package import Gateway
internal import Secrets

/// Turns what somebody wrote into a SIM record, or says which field is wrong. Pure: the store adds what only it can
/// know, that names and addresses are not taken.
package struct SIMRules: Sendable {
    package var identity: NamePattern
    package var endpoint: NamePattern

    package init(identity: NamePattern = .iccid, endpoint: NamePattern = .iccid) {
        self.identity = identity
        self.endpoint = endpoint
    }

    /// An identity above this does not fit the buffers of small clients.
    package static let comfortableIdentityLength = 29

    /// A record with what is risky about it.
    package struct Outcome: Sendable {
        package var record: SIMRecord
        /// One clause each, fit for "ICCID: warning".
        package var warnings: [String]
    }

    /// The record that `fields` make, on top of `existing` if there is one. `iccid` was read from `fields` before.
    package func record(
        _ iccid: ICCID,
        from fields: SIMFields,
        existing: SIMRecord?
    ) throws(RecordsError) -> Outcome {
        let reader = FieldReader(fields: fields)
        let imsi = try reader.number(.imsi, 6...15, existing?.imsi)
        let imei = try reader.number(.imei, 14...16, existing?.imei)
        let msisdn = try reader.number(.msisdn, 3...15, existing?.msisdn)
        let deviceID = try reader.text(.deviceID, limit: 64, existing?.deviceID)
        let value: (NamePattern.Placeholder) -> String? = { placeholder in
            switch placeholder {
            case .iccid: iccid.digits
            case .imei: imei
            case .imsi: imsi
            case .msisdn: msisdn
            case .deviceID: deviceID
            }
        }
        let endpointText = try reader.text(.endpoint, limit: 252, existing?.endpoint)
        let identity: PSKIdentity
        if let text = fields[.identity], !text.isEmpty {
            identity = try Self.identity(text)
        } else if fields[.identity] == nil, let existing {
            identity = existing.identity
        } else {
            identity = try Self.identity(
                try Self.named(.identity) { () throws(RecordsError) in
                    try self.identity.name(value)
                }
            )
        }
        let endpoint =
            if let endpointText { endpointText } else {
                try Self.named(.endpoint) { () throws(RecordsError) in try self.endpoint.name(value) }
            }
        let record = SIMRecord(
            iccid: iccid.digits,
            imsi: imsi,
            imei: imei,
            msisdn: msisdn,
            deviceID: deviceID,
            endpoint: endpoint,
            endpointPolicy: try reader.choice(.endpointPolicy, .match, existing?.endpointPolicy),
            identity: identity,
            key: try Self.key(fields[.key], existing?.key),
            addresses: try Self.addresses(fields[.address], existing?.addresses ?? []),
            status: try reader.choice(.status, .active, existing?.status),
            profile: try reader.choice(.profile, .follow, existing?.profile),
            group: try reader.text(.group, limit: 128, existing?.group),
            note: try reader.text(.note, limit: 1024, existing?.note)
        )
        return Outcome(record: record, warnings: Self.warnings(for: record))
    }

    private static func warnings(for record: SIMRecord) -> [String] {
        var warnings: [String] = []
        if record.identity.bytes.count > Self.comfortableIdentityLength {
            warnings.append(
                "the identity has \(record.identity.bytes.count) bytes; small clients take "
                    + "\(Self.comfortableIdentityLength) at most"
            )
        }
        if let key = record.key, key.withUnsafeBytes({ bytes in bytes.allSatisfy { $0 == bytes.first } }) {
            warnings.append("all bytes of the key are the same")
        }
        if record.key == nil && record.addresses.isEmpty && record.status == .active {
            warnings.append("without a key and without an address the device has no way in")
        }
        return warnings
    }

    private static func identity(_ text: String) throws(RecordsError) -> PSKIdentity {
        guard let identity = PSKIdentity(text.trimmingSpaces()) else {
            throw RecordsError(
                .badData,
                "identity: not 1 to \(PSKIdentity.maximumLength) bytes without NUL",
                remedy: "shorten it; most clients take \(Self.comfortableIdentityLength) bytes"
            )
        }
        return identity
    }

    private static func key(_ text: String?, _ existing: Secret?) throws(RecordsError) -> Secret? {
        guard let text, !text.isEmpty else { return existing }
        return try KeyNotation.parse(text)
    }

    private static func addresses(_ text: String?, _ existing: [IPPrefix]) throws(RecordsError) -> [IPPrefix] {
        guard let text else { return existing }
        var prefixes: [IPPrefix] = []
        for part in text.split(whereSeparator: { $0 == " " || $0 == "," || $0 == ";" }) {
            guard let prefix = IPPrefix(part) else {
                throw RecordsError(
                    .badData,
                    "address: one of the entries is not an IP address or ADDRESS/LENGTH",
                    remedy: "write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/64, several with spaces between"
                )
            }
            if !prefixes.contains(prefix) { prefixes.append(prefix) }
        }
        return prefixes
    }

    private static func named<T>(_ field: SIMField, _ body: () throws(RecordsError) -> T) throws(RecordsError) -> T {
        do { return try body() } catch {
            throw RecordsError(error.kind, "\(field.rawValue): \(error.what)", remedy: error.remedy)
        }
    }
}

/// Reads one field each, under the rules that all fields share.
private struct FieldReader {
    let fields: SIMFields

    /// Digits, set off by spaces or not, with a `+` before a telephone number.
    func number(_ field: SIMField, _ count: ClosedRange<Int>, _ existing: String?) throws(RecordsError) -> String? {
        guard let text = self.fields[field] else { return existing }
        var digits = text.filter { $0 != " " && $0 != "-" }
        if field == .msisdn, digits.first == "+" { digits.removeFirst() }
        if digits.isEmpty { return nil }
        guard digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }), count.contains(digits.utf8.count) else {
            throw RecordsError(
                .badData,
                "\(field.rawValue): not \(count.lowerBound) to \(count.upperBound) digits",
                remedy: "check the column"
            )
        }
        return digits
    }

    func text(_ field: SIMField, limit: Int, _ existing: String?) throws(RecordsError) -> String? {
        guard let given = self.fields[field] else { return existing }
        let text = given.trimmingSpaces()
        if text.isEmpty { return nil }
        guard text.utf8.count <= limit, !text.unicodeScalars.contains(where: \.isControl) else {
            throw RecordsError(
                .badData,
                "\(field.rawValue): longer than \(limit) bytes, or with control characters",
                remedy: "shorten or clean it"
            )
        }
        return text
    }

    func choice<T: RawRepresentable & CaseIterable>(
        _ field: SIMField,
        _ standard: T,
        _ existing: T?
    ) throws(RecordsError) -> T where T.RawValue == String {
        guard let text = self.fields[field]?.trimmingSpaces() else { return existing ?? standard }
        if text.isEmpty { return standard }
        guard let value = T(rawValue: text.lowercased()) else {
            throw RecordsError(
                .badData,
                "\(field.rawValue): not one of \(T.allCases.map(\.rawValue).joined(separator: ", "))",
                remedy: "use one of these words"
            )
        }
        return value
    }
}
