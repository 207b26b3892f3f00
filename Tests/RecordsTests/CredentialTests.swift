import Foundation
import GRDB
import Gateway
import Secrets
import Testing

@testable import Records

@Suite("The life of one-time credentials")
struct CredentialSetTests {
    private static let day: Int64 = 86_400_000_000

    private func lifetimes(maximumAge: Duration? = nil) -> CredentialLifetimes {
        var lifetimes = CredentialLifetimes()
        lifetimes.maximumAge = maximumAge
        return lifetimes
    }

    @Test("An unproven one expires after use-within, and not before")
    func useWithin() {
        let life = CredentialLife(written: .pending, mintedAt: 0, provenAt: nil, succeededAt: nil)
        #expect(life.state(at: 7 * Self.day, under: self.lifetimes()) == .pending)
        #expect(life.state(at: 7 * Self.day + 1, under: self.lifetimes()) == .expired)
        #expect(life.state(at: -Self.day, under: self.lifetimes()) == .pending)
    }

    @Test("A proven one without a successor has no end but maximum-age")
    func maximumAge() {
        let life = CredentialLife(written: .active, mintedAt: 0, provenAt: 1, succeededAt: nil)
        #expect(life.state(at: 9_000 * Self.day, under: self.lifetimes()) == .active)
        let limited = self.lifetimes(maximumAge: .seconds(86_400))
        #expect(life.state(at: Self.day, under: limited) == .active)
        #expect(life.state(at: Self.day + 1, under: limited) == .expired)
    }

    @Test("A proven one with an unproven successor ends with the overlap")
    func overlap() {
        let life = CredentialLife(written: .active, mintedAt: 0, provenAt: 1, succeededAt: Self.day)
        #expect(life.state(at: 8 * Self.day, under: self.lifetimes()) == .active)
        #expect(life.state(at: 8 * Self.day + 1, under: self.lifetimes()) == .replaced)
    }

    @Test("Huge lifetimes do not overflow")
    func hugeLifetimes() {
        var lifetimes = self.lifetimes(maximumAge: .seconds(Int64.max))
        lifetimes.useWithin = .seconds(Int64.max)
        lifetimes.overlap = .seconds(Int64.max)
        for time: Int64 in [.min, 0, .max / 4] {
            let life = CredentialLife(written: .pending, mintedAt: 0, provenAt: nil, succeededAt: nil)
            #expect(life.state(at: time, under: lifetimes) == .pending)
        }
    }

