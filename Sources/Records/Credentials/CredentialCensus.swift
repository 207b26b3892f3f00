internal import GRDB
package import Gateway

extension Records {
    /// How many one-time credentials there are in each state, as it was last written down: what has ended by time since
    /// the last sweep, an hour at most, still counts as it was. Reads the whole table, so not more often than needed.
    package func credentialCensus() async throws -> [OneTimeCredential.State: Int] {
        try await self.readCredentials { db in
            var census: [OneTimeCredential.State: Int] = [:]
            for row in try Row.fetchAll(db, sql: "SELECT state, count(*) FROM credentials GROUP BY state") {
                if let state = OneTimeCredential.State(rawValue: row[0]) { census[state] = row[1] }
            }
            return census
        }
    }

    /// Reads one page of each store; throws when one does not answer.
    package func ping() async throws {
        _ = try await self.resolve(addresses: [])
        _ = try await self.record(iccid: "")
        try await self.readCredentials { db in _ = try Int.fetchOne(db, sql: "SELECT 1 FROM credentials LIMIT 1") }
    }
}
