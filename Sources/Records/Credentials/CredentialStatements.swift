internal import GRDB

/// The statements of ``CredentialTable``, ready to run on one connection: made once, and used inside its transactions
/// alone, on the one thread that runs them.
struct CredentialStatements {
    let db: Database
    /// id, state, minted_at, succeeded_at, short_server_id of one SIM and server, oldest first.
    let ofServer: Statement
    /// The first four of one SIM, and server and identity: what is not revoked yet.
    let ofSIM: Statement
    /// The same of everything behind a place, and ICCID and ended_at.
    let page: Statement
    /// Where an identity is.
    let place: Statement
    let whole: Statement
    let insert: Statement
    let activate: Statement
    let end: Statement
    let succeed: Statement
    let remove: Statement
    let review: Statement
    /// For the keys that are sealed.
    let nonces = Nonces()

    init(_ db: Database) throws {
        self.db = db
        self.ofServer = try db.cachedStatement(sql: Self.ofServerSQL)
        self.ofSIM = try db.cachedStatement(sql: Self.ofSIMSQL)
        self.page = try db.cachedStatement(sql: Self.pageSQL)
        self.place = try db.cachedStatement(sql: Self.placeSQL)
        self.whole = try db.cachedStatement(sql: Self.wholeSQL)
        self.insert = try db.cachedStatement(sql: Self.insertSQL)
        self.activate = try db.cachedStatement(sql: Self.activateSQL)
        self.end = try db.cachedStatement(sql: Self.endSQL)
        self.succeed = try db.cachedStatement(sql: Self.succeedSQL)
        self.remove = try db.cachedStatement(sql: Self.removeSQL)
        self.review = try db.cachedStatement(sql: PublicationTable.reviewSQL)
    }

    /// Something about the credentials of this SIM and server has changed: what the server was told is to be looked at.
    func reviewPublications(of owner: (iccid: String, server: String), at now: Int64) throws {
        try self.review.run(in: self.db) { row in
            row.add(now)
            row.add(owner.iccid)
            row.add(owner.server)
        }
    }

    private static let row = "WHERE iccid = ? AND server = ? AND id = ?"
    private static let ofServerSQL = """
        SELECT id, state, minted_at, succeeded_at, short_server_id FROM credentials \
        WHERE iccid = ? AND server = ? ORDER BY id
        """
    private static let ofSIMSQL = """
        SELECT id, state, minted_at, succeeded_at, server, identity FROM credentials \
        WHERE iccid = ? AND state <> 'revoked' AND minted_at <= ?
        """
    private static let pageSQL = """
        SELECT id, state, minted_at, succeeded_at, server, iccid, ended_at FROM credentials \
        WHERE (iccid, server, id) > (?, ?, ?) ORDER BY iccid, server, id LIMIT ?
        """
    private static let placeSQL = "SELECT iccid, server, id FROM credentials WHERE identity = ?"
    private static let wholeSQL = """
        SELECT identity, sealed_key, endpoint, short_server_id, state, minted_at FROM credentials \(row)
        """
    private static let insertSQL = """
        INSERT INTO credentials (iccid, server, id, identity, sealed_key, fingerprint, endpoint, short_server_id, \
        state, minted_at, sealed_upstream) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        """
    private static let activateSQL = "UPDATE credentials SET state = 'active', proven_at = ? \(row)"
    private static let endSQL = "UPDATE credentials SET state = ?, ended_at = ifnull(ended_at, ?) \(row)"
    private static let succeedSQL = "UPDATE credentials SET succeeded_at = ? \(row)"
    private static let removeSQL = "DELETE FROM credentials \(row)"
}