    /// Plays random lives and checks the rules after each step.
    @Test("However often devices bootstrap, fail and come back, the rules hold", arguments: 1...40)
    func randomLives(seed: Int) {
        var random = Seeded(state: UInt64(seed))
        var set = CredentialSet(members: [], lifetimes: self.lifetimes())
        var now: Int64 = 0
        var next: Int64 = 1
        for step in 0..<300 {
            now += Int64.random(in: 0...(Self.day / 2), using: &random)
            let active = set.members.last { $0.life.written == .active }
            var proven: Int64?
            let changes: [CredentialSet.Change]
            var isMint = false
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<6:
                changes = set.changesBeforeMinting(for: 1111, at: now)
                isMint = true
            case 6..<8:
                proven = set.members.randomElement(using: &random)?.id
                changes = proven.map { set.changesOnProof(of: $0, at: now) } ?? []
            default:
                changes = set.changesOnDiscard(
                    of: Set(set.members.filter { _ in Bool.random(using: &random) }.map(\.id)),
                    at: now
                )
            }
            self.apply(changes, to: &set)
            if isMint {
                set.members.append(
                    .init(
                        id: next, shortServerID: 1111,
                        life: .init(written: .pending, mintedAt: now, provenAt: nil, succeededAt: nil))
                )
                next += 1
            }
            let place: Comment = "seed \(seed), step \(step)"
            let states = set.members.map { $0.life.state(at: now, under: set.lifetimes) }
            #expect(states.count { $0 == .pending } <= CredentialSet.unprovenLimit, place)
            #expect(set.members.count { $0.life.written == .active } <= 1, place)
            #expect(set.members.count <= CredentialSet.unprovenLimit + CredentialSet.endedLimit + 2, place)
            // The last proven one never goes to make room, nor by being given up.
            if let active, proven == nil { #expect(set.members.contains { $0.id == active.id }, place) }
            if isMint { #expect(states.last == .pending, place) }
            // The overlap runs from the minting of a successor, never from something older than the proven one.
            for member in set.members where member.life.written == .active {
                if let start = member.life.succeededAt { #expect(start >= member.life.mintedAt, place) }
            }
        }
    }

    private func apply(_ changes: [CredentialSet.Change], to set: inout CredentialSet) {
        for change in changes {
            switch change {
            case .state(let id, let state):
                for index in set.members.indices where set.members[index].id == id {
                    set.members[index].life.written = state
                }
            case .succeeded(let id, let at):
                for index in set.members.indices where set.members[index].id == id {
                    set.members[index].life.succeededAt = at
                }
            case .remove(let id): set.members.removeAll { $0.id == id }
            }
        }
    }
}

@Suite("Keeping one-time credentials")
struct CredentialStoreTests {
    let scratch = Scratch()
    let clock = ManualClock()

    private func open() throws -> Records {
        let clock = self.clock
        let records = try self.scratch.records { $0.clock = { clock.now } }
        if try records.sims.count() == 0 { _ = try records.sims.add(fields(1), by: "test") }
        return records
    }

    private func mint(_ names: String..., sim: Int = 1, server: String = "meters", in records: Records) async throws {
        for name in names {
            try await records.store([try credential(name, sim: sim, server: server, at: self.clock.now)])
        }
    }

    private func state(_ name: String, _ records: Records) async throws -> OneTimeCredential.State? {
        switch try await records.resolve(identities: [try #require(PSKIdentity(name))])[0] {
        case .registration(let credential, _): credential.state
        case .bootstrap, .unknown: nil
        }
    }

    private func prove(_ name: String, _ records: Records) async throws -> [String] {
        try await records.prove(try #require(PSKIdentity(name))).map { "\($0.identity.text ?? "") \($0.state)" }
    }

    @Test("A stored credential survives a stop without farewell")
    func durability() async throws {
        let records = try self.open()
        try await self.mint("a", in: records)
        // A second opening of the same files sees what a new process would see.
        let later = try self.open()
        #expect(try await self.state("a", later) == .pending)
        #expect(try await self.prove("a", later) == ["a active"])
    }

    @Test("Proving makes a credential active and replaces what was minted before; the next time nothing changes")
    func prove() async throws {
        let records = try self.open()
        try await self.mint("a", "b", "c", in: records)
        try await self.mint("x", server: "trackers", in: records)
        #expect(try await self.prove("b", records) == ["b active", "a replaced"])
        #expect(try await self.prove("b", records) == [])
        #expect(try await self.state("c", records) == .pending)
        #expect(try await self.state("x", records) == .pending)
        #expect(try await self.prove("c", records) == ["c active", "b replaced"])
        #expect(try await self.state("a", records) == .replaced)
        #expect(try await self.prove("a", records) == [])
        #expect(try await self.prove("nobody", records) == [])
    }

    @Test("The fifth unproven credential takes the oldest unproven one's place, never the proven one's")
    func unprovenLimit() async throws {
        let records = try self.open()
        try await self.mint("p", in: records)
        _ = try await self.prove("p", records)
        try await self.mint("a", "b", "c", "d", in: records)
        #expect(try await self.state("a", records) == .pending)
        try await self.mint("e", in: records)
        #expect(try await self.state("a", records) == .replaced)
        #expect(try await self.state("b", records) == .pending)
        #expect(try await self.state("p", records) == .active)
    }

    @Test("A device that bootstraps without end does not fill the store")
    func bounded() async throws {
        let records = try self.open()
        for index in 0..<60 { try await self.mint("n\(index)", in: records) }
        let count = try await records.credentials.pool.read {
            try Int.fetchOne($0, sql: "SELECT count(*) FROM credentials")
        }
        #expect(try #require(count) <= CredentialSet.unprovenLimit + CredentialSet.endedLimit + 1)
        #expect(try await self.state("n59", records) == .pending)
    }

    @Test("The previous credential works until the new one is proven or the overlap has passed")
    func overlap() async throws {
        let records = try self.open()
        try await self.mint("old", in: records)
        _ = try await self.prove("old", records)
        self.clock.advance(days: 30)
        try await self.mint("new", in: records)
        self.clock.advance(days: 6)
        #expect(try await self.state("old", records) == .active)
        self.clock.advance(days: 2)
        #expect(try await self.state("old", records) == .replaced)
        #expect(try await self.state("new", records) == .expired)
        #expect(try await self.prove("new", records) == [])
    }

    @Test("A bootstrap that was given up leaves the previous credential as it was")
    func discard() async throws {
        let records = try self.open()
        try await self.mint("old", in: records)
        _ = try await self.prove("old", records)
        try await self.mint("new", in: records)
        try await records.discard([#require(PSKIdentity("new")), #require(PSKIdentity("nobody"))])
        #expect(try await self.state("new", records) == nil)
        self.clock.advance(days: 60)
        #expect(try await self.state("old", records) == .active)
        try await records.discard([#require(PSKIdentity("old"))])
        #expect(try await self.state("old", records) == .active)
    }

    @Test("Credentials of one call are stored all or none, and one bad call does not take others with it")
    func allOrNone() async throws {
        let scratch = Scratch()
        let records = try scratch.records { $0.commitWindow = .milliseconds(5) }
        _ = try records.sims.add(fields(1), by: "test")
        let all = try (0..<40).map { try credential("n\($0)", server: "s\($0)") }
        try await records.store([all[0]])
        let failures = await withTaskGroup(of: Int.self) { group in
            for index in 1..<40 {
                // Every tenth brings one that exists already beside a new one.
                let batch = index.isMultiple(of: 10) ? [all[index], all[0]] : [all[index]]
                group.addTask {
                    do {
                        try await records.store(batch)
                        return 0
                    } catch { return 1 }
                }
            }
            return await group.reduce(0, +)
        }
        #expect(failures == 3)
        let resolutions = try await records.resolve(identities: all.map(\.identity))
        #expect(resolutions.indices.filter { resolutions[$0] == .unknown } == [10, 20, 30])
    }

    @Test("Suspending ends credentials at once, and resuming revives none; new ones count")
    func suspension() async throws {
        let records = try self.open()
        let sim = try ICCID(iccid(1))
        try await self.mint("a", in: records)
        self.clock.now += 1
        _ = try records.sims.setStatus(.suspended, of: sim, by: "test")
        #expect(try await self.state("a", records) == nil)
        self.clock.now += 1
        _ = try records.sims.setStatus(.active, of: sim, by: "test")
        #expect(try await self.state("a", records) == nil)
        self.clock.now += 1
        try await self.mint("b", in: records)
        #expect(try await records.revoked().map(\.credential.identity.text) == ["a"])
        #expect(try await records.revoked().isEmpty)
        #expect(try await self.state("a", records) == nil)
        #expect(try await self.state("b", records) == .pending)
    }

    @Test("A bootstrap that mints while its SIM is suspended leaves nothing that works, even after the mark has gone")
    func lateMint() async throws {
        let records = try self.open()
        let sim = try ICCID(iccid(1))
        let late = try credential("late", at: self.clock.now)
        self.clock.now += 1
        _ = try records.sims.setStatus(.suspended, of: sim, by: "test")
        try await records.revoked()
        try await records.store([late])
        _ = try records.sims.setStatus(.active, of: sim, by: "test")
        #expect(try await self.state("late", records) == nil)
        self.clock.advance(days: 1)
        #expect(try await records.revoked().count == 1)
        let marks = try await records.sims.pool.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM revocations") }
        #expect(marks == 0)
        #expect(try await self.state("late", records) == nil)
    }

    @Test("A SIM that was removed and added again has none of its old credentials")
    func removal() async throws {
        let records = try self.open()
        try await self.mint("a", in: records)
        try records.sims.remove(try ICCID(iccid(1)), by: "test")
        #expect(try await self.state("a", records) == nil)
        _ = try records.sims.add(fields(1), by: "test")
        #expect(try await self.state("a", records) == nil)
        try await records.revoked()
        #expect(try await self.state("a", records) == nil)
    }

    @Test("Credentials of a suspended SIM end whatever the clock said when they were minted")
    func clockSetBack() async throws {
        let records = try self.open()
        try await self.mint("a", in: records)
        self.clock.advance(days: -1)
        _ = try records.sims.setStatus(.suspended, of: try ICCID(iccid(1)), by: "test")
        try await records.revoked()
        _ = try records.sims.setStatus(.active, of: try ICCID(iccid(1)), by: "test")
        #expect(try await self.state("a", records) == nil)
    }

    @Test("The sweep writes down what time ended and forgets what ended long ago")
    func sweep() async throws {
        let records = try self.open()
        try await self.mint("a", "b", in: records)
        _ = try await self.prove("a", records)
        self.clock.advance(days: 8)
        try await records.sweep()
        let states = { try await self.written(records) }
        #expect(try await states() == ["a replaced", "b expired"])
        self.clock.advance(days: 89)
        try await records.sweep()
        #expect(try await states() == ["a replaced", "b expired"])
        self.clock.advance(days: 2)
        try await records.sweep()
        #expect(try await states() == [])
    }

    @Test("A sweep in parts reaches every row", arguments: [1, 2, 3, 7, 8, 100])
    func sweepInParts(part: Int) async throws {
        let records = try self.open()
        for sim in 1...4 {
            try await records.store([
                try credential("bootstrap-\(sim)", sim: sim, server: "", at: self.clock.now),
                try credential("meters-\(sim)", sim: sim, at: self.clock.now),
            ])
        }
        self.clock.advance(days: 8)
        try await records.sweep(part: part)
        #expect(try await self.written(records).allSatisfy { $0.hasSuffix("expired") })
        self.clock.advance(days: 91)
        try await records.sweep(part: part)
        #expect(try await self.written(records) == [])
    }

    @Test("T47: the order of minting holds when the clock is set back, also over a restart")
    func orderUnderClock() async throws {
        let records = try self.open()
        try await self.mint("a", in: records)
        self.clock.advance(days: -3)
        try await self.mint("b", in: records)
        records.close()
        self.clock.advance(days: -1)
        let again = try self.open()
        try await self.mint("c", in: again)
        #expect(try await self.written(again) == ["a pending", "b pending", "c pending"])
        _ = try await self.prove("b", again)
        #expect(try await self.written(again) == ["a replaced", "b active", "c pending"])
    }

    @Test("Pages of the list leave none out and show none twice, however many were minted at once")
    func pages() async throws {
        let records = try self.open()
        let names = (1...9).map { "identity-\($0)" }
        try await records.store(
            try names.enumerated().map { try credential($1, sim: 1 + $0 % 4, server: "s\($0)", at: self.clock.now) }
        )
        var page = CredentialLister.Page()
        page.limit = 2
        var servers: [String] = []
        repeat {
            let (listings, next) = try records.credentials.list(page)
            servers += listings.map(\.server)
            page.after = next
        } while page.after != nil
        #expect(servers == (0..<9).reversed().map { "s\($0)" })
    }

    private func written(_ records: Records) async throws -> [String] {
        try await records.credentials.pool.read { db in
            try Row.fetchAll(db, sql: "SELECT CAST(identity AS TEXT), state FROM credentials ORDER BY id").map {
                "\($0[0] as String) \($0[1] as String)"
            }
        }
    }

    @Test("The list shows state, times and fingerprint, newest first, page by page")
    func list() async throws {
        let records = try self.open()
        try await self.mint("identity-number-one", "identity-number-two", in: records)
        _ = try await self.prove("identity-number-one", records)
        var page = CredentialLister.Page()
        page.limit = 1
        page.iccid = iccid(1)
        let first = try records.credentials.list(page)
        let listing = try #require(first.listings.first)
        #expect(listing.identity?.description == "iden…-two")
        #expect(listing.fingerprint == KeyFingerprint.text(of: try credential("identity-number-two").key))
        #expect(listing.state == .pending && listing.provenAt == nil)
        page.after = first.next
        let second = try records.credentials.list(page)
        #expect(second.listings.first?.state == .active)
        #expect(second.listings.first?.provenAt == self.clock.now)
        page.after = second.next
        #expect(try records.credentials.list(page).listings.isEmpty)
    }

    @Test("A fingerprint is the first eight digits of the SHA-256 of the key")
    func fingerprint() {
        // The digest of three bytes that every description of SHA-256 gives.
        #expect(KeyFingerprint.text(of: Secret("abc".utf8)) == "ba7816bf")
    }
}
