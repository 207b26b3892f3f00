internal import CoAP
internal import DTLS
internal import Secrets

/// A hand-over on its way back: what the stores, the configuration and the system still agree to.
struct Restoration {
    var sessions: [(saved: Handover.Session, standing: IdentityResolution)] = []
    /// By their number in the hand-over; nil where one was given up.
    var registrations: [Registration?] = []
    /// Since the hand-over was made.
    var elapsed = Duration.zero
}

/// What became of a hand-over, for the log and the journal.
package struct RestorationSummary: Sendable, Equatable {
    package var sessions = 0
    package var registrations = 0
    /// Sessions whose devices shake hands again.
    package var sessionsGivenUp = 0
    /// Registrations whose devices register again; each one has its record in the journal.
    package var registrationsGivenUp = 0
    package var effort = Effort()

    package init() {}

    /// There was nothing to take up.
    package var isEmpty: Bool {
        self.sessions + self.registrations + self.sessionsGivenUp + self.registrationsGivenUp == 0
    }
}

/// What the stores say now of everything in a hand-over.
struct PresentStanding {
    var identities: [PSKIdentity: IdentityResolution] = [:]
    /// SIM records by the source addresses of plain sessions, and by ICCID where no credential leads to them.
    var addresses: [IPAddress: SIMRecord] = [:]
    var records: [String: SIMRecord] = [:]
    var grants: [PlainGrant.Key: PlainGrant] = [:]

    /// Questions of one batch.
    private static let batch = 512

    /// Throws when a store does not answer.
    init(of handover: Handover, records: any RecordStore, credentials: any CredentialStore) async throws {
        var identities = Set(handover.sessions.compactMap { $0.dtls?.identity })
        var keys = Set<PlainGrant.Key>()
        for registration in handover.registrations {
            switch registration.right {
            case .identity(let identity): identities.insert(identity)
            case .grant: keys.insert(.init(iccid: registration.iccid, server: registration.server))
            }
        }
        for batch in Self.batches(Array(identities)) {
            for (identity, resolution) in zip(batch, try await records.resolve(identities: batch)) {
                self.identities[identity] = resolution
            }
        }
        let plain = Set(handover.sessions.filter { $0.dtls == nil }.map(\.peer.ip))
        for batch in Self.batches(Array(plain)) {
            for (address, record) in zip(batch, try await records.resolve(addresses: batch)) {
                self.addresses[address] = record
            }
        }
        for batch in Self.batches(Array(keys)) {
            for (key, grant) in zip(batch, try await credentials.grants(for: batch)) { self.grants[key] = grant }
        }
        // A SIM that was suspended or removed has lost its credentials with that: the cause is the SIM's.
        let lost = handover.registrations.filter { saved in
            guard case .identity(let identity) = saved.right else { return true }
            return !(self.identities[identity]?.isEntitled ?? false)
        }
        for iccid in Set(lost.map(\.iccid)) { self.records[iccid] = try await records.record(iccid: iccid) }
    }

    private static func batches<Element>(_ all: [Element]) -> [[Element]] {
        stride(from: 0, to: all.count, by: Self.batch).map { Array(all[$0..<min($0 + Self.batch, all.count)]) }
    }

    /// By what right a registration goes on, or why it does not.
    func judge(_ saved: Handover.Registration) -> Result<(Registration.Right, SIMRecord, endpoint: String), GivenUp> {
        switch saved.right {
        case .identity(let identity):
            switch self.identities[identity] {
            case nil, .unknown: return .failure(GivenUp(self.end(of: saved.iccid)))
            case .bootstrap: return .failure(GivenUp(.credentialEnded))
            case .registration(let credential, let record):
                if let cause = Self.obstacle(record) { return .failure(GivenUp(cause)) }
                switch credential.state {
                case .revoked: return .failure(GivenUp(self.end(of: saved.iccid)))
                case .replaced, .expired: return .failure(GivenUp(.credentialEnded))
                case .pending, .active: break
                }
                guard record.iccid == saved.iccid, credential.server == saved.server,
                    credential.shortServerID == saved.shortServerID
                else { return .failure(GivenUp(.credentialEnded)) }
                return .success((.credential(credential), record, credential.endpoint))
            }
        case .grant:
            guard let record = self.records[saved.iccid] else { return .failure(GivenUp(.removed)) }
            if let cause = Self.obstacle(record) { return .failure(GivenUp(cause)) }
            if record.profile == .secure { return .failure(GivenUp(.unauthorized)) }
            guard let grant = self.grants[.init(iccid: saved.iccid, server: saved.server)], grant.isAlive,
                grant.shortServerID == saved.shortServerID
            else { return .failure(GivenUp(.revoked)) }
            return .success((.grant(grant), record, grant.endpoint))
        }
    }

    /// Whose session it is, if it goes on.
    func judge(_ saved: Handover.Session) -> IdentityResolution? {
        guard let identity = saved.dtls?.identity else {
            guard let record = self.addresses[saved.peer.ip], record.iccid == saved.iccid, record.profile != .secure,
                Self.obstacle(record) == nil
            else { return nil }
            return .bootstrap(record)
        }
        switch self.identities[identity] {
        case nil, .unknown: return nil
        case .bootstrap(let record)?:
            return record.iccid == saved.iccid && Self.obstacle(record) == nil ? .bootstrap(record) : nil
        case .registration(let credential, let record)?:
            let isEntitled = credential.state == .pending || credential.state == .active
            guard isEntitled, record.iccid == saved.iccid, Self.obstacle(record) == nil else { return nil }
            return .registration(credential, record)
        }
    }

    /// Why a SIM that had a credential has it no more.
    private func end(of iccid: String) -> FailureCause {
        guard let record = self.records[iccid] else { return .removed }
        return Self.obstacle(record) ?? .revoked
    }

    private static func obstacle(_ record: SIMRecord) -> FailureCause? {
        switch record.status {
        case .suspended: .suspended
        case .retired: .retired
        case .active: nil
        }
    }

    /// Why a registration ends at the restart.
    struct GivenUp: Error {
        let cause: FailureCause
        /// More than the cause says.
        var reason: String?

        init(_ cause: FailureCause, reason: String? = nil) {
            self.cause = cause
            self.reason = reason
        }
    }
}

extension IdentityResolution {
    /// A one-time identity that is in use.
    fileprivate var isEntitled: Bool {
        guard case .registration(let credential, _) = self else { return false }
        return credential.state == .pending || credential.state == .active
    }
}
