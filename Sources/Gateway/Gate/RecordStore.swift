package import Secrets
internal import Timing

/// What a PSK identity stands for.
package indirect enum IdentityResolution: Sendable, Equatable {
    /// The bootstrap identity of a SIM.
    case bootstrap(SIMRecord)
    /// A one-time identity of one server, with the record of the SIM it was minted for.
    case registration(OneTimeCredential, SIMRecord)
    /// Nobody's. The look-up that ends here costs the same as one that finds something.
    case unknown
}

/// A change that somebody made to the records while the gateway runs.
package enum RecordChange: Sendable, Equatable {
    /// This SIM's record was added, changed or removed; whatever is remembered of it is stale.
    case sim(iccid: String)
    /// More changed than can be named (a bulk import, a restored backup): everything remembered is stale.
    case everything
}

/// The records as the data path needs them. `Records` implements it over SQLite; nothing in it blocks an event loop.
///
/// Look-ups take a batch, because the data path collects what one read of the sockets asked for; answers come in the
/// order of the questions. A thrown error means that the store did not answer, which is neither "unknown" nor "known":
/// nothing is then sent to the device, and it tries again (spec 5.4).
package protocol RecordStore: Sendable {
    func resolve(identities: [PSKIdentity]) async throws -> [IdentityResolution]

    /// The record whose `address` list holds this source (the longest prefix wins), or nil. One answer per address.
    func resolve(addresses: [IPAddress]) async throws -> [SIMRecord?]

    /// The record of a SIM by its key, for sessions that must be judged anew after a change.
    func record(iccid: String) async throws -> SIMRecord?

    /// Keeps where devices have their bootstrap accounts, by ICCID; records show it from then on. All or none are durable
    /// with the next shared commit.
    func remember(_ places: [String: SIMRecord.BootstrapPlace]) async throws

    /// Changes made by other processes, or by this one, at most a second after they were committed.
    func changes() -> AsyncStream<RecordChange>
}

/// The credentials that bootstraps hand out. `Records` implements it over SQLite.
package protocol CredentialStore: Sendable {
    /// Makes the credentials and grants of one or more bootstraps durable, all or none; returns when they are on disk.
    /// Calls that come within a few milliseconds share one commit. Returns the unproven ones that gave way, because a SIM
    /// has only so many of one account.
    func store(_ credentials: [OneTimeCredential], grants: [PlainGrant]) async throws -> [OneTimeCredential]

    /// The first handshake with this identity has completed: it is now `active`, and the previous ones of the same SIM
    /// and server are `replaced`. Returns what changed, for the audit journal; nothing when it was active already.
    func prove(_ identity: PSKIdentity) async throws -> [OneTimeCredential]

    /// Forgets credentials and grants that a bootstrap minted but did not finish with (T38). Proven ones stay.
    func discard(_ identities: [PSKIdentity], grants: [Int64]) async throws

    /// The grants under which plain devices may register, one answer for each question in its order: the newest living
    /// one, pending or active; nil where there is none.
    func grants(for keys: [PlainGrant.Key]) async throws -> [PlainGrant?]

    /// The first Register under this grant has come: it is now `active`, and the previous ones of the same SIM and
    /// server are `replaced`. Returns what changed, for the audit journal; nothing when it was active already.
    func prove(grant id: Int64) async throws -> [PlainGrant]
}
