internal import GRDB
internal import Gateway

/// Where devices have their bootstrap accounts, as rows of `bootstrap_places`. They lie beside the credentials, because the
/// data path learns them: a bulk import of records holds none of its commits up, and one that comes with new credentials
/// shares theirs.
enum PlaceTable {
    /// Of one SIM. `schema` is the name of `credentials.db` there.
    static func sql(schema: String) -> String {
        "SELECT instance FROM \(schema).bootstrap_places WHERE iccid = ?"
    }

    static func place(of iccid: String, in db: Database, with statement: Statement) throws -> SIMRecord.BootstrapPlace {
        try statement.withFirstRow(in: db, binding: { $0.add(iccid) }) { row in
            guard let number = row.optionalInteger(0) else { return .untold }
            return UInt16(exactly: number).map { .instance($0) } ?? .unknown
        } ?? .unknown
    }

    /// To be run inside a transaction.
    static func remember(_ place: SIMRecord.BootstrapPlace, of iccid: String, in db: Database) throws {
        let instance: UInt16?
        switch place {
        case .unknown:
            try db.cachedStatement(sql: "DELETE FROM bootstrap_places WHERE iccid = ?").execute(arguments: [iccid])
            return
        case .untold: instance = nil
        case .instance(let number): instance = number
        }
        try db.cachedStatement(
            sql: """
                INSERT INTO bootstrap_places (iccid, instance) VALUES (?1, ?2) \
                ON CONFLICT (iccid) DO UPDATE SET instance = excluded.instance
                """
        ).execute(arguments: [iccid, instance])
    }
}
