import Foundation
import GRDB
import Gateway
import Secrets
import Testing

@testable import Records

@Suite("The list of what servers hold")
struct PublicationTests {
    let scratch = Scratch()
    let clock = ManualClock()

    private func open() throws -> Records {
        let clock = self.clock
        let records = try self.scratch.records { $0.clock = { clock.now } }
        if try records.sims.count() == 0 { _ = try records.sims.add(fields(1), by: "test") }
        return records
    }

    /// A bootstrap up to its publication.
    private func publish(
        _ name: String, _ keys: GatewayConfiguration.KeysPerEndpoint, _ records: Records
    ) async throws -> OneTimeCredential {
        self.clock.now += 1
        let minted = try credential(name, server: "trackers", at: self.clock.now)
        try await records.store([minted])
        try await records.open([minted], keys: keys)
        return minted
    }

    private func finish(
        _ name: String, _ keys: GatewayConfiguration.KeysPerEndpoint, _ records: Records
    ) async throws {
        _ = try await records.commit(try #require(PSKIdentity(name)), keys: keys)
    }

    /// What is due, as the steps that would be taken; each is settled.
    private func steps(_ records: Records) async throws -> [String] {
        var steps: [String] = []
        for line in try await records.dueLines(limit: 100) {
            let duty = try #require(try await records.duty(line.id))
            switch duty.step {
            case .nothing: steps.append("nothing")
            case .publish(let credential): steps.append("publish \(credential.identity.text ?? "")")
            case .withdraw(let identity): steps.append("withdraw \(identity?.text ?? "all")")
            }
            try await records.settle(duty)
        }
        return steps
    }

    private func lines(_ records: Records) async throws -> Int? {
        try await records.credentials.pool.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM publications") }
    }

    @Test("One key: a bootstrap that finished leaves nothing to do, and the key before it is replaced")
    func finished() async throws {
        let records = try self.open()
        _ = try await self.publish("old", .one, records)
        try await self.finish("old", .one, records)
        #expect(try await self.steps(records) == [])
        _ = try await self.publish("new", .one, records)
        let changed = try await records.commit(try #require(PSKIdentity("new")), keys: .one)
        #expect(changed.map { "\($0.identity.text ?? "") \($0.state)" } == ["new active", "old replaced"])
        #expect(try await self.steps(records) == [])
        #expect(try await self.lines(records) == 1)
    }

    @Test("One key: given up before Finish, the previous key is published again; without one, all is withdrawn")
    func givenUp() async throws {
        let records = try self.open()
        let first = try await self.publish("first", .one, records)
        try await records.discard([first.identity])
        #expect(try await self.steps(records) == ["withdraw all"])
        #expect(try await self.lines(records) == 0)
        _ = try await self.publish("old", .one, records)
        try await self.finish("old", .one, records)
        let new = try await self.publish("new", .one, records)
        try await records.discard([new.identity])
        #expect(try await self.steps(records) == ["publish old"])
        #expect(try await self.steps(records) == [])
    }

    @Test("One key: a Finish whose outcome is not known puts the previous key back, and keeps the new one if none was")
    func unknownOutcome() async throws {
        let records = try self.open()
        let first = try await self.publish("first", .one, records)
        try await records.review([first])
        #expect(try await self.steps(records) == ["publish first"])
        try await self.finish("first", .one, records)
        let new = try await self.publish("new", .one, records)
        try await records.review([new])
        #expect(try await self.steps(records) == ["publish first"])
    }

    @Test("A bootstrap under way is left alone; after a restart, and after a while, it is looked at")
    func underWay() async throws {
        let records = try self.open()
        _ = try await self.publish("old", .one, records)
        try await self.finish("old", .one, records)
        _ = try await self.publish("new", .one, records)
        #expect(try await records.dueLines(limit: 10).isEmpty)
        let later = try self.open()
        try await later.reviewUnconcluded()
        #expect(try await self.steps(later) == ["publish old"])
        _ = try await self.publish("newer", .one, later)
        self.clock.now += 600_000_001
        #expect(try await self.steps(later) == ["publish old"])
    }

    @Test("What was revoked is withdrawn", arguments: ["suspend", "revoke", "remove"])
    func revoked(how: String) async throws {
        let records = try self.open()
        let sim = try ICCID(iccid(1))
        _ = try await self.publish("one", .one, records)
        try await self.finish("one", .one, records)
        self.clock.now += 1
        switch how {
        case "suspend": _ = try records.sims.setStatus(.suspended, of: sim, by: "test")
        case "remove": try records.sims.remove(sim, by: "test")
        default: try records.revokeCredentials(of: sim, server: "trackers", by: "test")
        }
        try await records.revoked()
        #expect(try await self.steps(records) == ["withdraw one"])
        #expect(try await self.lines(records) == 0)
    }

    @Test("Many keys: each is withdrawn when it ends, and the previous one lives until the overlap has passed")
    func many() async throws {
        let records = try self.open()
        _ = try await self.publish("a", .many, records)
        try await self.finish("a", .many, records)
        let b = try await self.publish("b", .many, records)
        #expect(try await records.commit(b.identity, keys: .many).map(\.identity) == [b.identity])
        // "a" was looked at because its set changed, and lives.
        #expect(try await self.steps(records) == ["nothing"])
        let c = try await self.publish("c", .many, records)
        try await records.discard([c.identity])
        #expect(try await self.steps(records).sorted() == ["nothing", "nothing", "withdraw c"])
        self.clock.advance(days: 8)
        #expect(try await records.swept().map(\.state) == [.replaced])
        #expect(try await self.steps(records).sorted() == ["nothing", "withdraw a"])
        #expect(try await self.lines(records) == 1)
    }

    @Test("Many keys: the fifth that nobody proved has the oldest withdrawn")
    func unprovenLimit() async throws {
        let records = try self.open()
        for name in ["a", "b", "c", "d"] { _ = try await self.publish(name, .many, records) }
        #expect(try await self.steps(records) == [])
        self.clock.now += 1
        let fifth = try credential("e", server: "trackers", at: self.clock.now)
        #expect(try await records.store([fifth], grants: []).map(\.identity.text) == ["a"])
        #expect(try await self.steps(records).sorted() == ["nothing", "nothing", "nothing", "withdraw a"])
    }

    @Test("What fails comes again after a pause that grows; a new reason to look at it wins over the old outcome")
    func postponed() async throws {
        let records = try self.open()
        let first = try await self.publish("first", .one, records)
        try await records.discard([first.identity])
        var pauses: [Int64] = []
        for _ in 0..<4 {
            let line = try #require(try await records.dueLines(limit: 1).first)
            try await records.postpone(try #require(try await records.duty(line.id)))
            #expect(try await records.duty(line.id) == nil)
            let start = self.clock.now
            while try await records.dueLines(limit: 1).isEmpty { self.clock.now += 1_000_000 }
            pauses.append((self.clock.now - start) / 1_000_000)
        }
        #expect(pauses == [1, 2, 4, 8])
        let line = try #require(try await records.dueLines(limit: 1).first)
        let stale = try #require(try await records.duty(line.id))
        #expect(stale.attempts == 4)
        _ = try await self.publish("second", .one, records)
        try await records.settle(stale)
        try await records.postpone(stale)
        #expect(try await self.lines(records) == 1)
        try await self.finish("second", .one, records)
        #expect(try await self.steps(records) == [])
    }

    @Test("A SIM and server that nothing was published for have no line")
    func relayed() async throws {
        let records = try self.open()
        let minted = try credential("relayed", at: self.clock.now)
        try await records.store([minted])
        _ = try await records.prove(minted.identity)
        try await records.review([minted])
        #expect(try await records.dueLines(limit: 10).isEmpty)
        #expect(try await self.lines(records) == 0)
    }
}
