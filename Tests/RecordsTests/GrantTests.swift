import Foundation
import GRDB
import Gateway
import Secrets
import Testing

@testable import Records

@Suite("Leave to register over the plain port")
struct GrantTests {
    let scratch = Scratch()
    let clock = ManualClock()
    private let key = PlainGrant.Key(iccid: iccid(1), server: "meters")

    private func open() throws -> Records {
        let clock = self.clock
        let records = try self.scratch.records {
            $0.clock = { clock.now }
            $0.lifetimes.maximumAge = .seconds(100 * 86_400)
        }
        if try records.sims.count() == 0 { _ = try records.sims.add(fields(1), by: "test") }
        return records
    }

    private func grant(_ records: Records, id: Int64, server: String = "meters") async throws {
        let grant = PlainGrant(
            id: id, key: .init(iccid: iccid(1), server: server), endpoint: "meter-1", shortServerID: 1111,
            state: .pending, mintedAt: self.clock.now
        )
        _ = try await records.store([], grants: [grant])
    }

    private func found(_ records: Records) async throws -> String? {
        try await records.grants(for: [self.key])[0].map { "\($0.id) \($0.state)" }
    }

    @Test("Without a bootstrap there is none; answers come in the order of the questions")
    func order() async throws {
        let records = try self.open()
        #expect(try await self.found(records) == nil)
        try await self.grant(records, id: 7, server: "trackers")
        try await self.grant(records, id: 8)
        let other = PlainGrant.Key(iccid: iccid(2), server: "meters")
        let trackers = PlainGrant.Key(iccid: iccid(1), server: "trackers")
        let answers = try await records.grants(for: [other, trackers, self.key])
        #expect(answers.map { $0?.id } == [nil, 7, 8])
        #expect(answers[2]?.endpoint == "meter-1" && answers[2]?.shortServerID == 1111)
    }

    @Test("What upstream wrote comes back with it, and its key is in no file in clear")
    func written() async throws {
        let records = try self.open()
        let key = (0..<32).map { UInt8(truncatingIfNeeded: $0 * 13 + 0x41) }
        let account = UpstreamAccount(
            uri: "coaps://10.1.0.20:5684",
            credentials: PreSharedKey(identity: try #require(PSKIdentity("meter-1")), key: Secret(key))
        )
        let grant = PlainGrant(
            id: 9, key: self.key, endpoint: "meter-1", shortServerID: 1111, state: .pending, mintedAt: self.clock.now,
            written: account
        )
        _ = try await records.store([], grants: [grant])
        _ = try await records.prove(grant: 9)
        for records in [records, try self.open()] {
            #expect(try await records.grants(for: [self.key])[0]?.written == account)
        }
        #expect(try self.scratch.allBytes().range(of: Data(key)) == nil)
        // Sealed for its own row: elsewhere it is none.
        let moved = "UPDATE grants SET uid = 10 WHERE uid = 9"
        try await records.credentials.pool.write { try $0.execute(sql: moved) }
        let other = try await records.grants(for: [self.key])[0]
        #expect(other?.id == 10 && other?.written == nil)
    }

    @Test("It survives a stop without farewell")
    func durability() async throws {
        let records = try self.open()
        try await self.grant(records, id: 1)
        let later = try self.open()
        #expect(try await self.found(later) == "1 pending")
    }

    @Test("The first Register makes it active; the one of the next bootstrap replaces it when that is used")
    func life() async throws {
        let records = try self.open()
        try await self.grant(records, id: 1)
        #expect(try await records.prove(grant: 1).map(\.state) == [.active])
        #expect(try await records.prove(grant: 1).isEmpty)
        #expect(try await self.found(records) == "1 active")
        try await self.grant(records, id: 2)
        #expect(try await self.found(records) == "2 pending")
        #expect(try await records.prove(grant: 2).map { "\($0.id) \($0.state)" } == ["2 active", "1 replaced"])
        #expect(try await self.found(records) == "2 active")
        #expect(try await records.prove(grant: 3).isEmpty)
    }

    @Test("A bootstrap that was given up leaves the previous one as it was")
    func discard() async throws {
        let records = try self.open()
        try await self.grant(records, id: 1)
        _ = try await records.prove(grant: 1)
        try await self.grant(records, id: 2)
        try await records.discard([], grants: [2, 99])
        #expect(try await self.found(records) == "1 active")
        self.clock.advance(days: 60)
        #expect(try await self.found(records) == "1 active")
    }

    @Test("An unused one ends after use-within, a used one after max-age")
    func time() async throws {
        let records = try self.open()
        try await self.grant(records, id: 1)
        self.clock.advance(days: 7)
        #expect(try await self.found(records) == "1 pending")
        self.clock.now += 1
        #expect(try await self.found(records) == nil)
        try await self.grant(records, id: 2)
        _ = try await records.prove(grant: 2)
        self.clock.advance(days: 100)
        #expect(try await self.found(records) == "2 active")
        self.clock.now += 1
        #expect(try await self.found(records) == nil)
        try await records.sweep()
        self.clock.advance(days: 91)
        try await records.sweep()
        #expect(
            try await records.credentials.pool.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM grants") } == 0)
    }

    @Test(
        "Suspending, retiring and removing end it at once, and nothing revives it",
        arguments: ["suspend", "retire", "remove"])
    func ends(how: String) async throws {
        let records = try self.open()
        let sim = try ICCID(iccid(1))
        try await self.grant(records, id: 1)
        _ = try await records.prove(grant: 1)
        self.clock.now += 1
        switch how {
        case "suspend": _ = try records.sims.setStatus(.suspended, of: sim, by: "test")
        case "retire": _ = try records.sims.setStatus(.retired, of: sim, by: "test")
        default: try records.sims.remove(sim, by: "test")
        }
        #expect(try await self.found(records) == nil)
        if how == "remove" {
            _ = try records.sims.add(fields(1), by: "test")
        } else {
            _ = try records.sims.setStatus(.active, of: sim, by: "test")
        }
        #expect(try await self.found(records) == nil)
        try await records.revoked()
        #expect(try await self.found(records) == nil)
        self.clock.now += 1
        try await self.grant(records, id: 2)
        #expect(try await self.found(records) == "2 pending")
    }

    @Test("A device that bootstraps without end does not fill the store")
    func bounded() async throws {
        let records = try self.open()
        for id in 1...60 { try await self.grant(records, id: Int64(id)) }
        let count = try await records.credentials.pool.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM grants") }
        #expect(try #require(count) <= CredentialSet.unprovenLimit + CredentialSet.endedLimit + 1)
        #expect(try await self.found(records) == "60 pending")
    }
}
