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
                    // One that cannot be read is no reason to tell nothing.
                    let detail = try? JSONReader.read(try row.decode(String.self, atIndex: 5).utf8)
                    let uid = try row.decode(Int64.self, atIndex: 1)
                    var event = AuditEvent(
                        AuditEvent.Name(rawValue: try row.decode(atIndex: 3)) ?? .simChanged,
                        time: try row.decode(atIndex: 2),
                        iccid: try row.decode(atIndex: 4),
                        detail: detail?.auditFields ?? []
                    )
                    event.detail.append(.init("outbox", .integer(uid)))
                    return OutboxRow(id: try row.decode(atIndex: 0), uid: uid, event: event)
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
