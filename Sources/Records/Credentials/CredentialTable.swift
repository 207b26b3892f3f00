internal import Foundation
internal import GRDB
internal import Gateway
internal import Secrets
internal import Synchronization

/// One-time credentials as rows of `credentials`: every write of the store, each to be run inside a transaction.
final class CredentialTable: Sendable {
    /// What a row is found by. Rows of one SIM and server lie side by side in the order of minting.
    struct Place: Equatable, Sendable {
        var iccid: String
        var server: String
        var id: Int64

        func bind(to row: inout SQLiteParameters) {
            row.add(self.iccid)
            row.add(self.server)
            row.add(self.id)
        }
    }

    private let key: RecordsKey
    private let policy: LifetimePolicy
    private var lifetimes: CredentialLifetimes { self.policy.current }
    /// The number that was given out last.
    private let lastID = Atomic<Int64>(0)

    init(key: RecordsKey, lifetimes: LifetimePolicy) {
        self.key = key
        self.policy = lifetimes
    }

    /// - Returns: those that gave way to it.
    func insert(
        _ credential: OneTimeCredential, at now: Int64, with statements: CredentialStatements
    ) throws -> [OneTimeCredential] {
        var replaced: [OneTimeCredential] = []
        let (iccid, server) = (credential.iccid, credential.server)
        let set = try self.set(iccid: iccid, server: server, with: statements)
        if !set.members.isEmpty {
            let changes = set.changesBeforeMinting(for: credential.shortServerID, at: now)
            try self.apply(changes, to: (iccid, server), at: now, with: statements)
            for case .state(let id, _) in changes {
                let place = Place(iccid: iccid, server: server, id: id)
                if let other = try self.credential(at: place, with: statements) { replaced.append(other) }
            }
            if !replaced.isEmpty { try statements.reviewPublications(of: (iccid, server), at: now) }
        }
        let id = self.nextID(after: set.members.last?.id ?? 0, at: now)
        let sealed = try self.key.seal(
            credential.key,
            for: .credential(credential.identity),
            nonce: statements.nonces.next()
        )
        let upstream = try credential.written.map {
            try SealedUpstreamAccount.seal($0, for: .upstream(credential.identity), with: self.key)
        }
        try statements.insert.run(in: statements.db) { row in
            row.add(iccid)
            row.add(server)
            row.add(id)
            row.add(credential.identity)
            sealed.withUnsafeBytes { row.add($0) }
            row.add(KeyFingerprint.text(of: credential.key))
            row.add(credential.endpoint)
            row.add(Int64(credential.shortServerID))
            row.add(OneTimeCredential.State.pending.rawValue)
            row.add(credential.mintedAt)
            if let upstream { upstream.withUnsafeBytes { row.add($0) } } else { row.add(nil) }
        }
        return replaced
    }

    /// Microseconds, so that the list of all credentials has an order after a restart too; but never a number twice, and
    /// never one that stands before another of the same SIM, whatever the clock says.
    private func nextID(after newest: Int64, at now: Int64) -> Int64 {
        // One connection writes, so nobody else is between the two.
        let id = max(now, self.lastID.load(ordering: .relaxed) &+ 1, newest &+ 1)
        self.lastID.store(id, ordering: .relaxed)
        return id
    }

    /// See `CredentialStore.prove`.
    func prove(
        _ identity: PSKIdentity,
        keepingPrevious: Bool = false,
        at now: Int64,
        with statements: CredentialStatements
    ) throws -> [OneTimeCredential] {
        guard let place = try self.place(of: identity, with: statements) else { return [] }
        let owner = (place.iccid, place.server)
        let changes = try self.set(iccid: place.iccid, server: place.server, with: statements)
            .changesOnProof(of: place.id, keepingPrevious: keepingPrevious, at: now)
        try self.apply(changes, to: owner, at: now, with: statements)
        if !changes.isEmpty { try statements.reviewPublications(of: owner, at: now) }
        return try changes.compactMap { change in
            guard case .state(let id, _) = change else { return nil }
            return try self.credential(
                at: Place(iccid: place.iccid, server: place.server, id: id),
                with: statements
            )
        }
    }

