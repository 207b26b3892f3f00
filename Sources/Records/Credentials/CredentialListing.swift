internal import Foundation
internal import GRDB
package import Gateway
internal import Secrets

/// A one-time credential as `credentials list` shows it: the key by its fingerprint, the identity shortened.
package struct CredentialListing: Sendable, Equatable {
    package var iccid: String
    package var endpoint: String
    package var server: String
    package var shortServerID: UInt16
    /// First and last four characters.
    package var identity: String
    /// First 8 hexadecimal digits of the SHA-256 of the key.
    package var fingerprint: String
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
    let lifetimes: CredentialLifetimes
    let clock: @Sendable () -> Int64

    /// Where a page starts.
    package struct Page: Sendable, Equatable {
        /// Only of this SIM.
        package var iccid: String?
        /// Only those that were minted before the last one of the page before: its ``Cursor``.
        package var after: Int64?
        /// 1 to 10,000.
        package var limit = 100

        package init() {}
    }

    /// Newest first, with the cursor of the next page, or nil at the end.
    package func list(_ page: Page) throws(RecordsError) -> (listings: [CredentialListing], next: Int64?) {
        let now = self.clock()
        let limit = min(max(page.limit, 1), 10_000)
        return try self.file.translating {
            try self.pool.read { db in
                let condition = page.iccid == nil ? "" : "iccid = ? AND"
                var arguments: StatementArguments = page.iccid.map { [$0] } ?? []
                arguments += [page.after ?? .max, limit]
                let rows = try Row.fetchAll(
                    db,
                    sql: """
                        SELECT state, minted_at, succeeded_at, iccid, endpoint, server, short_server_id, identity, \
                        fingerprint, proven_at, ended_at, id FROM credentials WHERE \(condition) id < ? \
                        ORDER BY id DESC LIMIT ?
                        """,
                    arguments: arguments
                )
                let listings = rows.compactMap { row -> CredentialListing? in
                    guard let written = OneTimeCredential.State(rawValue: row[0]) else { return nil }
                    let life = CredentialLife(
                        written: written,
                        mintedAt: row[1],
                        provenAt: row[9],
                        succeededAt: row[2]
                    )
                    return CredentialListing(
                        iccid: row[3],
                        endpoint: row[4],
                        server: row[5],
                        shortServerID: row[6],
                        identity: PSKIdentity(row[7] as Data)?.description ?? "",
                        fingerprint: row[8],
                        state: life.state(at: now, under: self.lifetimes),
                        mintedAt: row[1],
                        provenAt: row[9],
                        endedAt: row[10]
                    )
                }
                return (listings, rows.count == limit ? rows.last?[11] : nil)
            }
        }
    }
}
