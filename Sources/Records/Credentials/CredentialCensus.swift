internal import GRDB
package import Gateway

extension Records {
    /// How many one-time credentials there are in each state, as it was last written down: what has ended by time since
    /// the last sweep, an hour at most, still counts as it was. Reads the whole table, so not more often than needed.
    package func credentialCensus() async throws -> [OneTimeCredential.State: Int] {
        try await self.readCredentials { db in
            var census: [OneTimeCredential.State: Int] = [:]
            for row in try Row.fetchAll(db, sql: "SELECT state, count(*) FROM credentials GROUP BY state") {
                let name = try row.decode(String.self, atIndex: 0)
                if let state = OneTimeCredential.State(rawValue: name) { census[state] = try row.decode(atIndex: 1) }
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

    /// Why credentials cannot be written at the moment; nil: the last write went well. While they cannot, this tries
    /// one that means nothing, so that the end of the trouble is seen without a device that needs it.
    package func writeFailure() async -> RecordsError? {
        guard self.commits.failure != nil else { return nil }
        try? await self.commits.run { statements in
            // Another value each time: SQLite writes nothing where nothing changes.
            try statements.db.execute(
                sql: "INSERT OR REPLACE INTO meta (name, value) VALUES ('write-check', randomblob(8))"
            )
        }
        return self.commits.failure
    }
}
