package import Secrets

/// The durable list of what servers were told, so that nothing they hold is forgotten: what has to be withdrawn or put
/// back is tried until it is done, over restarts too. `Records` implements it beside the credentials.
package protocol PublicationStore: Sendable {
    /// Writes down, before anything is sent, that the credentials' servers may know them from now on. What is not
    /// concluded by ``commit(_:keys:)`` or ``review(_:)`` is looked at again after ``PublicationDesk/patience``.
    func open(_ credentials: [OneTimeCredential], keys: GatewayConfiguration.KeysPerEndpoint) async throws

    /// The device has its 2.04 to Finish: the credential is in use from now on. Such servers cannot tell of a first
    /// handshake, so this stands for it. With one key for each endpoint those before it are replaced; else they live
    /// until the overlap has passed.
    ///
    /// - Returns: what changed, for the audit journal.
    func commit(_ identity: PSKIdentity, keys: GatewayConfiguration.KeysPerEndpoint) async throws -> [OneTimeCredential]

    /// What is known of the servers of these credentials is to be looked at again: Finish had another outcome than 2.04.
    func review(_ credentials: [OneTimeCredential]) async throws

    /// After a start: whatever was not concluded is to be looked at.
    func reviewUnconcluded() async throws

    /// The lines that are due, the longest due first, each with the endpoint that it is about.
    func dueLines(limit: Int) async throws -> [PublicationLine]

    /// The line as it is now; nil when it is no longer due.
    func duty(_ line: Int64) async throws -> PublicationDuty?

    /// The duty's step has been done. Nothing changes when there was a new reason to look at the line meanwhile.
    func settle(_ duty: PublicationDuty) async throws

    /// The duty's step has failed: to be tried again after a pause that grows.
    func postpone(_ duty: PublicationDuty) async throws
}

/// Names a line of the list of publications.
package struct PublicationLine: Sendable, Equatable {
    package var id: Int64
    package var server: String
    package var endpoint: String

    package init(id: Int64, server: String, endpoint: String) {
        self.id = id
        self.server = server
        self.endpoint = endpoint
    }
}
