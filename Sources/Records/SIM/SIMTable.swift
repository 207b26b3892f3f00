internal import Foundation
internal import GRDB
internal import Gateway
internal import Secrets

/// SIM records as rows of `sims` and `addresses`: the only place that knows the columns.
struct SIMTable {
    let key: RecordsKey

    /// In the order in which ``record(from:sealedKey:)`` reads them; the sealed key is the first.
    static let columns = """
        sealed_key, iccid, imsi, imei, msisdn, device_id, endpoint, endpoint_policy, identity, addresses, status, \
        profile, sim_group, note
        """

    func insert(_ record: SIMRecord, in db: Database) throws {
        let statement = try db.cachedStatement(
            sql: """
                INSERT INTO sims (sealed_key, imsi, imei, msisdn, device_id, endpoint, endpoint_policy, identity, \
                addresses, status, profile, sim_group, note, iccid) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                """
        )
        try statement.execute(arguments: try self.arguments(for: record))
        try self.insertAddresses(of: record, in: db)
    }

    /// `existing` is what is in the table now.
    func update(_ record: SIMRecord, existing: SIMRecord, in db: Database) throws {
        let statement = try db.cachedStatement(
            sql: """
                UPDATE sims SET sealed_key = ?, imsi = ?, imei = ?, msisdn = ?, device_id = ?, endpoint = ?, \
                endpoint_policy = ?, identity = ?, addresses = ?, status = ?, profile = ?, sim_group = ?, note = ? \
                WHERE iccid = ?
                """
        )
        try statement.execute(arguments: try self.arguments(for: record))
        if record.addresses != existing.addresses {
            try self.removeAddresses(of: record.iccid, in: db)
            try self.insertAddresses(of: record, in: db)
        }
    }

    func remove(iccid: String, in db: Database) throws {
        try self.removeAddresses(of: iccid, in: db)
        try db.cachedStatement(sql: "DELETE FROM sims WHERE iccid = ?").execute(arguments: [iccid])
    }

    func record(iccid: String, in db: Database) throws -> SIMRecord? {
        let statement = try db.cachedStatement(sql: "SELECT \(Self.columns) FROM sims WHERE iccid = ?")
        return try statement.withFirstRow(in: db, binding: { $0.add(iccid) }) { try self.record(from: $0) }
    }

    /// The record as people change it: one whose key cannot be opened any more has none, so that it can get another.
    func changeable(iccid: String, in db: Database) throws -> SIMRecord? {
        let statement = try db.cachedStatement(sql: "SELECT \(Self.columns) FROM sims WHERE iccid = ?")
        return try statement.withFirstRow(in: db, binding: { $0.add(iccid) }) { row in
            try (try? self.record(from: row)) ?? Self.record(from: row, key: nil)
        }
    }

    /// Whether there is a record, readable or not.
    func has(iccid: String, in db: Database) throws -> Bool {
        let statement = try db.cachedStatement(sql: "SELECT 1 FROM sims WHERE iccid = ?")
        return try statement.withFirstRow(in: db, binding: { $0.add(iccid) }) { _ in true } ?? false
    }

    /// Who has this identity already.
    func iccid(ofIdentity identity: PSKIdentity, in db: Database) throws -> String? {
        try String.fetchOne(
            try db.cachedStatement(sql: "SELECT iccid FROM sims WHERE identity = ?"),
            arguments: [Data(identity.bytes)]
        )
    }

    /// Who has exactly this prefix already.
    func iccid(ofPrefix prefix: IPPrefix, in db: Database) throws -> String? {
        try String.fetchOne(
            try db.cachedStatement(sql: "SELECT iccid FROM addresses WHERE length = ? AND base = ?"),
            arguments: [prefix.length, prefix.base.data]
        )
    }

    /// Opens the sealed key of `row`, whose columns are ``columns``.
    func record(from row: SQLiteRow) throws -> SIMRecord {
        guard !row.isNull(0) else { return try Self.record(from: row, key: nil) }
        let iccid = row.text(1)
        guard let key = row.withBlob(0, { self.key.open($0, for: .sim(iccid: iccid)) }) else {
            throw Self.damaged(iccid)
        }
        return try Self.record(from: row, key: key)
    }

    static func record(from row: SQLiteRow, key: Secret?) throws -> SIMRecord {
        let iccid = row.text(1)
        guard let endpointPolicy = SIMRecord.EndpointPolicy(rawValue: row.text(7)),
            let identity = row.withBlob(8, { PSKIdentity($0) }),
            let status = SIMRecord.Status(rawValue: row.text(10)),
            let profile = SIMRecord.Profile(rawValue: row.text(11))
        else { throw Self.damaged(iccid) }
        var addresses: [IPPrefix] = []
        if let text = row.optionalText(9) {
            addresses = text.split(separator: " ").compactMap { IPPrefix($0) }
        }
        return SIMRecord(
            iccid: iccid,
            imsi: row.optionalText(2),
            imei: row.optionalText(3),
            msisdn: row.optionalText(4),
            deviceID: row.optionalText(5),
            endpoint: row.text(6),
            endpointPolicy: endpointPolicy,
            identity: identity,
            key: key,
            addresses: addresses,
            status: status,
            profile: profile,
            group: row.optionalText(12),
            note: row.optionalText(13)
        )
    }

    static func damaged(_ iccid: String) -> RecordsError {
        RecordsError(
            .damaged,
            source: .gateway,
            "the record of SIM \(iccid) cannot be read",
            remedy: "give it its key again with `bootgate sim set`, or remove the record and add it anew"
        )
    }

    private func arguments(for record: SIMRecord) throws -> StatementArguments {
        let sealed = try record.key.map { try self.key.seal($0, for: .sim(iccid: record.iccid)) }
        let addresses = record.addresses.isEmpty ? nil : record.addresses.map(\.description).joined(separator: " ")
        return [
            sealed, record.imsi, record.imei, record.msisdn, record.deviceID, record.endpoint,
            record.endpointPolicy.rawValue, Data(record.identity.bytes), addresses, record.status.rawValue,
            record.profile.rawValue, record.group, record.note, record.iccid,
        ]
    }

    private func insertAddresses(of record: SIMRecord, in db: Database) throws {
        for prefix in record.addresses {
            try db.cachedStatement(sql: "INSERT INTO addresses (length, base, iccid) VALUES (?, ?, ?)")
                .execute(arguments: [prefix.length, prefix.base.data, record.iccid])
        }
    }

    private func removeAddresses(of iccid: String, in db: Database) throws {
        try db.cachedStatement(sql: "DELETE FROM addresses WHERE iccid = ?").execute(arguments: [iccid])
    }
}

extension IPAddress {
    /// 16 bytes in network order, so that SQLite compares them as addresses.
    var data: Data {
        withUnsafeBytes(of: (self.high.bigEndian, self.low.bigEndian)) { Data($0) }
    }
}