    func discard(_ identities: [PSKIdentity], at now: Int64, with statements: CredentialStatements) throws {
        var owners: [[String]: Set<Int64>] = [:]
        for identity in identities {
            guard let place = try self.place(of: identity, with: statements) else { continue }
            owners[[place.iccid, place.server], default: []].insert(place.id)
        }
        for (owner, ids) in owners {
            let set = try self.set(iccid: owner[0], server: owner[1], with: statements)
            try self.apply(
                set.changesOnDiscard(of: ids, at: now),
                to: (owner[0], owner[1]),
                at: now,
                with: statements
            )
            try statements.reviewPublications(of: (owner[0], owner[1]), at: now)
        }
    }

    /// Ends the credentials of a SIM that were minted up to `limit`; nil: all of them. `server` and `identity` leave all
    /// others out.
    ///
    /// - Returns: those that lived until now.
    func revoke(
        iccid: String,
        server: String? = nil,
        identity: PSKIdentity? = nil,
        mintedUpTo limit: Int64?,
        at now: Int64,
        with statements: CredentialStatements
    ) throws -> [OneTimeCredential] {
        var members: [(place: Place, life: CredentialLife)] = []
        try statements.ofSIM.withRows(
            in: statements.db,
            binding: {
                $0.add(iccid)
                $0.add(limit ?? .max)
            },
            { row in
                let place = Place(iccid: iccid, server: row.text(4), id: row.integer(0))
                let isMeant = identity.map { $0 == row.withBlob(5) { PSKIdentity($0) } } ?? true
                guard isMeant, server == nil || server == place.server else { return true }
                members.append((place, try Self.life(row)))
                return true
            }
        )
        for server in Set(members.map(\.place.server)) {
            try statements.reviewPublications(of: (iccid, server), at: now)
        }
        var revoked: [OneTimeCredential] = []
        for (place, life) in members {
            try self.apply(
                [.state(id: place.id, .revoked)],
                to: (iccid, place.server),
                at: now,
                with: statements
            )
            switch life.state(at: now, under: self.lifetimes) {
            case .pending, .active:
                if let credential = try self.credential(at: place, with: statements) { revoked.append(credential) }
            case .replaced, .expired, .revoked: continue
            }
        }
        return revoked
    }

    /// Looks at the `limit` rows behind `position`: writes down what time has ended, and forgets what ended before
    /// `horizon`. In parts, so that a bootstrap never waits long behind a sweep.
    ///
    /// - Returns: where to go on, nil at the end of the table; and what time has ended.
    func sweep(
        after position: Place,
        at now: Int64,
        horizon: Int64,
        limit: Int,
        with statements: CredentialStatements
    ) throws -> (next: Place?, ended: [OneTimeCredential]) {
        var ended: [OneTimeCredential] = []
        var found: [(place: Place, life: CredentialLife, endedAt: Int64?)] = []
        try statements.page.withRows(
            in: statements.db,
            binding: {
                position.bind(to: &$0)
                $0.add(Int64(limit))
            },
            { row in
                let place = Place(iccid: row.text(5), server: row.text(4), id: row.integer(0))
                found.append((place, try Self.life(row), row.optionalInteger(6)))
                return true
            }
        )
        for (place, life, endedAt) in found {
            let change: CredentialSet.Change
            let state = life.state(at: now, under: self.lifetimes)
            if let endedAt, endedAt < horizon {
                change = .remove(id: place.id)
            } else if state != life.written {
                change = .state(id: place.id, state)
            } else {
                continue
            }
            let owner = (place.iccid, place.server)
            try self.apply([change], to: owner, at: now, with: statements)
            if case .state = change {
                try statements.reviewPublications(of: owner, at: now)
                if let credential = try self.credential(at: place, with: statements) { ended.append(credential) }
            }
        }
        return (found.count == limit ? found.last?.place : nil, ended)
    }

