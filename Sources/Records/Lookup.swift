internal import Foundation
internal import GRDB
internal import Gateway
internal import Logging
internal import Secrets

/// The look-ups of the data path: one connection that only reads, on a thread of its own, with both files in one
/// transaction.
///
/// An unknown identity takes the same steps as a known one: four look-ups and one decryption each time, with stand-ins
/// where nothing was found. What is left, reading the columns of a row, is a few microseconds.
struct Lookup: Sendable {
    /// The schema name of `credentials.db` beside `sims.db`.
    static let credentialsSchema = "vault"

    private let sims: StoreFile
    private let queue: DatabaseQueue
    /// Look-ups that come together share a transaction; those that come meanwhile share the next one.
    private let reads: SharedTransactions<Statements>
    private let key: RecordsKey
    private let policy: LifetimePolicy
    private var lifetimes: CredentialLifetimes { self.policy.current }
    private let clock: @Sendable () -> Int64
    private let logger: Logger
    /// Opened where there is nothing to open.
    private let decoy: Data

    init(
        sims: StoreFile,
        credentials: StoreFile,
        key: RecordsKey,
        lifetimes: LifetimePolicy,
        clock: @escaping @Sendable () -> Int64,
        logger: Logger
    ) throws(RecordsError) {
        self.sims = sims
        self.queue = try sims.reader(label: "records.lookup", attaching: (credentials, Self.credentialsSchema))
        self.reads = SharedTransactions(
            file: sims,
            connection: self.queue,
            kind: .deferred,
            window: .zero,
            context: { try Statements($0) }
        )
        self.key = key
        self.policy = lifetimes
        self.clock = clock
        self.logger = logger
        self.decoy = try sims.translating { try key.seal(Secret.random(count: 16), for: .sim(iccid: "")) }
    }

    func close() throws {
        self.reads.close()
        try self.queue.close()
    }

    func resolve(identities: [PSKIdentity]) async throws -> [IdentityResolution] {
        let now = self.clock()
        return try await self.reads.run { statements in
            try identities.map { try self.resolve($0, at: now, with: statements) }
        }
    }

