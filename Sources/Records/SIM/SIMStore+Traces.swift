internal import GRDB
package import Gateway

extension SIMStore {
    /// Leaves an order that a running gateway logs every message of this SIM for so long; it takes the place of an older
    /// one.
    package func trace(_ iccid: ICCID, for duration: Duration, by actor: String) throws(RecordsError) {
        try self.write { db, trail in
            _ = try self.existing(iccid, in: db)
            let seconds = duration.components.seconds
            try db.cachedStatement(sql: "DELETE FROM traces WHERE until <= ?").execute(arguments: [trail.now])
            try db.cachedStatement(
                sql: """
                    INSERT INTO traces (iccid, until) VALUES (?1, ?2) \
                    ON CONFLICT (iccid) DO UPDATE SET until = excluded.until
                    """
            ).execute(arguments: [iccid.digits, trail.now + seconds * 1_000_000])
            try self.tellTrace(iccid, by: actor, [.init("seconds", .integer(seconds))], trail, in: db)
        }
    }

    /// Takes the order back. Returns false when there was none.
    package func endTrace(_ iccid: ICCID, by actor: String) throws(RecordsError) -> Bool {
        try self.write { db, trail in
            try db.cachedStatement(sql: "DELETE FROM traces WHERE iccid = ?").execute(arguments: [iccid.digits])
            guard db.changesCount > 0 else { return false }
            try self.tellTrace(iccid, by: actor, [.init("seconds", .integer(0))], trail, in: db)
            return true
        }
    }

    private func tellTrace(
        _ iccid: ICCID, by actor: String, _ detail: [AuditEvent.Field], _ trail: SIMTrail, in db: Database
    ) throws {
        try trail.change(iccid: iccid.digits, in: db)
        try trail.outbox(
            .simChanged, iccid: iccid.digits,
            detail: [.init("action", .text("trace")), .init("by", .text(actor))] + detail, in: db
        )
    }

    /// Writes down that somebody has seen or exported the key of a SIM.
    package func noteProvision(_ iccid: ICCID, format: String, by actor: String) throws(RecordsError) {
        try self.write { db, trail in
            try trail.change(iccid: iccid.digits, in: db)
            try trail.outbox(
                .simChanged, iccid: iccid.digits,
                detail: [
                    .init("action", .text("provision")), .init("by", .text(actor)), .init("format", .text(format)),
                ],
                in: db
            )
        }
    }
}

extension Records: TraceOrders {
    package func traceOrders(iccid: String?) async throws -> [TraceOrder] {
        let now = self.configuration.clock()
        do {
            return try await self.sims.pool.read { db in
                try Row.fetchAll(
                    db,
                    sql: "SELECT iccid, until FROM traces WHERE until > ?1 AND (?2 IS NULL OR iccid = ?2)",
                    arguments: [now, iccid]
                ).map { TraceOrder(iccid: try $0.decode(atIndex: 0), until: try $0.decode(atIndex: 1)) }
            }
        } catch {
            throw self.sims.file.explain(error)
        }
    }
}
