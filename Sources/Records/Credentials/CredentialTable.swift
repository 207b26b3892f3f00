internal import Foundation
internal import GRDB
package import Gateway
internal import Secrets

/// One-time credentials as rows of `credentials`: every write of the store, each to be run inside a transaction.
struct CredentialTable: Sendable {
    let key: RecordsKey
    let lifetimes: CredentialLifetimes

    func insert(_ credential: OneTimeCredential, at now: Int64, in db: Database) throws {
        let set = try self.set(iccid: credential.iccid, server: credential.server, in: db)
        try self.apply(set.changesBeforeMinting(for: credential.shortServerID, at: now), at: now, in: db)
        let statement = try db.cachedStatement(
            sql: """
                INSERT INTO credentials (identity, sealed_key, fingerprint, iccid, endpoint, server, short_server_id, \
                state, minted_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
                """
        )
        try statement.execute(arguments: [
            Data(credential.identity.bytes),
            try self.key.seal(credential.key, for: .credential(credential.identity)),
            credential.key.fingerprint, credential.iccid, credential.endpoint, credential.server,
            credential.shortServerID, OneTimeCredential.State.pending.rawValue, credential.mintedAt,
        ])
    }

    /// See `CredentialStore.prove`.
    func prove(
        _ identity: PSKIdentity, keepingPrevious: Bool = false, at now: Int64, in db: Database
    ) throws -> [OneTimeCredential] {
        guard let row = try self.row(identity, in: db) else { return [] }
        let set = try self.set(iccid: row[1], server: row[2], in: db)
        let changes = set.changesOnProof(of: row[0], keepingPrevious: keepingPrevious, at: now)
        try self.apply(changes, at: now, in: db)
        if !changes.isEmpty { try PublicationTable.review(iccid: row[1], server: row[2], at: now, in: db) }
        return try changes.compactMap { change in
            guard case .state(let id, _) = change else { return nil }
            return try self.credential(id: id, in: db)
        }
    }

    func discard(_ identities: [PSKIdentity], at now: Int64, in db: Database) throws {
        var owners: [[String]: Set<Int64>] = [:]
        for identity in identities {
            guard let row = try self.row(identity, in: db) else { continue }
            owners[[row[1], row[2]], default: []].insert(row[0])
        }
        for (owner, ids) in owners {
            let set = try self.set(iccid: owner[0], server: owner[1], in: db)
            try self.apply(set.changesOnDiscard(of: ids, at: now), at: now, in: db)
            try PublicationTable.review(iccid: owner[0], server: owner[1], at: now, in: db)
        }
    }

    /// Ends the credentials of a SIM that were minted up to `limit`; nil: all of them. `server` and `identity` leave all
    /// others out.
    ///
    /// - Returns: those that lived until now.
    func revoke(
        iccid: String, server: String? = nil, identity: PSKIdentity? = nil, mintedUpTo limit: Int64?, at now: Int64,
        in db: Database
    ) throws -> [OneTimeCredential] {
        let rows = try Row.fetchAll(
            try db.cachedStatement(
                sql: """
                    SELECT id, state, minted_at, succeeded_at, server FROM credentials \
                    WHERE iccid = ?1 AND state <> 'revoked' AND minted_at <= ?2 \
                    AND (?3 IS NULL OR server = ?3) AND (?4 IS NULL OR identity = ?4)
                    """
            ),
            arguments: [iccid, limit ?? .max, server, identity.map { Data($0.bytes) }]
        )
        for server in Set(rows.map { $0[4] as String }) {
            try PublicationTable.review(iccid: iccid, server: server, at: now, in: db)
        }
        var revoked: [OneTimeCredential] = []
        for row in rows {
            let id: Int64 = row[0]
            try self.apply([.state(id: id, .revoked)], at: now, in: db)
            switch try Self.life(row, from: 1).state(at: now, under: self.lifetimes) {
            case .pending, .active:
                if let credential = try self.credential(id: id, in: db) { revoked.append(credential) }
            case .replaced, .expired, .revoked: continue
            }
        }
        return revoked
    }

    /// Writes down what time has ended, and forgets what ended before `horizon`.
    ///
    /// - Returns: which ended and how many were forgotten. At most `limit` of each kind, so that a bootstrap never waits
    ///   long behind a sweep.
    func sweep(
        at now: Int64, horizon: Int64, limit: Int, in db: Database
    ) throws -> (ended: [EndedCredential], forgotten: Int) {
        var ended: [EndedCredential] = []
        let end: (String, OneTimeCredential.State, Int64) throws -> Void = { condition, state, threshold in
            let rows = try Row.fetchAll(
                try db.cachedStatement(
                    sql: """
                        UPDATE credentials SET state = ?, ended_at = ? WHERE id IN \
                        (SELECT id FROM credentials WHERE \(condition) < ? LIMIT ?) \
                        RETURNING iccid, endpoint, server, short_server_id, fingerprint
                        """
                ),
                arguments: [state.rawValue, now, threshold, limit]
            )
            for row in rows {
                let credential = EndedCredential(
                    state: state, iccid: row[0], endpoint: row[1], server: row[2], shortServerID: row[3],
                    fingerprint: row[4]
                )
                try PublicationTable.review(iccid: credential.iccid, server: credential.server, at: now, in: db)
                ended.append(credential)
            }
        }
        try end(
            "state = 'pending' AND minted_at",
            .expired,
            CredentialLife.threshold(self.lifetimes.useWithin, now: now)
        )
        try end(
            "state = 'active' AND succeeded_at IS NOT NULL AND succeeded_at",
            .replaced,
            CredentialLife.threshold(self.lifetimes.overlap, now: now)
        )
        if let age = self.lifetimes.maximumAge {
            try end("state = 'active' AND minted_at", .expired, CredentialLife.threshold(age, now: now))
        }
        try db.cachedStatement(
            sql: """
                DELETE FROM credentials WHERE id IN \
                (SELECT id FROM credentials WHERE ended_at IS NOT NULL AND ended_at < ? LIMIT ?)
                """
        ).execute(arguments: [horizon, limit])
        return (ended, db.changesCount)
    }