    func resolve(addresses: [IPAddress]) async throws -> [SIMRecord?] {
        try await self.reads.run { statements in
            let db = statements.db
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
                    let found = try owner.withFirstRow(
                        in: db,
                        binding: { parameters in
                            parameters.add(Int64(length))
                            base.withUnsafeBytes { parameters.add($0) }
                        },
                        { try self.record(from: $0) }
                    )
                    if let found { return try found.map { try self.placed($0, with: statements) } }
                }
                return nil
            }
        }
    }

    func record(iccid: String) async throws -> SIMRecord? {
        try await self.reads.run { statements in
            let record = try SIMTable(key: self.key).record(iccid: iccid, in: statements.db)
            return try record.map { try self.placed($0, with: statements) }
        }
    }

    /// The newest living grant of each key, as far as the marks of revocation let it live.
    func grants(for keys: [PlainGrant.Key]) async throws -> [PlainGrant?] {
        let (now, lifetimes) = (self.clock(), self.lifetimes)
        return try await self.reads.run { statements in
            let db = statements.db
            let statement = try db.cachedStatement(sql: GrantTable.livingSQL(schema: Self.credentialsSchema))
            return try keys.map { key in
                var found: PlainGrant?
                try statement.withRows([key.iccid, key.server], in: db) { row in
                    found = GrantTable.living(row, key: key, at: now, under: lifetimes, sealedWith: self.key)
                    return found == nil
                }
                return found
            }
        }
    }

    private struct Statements {
        let db: Database
        let bootstrap: Statement
        let credential: Statement
        let sim: Statement
        let place: Statement

        init(_ db: Database) throws {
            self.db = db
            self.bootstrap = try db.cachedStatement(sql: Self.bootstrapSQL)
            self.credential = try db.cachedStatement(sql: Self.credentialSQL)
            self.sim = try db.cachedStatement(sql: Self.simSQL)
            self.place = try db.cachedStatement(sql: PlaceTable.sql(schema: Lookup.credentialsSchema))
        }

        private static let bootstrapSQL = "SELECT \(SIMTable.columns) FROM sims WHERE identity = ?"
        private static let credentialSQL = """
            SELECT sealed_key, iccid, endpoint, server, short_server_id, state, minted_at, succeeded_at, \
            (SELECT at FROM revocations r WHERE r.iccid = c.iccid), \
            (SELECT max(at) FROM narrow_revocations n WHERE n.iccid = c.iccid AND n.server IN ('', c.server) \
            AND n.identity IN (x'', c.identity)), sealed_upstream \
            FROM \(Lookup.credentialsSchema).credentials c WHERE identity = ?
            """
        private static let simSQL = "SELECT \(SIMTable.columns) FROM sims WHERE iccid = ?"
    }

    private func resolve(
        _ identity: PSKIdentity,
        at now: Int64,
        with statements: Statements
    ) throws -> IdentityResolution {
        let db = statements.db
        var resolution = IdentityResolution.unknown
        var decryptions = 0
        let bootstrap = try statements.bootstrap.withFirstRow(in: db, binding: { $0.add(identity) }) { row in
            decryptions += 1
            return try self.record(from: row)
        }
        let place = try PlaceTable.place(of: bootstrap.flatMap { $0 }?.iccid ?? "", in: db, with: statements.place)
        if var record = bootstrap.flatMap({ $0 }) {
            record.bootstrapPlace = place
            resolution = .bootstrap(record)
        }
        let found = try statements.credential.withFirstRow(in: db, binding: { $0.add(identity) }) { row in
            decryptions += 1
            return self.credential(identity, from: row, at: now)
        }.flatMap { $0 }
        let sim = try statements.sim.withFirstRow(in: db, binding: { $0.add(found?.iccid ?? "") }) { row in
            // The key of the bootstrap stays sealed: a registration has no use for it.
            try self.readable { try SIMTable.record(from: row, key: nil) }
        }.flatMap { $0 }
        // A SIM's own identity comes before a one-time one that happens to be the same.
        if let found, let sim, case .unknown = resolution { resolution = .registration(found, sim) }
        if decryptions == 0 {
            _ = self.decoy.withUnsafeBytes { self.key.open($0, for: .sim(iccid: "")) }
        }
        return resolution
    }

    /// With where its device has the bootstrap account.
    private func placed(_ record: SIMRecord, with statements: Statements) throws -> SIMRecord {
        var record = record
        record.bootstrapPlace = try PlaceTable.place(of: record.iccid, in: statements.db, with: statements.place)
        return record
    }

    /// Nil for a record that cannot be read: it is as good as none, and the other look-ups of the batch go on.
    private func record(from row: SQLiteRow) throws -> SIMRecord? {
        try self.readable { try SIMTable(key: self.key).record(from: row) }
    }

    private func readable(_ read: () throws -> SIMRecord) throws -> SIMRecord? {
        do { return try read() } catch let error as RecordsError {
            self.logger.error("\(error)")
            return nil
        }
    }

    /// Nil for one that is revoked: nobody may tell it from one that never was.
    private func credential(_ identity: PSKIdentity, from row: SQLiteRow, at now: Int64) -> OneTimeCredential? {
        let iccid = row.text(1)
        let mintedAt = row.integer(6)
        guard let written = OneTimeCredential.State(rawValue: row.text(5)),
            let shortServerID = UInt16(exactly: row.integer(4)),
            let key = row.withBlob(0, { self.key.open($0, for: .credential(identity)) })
        else {
            self.logger.error(
                "a one-time credential cannot be read; revoke the credentials of the SIM, and the device bootstraps again",
                metadata: ["iccid": "\(iccid)"]
            )
            return nil
        }
        let life = CredentialLife(
            written: written,
            mintedAt: mintedAt,
            provenAt: nil,
            succeededAt: row.optionalInteger(7)
        )
        let state = life.state(at: now, under: self.lifetimes)
        if state == .revoked { return nil }
        if let revokedAt = row.optionalInteger(8), mintedAt <= revokedAt { return nil }
        if let revokedAt = row.optionalInteger(9), mintedAt <= revokedAt { return nil }
        return OneTimeCredential(
            identity: identity,
            key: key,
            iccid: iccid,
            endpoint: row.text(2),
            server: row.text(3),
            shortServerID: shortServerID,
            state: state,
            mintedAt: mintedAt,
            // One that cannot be read is none: the device gets 4.03, and its bootstrap brings another.
            written: row.isNull(10)
                ? nil : row.withBlob(10) { SealedUpstreamAccount.open($0, for: .upstream(identity), with: self.key) }
        )
    }
}
