internal import GRDB
internal import Gateway

extension SIMStore {
    /// A mark that ends the credentials of a SIM which were minted up to a time.
    struct Revocation: Sendable, Equatable {
        var iccid: String
        /// Wall clock, microseconds since 1970.
        var at: Int64
        /// Whether the SIM is active again, so that newer credentials may be good ones. If it is not, all end, even
        /// those that a clock which was set back would date later than the mark.
        var isLive: Bool
    }

    /// Marks that were never applied, and those from before `horizon`, which are applied a last time.
    func pendingRevocations(horizon: Int64, limit: Int) throws(RecordsError) -> [Revocation] {
        try self.file.translating {
            try self.pool.read { db in
                try Row.fetchAll(
                    db,
                    sql: """
                        SELECT r.iccid, r.at, ifnull(s.status, '') FROM revocations r \
                        LEFT JOIN sims s ON s.iccid = r.iccid WHERE r.applied = 0 OR r.at < ? LIMIT ?
                        """,
                    arguments: [horizon, limit]
                ).map { Revocation(iccid: $0[0], at: $0[1], isLive: $0[2] == SIMRecord.Status.active.rawValue) }
            }
        }
    }

    /// Remembers that `marks` were applied; those from before `horizon` go. One that was renewed meanwhile stays.
    func settleRevocations(_ marks: [Revocation], horizon: Int64) throws(RecordsError) {
        try self.file.translating {
            try self.pool.write { db in
                let settle = try db.cachedStatement(
                    sql: "UPDATE revocations SET applied = 1 WHERE iccid = ? AND at = ?"
                )
                let remove = try db.cachedStatement(sql: "DELETE FROM revocations WHERE iccid = ? AND at = ?")
                for mark in marks {
                    try (mark.at < horizon ? remove : settle).execute(arguments: [mark.iccid, mark.at])
                }
            }
        }
    }
}
