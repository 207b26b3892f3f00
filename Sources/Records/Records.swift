internal import Crypto
internal import GRDB
package import Gateway
package import Logging
package import Secrets

/// The stores behind the gateway: SIM records and one-time credentials in two SQLite files of the state folder.
///
/// `serve` opens one for as long as it runs and hands it to the data path as ``RecordStore`` and ``CredentialStore``.
/// Commands open one for one change, also while a gateway runs. Everything in it may be used from any thread; what is
/// `async` never blocks the caller's executor, what is not belongs on a thread that may block.
package final class Records: Sendable {
    /// SIM records as people change them.
    package let sims: SIMStore
    /// Credentials as people see them.
    package let credentials: CredentialLister
    /// What is risky about where the keys lie, for the log.
    package let warnings: [String]

    let configuration: RecordsConfiguration
    /// What saved sessions are sealed with.
    let vaultKey: SymmetricKey
    let lifetimes: LifetimePolicy
    let outbox: Outbox
    let credentialTable: CredentialTable
    private let grantTable: GrantTable
    private let lookup: Lookup
    private let feed: ChangeFeed
    let commits: SharedTransactions<CredentialStatements>
    let maintenance = BlockingWork(label: "records.maintenance")

    /// Opens both stores, makes what is missing, and checks that the records key is the right one.
    package init(_ configuration: RecordsConfiguration, logger: Logger) throws(RecordsError) {
        try makeDirectory(configuration.state, mode: 0o750, purpose: "the state folder")
        let simsFile = StoreFile(path: configuration.state + "/sims.db", busyTimeout: configuration.busyTimeout)
        let credentialsFile = StoreFile(
            path: configuration.state + "/credentials.db",
            busyTimeout: configuration.busyTimeout
        )
        let (reading, _) = try configuration.key.readOrCreateKey(
            count: RecordsKey.byteCount,
            purpose: "records key",
            mayCreate: !simsFile.exists && !credentialsFile.exists,
            loss: "\(configuration.state) holds stores that were made with one"
        )
        let key = RecordsKey(reading.secret)
        // Before either is changed.
        try simsFile.refuseNewer(than: Schemas.sims)
        try credentialsFile.refuseNewer(than: Schemas.credentials)
        let simsPool = try simsFile.open(migrator: Schemas.sims, key: key)
        let credentialsPool = try credentialsFile.open(migrator: Schemas.credentials, key: key)

        let lifetimes = LifetimePolicy(configuration.lifetimes)
        self.configuration = configuration
        self.vaultKey = RecordsKey.vaultKey(from: reading.secret)
        self.lifetimes = lifetimes
        self.warnings = reading.warning.map { [$0] } ?? []
        self.sims = SIMStore(
            file: simsFile,
            pool: simsPool,
            key: key,
            rules: SIMRules(identity: configuration.identity, endpoint: configuration.endpoint),
            clock: configuration.clock
        )
        self.credentials = CredentialLister(
            file: credentialsFile,
            pool: credentialsPool,
            policy: lifetimes,
            clock: configuration.clock
        )
        self.outbox = Outbox(file: simsFile, pool: simsPool)
        self.credentialTable = CredentialTable(key: key, lifetimes: lifetimes)
        self.grantTable = GrantTable(key: key, policy: lifetimes)
        self.lookup = try Lookup(
            sims: simsFile,
            credentials: credentialsFile,
            key: key,
            lifetimes: lifetimes,
            clock: configuration.clock,
            logger: logger
        )
        self.feed = try ChangeFeed(file: simsFile, interval: configuration.changeInterval)
        self.commits = SharedTransactions(
            file: credentialsFile,
            connection: credentialsPool,
            kind: .immediate,
            window: configuration.commitWindow,
            context: { try CredentialStatements($0) }
        )
    }

    deinit { self.close() }

    /// Writes what waits for a commit and closes the files. Blocks for the length of one commit. Safe to call twice;
    /// whoever asks afterwards gets an error.
    package func close() {
        self.commits.close()
        try? self.lookup.close()
        try? self.feed.close()
        try? self.credentials.pool.close()
        try? self.sims.pool.close()
    }
}

extension Records: RecordStore {
    package func resolve(identities: [PSKIdentity]) async throws -> [IdentityResolution] {
        try await self.lookup.resolve(identities: identities)
    }

    package func resolve(addresses: [IPAddress]) async throws -> [SIMRecord?] {
        try await self.lookup.resolve(addresses: addresses)
    }

    package func record(iccid: String) async throws -> SIMRecord? { try await self.lookup.record(iccid: iccid) }

    package func remember(_ places: [String: SIMRecord.BootstrapPlace]) async throws {
        try await self.commits.run { statements in
            for (iccid, place) in places { try PlaceTable.remember(place, of: iccid, in: statements.db) }
        }
    }

    package func changes() -> AsyncStream<RecordChange> { self.feed.changes() }
}

extension Records {
    /// Reads `credentials.db` beside whoever writes.
    func readCredentials<T: Sendable>(_ body: @escaping @Sendable (Database) throws -> T) async throws -> T {
        do { return try await self.credentials.pool.read(body) } catch { throw self.credentials.file.explain(error) }
    }
}

