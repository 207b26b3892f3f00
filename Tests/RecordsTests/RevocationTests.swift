import Foundation
import Gateway
import Secrets
import Testing

@testable import Records

@Suite("Revoking single credentials and servers")
struct RevocationTests {
    let scratch = Scratch()
    let clock = ManualClock()

    private func open() async throws -> Records {
        let clock = self.clock
        let records = try self.scratch.records { $0.clock = { clock.now } }
        _ = try records.sims.add(fields(1), by: "test")
        for (name, server) in [("a", "meters"), ("b", "meters"), ("x", "trackers")] {
            try await records.store([try credential(name, server: server, at: clock.now)])
        }
        let grant = PlainGrant(
            id: 1, key: .init(iccid: iccid(1), server: "meters"), endpoint: "e", shortServerID: 1, state: .pending,
            mintedAt: clock.now
        )
        _ = try await records.store([], grants: [grant])
        clock.now += 1
        return records
    }

    private func alive(_ records: Records) async throws -> String {
        let names = ["a", "b", "x"]
        let resolutions = try await records.resolve(identities: names.map { try #require(PSKIdentity($0)) })
        let grant = try await records.grants(for: [.init(iccid: iccid(1), server: "meters")])[0]
        return zip(names, resolutions).map { $1 == .unknown ? "-" : $0 }.joined() + (grant == nil ? "-" : "g")
    }

    @Test("One server's: its credentials and its grant end at once, and stay ended; others live")
    func server() async throws {
        let records = try await self.open()
        try records.revokeCredentials(of: try ICCID(iccid(1)), server: "meters", by: "test")
        #expect(try await self.alive(records) == "--x-")
        let revoked = try await records.revoked()
        #expect(revoked.map(\.credential.identity.text) == ["a", "b"])
        #expect(revoked.map(\.cause) == [.revoked, .revoked])
        #expect(try await self.alive(records) == "--x-")
        self.clock.advance(days: 1)
        try await records.revoked()
        #expect(try await self.alive(records) == "--x-")
        try await records.store([try credential("c", at: self.clock.now)])
        #expect(try await records.resolve(identities: [#require(PSKIdentity("c"))])[0] != .unknown)
    }

    @Test("A single one: nothing else ends")
    func single() async throws {
        let records = try await self.open()
        #expect(try records.revokeCredential("a", by: "test").digits == iccid(1))
        #expect(try await self.alive(records) == "-bxg")
        #expect(try await records.revoked().map(\.credential.identity.text) == ["a"])
        #expect(try await self.alive(records) == "-bxg")
    }

    @Test("The cause is that of the change", arguments: [SIMRecord.Status.suspended, .retired])
    func causes(status: SIMRecord.Status) async throws {
        let records = try await self.open()
        _ = try records.sims.setStatus(status, of: try ICCID(iccid(1)), by: "test")
        let causes = Set(try await records.revoked().map(\.cause))
        #expect(causes == [status == .suspended ? .suspended : .retired])
    }

    @Test("Removal says so; a SIM without record and credentials cannot be revoked, nor an unknown identity")
    func nobody() async throws {
        let records = try await self.open()
        try records.sims.remove(try ICCID(iccid(1)), by: "test")
        #expect(Set(try await records.revoked().map(\.cause)) == [.removed])
        #expect(throws: RecordsError.self) {
            try records.revokeCredentials(of: try ICCID(iccid(2)), server: nil, by: "test")
        }
        #expect(throws: RecordsError.self) { try records.revokeCredential("nobody", by: "test") }
        #expect(throws: RecordsError.self) { try records.revokeCredential("", by: "test") }
    }

    @Test("Each change leaves a row for the journal, with what was named")
    func outbox() async throws {
        let records = try await self.open()
        try records.revokeCredentials(of: try ICCID(iccid(1)), server: "meters", by: "test")
        _ = try records.revokeCredential("x", by: "test")
        let details = try records.outbox.rows(limit: 10).suffix(2).map { row in
            row.event.detail.filter { $0.key != "outbox" }.map { "\($0.key) \($0.value)" }
        }
        #expect(
            details == [
                ["action text(\"revoke-credentials\")", "by text(\"test\")", "server text(\"meters\")"],
                ["action text(\"revoke-credentials\")", "by text(\"test\")", "identity text(\"x\")"],
            ])
    }

    @Test("Accounts of one bootstrap for one server do not replace each other")
    func twoAccounts() async throws {
        let records = try await self.open()
        var (one, two) = (try credential("one", at: self.clock.now), try credential("two", at: self.clock.now))
        (one.shortServerID, two.shortServerID) = (1, 2)
        try await records.store([one, two])
        _ = try await records.prove(two.identity)
        #expect(try await records.prove(one.identity).map(\.identity) == [one.identity])
        let states = try await records.resolve(identities: [one.identity, two.identity]).map {
            resolution -> OneTimeCredential.State? in
            if case .registration(let credential, _) = resolution { return credential.state }
            return nil
        }
        #expect(states == [.active, .active])
    }

    @Test("The list shows what is asked for, without keys")
    func list() async throws {
        let records = try await self.open()
        try records.revokeCredentials(of: try ICCID(iccid(1)), server: "trackers", by: "test")
        try await records.revoked()
        var page = CredentialLister.Page()
        page.server = "meters"
        #expect(try records.credentials.list(page).listings.map(\.identity?.text) == ["b", "a"])
        #expect(try records.credentials.listGrants(page).listings.map(\.fingerprint) == [nil])
        page.server = nil
        page.state = .revoked
        #expect(try records.credentials.list(page).listings.map(\.identity?.text) == ["x"])
        page.state = .pending
        page.limit = 1
        let first = try records.credentials.list(page)
        #expect(first.listings.map(\.identity?.text) == ["b"])
        page.after = first.next
        #expect(try records.credentials.list(page).listings.map(\.identity?.text) == ["a"])
        page.iccid = iccid(2)
        page.after = nil
        #expect(try records.credentials.list(page).listings.isEmpty)
    }
}
