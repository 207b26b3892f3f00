package import Secrets

extension CredentialStore {
    /// Credentials alone.
    package func store(_ credentials: [OneTimeCredential]) async throws {
        _ = try await self.store(credentials, grants: [])
    }

    /// Credentials alone.
    package func discard(_ identities: [PSKIdentity]) async throws { try await self.discard(identities, grants: []) }
}
