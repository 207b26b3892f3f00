internal import GRDB
internal import Gateway

/// Plain grants as rows of `grants`: the same life as that of one-time credentials, without identity and key. Every
/// write is to be run inside a transaction.
struct GrantTable: Sendable {
    /// Seals what upstream wrote.
    let key: RecordsKey
    let policy: LifetimePolicy
    var lifetimes: CredentialLifetimes { self.policy.current }

    func insert(_ grant: PlainGrant, at now: Int64, in db: Database) throws {
        let set = try self.set(grant.key, in: db)
        try self.apply(set.changesBeforeMinting(for: grant.shortServerID, at: now), at: now, in: db)
        let upstream = try grant.written.map {
            try SealedUpstreamAccount.seal($0, for: .upstreamOfGrant(grant.id), with: self.key)
        }
        try db.cachedStatement(
            sql: """
                INSERT INTO grants (uid, iccid, endpoint, server, short_server_id, state, minted_at, sealed_upstream) \
                VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                """
        ).execute(arguments: [
            grant.id, grant.key.iccid, grant.endpoint, grant.key.server, grant.shortServerID,
            OneTimeCredential.State.pending.rawValue, grant.mintedAt, upstream,
        ])
    }

    /// See `CredentialStore.prove(grant:)`.
    func prove(_ uid: Int64, at now: Int64, in db: Database) throws -> [PlainGrant] {
        guard let (id, key) = try self.owner(of: uid, in: db) else { return [] }
        let changes = try self.set(key, in: db).changesOnProof(of: id, at: now)
        try self.apply(changes, at: now, in: db)
        return try changes.compactMap { change in
            guard case .state(let id, _) = change else { return nil }
            return try self.grant(id: id, key: key, in: db)
        }
    }

    func discard(_ uids: [Int64], at now: Int64, in db: Database) throws {
        var owners: [PlainGrant.Key: Set<Int64>] = [:]
        for uid in uids {
            guard let (id, key) = try self.owner(of: uid, in: db) else { continue }
            owners[key, default: []].insert(id)
        }
        for (key, ids) in owners {
            try self.apply(try self.set(key, in: db).changesOnDiscard(of: ids, at: now), at: now, in: db)
        }
    }

    /// Ends the grants of a SIM that were minted up to `limit` (nil: all of them), of one server or of all.
    func revoke(
        iccid: String, server: String? = nil, mintedUpTo limit: Int64?, at now: Int64, in db: Database
    ) throws {
        try db.cachedStatement(
            sql: """
                UPDATE grants SET state = 'revoked', ended_at = ifnull(ended_at, ?1) \
                WHERE iccid = ?2 AND state <> 'revoked' AND minted_at <= ?3 AND (?4 IS NULL OR server = ?4)
                """
        ).execute(arguments: [now, iccid, limit ?? .max, server])
    }

    /// Writes down what time has ended, and forgets what ended before `horizon`; at most `limit` of each kind.
    ///
    /// - Returns: the largest number of rows that one step has changed.
    func sweep(at now: Int64, horizon: Int64, limit: Int, in db: Database) throws -> Int {
        var most = 0
        func end(_ condition: String, _ state: OneTimeCredential.State, _ threshold: Int64) throws {
            try db.cachedStatement(
                sql: """
                    UPDATE grants SET state = ?, ended_at = ? WHERE id IN \
                    (SELECT id FROM grants WHERE \(condition) < ? LIMIT ?)
                    """
            ).execute(arguments: [state.rawValue, now, threshold, limit])
            most = max(most, db.changesCount)
        }
        try end(
            "state = 'pending' AND minted_at", .expired, CredentialLife.threshold(self.lifetimes.useWithin, now: now))
        try end(
            "state = 'active' AND succeeded_at IS NOT NULL AND succeeded_at", .replaced,
            CredentialLife.threshold(self.lifetimes.overlap, now: now)
        )
        if let age = self.lifetimes.maximumAge {
            try end("state = 'active' AND minted_at", .expired, CredentialLife.threshold(age, now: now))
        }
        try db.cachedStatement(
            sql: """
                DELETE FROM grants WHERE id IN \
                (SELECT id FROM grants WHERE ended_at IS NOT NULL AND ended_at < ? LIMIT ?)
                """
        ).execute(arguments: [horizon, limit])
        return max(most, db.changesCount)
    }

    // MARK: - Reading

    /// The rows of a SIM and server, newest first, with the mark that revokes them; for ``living(_:key:at:under:)``.
    static func livingSQL(schema: String) -> String {
        """
        SELECT uid, endpoint, short_server_id, state, minted_at, succeeded_at, \
        (SELECT at FROM revocations r WHERE r.iccid = g.iccid), \
        (SELECT max(at) FROM narrow_revocations n WHERE n.iccid = g.iccid AND n.server IN ('', g.server) \
        AND n.identity = x''), sealed_upstream \
        FROM \(schema).grants g WHERE iccid = ? AND server = ? ORDER BY id DESC
        """
    }

