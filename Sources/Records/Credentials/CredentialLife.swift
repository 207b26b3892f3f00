internal import Gateway

/// How long one-time credentials live.
package struct CredentialLifetimes: Sendable, Equatable {
    /// One that was never used expires this long after it was minted.
    package var useWithin: Duration = .seconds(7 * 86_400)
    /// The upper bound for one that has a successor which was never used.
    package var overlap: Duration = .seconds(7 * 86_400)
    /// The upper bound for any; nil: none.
    package var maximumAge: Duration?

    package init() {}
}

/// What the store remembers of a credential's life. Times are wall clock, microseconds since 1970.
struct CredentialLife: Equatable, Sendable {
    /// As last written down. What time alone changes is not written at once: see ``state(at:under:)``.
    var written: OneTimeCredential.State
    var mintedAt: Int64
    var provenAt: Int64?
    /// When the oldest successor that may still be proven was minted.
    var succeededAt: Int64?

    /// The state at `now`.
    ///
    /// A clock that was set back makes ages negative; then nothing ends for that reason.
    func state(at now: Int64, under lifetimes: CredentialLifetimes) -> OneTimeCredential.State {
        switch self.written {
        case .replaced, .revoked, .expired: return self.written
        case .pending:
            if Self.isOver(lifetimes.useWithin, since: self.mintedAt, now: now) { return .expired }
        case .active:
            if let start = self.succeededAt, Self.isOver(lifetimes.overlap, since: start, now: now) { return .replaced }
        }
        if let age = lifetimes.maximumAge, Self.isOver(age, since: self.mintedAt, now: now) { return .expired }
        return self.written
    }

    /// What is older than this has had its `lifetime` at `now`.
    static func threshold(_ lifetime: Duration, now: Int64) -> Int64 {
        let (moment, overflow) = now.subtractingReportingOverflow(Self.microseconds(lifetime))
        return overflow ? .min : moment
    }

    /// A moment so much later.
    static func later(_ moment: Int64, by lifetime: Duration) -> Int64 {
        let (sum, overflow) = moment.addingReportingOverflow(Self.microseconds(lifetime))
        return overflow ? .max : sum
    }

    private static func isOver(_ lifetime: Duration, since start: Int64, now: Int64) -> Bool {
        start < Self.threshold(lifetime, now: now)
    }

    private static func microseconds(_ duration: Duration) -> Int64 {
        let (seconds, attoseconds) = duration.components
        let (product, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000)
        return overflow ? .max / 2 : min(product, .max / 2) + attoseconds / 1_000_000_000_000
    }
}

/// The credentials of one SIM for one server, oldest first, and the rules that bind them together (T10, T38, T39).
struct CredentialSet {
    struct Member: Equatable, Sendable {
        /// Grows with the order of minting, whatever the clock says.
        var id: Int64
        /// One bootstrap may write several accounts for one server; they do not replace each other.
        var shortServerID: UInt16
        var life: CredentialLife
    }

    /// What has to be written.
    enum Change: Equatable {
        case state(id: Int64, OneTimeCredential.State)
        case succeeded(id: Int64, at: Int64?)
        case remove(id: Int64)
    }

    /// Unproven ones of one account that may be alive at a time.
    static let unprovenLimit = 4
    /// Ended ones that are kept for the answer 4.03.
    static let endedLimit = 8

    var members: [Member]
    var lifetimes: CredentialLifetimes

    /// A new one for the account `shortServerID` is about to be added: the oldest unproven ones of that account give way,
    /// the proven ones learn that they have a successor, whatever their account was called, and the oldest ended ones are
    /// forgotten.
    func changesBeforeMinting(for shortServerID: UInt16, at now: Int64) -> [Change] {
        guard !self.members.isEmpty else { return [] }
        var changes: [Change] = []
        let pending = self.members.filter {
            $0.shortServerID == shortServerID && $0.life.state(at: now, under: self.lifetimes) == .pending
        }
        let surplus = Set(pending.dropLast(Self.unprovenLimit - 1).map(\.id))
        changes += pending.filter { surplus.contains($0.id) }.map { .state(id: $0.id, .replaced) }
        var ended: [Int64] = []
        for member in self.members {
            switch member.life.state(at: now, under: self.lifetimes) {
            case .active:
                if member.life.succeededAt == nil { changes.append(.succeeded(id: member.id, at: now)) }
            case .pending:
                if surplus.contains(member.id) { ended.append(member.id) }
            case .replaced, .expired, .revoked:
                // The last proven one stays even when time has ended it: it is what the device most likely still has.
                if member.life.written != .active { ended.append(member.id) }
            }
        }
        changes += ended.dropLast(Self.endedLimit).map { .remove(id: $0) }
        return changes
    }

    /// The first handshake with member `id` has completed: it becomes active, everything minted for its account before it
    /// is replaced, and what was minted after it may still be proven.
    ///
    /// - Parameter keepingPrevious: nothing proves that the device uses it, so those before it end with the overlap.
    /// - Returns: nothing when that member is not pending (any more).
    func changesOnProof(of id: Int64, keepingPrevious: Bool = false, at now: Int64) -> [Change] {
        guard let proven = self.members.first(where: { $0.id == id }),
            proven.life.state(at: now, under: self.lifetimes) == .pending
        else { return [] }
        var changes: [Change] = [.state(id: id, .active)]
        for member in self.members
        where member.id < id && member.shortServerID == proven.shortServerID && !keepingPrevious {
            switch member.life.written {
            case .pending, .active: changes.append(.state(id: member.id, .replaced))
            case .replaced, .expired, .revoked: continue
            }
        }
        let successor = self.members.first {
            $0.id > id && $0.shortServerID == proven.shortServerID
                && $0.life.state(at: now, under: self.lifetimes) == .pending
        }
        if let successor { changes.append(.succeeded(id: id, at: successor.life.mintedAt)) }
        return changes
    }

    /// Members `ids` are given up before anybody proved them: they go, and a proven one that had no other successor
    /// has none any more.
    func changesOnDiscard(of ids: Set<Int64>, at now: Int64) -> [Change] {
        let gone = self.members.filter { ids.contains($0.id) && $0.life.written == .pending }
        let left = self.members.filter { member in !gone.contains(member) }
        var changes: [Change] = gone.map { .remove(id: $0.id) }
        for member in left where member.life.written == .active && member.life.succeededAt != nil {
            guard gone.contains(where: { $0.id > member.id && $0.life.mintedAt == member.life.succeededAt }) else {
                continue
            }
            let successor = left.first { $0.id > member.id && $0.life.written == .pending }
            changes.append(.succeeded(id: member.id, at: successor?.life.mintedAt))
        }
        return changes
    }
}
