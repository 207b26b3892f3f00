internal import Foundation
internal import GRDB
internal import Gateway
internal import Secrets

/// What every change of SIM records leaves behind in its own transaction: a row for the running gateway, a row for the
/// audit journal, and, where the SIM may no longer use what it has, a mark that ends its credentials.
struct SIMTrail {
    /// Rows of `changes` that are kept: who has missed more looks at everything again.
    static let changeLimit: Int64 = 10_000

    let now: Int64

    /// - Parameter iccid: nil when more changed than can be named.
    func change(iccid: String?, in db: Database) throws {
        try db.cachedStatement(sql: "INSERT INTO changes (iccid) VALUES (?)").execute(arguments: [iccid])
        try db.cachedStatement(sql: "DELETE FROM changes WHERE seq <= ?")
            .execute(arguments: [db.lastInsertedRowID - Self.changeLimit])
    }

    func outbox(
        _ event: AuditEvent.Name,
        iccid: String?,
        detail: [AuditEvent.Field],
        in db: Database
    ) throws {
        var json = JSONWriter()
        json.object(detail)
        try db.cachedStatement(sql: "INSERT INTO outbox (uid, at, event, iccid, detail) VALUES (?, ?, ?, ?, ?)")
            .execute(arguments: [
                Int64.random(in: 1 ... .max), self.now, event.rawValue, iccid,
                String(decoding: json.bytes, as: UTF8.self),
            ])
    }

    func revokeCredentials(iccid: String, cause: FailureCause, in db: Database) throws {
        if cause != .revoked {
            // Who may not come at all is not asked to.
            try db.cachedStatement(sql: "DELETE FROM rebootstraps WHERE iccid = ?").execute(arguments: [iccid])
        }
        try db.cachedStatement(
            sql: """
                INSERT INTO revocations (iccid, at, cause) VALUES (?1, ?2, ?3) \
                ON CONFLICT (iccid) DO UPDATE SET at = max(at, excluded.at), applied = 0, cause = excluded.cause
                """
        ).execute(arguments: [iccid, self.now, cause.rawValue])
    }

    /// The same for those of one server, or for one alone.
    func revokeCredentials(iccid: String, server: String?, identity: PSKIdentity?, in db: Database) throws {
        try db.cachedStatement(
            sql: """
                INSERT INTO narrow_revocations (iccid, server, identity, at) VALUES (?1, ?2, ?3, ?4) \
                ON CONFLICT (iccid, server, identity) DO UPDATE SET at = max(at, excluded.at), applied = 0
                """
        ).execute(arguments: [iccid, server ?? "", identity.map { Data($0.bytes) } ?? Data(), self.now])
    }
}
