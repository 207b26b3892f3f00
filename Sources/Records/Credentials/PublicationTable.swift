internal import Foundation
internal import GRDB
internal import Gateway
internal import Secrets

/// The list of what servers hold, as rows of `publications`. Every write is to be run inside a transaction.
struct PublicationTable: Sendable {
    let credentials: CredentialTable

    /// See `PublicationStore.open`.
    func open(
        _ credential: OneTimeCredential, keys: GatewayConfiguration.KeysPerEndpoint, at now: Int64, in db: Database
    ) throws {
        try db.cachedStatement(
            sql: """
                INSERT INTO publications (server, iccid, endpoint, identity, due_at) VALUES (?1, ?2, ?3, ?4, ?5) \
                ON CONFLICT (server, endpoint, identity) DO UPDATE SET \
                iccid = excluded.iccid, held = NULL, due_at = excluded.due_at, attempts = 0, version = version + 1
                """
        ).execute(arguments: [
            credential.server, credential.iccid, credential.endpoint,
            keys == .one ? Data() : Data(credential.identity.bytes),
            CredentialLife.later(now, by: PublicationDesk.patience),
        ])
    }

    /// The line of a credential that its bootstrap has finished with: the server holds it, and nothing is left to do.
    func conclude(
        _ credential: OneTimeCredential, keys: GatewayConfiguration.KeysPerEndpoint, in db: Database
    ) throws {
        try db.cachedStatement(
            sql: """
                UPDATE publications SET held = ?1, due_at = NULL, attempts = 0, version = version + 1 \
                WHERE server = ?2 AND endpoint = ?3 AND identity = ?4
                """
        ).execute(arguments: [
            Data(credential.identity.bytes), credential.server, credential.endpoint,
            keys == .one ? Data() : Data(credential.identity.bytes),
        ])
    }

    /// Time, ICCID, server: what the server was told of this SIM is to be looked at.
    static let reviewSQL = """
        UPDATE publications SET due_at = min(ifnull(due_at, ?1), ?1), attempts = 0, version = version + 1 \
        WHERE iccid = ?2 AND server = ?3
        """

    func reviewUnconcluded(at now: Int64, in db: Database) throws {
        try db.cachedStatement(
            sql: "UPDATE publications SET due_at = ?, version = version + 1 WHERE due_at IS NOT NULL"
        ).execute(arguments: [now])
    }

    func due(at now: Int64, limit: Int, in db: Database) throws -> [PublicationLine] {
        var lines: [PublicationLine] = []
        try db.cachedStatement(
            sql: """
                SELECT id, server, endpoint FROM publications \
                WHERE due_at IS NOT NULL AND due_at <= ? ORDER BY due_at LIMIT ?
                """
        ).withRows([now, limit], in: db) { row in
            lines.append(PublicationLine(id: row.integer(0), server: row.text(1), endpoint: row.text(2)))
            return true
        }
        return lines
    }

    func duty(_ line: Int64, at now: Int64, in db: Database) throws -> PublicationDuty? {
        let statement = try db.cachedStatement(
            sql: """
                SELECT version, server, iccid, endpoint, identity, held, attempts FROM publications \
                WHERE id = ? AND due_at IS NOT NULL AND due_at <= ?
                """
        )
        let found = try statement.withFirstRow([line, now], in: db) { row in
            PublicationDuty(
                id: line, version: row.integer(0), server: row.text(1), iccid: row.text(2), endpoint: row.text(3),
                identity: row.withBlob(4) { PSKIdentity($0) }, held: row.withBlob(5) { PSKIdentity($0) }, wanted: nil,
                attempts: Int(row.integer(6))
            )
        }
        guard var duty = found else { return nil }
        let present = try self.credentials.living(
            iccid: duty.iccid, server: duty.server, endpoint: duty.endpoint, at: now, in: db
        )
        duty.wanted =
            duty.identity.map { identity in present.first { $0.identity == identity } }
            ?? PublicationDuty.choose(among: present)
        return duty
    }

    /// See `PublicationStore.settle`. A line about nothing goes.
    func settle(_ duty: PublicationDuty, in db: Database) throws {
        if let wanted = duty.wanted {
            try db.cachedStatement(
                sql: """
                    UPDATE publications SET held = ?, due_at = NULL, attempts = 0 WHERE id = ? AND version = ?
                    """
            ).execute(arguments: [Data(wanted.identity.bytes), duty.id, duty.version])
        } else {
            try db.cachedStatement(sql: "DELETE FROM publications WHERE id = ? AND version = ?")
                .execute(arguments: [duty.id, duty.version])
        }
    }

    func postpone(_ duty: PublicationDuty, at now: Int64, in db: Database) throws {
        let attempts = duty.attempts + 1
        try db.cachedStatement(
            sql: "UPDATE publications SET held = NULL, due_at = ?, attempts = ? WHERE id = ? AND version = ?"
        ).execute(arguments: [
            CredentialLife.later(now, by: PublicationDuty.pause(afterAttempts: attempts)), attempts, duty.id,
            duty.version,
        ])
    }
}
