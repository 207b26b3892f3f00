internal import Foundation
internal import GRDB
package import Gateway
package import Secrets

/// A one-time credential or a plain grant as `credentials list` shows it: the key by its fingerprint.
package struct CredentialListing: Sendable, Equatable {
    package var iccid: String
    package var endpoint: String
    package var server: String
    package var shortServerID: UInt16
    /// Nil for a plain grant, which has neither identity nor key.
    package var identity: PSKIdentity?
    /// First 8 hexadecimal digits of the SHA-256 of the key.
    package var fingerprint: String?
    /// As it is now, the passage of time included.
    package var state: OneTimeCredential.State
    /// Wall clock, microseconds since 1970.
    package var mintedAt: Int64
    package var provenAt: Int64?
    package var endedAt: Int64?
}

/// Reads credentials for people.
package struct CredentialLister: Sendable {
    let file: StoreFile
    let pool: DatabasePool
    let policy: LifetimePolicy
    var lifetimes: CredentialLifetimes { self.policy.current }
    let clock: @Sendable () -> Int64

    /// What to show, and where a page starts.
    package struct Page: Sendable, Equatable {
        /// Only of this SIM.
        package var iccid: String?
        /// Only for this server.
        package var server: String?
        /// Only those that are in this state now.
        package var state: OneTimeCredential.State?
        /// Only those that were minted before the last one of the page before: its cursor.
        package var after: Int64?
        /// 1 to 10,000.
        package var limit = 100

        package init() {}
    }

    /// Newest first, with the cursor of the next page, or nil at the end.
    package func list(_ page: Page) throws(RecordsError) -> (listings: [CredentialListing], next: Int64?) {
        try self.list(page, from: "credentials", columns: "identity, fingerprint")
    }

    /// The same for leave to register over the plain port.
    package func listGrants(_ page: Page) throws(RecordsError) -> (listings: [CredentialListing], next: Int64?) {
        try self.list(page, from: "grants", columns: "NULL, NULL")
    }

    /// The SIM of a credential; nil for an identity that no credential has.
    func owner(of identity: PSKIdentity) throws(RecordsError) -> String? {
        try self.file.translating {
            try self.pool.read { db in
                try String.fetchOne(
                    db, sql: "SELECT iccid FROM credentials WHERE identity = ?", arguments: [Data(identity.bytes)])
            }
        }
    }

    private func list(
        _ page: Page, from table: String, columns: String
    ) throws(RecordsError) -> (listings: [CredentialListing], next: Int64?) {
        let now = self.clock()
        let limit = min(max(page.limit, 1), 10_000)
        return try self.file.translating {
            try self.pool.read { db in
                var listings: [CredentialListing] = []
                // Only what is asked for: rows of one SIM lie side by side.
                var conditions = ["id < ?"]
                var arguments: StatementArguments = [page.after ?? .max]
                if let iccid = page.iccid {
                    conditions.append("iccid = ?")
                    arguments += [iccid]
                }
                if let server = page.server {
                    conditions.append("server = ?")
                    arguments += [server]
                }
                // The state is judged here, because time changes it before it is written down.
                let rows = try Row.fetchCursor(
                    db,
                    sql: """
                        SELECT state, minted_at, succeeded_at, iccid, endpoint, server, short_server_id, \(columns), \
                        proven_at, ended_at, id FROM \(table) \
                        WHERE \(conditions.joined(separator: " AND ")) ORDER BY id DESC
                        """,
                    arguments: arguments
                )
                while let row = try rows.next() {
                    guard let listing = try self.listing(row, at: now) else { continue }
                    guard page.state == nil || listing.state == page.state else { continue }
                    listings.append(listing)
                    if listings.count == limit { return (listings, try row.decode(atIndex: 11)) }
                }
                return (listings, nil)
            }
        }
    }

    private func listing(_ row: Row, at now: Int64) throws -> CredentialListing? {
        guard let written = OneTimeCredential.State(rawValue: try row.decode(atIndex: 0)) else { return nil }
        let life = CredentialLife(
            written: written, mintedAt: try row.decode(atIndex: 1), provenAt: try row.decode(atIndex: 9),
            succeededAt: try row.decode(atIndex: 2)
        )
        return CredentialListing(
            iccid: try row.decode(atIndex: 3), endpoint: try row.decode(atIndex: 4), server: try row.decode(atIndex: 5),
            shortServerID: try row.decode(atIndex: 6),
            identity: try row.decode(Data?.self, atIndex: 7).flatMap { PSKIdentity($0) },
            fingerprint: try row.decode(atIndex: 8), state: life.state(at: now, under: self.lifetimes),
            mintedAt: life.mintedAt, provenAt: life.provenAt, endedAt: try row.decode(atIndex: 10)
        )
    }
}

extension Records {
    /// Ends the credentials and grants of a SIM, of one server or of all; see ``SIMStore/revokeCredentials(of:server:identity:by:)``.
    /// A SIM without a record may have some left, so it is not asked for.
    package func revokeCredentials(of iccid: ICCID, server: String?, by actor: String) throws(RecordsError) {
        if try !self.sims.has(iccid) {
            var page = CredentialLister.Page()
            (page.iccid, page.limit) = (iccid.digits, 1)
            let left = try self.credentials.list(page).listings + self.credentials.listGrants(page).listings
            guard !left.isEmpty else {
                throw RecordsError(
                    .notFound, "there is no SIM \(iccid), and no credential of it",
                    remedy: "`bootgate sim list` shows those that there are"
                )
            }
        }
        try self.sims.revokeCredentials(of: iccid, server: server, by: actor)
    }

    /// Ends one credential.
    ///
    /// - Returns: the SIM that it was for.
    package func revokeCredential(_ identity: String, by actor: String) throws(RecordsError) -> ICCID {
        guard let identity = PSKIdentity(identity), let owner = try self.credentials.owner(of: identity) else {
            throw RecordsError(
                .notFound, "there is no credential with this identity",
                remedy: "`bootgate credentials list --full` shows whole identities"
            )
        }
        let iccid = try ICCID(owner)
        try self.sims.revokeCredentials(of: iccid, identity: identity, by: actor)
        return iccid
    }
}