    /// The grant of a row, if a device may still register under it.
    static func living(
        _ row: SQLiteRow, key: PlainGrant.Key, at now: Int64, under lifetimes: CredentialLifetimes,
        sealedWith sealing: RecordsKey
    ) -> PlainGrant? {
        guard let written = OneTimeCredential.State(rawValue: row.text(3)),
            let shortServerID = UInt16(exactly: row.integer(2))
        else { return nil }
        let life = CredentialLife(
            written: written, mintedAt: row.integer(4), provenAt: nil, succeededAt: row.optionalInteger(5)
        )
        if let revokedAt = row.optionalInteger(6), life.mintedAt <= revokedAt { return nil }
        if let revokedAt = row.optionalInteger(7), life.mintedAt <= revokedAt { return nil }
        let id = row.integer(0)
        var grant = PlainGrant(
            id: id, key: key, endpoint: row.text(1), shortServerID: shortServerID,
            state: life.state(at: now, under: lifetimes), mintedAt: life.mintedAt
        )
        guard grant.isAlive else { return nil }
        // One that cannot be read is none: the device gets 4.03, and its bootstrap brings another.
        if !row.isNull(8) {
            grant.written = row.withBlob(8) { SealedUpstreamAccount.open($0, for: .upstreamOfGrant(id), with: sealing) }
        }
        return grant
    }

    private func owner(of uid: Int64, in db: Database) throws -> (id: Int64, key: PlainGrant.Key)? {
        try db.cachedStatement(sql: "SELECT id, iccid, server FROM grants WHERE uid = ?").withFirstRow([uid], in: db) {
            ($0.integer(0), PlainGrant.Key(iccid: $0.text(1), server: $0.text(2)))
        }
    }

    private func grant(id: Int64, key: PlainGrant.Key, in db: Database) throws -> PlainGrant? {
        let found = try db.cachedStatement(
            sql: "SELECT uid, endpoint, short_server_id, state, minted_at FROM grants WHERE id = ?"
        ).withFirstRow([id], in: db) { row -> PlainGrant? in
            guard let state = OneTimeCredential.State(rawValue: row.text(3)),
                let shortServerID = UInt16(exactly: row.integer(2))
            else { return nil }
            return PlainGrant(
                id: row.integer(0), key: key, endpoint: row.text(1), shortServerID: shortServerID, state: state,
                mintedAt: row.integer(4)
            )
        }
        return found.flatMap { $0 }
    }

    private func set(_ key: PlainGrant.Key, in db: Database) throws -> CredentialSet {
        var members: [CredentialSet.Member] = []
        try db.cachedStatement(
            sql: """
                SELECT id, state, minted_at, succeeded_at, short_server_id FROM grants WHERE iccid = ? AND server = ? ORDER BY id
                """
        ).withRows([key.iccid, key.server], in: db) { row in
            guard let state = OneTimeCredential.State(rawValue: row.text(1)) else {
                throw RecordsError(
                    .damaged, source: .gateway, "a plain grant has an unknown state",
                    remedy: "restore credentials.db, or remove it: devices bootstrap again"
                )
            }
            let life = CredentialLife(
                written: state, mintedAt: row.integer(2), provenAt: nil, succeededAt: row.optionalInteger(3)
            )
            members.append(
                CredentialSet.Member(
                    id: row.integer(0), shortServerID: UInt16(clamping: row.integer(4)), life: life))
            return true
        }
        return CredentialSet(members: members, lifetimes: self.lifetimes)
    }

    private func apply(_ changes: [CredentialSet.Change], at now: Int64, in db: Database) throws {
        for change in changes {
            switch change {
            case .state(let id, .active):
                try db.cachedStatement(sql: "UPDATE grants SET state = 'active', proven_at = ? WHERE id = ?")
                    .execute(arguments: [now, id])
            case .state(let id, let state):
                try db.cachedStatement(
                    sql: "UPDATE grants SET state = ?, ended_at = ifnull(ended_at, ?) WHERE id = ?"
                ).execute(arguments: [state.rawValue, now, id])
            case .succeeded(let id, let at):
                try db.cachedStatement(sql: "UPDATE grants SET succeeded_at = ? WHERE id = ?")
                    .execute(arguments: [at, id])
            case .remove(let id):
                try db.cachedStatement(sql: "DELETE FROM grants WHERE id = ?").execute(arguments: [id])
            }
        }
    }
}