    /// The living credentials of an endpoint at a server, newest first.
    func living(
        iccid: String, server: String, endpoint: String, at now: Int64, in db: Database
    ) throws -> [OneTimeCredential] {
        let rows = try Row.fetchAll(
            try db.cachedStatement(
                sql: """
                    SELECT id, state, minted_at, succeeded_at FROM credentials \
                    WHERE iccid = ? AND server = ? AND endpoint = ? ORDER BY id DESC
                    """
            ),
            arguments: [iccid, server, endpoint]
        )
        return try rows.compactMap { row in
            let state = try Self.life(row, from: 1).state(at: now, under: self.lifetimes)
            guard state == .pending || state == .active else { return nil }
            return try self.credential(id: row[0], in: db)
        }
    }

    private func row(_ identity: PSKIdentity, in db: Database) throws -> Row? {
        try Row.fetchOne(
            try db.cachedStatement(sql: "SELECT id, iccid, server FROM credentials WHERE identity = ?"),
            arguments: [Data(identity.bytes)]
        )
    }

    private func set(iccid: String, server: String, in db: Database) throws -> CredentialSet {
        let rows = try Row.fetchCursor(
            try db.cachedStatement(
                sql: """
                    SELECT id, state, minted_at, succeeded_at, short_server_id FROM credentials \
                    WHERE iccid = ? AND server = ? ORDER BY id
                    """
            ),
            arguments: [iccid, server]
        )
        var members: [CredentialSet.Member] = []
        while let row = try rows.next() {
            members.append(
                CredentialSet.Member(id: row[0], shortServerID: row[4], life: try Self.life(row, from: 1)))
        }
        return CredentialSet(members: members, lifetimes: self.lifetimes)
    }

    /// Reads `state, minted_at, succeeded_at`.
    private static func life(_ row: Row, from column: Int) throws -> CredentialLife {
        guard let state = OneTimeCredential.State(rawValue: row[column]) else {
            throw RecordsError(
                .damaged,
                source: .gateway,
                "a one-time credential has an unknown state",
                remedy: "restore credentials.db, or remove it: devices bootstrap again"
            )
        }
        return CredentialLife(written: state, mintedAt: row[column + 1], provenAt: nil, succeededAt: row[column + 2])
    }

    private func apply(_ changes: [CredentialSet.Change], at now: Int64, in db: Database) throws {
        for change in changes {
            switch change {
            case .state(let id, .active):
                try db.cachedStatement(sql: "UPDATE credentials SET state = 'active', proven_at = ? WHERE id = ?")
                    .execute(arguments: [now, id])
            case .state(let id, let state):
                try db.cachedStatement(
                    sql: "UPDATE credentials SET state = ?, ended_at = ifnull(ended_at, ?) WHERE id = ?"
                ).execute(arguments: [state.rawValue, now, id])
            case .succeeded(let id, let at):
                try db.cachedStatement(sql: "UPDATE credentials SET succeeded_at = ? WHERE id = ?")
                    .execute(arguments: [at, id])
            case .remove(let id):
                try db.cachedStatement(sql: "DELETE FROM credentials WHERE id = ?").execute(arguments: [id])
            }
        }
    }

    private func credential(id: Int64, in db: Database) throws -> OneTimeCredential? {
        let row = try Row.fetchOne(
            try db.cachedStatement(
                sql: """
                    SELECT identity, sealed_key, iccid, endpoint, server, short_server_id, state, minted_at \
                    FROM credentials WHERE id = ?
                    """
            ),
            arguments: [id]
        )
        guard let row, let identity = PSKIdentity(row[0] as Data),
            let key = self.key.open(row[1], for: .credential(identity)),
            let state = OneTimeCredential.State(rawValue: row[6])
        else { return nil }
        return OneTimeCredential(
            identity: identity,
            key: key,
            iccid: row[2],
            endpoint: row[3],
            server: row[4],
            shortServerID: row[5],
            state: state,
            mintedAt: row[7]
        )
    }
}

/// A credential that time has ended.
package struct EndedCredential: Sendable, Equatable {
    /// `replaced`: its overlap has passed; `expired`.
    package var state: OneTimeCredential.State
    package var iccid: String
    package var endpoint: String
    package var server: String
    package var shortServerID: UInt16
    package var fingerprint: String
}
