package import Gateway
package import Secrets

extension Records: PublicationStore {
    private var publications: PublicationTable { PublicationTable(credentials: self.credentialTable) }

    package func open(
        _ credentials: [OneTimeCredential], keys: GatewayConfiguration.KeysPerEndpoint
    ) async throws {
        let (table, clock) = (self.publications, self.configuration.clock)
        try await self.commits.run { statements in
            for credential in credentials { try table.open(credential, keys: keys, at: clock(), in: statements.db) }
        }
    }

    package func commit(
        _ identity: PSKIdentity, keys: GatewayConfiguration.KeysPerEndpoint
    ) async throws -> [OneTimeCredential] {
        let (table, clock) = (self.publications, self.configuration.clock)
        return try await self.commits.run { statements in
            let now = clock()
            let changed = try table.credentials.prove(
                identity, keepingPrevious: keys == .many, at: now, with: statements
            )
            if let credential = changed.first(where: { $0.identity == identity }) {
                try table.conclude(credential, keys: keys, in: statements.db)
            }
            return changed
        }
    }

    package func review(_ credentials: [OneTimeCredential]) async throws {
        guard !credentials.isEmpty else { return }
        let clock = self.configuration.clock
        try await self.commits.run { statements in
            for credential in credentials {
                try statements.reviewPublications(of: (credential.iccid, credential.server), at: clock())
            }
        }
    }

    package func reviewUnconcluded() async throws {
        let (table, clock) = (self.publications, self.configuration.clock)
        try await self.commits.run { statements in try table.reviewUnconcluded(at: clock(), in: statements.db) }
    }

    package func dueLines(limit: Int) async throws -> [PublicationLine] {
        let (table, now) = (self.publications, self.configuration.clock())
        return try await self.readCredentials { db in try table.due(at: now, limit: limit, in: db) }
    }

    package func duty(_ line: Int64) async throws -> PublicationDuty? {
        let (table, now) = (self.publications, self.configuration.clock())
        return try await self.readCredentials { db in try table.duty(line, at: now, in: db) }
    }

    package func settle(_ duty: PublicationDuty) async throws {
        let table = self.publications
        try await self.commits.run { statements in try table.settle(duty, in: statements.db) }
    }

    package func postpone(_ duty: PublicationDuty) async throws {
        let (table, clock) = (self.publications, self.configuration.clock)
        try await self.commits.run { statements in try table.postpone(duty, at: clock(), in: statements.db) }
    }
}
