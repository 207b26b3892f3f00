import Secrets
import Timing

@testable import Gateway

/// The records of the SIMs and the credentials, in memory: slow, failing at times, and with the rules of a credential's
/// life written down a second time. What was asked for counts from its commit on; one commit follows the other.
final class SimulatedStore {
    typealias State = OneTimeCredential.State

    struct Entry {
        var credential: OneTimeCredential
        var state: State { self.credential.state }
        /// Grows with the order of commits.
        let number: Int
    }

    private unowned let world: SimulatedWorld
    var records: [SIMRecord]
    /// Percent of the commits and look-ups that fail.
    let failures: Int
    let useWithin: Duration
    private(set) var entries: [PSKIdentity: Entry] = [:]
    private(set) var grants: Set<Int64> = []
    /// Everything that was ever committed.
    private(set) var committed: Set<PSKIdentity> = []
    private(set) var committedGrants: Set<Int64> = []
    /// Discards that failed: what they named expires by itself.
    private(set) var excused: Set<PSKIdentity> = []
    private(set) var excusedGrants: Set<Int64> = []
    /// Identities with which a handshake has been completed.
    var shaken: Set<PSKIdentity> = []
    private var commits = 0
    private var busyUntil = Instant(nanoseconds: 0)

    static let unprovenLimit = 4

    init(_ world: SimulatedWorld, records: [SIMRecord]) {
        self.world = world
        self.records = records
        self.failures = world.chance(30) ? world.pick(5...30) : 0
        self.useWithin = world.chance(25) ? .seconds(world.pick(5...200)) : .seconds(7 * 86_400)
    }

    func record(iccid: String) -> SIMRecord? { self.records.first { $0.iccid == iccid } }

    // MARK: - What the gateway asks for

    /// `done` with true when everything is on disk.
    func store(_ credentials: [OneTimeCredential], grants: [PlainGrant], done: @escaping (Bool) -> Void) {
        self.commit { store in
            guard !store.world.chance(store.failures) else {
                done(false)
                return
            }
            for credential in credentials {
                if credential.state != .pending { store.world.fail("a credential is not born pending") }
                store.makeRoom(for: credential)
                store.commits += 1
                store.entries[credential.identity] = Entry(credential: credential, number: store.commits)
                store.committed.insert(credential.identity)
                store.checkUnproven(beside: credential)
            }
            for grant in grants {
                store.grants.insert(grant.id)
                store.committedGrants.insert(grant.id)
            }
            done(true)
        }
    }

    func discard(_ identities: [PSKIdentity], grants: [Int64]) {
        self.commit { store in
            if store.world.chance(store.failures) {
                store.excused.formUnion(identities)
                store.excusedGrants.formUnion(grants)
                return
            }
            for identity in identities where store.entries[identity]?.state == .pending {
                store.entries[identity] = nil
            }
            store.grants.subtract(grants)
        }
    }

    /// A handshake with this identity has completed.
    func prove(_ identity: PSKIdentity) {
        self.commit { store in
            guard !store.world.chance(store.failures), let proven = store.entries[identity],
                store.state(of: proven) == .pending
            else { return }
            if !store.shaken.contains(identity) { store.world.fail("a credential is active without a handshake") }
            store.entries[identity]?.credential.state = .active
            for (other, entry) in store.entries where entry.number < proven.number && entry.isRival(of: proven) {
                if entry.state == .pending || entry.state == .active {
                    store.entries[other]?.credential.state = .replaced
                }
            }
        }
    }

    /// `done` with nil when the store does not answer.
    func resolve(_ identity: PSKIdentity, done: @escaping (IdentityResolution?) -> Void) {
        self.world.after(self.world.milliseconds(0...20)) { [self] in
            guard !self.world.chance(self.failures) else {
                done(nil)
                return
            }
            done(self.resolution(of: identity))
        }
    }

    func resolution(of identity: PSKIdentity) -> IdentityResolution {
        if let record = self.records.first(where: { $0.identity == identity }) { return .bootstrap(record) }
        guard let entry = self.entries[identity], entry.state != .revoked,
            let record = self.record(iccid: entry.credential.iccid)
        else { return .unknown }
        var credential = entry.credential
        credential.state = self.state(of: entry)
        return .registration(credential, record)
    }

    // MARK: - What the operator does

    func suspend(_ index: Int) { self.records[index].status = .suspended }

    func revoke(_ iccid: String) {
        for (identity, entry) in self.entries where entry.credential.iccid == iccid {
            if entry.state == .pending || entry.state == .active { self.entries[identity]?.credential.state = .revoked }
        }
    }

    // MARK: - Rules

    /// Time ends what was never used, without a word.
    func state(of entry: Entry) -> State {
        guard entry.state == .pending else { return entry.state }
        let age = self.world.wallClock - entry.credential.mintedAt
        return .microseconds(age) > self.useWithin ? .expired : .pending
    }

    private func unproven(beside credential: OneTimeCredential) -> [Entry] {
        let entry = Entry(credential: credential, number: 0)
        return self.entries.values.filter { $0.isRival(of: entry) && self.state(of: $0) == .pending }
            .sorted { $0.number < $1.number }
    }

    private func makeRoom(for credential: OneTimeCredential) {
        for entry in self.unproven(beside: credential).dropLast(Self.unprovenLimit - 1) {
            self.entries[entry.credential.identity]?.credential.state = .replaced
        }
    }

    private func checkUnproven(beside credential: OneTimeCredential) {
        if self.unproven(beside: credential).count > Self.unprovenLimit { self.world.fail("five unproven credentials") }
    }

    private func commit(_ body: @escaping (SimulatedStore) -> Void) {
        let duration = self.world.chance(5) ? self.world.milliseconds(100...4000) : self.world.milliseconds(1...20)
        self.busyUntil = max(self.busyUntil, self.world.now) + duration
        self.world.at(self.busyUntil) { [self] in body(self) }
    }
}

extension SimulatedStore.Entry {
    /// For the same account of the same SIM.
    fileprivate func isRival(of other: Self) -> Bool {
        self.credential.iccid == other.credential.iccid && self.credential.server == other.credential.server
            && self.credential.shortServerID == other.credential.shortServerID
            && self.credential.identity != other.credential.identity
    }
}
