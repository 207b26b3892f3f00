internal import Foundation
internal import GRDB
package import Gateway
package import Secrets

/// SIM records for the people who keep them: what the commands and the admin interface call. It works on the store
/// directly, whether a gateway runs or not; a running one sees each change within a second.
///
/// Calls block while they work, an import for minutes: they belong on a thread of their own, never on an event loop.
/// `by` names in the audit journal who made the change.
package struct SIMStore: Sendable {
    let file: StoreFile
    let pool: DatabasePool
    let key: RecordsKey
    let rules: SIMRules
    let clock: @Sendable () -> Int64

    var table: SIMTable { SIMTable(key: self.key) }

    /// What came of adding or changing a record.
    package struct Result: Sendable {
        package var record: SIMRecord
        /// The key that `key=generate` made: to be shown once, now.
        package var generatedKey: Secret?
        package var warnings: [String]
    }

    /// Bytes of a key that `generate` makes.
    private static let generatedKeyBytes = 16

    /// A new record. Throws `conflict` when the ICCID, the identity or a prefix is taken.
    package func add(_ fields: SIMFields, by actor: String) throws(RecordsError) -> Result {
        let iccid = try ICCID(fields[.iccid] ?? "")
        let (fields, generated) = Self.generatingKey(fields)
        return try self.write { db, trail in
            guard try !self.table.has(iccid: iccid.digits, in: db) else {
                throw RecordsError(
                    .conflict,
                    "SIM \(iccid) exists already",
                    remedy: "change it with `bootgate sim set`"
                )
            }
            let outcome = try self.rules.record(iccid, from: fields, existing: nil)
            try self.refuseConflicts(of: outcome.record, in: db)
            try self.table.insert(outcome.record, in: db)
            try trail.change(iccid: iccid.digits, in: db)
            try trail.outbox(
                .simChanged,
                iccid: iccid.digits,
                detail: Self.detail("add", by: actor, fields: fields),
                in: db
            )
            return Result(record: outcome.record, generatedKey: generated, warnings: outcome.warnings)
        }
    }

    /// Changes the named fields of a record.
    package func set(_ iccid: ICCID, _ fields: SIMFields, by actor: String) throws(RecordsError) -> Result {
        if let given = fields[.iccid], try ICCID(given) != iccid {
            throw RecordsError(
                .badData,
                "the ICCID of a record cannot be changed",
                remedy: "remove the record and add another one"
            )
        }
        let (fields, generated) = Self.generatingKey(fields)
        return try self.write { db, trail in
            let existing = try self.existing(iccid, in: db)
            let outcome = try self.rules.record(iccid, from: fields, existing: existing)
            try self.update(outcome.record, existing: existing, trail: trail, in: db)
            try trail.change(iccid: iccid.digits, in: db)
            try trail.outbox(
                .simChanged,
                iccid: iccid.digits,
                detail: Self.detail("set", by: actor, fields: fields),
                in: db
            )
            return Result(record: outcome.record, generatedKey: generated, warnings: outcome.warnings)
        }
    }

    /// Suspends, resumes or retires a SIM. Its credentials end with the first and the last; none comes back with the
    /// second.
    ///
    /// - Returns: the record, and false when the status was that already (nothing is written then).
    package func setStatus(
        _ status: SIMRecord.Status,
        of iccid: ICCID,
        by actor: String
    ) throws(RecordsError) -> (record: SIMRecord, changed: Bool) {
        try self.write { db, trail in
            let existing = try self.existing(iccid, in: db)
            guard existing.status != status else { return (existing, false) }
            var record = existing
            record.status = status
            try self.update(record, existing: existing, trail: trail, in: db)
            try trail.change(iccid: iccid.digits, in: db)
            let action =
                switch status {
                case .active: "resume"
                case .suspended: "suspend"
                case .retired: "retire"
                }
            try trail.outbox(
                .simChanged,
                iccid: iccid.digits,
                detail: [
                    .init("action", .text(action)), .init("by", .text(actor)),
                    .init("before", .text(existing.status.rawValue)), .init("after", .text(status.rawValue)),
                ],
                in: db
            )
            return (record, true)
        }
    }

    /// Removes a record; its credentials end.
    package func remove(_ iccid: ICCID, by actor: String) throws(RecordsError) {
        try self.write { db, trail in
            guard try self.table.has(iccid: iccid.digits, in: db) else { throw Self.unknown(iccid) }
            try self.table.remove(iccid: iccid.digits, in: db)
            try trail.revokeCredentials(iccid: iccid.digits, cause: .removed, in: db)
            try trail.change(iccid: iccid.digits, in: db)
            try trail.outbox(
                .simChanged,
                iccid: iccid.digits,
                detail: [.init("action", .text("remove")), .init("by", .text(actor))],
                in: db
            )
        }
    }

    /// Ends credentials and grants of a SIM without touching its record; the device bootstraps again. `server` names an
    /// entry of the configuration, `identity` a single credential; nil: all.
    package func revokeCredentials(
        of iccid: ICCID, server: String? = nil, identity: PSKIdentity? = nil, by actor: String
    ) throws(RecordsError) {
        try self.write { db, trail in
            var detail: [AuditEvent.Field] = [
                .init("action", .text("revoke-credentials")), .init("by", .text(actor)),
            ]
            if server == nil && identity == nil {
                try trail.revokeCredentials(iccid: iccid.digits, cause: .revoked, in: db)
            } else {
                try trail.revokeCredentials(iccid: iccid.digits, server: server, identity: identity, in: db)
            }
            if let server { detail.append(.init("server", .text(server))) }
            if let identity { detail.append(.init("identity", .text(identity.description))) }
            try trail.change(iccid: iccid.digits, in: db)
            try trail.outbox(.simChanged, iccid: iccid.digits, detail: detail, in: db)
        }
    }

    /// One record, or nil.
    package func record(_ iccid: ICCID) throws(RecordsError) -> SIMRecord? {
        try self.file.translating { try self.pool.read { try self.table.record(iccid: iccid.digits, in: $0) } }
    }

    /// Whether there is a record, readable or not.
    func has(_ iccid: ICCID) throws(RecordsError) -> Bool {
        try self.file.translating { try self.pool.read { try self.table.has(iccid: iccid.digits, in: $0) } }
    }

    // MARK: - Parts that an import shares

    /// Writes a changed record, with its conflicts and its consequences for credentials.
    func update(_ record: SIMRecord, existing: SIMRecord, trail: SIMTrail, in db: Database) throws {
        if record.identity != existing.identity || record.addresses != existing.addresses {
            try self.refuseConflicts(of: record, in: db)
        }
        try self.table.update(record, existing: existing, in: db)
        if record.status != existing.status && record.status != .active {
            let cause: FailureCause = record.status == .retired ? .retired : .suspended
            try trail.revokeCredentials(iccid: record.iccid, cause: cause, in: db)
        }
    }

    /// Names the other SIM that has the identity or one of the prefixes.
    func refuseConflicts(of record: SIMRecord, in db: Database) throws {
        if let other = try self.table.iccid(ofIdentity: record.identity, in: db), other != record.iccid {
            throw RecordsError(
                .conflict,
                "identity: SIM \(other) has the same one",
                remedy: "give each SIM an identity of its own"
            )
        }
        for prefix in record.addresses {
            if let other = try self.table.iccid(ofPrefix: prefix, in: db), other != record.iccid {
                throw RecordsError(
                    .conflict,
                    "address: \(prefix) belongs to SIM \(other)",
                    remedy: "take it from that SIM first, or give this one a narrower prefix"
                )
            }
        }
    }

    func write<T>(_ body: (Database, SIMTrail) throws -> T) throws(RecordsError) -> T {
        try self.file.translating {
            try self.pool.writeWithoutTransaction { db in
                var result: T?
                try db.inTransaction(.immediate) {
                    result = try body(db, SIMTrail(now: self.clock()))
                    return .commit
                }
                guard let result else {
                    throw RecordsError(.internal, source: .gateway, "a write had no result", remedy: "report this")
                }
                return result
            }
        }
    }

    func existing(_ iccid: ICCID, in db: Database) throws -> SIMRecord {
        guard let record = try self.table.changeable(iccid: iccid.digits, in: db) else { throw Self.unknown(iccid) }
        return record
    }

    private static func unknown(_ iccid: ICCID) -> RecordsError {
        RecordsError(
            .notFound, "there is no SIM \(iccid)", remedy: "`bootgate sim list` shows those that there are"
        )
    }

    private static func generatingKey(_ fields: SIMFields) -> (SIMFields, Secret?) {
        guard fields[.key] == "generate" else { return (fields, nil) }
        let key = Secret.random(count: Self.generatedKeyBytes)
        var fields = fields
        fields[.key] = key.withUnsafeBytes { hexadecimalText($0) }
        return (fields, key)
    }

    /// Names of fields only: a journal record is for ever, and who may read it need not know every value.
    private static func detail(_ action: String, by actor: String, fields: SIMFields) -> [AuditEvent.Field] {
        let names = SIMField.allCases.filter { $0 != .iccid && fields[$0] != nil }.map(\.rawValue)
        var detail: [AuditEvent.Field] = [
            .init("action", .text(action)), .init("by", .text(actor)),
            .init("fields", .list(names.map { .text($0) })),
        ]
        if let status = fields[.status], !status.isEmpty { detail.append(.init("status", .text(status))) }
        return detail
    }
}