    /// The living credentials of an endpoint at a server, newest first. For a connection that only reads.
    func living(
        iccid: String, server: String, endpoint: String, at now: Int64, in db: Database
    ) throws -> [OneTimeCredential] {
        var living: [OneTimeCredential] = []
        try db.cachedStatement(
            sql: """
                SELECT id, state, minted_at, succeeded_at, identity, sealed_key, short_server_id FROM credentials \
                WHERE iccid = ? AND server = ? AND endpoint = ? ORDER BY id DESC
                """
        ).withRows([iccid, server, endpoint], in: db) { row in
            let life = try Self.life(row)
            let state = life.state(at: now, under: self.lifetimes)
            guard state == .pending || state == .active,
                let identity = row.withBlob(4, { PSKIdentity($0) }),
                let key = row.withBlob(5, { self.key.open($0, for: .credential(identity)) }),
                let shortServerID = UInt16(exactly: row.integer(6))
            else { return true }
            living.append(
                OneTimeCredential(
                    identity: identity, key: key, iccid: iccid, endpoint: endpoint, server: server,
                    shortServerID: shortServerID, state: state, mintedAt: life.mintedAt
                ))
            return true
        }
        return living
    }

    private func place(of identity: PSKIdentity, with statements: CredentialStatements) throws -> Place? {
        try statements.place.withFirstRow(in: statements.db, binding: { $0.add(identity) }) { row in
            Place(iccid: row.text(0), server: row.text(1), id: row.integer(2))
        }
    }

    private func set(iccid: String, server: String, with statements: CredentialStatements) throws -> CredentialSet {
        var members: [CredentialSet.Member] = []
        try statements.ofServer.withRows(
            in: statements.db,
            binding: {
                $0.add(iccid)
                $0.add(server)
            },
            { row in
                members.append(
                    CredentialSet.Member(
                        id: row.integer(0), shortServerID: UInt16(clamping: row.integer(4)), life: try Self.life(row)))
                return true
            }
        )
        return CredentialSet(members: members, lifetimes: self.lifetimes)
    }

    /// Reads columns 1 to 3: `state, minted_at, succeeded_at`.
    private static func life(_ row: SQLiteRow) throws -> CredentialLife {
        guard let state = OneTimeCredential.State(rawValue: row.text(1)) else {
            throw RecordsError(
                .damaged,
                source: .gateway,
                "a one-time credential has an unknown state",
                remedy: "restore credentials.db, or remove it: devices bootstrap again"
            )
        }
        return CredentialLife(
            written: state,
            mintedAt: row.integer(2),
            provenAt: nil,
            succeededAt: row.optionalInteger(3)
        )
    }

    private func apply(
        _ changes: [CredentialSet.Change],
        to owner: (iccid: String, server: String),
        at now: Int64,
        with statements: CredentialStatements
    ) throws {
        for change in changes {
            switch change {
            case .state(let id, .active):
                try statements.activate.run(in: statements.db) { row in
                    row.add(now)
                    Place(iccid: owner.iccid, server: owner.server, id: id).bind(to: &row)
                }
            case .state(let id, let state):
                try statements.end.run(in: statements.db) { row in
                    row.add(state.rawValue)
                    row.add(now)
                    Place(iccid: owner.iccid, server: owner.server, id: id).bind(to: &row)
                }
            case .succeeded(let id, let at):
                try statements.succeed.run(in: statements.db) { row in
                    row.add(at)
                    Place(iccid: owner.iccid, server: owner.server, id: id).bind(to: &row)
                }
            case .remove(let id):
                try statements.remove.run(in: statements.db) { row in
                    Place(iccid: owner.iccid, server: owner.server, id: id).bind(to: &row)
                }
            }
        }
    }

    private func credential(at place: Place, with statements: CredentialStatements) throws -> OneTimeCredential? {
        try statements.whole.withFirstRow(
            in: statements.db,
            binding: { place.bind(to: &$0) },
            { row -> OneTimeCredential? in
                guard let identity = row.withBlob(0, { PSKIdentity($0) }),
                    let key = row.withBlob(1, { self.key.open($0, for: .credential(identity)) }),
                    let state = OneTimeCredential.State(rawValue: row.text(4)),
                    let shortServerID = UInt16(exactly: row.integer(3))
                else { return nil }
                return OneTimeCredential(
                    identity: identity,
                    key: key,
                    iccid: place.iccid,
                    endpoint: row.text(2),
                    server: place.server,
                    shortServerID: shortServerID,
                    state: state,
                    mintedAt: row.integer(5)
                )
            }
        ).flatMap { $0 }
    }
}
