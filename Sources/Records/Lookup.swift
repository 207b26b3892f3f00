internal import Foundation
internal import GRDB
internal import Gateway
internal import Logging
internal import Secrets

/// The look-ups of the data path: one connection that only reads, on a queue of its own, with both files in one
/// transaction.
///
/// What an unknown identity costs is what a known one costs: three look-ups and one decryption each time, with stand-ins
/// where nothing was found, so that time does not tell them apart.
struct Lookup: Sendable {
    /// The schema name of `credentials.db` beside `sims.db`.
    static let credentialsSchema = "vault"

    private let sims: StoreFile
    private let queue: DatabaseQueue
    private let key: RecordsKey
    private let lifetimes: CredentialLifetimes
    private let clock: @Sendable () -> Int64
    private let logger: Logger
    /// Opened where there is nothing to open.
    private let decoy: Data

    init(
        sims: StoreFile,
        credentials: StoreFile,
        key: RecordsKey,
        lifetimes: CredentialLifetimes,
        clock: @escaping @Sendable () -> Int64,
        logger: Logger
    ) throws(RecordsError) {
        self.sims = sims
        self.queue = try sims.reader(label: "records.lookup", attaching: (credentials, Self.credentialsSchema))
        self.key = key
        self.lifetimes = lifetimes
        self.clock = clock
        self.logger = logger
        self.decoy = try sims.translating { try key.seal(Secret.random(count: 16), for: .sim(iccid: "")) }
    }

    func close() throws { try self.queue.close() }

    func resolve(identities: [PSKIdentity]) async throws -> [IdentityResolution] {
        let now = self.clock()
        return try await self.read { db in
            let statements = try Statements(db)
            return try identities.map { try self.resolve($0, at: now, with: statements) }
        }
    }

    func resolve(addresses: [IPAddress]) async throws -> [SIMRecord?] {
        try await self.read { db in
            let lengths = try Int.fetchAll(
                try db.cachedStatement(
                    sql: """
                        WITH RECURSIVE present (length) AS (
                            SELECT max(length) FROM addresses
                            UNION ALL
                            SELECT (SELECT max(a.length) FROM addresses a WHERE a.length < present.length)
                            FROM present WHERE present.length IS NOT NULL
                        ) SELECT length FROM present WHERE length IS NOT NULL
                        """
                )
            )
            let owner = try db.cachedStatement(
                sql: """
                    SELECT \(SIMTable.columns) FROM sims \
                    WHERE iccid = (SELECT iccid FROM addresses WHERE length = ? AND base = ?)
                    """
            )
            return try addresses.map { address in
                for length in lengths where (0...128).contains(length) {
                    let base = IPPrefix(address, length: length).base.data
                    let found = try withFirstRow(owner, [length, base]) { try self.record(from: $0) }
                    if let found { return found }
                }
                return nil
            }
        }
    }

    func record(iccid: String) async throws -> SIMRecord? {
        try await self.read { try SIMTable(key: self.key).record(iccid: iccid, in: $0) }
    }

    private struct Statements {
        let bootstrap: Statement
        let credential: Statement
        let sim: Statement

        init(_ db: Database) throws {
            self.bootstrap = try db.cachedStatement(sql: Self.bootstrapSQL)
            self.credential = try db.cachedStatement(sql: Self.credentialSQL)
            self.sim = try db.cachedStatement(sql: Self.simSQL)
        }

        private static let bootstrapSQL = "SELECT \(SIMTable.columns) FROM sims WHERE identity = ?"
        private static let credentialSQL = """
            SELECT sealed_key, iccid, endpoint, server, short_server_id, state, minted_at, succeeded_at, \
            (SELECT at FROM revocations r WHERE r.iccid = c.iccid) \
            FROM \(Lookup.credentialsSchema).credentials c WHERE identity = ?
            """
        private static let simSQL = "SELECT \(SIMTable.columns) FROM sims WHERE iccid = ?"
    }

    private func resolve(
        _ identity: PSKIdentity,
        at now: Int64,
        with statements: Statements
    ) throws -> IdentityResolution {
        let bytes = Data(identity.bytes)
        var resolution = IdentityResolution.unknown
        var decryptions = 0
        let bootstrap = try withFirstRow(statements.bootstrap, [bytes]) { row in
            decryptions += 1
            return try self.record(from: row)
        }
        if let record = bootstrap.flatMap({ $0 }) { resolution = .bootstrap(record) }
        let found = try withFirstRow(statements.credential, [bytes]) { row in
            decryptions += 1
            return try self.credential(identity, from: row, at: now)
        }.flatMap { $0 }
        let sim = try withFirstRow(statements.sim, [found?.iccid ?? ""]) { row in
            // The key of the bootstrap stays sealed: a registration has no use for it.
            try SIMTable.record(from: row, key: nil)
        }
        // A SIM's own identity comes before a one-time one that happens to be the same.
        if let found, let sim, case .unknown = resolution { resolution = .registration(found, sim) }
        if decryptions == 0 { _ = self.key.open(self.decoy, for: .sim(iccid: "")) }
        return resolution
    }

    /// Nil for a record that cannot be read: it is as good as none, and the other look-ups of the batch go on.
    private func record(from row: Row) throws -> SIMRecord? {
        do { return try SIMTable(key: self.key).record(from: row) } catch let error as RecordsError {
            self.logger.error("\(error)")
            return nil
        }
    }

    /// Nil for one that is revoked: nobody may tell it from one that never was.
    private func credential(_ identity: PSKIdentity, from row: Row, at now: Int64) throws -> OneTimeCredential? {
        let iccid: String = row[1]
        let mintedAt: Int64 = row[6]
        guard let written = OneTimeCredential.State(rawValue: row[5]),
            let key = self.key.open(row[0], for: .credential(identity))
        else {
            self.logger.error(
                "a one-time credential cannot be read; revoke the credentials of the SIM, and the device bootstraps again",
                metadata: ["iccid": "\(iccid)"]
            )
            return nil
        }
        let life = CredentialLife(written: written, mintedAt: mintedAt, provenAt: nil, succeededAt: row[7])
        let state = life.state(at: now, under: self.lifetimes)
        if state == .revoked { return nil }
        if let revokedAt: Int64 = row[8], mintedAt <= revokedAt { return nil }
        return OneTimeCredential(
            identity: identity,
            key: key,
            iccid: iccid,
            endpoint: row[2],
            server: row[3],
            shortServerID: row[4],
            state: state,
            mintedAt: mintedAt
        )
    }

    private func read<T: Sendable>(_ body: @escaping @Sendable (Database) throws -> T) async throws -> T {
        do {
            return try await self.queue.unsafeRead { db in
                var result: Result<T, any Error>?
                try db.inTransaction(.deferred) {
                    result = Result { try body(db) }
                    return .commit
                }
                guard let result else {
                    throw RecordsError(.internal, source: .gateway, "a read had no result", remedy: "report this")
                }
                return try result.get()
            }
        } catch {
            throw self.sims.explain(error)
        }
    }
}
