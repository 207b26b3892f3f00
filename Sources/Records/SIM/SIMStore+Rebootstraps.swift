internal import GRDB
package import Gateway

extension SIMStore {
    /// Leaves an order that the device bootstraps again; it takes the place of an older one. The SIM must be active.
    package func rebootstrap(_ iccid: ICCID, by actor: String) throws(RecordsError) {
        try self.write { db, trail in
            let record = try self.existing(iccid, in: db)
            guard record.status == .active else {
                throw RecordsError(
                    .conflict,
                    "SIM \(iccid) is \(record.status.rawValue), so its device may not bootstrap",
                    remedy: "`bootgate sim resume \(iccid)` first"
                )
            }
            try db.cachedStatement(
                sql: """
                    INSERT INTO rebootstraps (iccid, uid, at) VALUES (?1, ?2, ?3) \
                    ON CONFLICT (iccid) DO UPDATE SET uid = excluded.uid, at = excluded.at
                    """
            ).execute(arguments: [iccid.digits, Int64.random(in: 1 ... .max), trail.now])
            try trail.change(iccid: iccid.digits, in: db)
            try trail.outbox(
                .simChanged,
                iccid: iccid.digits,
                detail: [.init("action", .text("rebootstrap")), .init("by", .text(actor))],
                in: db
            )
        }
    }
}

extension Records: RebootstrapOrders {
    package func rebootstrapOrders(iccid: String?) async throws -> [RebootstrapOrder] {
        do {
            return try await self.sims.pool.read { db in
                try Row.fetchAll(
                    db,
                    sql: "SELECT uid, iccid, at FROM rebootstraps WHERE ?1 IS NULL OR iccid = ?1",
                    arguments: [iccid]
                ).map {
                    RebootstrapOrder(
                        id: try $0.decode(atIndex: 0), iccid: try $0.decode(atIndex: 1),
                        orderedAt: try $0.decode(atIndex: 2))
                }
            }
        } catch {
            throw self.sims.file.explain(error)
        }
    }

    package func settle(_ order: RebootstrapOrder) async throws {
        do {
            try await self.sims.pool.write { db in
                try db.execute(
                    sql: "DELETE FROM rebootstraps WHERE iccid = ? AND uid = ?", arguments: [order.iccid, order.id]
                )
            }
        } catch {
            throw self.sims.file.explain(error)
        }
    }
}
