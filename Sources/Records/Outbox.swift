internal import GRDB
package import Gateway

/// A change that a command left for the audit journal.
package struct OutboxRow: Sendable, Equatable {
    let id: Int64
    /// Random; the journal keeps it as `detail.outbox`, so that a row that was told before a crash is known again.
    package let uid: Int64
    package let event: AuditEvent
}

/// The rows that commands leave in `sims.db` and that only `serve` takes away.
struct Outbox: Sendable {
    let file: StoreFile
    let pool: DatabasePool

    /// The oldest rows, `limit` at most.
    func rows(limit: Int) throws(RecordsError) -> [OutboxRow] {
        try self.file.translating {
            try self.pool.read { db in
                try Row.fetchAll(
                    db,
                    sql: "SELECT id, uid, at, event, iccid, detail FROM outbox ORDER BY id LIMIT ?",
                    arguments: [limit]
                ).map { row in
                    let detail = try? JSONReader.read((row[5] as String).utf8)
                    var event = AuditEvent(
                        AuditEvent.Name(rawValue: row[3]) ?? .simChanged,
                        time: row[2],
                        iccid: row[4],
                        detail: detail?.auditFields ?? []
                    )
                    event.detail.append(.init("outbox", .integer(row[1])))
                    return OutboxRow(id: row[0], uid: row[1], event: event)
                }
            }
        }
    }

    func remove(_ rows: [OutboxRow]) throws(RecordsError) {
        guard !rows.isEmpty else { return }
        try self.file.translating {
            try self.pool.write { db in
                for row in rows {
                    try db.cachedStatement(sql: "DELETE FROM outbox WHERE id = ? AND uid = ?")
                        .execute(arguments: [row.id, row.uid])
                }
            }
        }
    }
}