extension Records: CredentialStore {
    package func store(
        _ credentials: [OneTimeCredential], grants: [PlainGrant]
    ) async throws -> [OneTimeCredential] {
        guard !credentials.isEmpty || !grants.isEmpty else { return [] }
        let (table, clock) = (self.credentialTable, self.configuration.clock)
        let grantTable = self.grantTable
        return try await self.commits.run { statements in
            let now = clock()
            var replaced: [OneTimeCredential] = []
            for credential in credentials { replaced += try table.insert(credential, at: now, with: statements) }
            for grant in grants { try grantTable.insert(grant, at: now, in: statements.db) }
            return replaced
        }
    }

    package func prove(_ identity: PSKIdentity) async throws -> [OneTimeCredential] {
        let (table, clock) = (self.credentialTable, self.configuration.clock)
        return try await self.commits.run { statements in try table.prove(identity, at: clock(), with: statements) }
    }

    package func discard(_ identities: [PSKIdentity], grants: [Int64]) async throws {
        guard !identities.isEmpty || !grants.isEmpty else { return }
        let (table, clock) = (self.credentialTable, self.configuration.clock)
        let grantTable = self.grantTable
        try await self.commits.run { statements in
            try table.discard(identities, at: clock(), with: statements)
            try grantTable.discard(grants, at: clock(), in: statements.db)
        }
    }

    package func grants(for keys: [PlainGrant.Key]) async throws -> [PlainGrant?] {
        try await self.lookup.grants(for: keys)
    }

    package func prove(grant id: Int64) async throws -> [PlainGrant] {
        let (table, clock) = (self.grantTable, self.configuration.clock)
        return try await self.commits.run { statements in try table.prove(id, at: clock(), in: statements.db) }
    }
}

/// A credential that somebody has ended, and why.
package struct RevokedCredential: Sendable, Equatable {
    package var credential: OneTimeCredential
    package var cause: FailureCause
}

extension Records {
    /// How long an ended credential is remembered, so that its device gets 4.03 rather than silence.
    package static let remembrance: Duration = .seconds(90 * 86_400)

    /// Writes down what the passage of time has ended and forgets what ended long ago. `serve` calls it every hour;
    /// look-ups judge time by themselves, so nothing depends on when. Works in small commits, of `part` rows each; a task that
    /// is cancelled leaves the rest to the next sweep.
    ///
    /// - Parameter tell: is given the credentials that time has ended, part by part, as soon as that is on disk.
    package func sweep(part: Int = 1_000, telling tell: ([OneTimeCredential]) -> Void = { _ in }) async throws {
        let (table, clock) = (self.credentialTable, self.configuration.clock)
        let grantTable = self.grantTable
        var position: CredentialTable.Place? = .init(iccid: "", server: "", id: 0)
        while let start = position, !Task.isCancelled {
            let (next, some) = try await self.commits.run { statements in
                let now = clock()
                return try table.sweep(
                    after: start,
                    at: now,
                    horizon: CredentialLife.threshold(Self.remembrance, now: now),
                    limit: part,
                    with: statements
                )
            }
            position = next
            // At once: what is committed cannot be found again when a later part fails.
            tell(some)
        }
        var most = part
        while most == part, !Task.isCancelled {
            most = try await self.commits.run { statements in
                let now = clock()
                return try grantTable.sweep(
                    at: now, horizon: CredentialLife.threshold(Self.remembrance, now: now), limit: part,
                    in: statements.db
                )
            }
        }
    }

    /// How long a mark that was applied stays in force, for a bootstrap that was minting while the SIM was suspended.
    static let revocationGrace: Duration = .seconds(600)

    /// Ends the credentials of SIMs that were suspended, retired or removed, as the marks in `sims.db` say. Look-ups
    /// respect a mark at once; this makes it last and tells what ended. Works through a part of the marks: to be called
    /// until it finds no more.
    ///
    /// - Parameter tell: is given the credentials that lived until now as soon as their end is on disk: if a later step
    ///   fails, nothing would find them again.
    /// - Returns: whether there are more marks.
    package func applyRevocations(telling tell: ([RevokedCredential]) -> Void = { _ in }) async throws -> Bool {
        let (table, clock) = (self.credentialTable, self.configuration.clock)
        let limit = 500
        let start = clock()
        let span =
            CredentialLife.threshold(
                Self.revocationGrace, now: start)...CredentialLife.later(start, by: Self.revocationGrace)
        let marks = try await self.maintenance.run {
            try self.sims.pendingRevocations(outside: span, limit: limit)
        }
        guard !marks.isEmpty else { return false }
        let grantTable = self.grantTable
        let revoked = try await self.commits.run { statements in
            let now = clock()
            return try marks.filter { !$0.isApplied || $0.at < span.lowerBound }.flatMap { mark in
                let limit = mark.isLive ? mark.at : nil
                // Who comes back under this number may be another device.
                if mark.cause == .removed { try PlaceTable.remember(.unknown, of: mark.iccid, in: statements.db) }
                if mark.identity == nil {
                    try grantTable.revoke(
                        iccid: mark.iccid, server: mark.server, mintedUpTo: limit, at: now, in: statements.db
                    )
                }
                return try table.revoke(
                    iccid: mark.iccid, server: mark.server, identity: mark.identity, mintedUpTo: limit, at: now,
                    with: statements
                ).map { RevokedCredential(credential: $0, cause: mark.cause) }
            }
        }
        tell(revoked)
        try await self.maintenance.run { try self.sims.settleRevocations(marks, outside: span) }
        return marks.count == limit
    }
}
