internal import Foundation
internal import GRDB
package import Gateway

/// What `sim list` asks for. Records come in the order of their ICCIDs, page after page.
package struct SIMQuery: Sendable, Equatable {
    package var status: SIMRecord.Status?
    package var group: String?
    /// Part of an ICCID, IMSI, IMEI, MSISDN, device ID, endpoint, identity or note, without regard to ASCII case.
    package var text: String?
    /// The last ICCID of the page before.
    package var after: String?
    /// Records on the page, 1 to 10,000.
    package var limit = 100

    package init() {}
}

extension SIMStore {
    /// One page. Keys are not opened: the records come without them, `hasKey` says whether there is one.
    package struct Listing: Sendable {
        package var record: SIMRecord
        package var hasKey: Bool
    }

    package func list(_ query: SIMQuery) throws(RecordsError) -> [Listing] {
        var conditions: [String] = []
        var arguments = StatementArguments()
        if let status = query.status {
            conditions.append("status = ?")
            arguments += [status.rawValue]
        }
        if let group = query.group {
            conditions.append("sim_group = ?")
            arguments += [group]
        }
        if let text = query.text, !text.isEmpty {
            let pattern = "%" + text.map { "%_\\".contains($0) ? "\\\($0)" : "\($0)" }.joined() + "%"
            let columns = [
                "iccid", "imsi", "imei", "msisdn", "device_id", "endpoint", "CAST(identity AS TEXT)", "note",
            ]
            conditions.append(
                "(" + columns.map { "\($0) LIKE ? ESCAPE '\\'" }.joined(separator: " OR ") + ")"
            )
            arguments += StatementArguments(columns.map { _ in pattern })
        }
        if let after = query.after {
            conditions.append("iccid > ?")
            arguments += [after]
        }
        arguments += [min(max(query.limit, 1), 10_000)]
        let filter = conditions.isEmpty ? "" : "WHERE \(conditions.joined(separator: " AND "))"
        let sql = "SELECT \(SIMTable.columns) FROM sims \(filter) ORDER BY iccid LIMIT ?"
        let all = arguments
        return try self.file.translating {
            try self.pool.read { db in
                var listings: [Listing] = []
                try db.makeStatement(sql: sql).withRows(all, in: db) { row in
                    listings.append(
                        Listing(record: try SIMTable.record(from: row, key: nil), hasKey: !row.isNull(0))
                    )
                    return true
                }
                return listings
            }
        }
    }

    /// How many records there are.
    package func count() throws(RecordsError) -> Int {
        try self.file.translating {
            try self.pool.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM sims") ?? 0 }
        }
    }
}
