import Foundation
import GRDB
import Gateway
import Secrets
import Testing

@testable import Records

@Suite("What upstream wrote for a registration lies sealed beside the one-time key")
struct UpstreamAccountTests {
    let scratch = Scratch()

    private static let key = (0..<32).map { UInt8(truncatingIfNeeded: $0 * 13 + 0x41) }

    private func account(_ identity: String = "meter-1") throws -> UpstreamAccount {
        UpstreamAccount(
            uri: "coaps://10.1.0.20:5684",
            credentials: PreSharedKey(identity: try #require(PSKIdentity(identity)), key: Secret(Self.key))
        )
    }

    private func open() throws -> Records {
        let records = try self.scratch.records()
        if try records.sims.count() == 0 { _ = try records.sims.add(fields(1), by: "test") }
        return records
    }

    private func found(_ name: String, in records: Records) async throws -> OneTimeCredential? {
        switch try await records.resolve(identities: [try #require(PSKIdentity(name))])[0] {
        case .registration(let credential, _): credential
        case .bootstrap, .unknown: nil
        }
    }

    @Test("It comes back with its credential, through proof and a new opening; a credential without it has none")
    func roundTrip() async throws {
        let records = try self.open()
        var with = try credential("with")
        with.written = try self.account()
        try await records.store([with, try credential("without", server: "trackers")])
        _ = try await records.prove(with.identity)
        for records in [records, try self.open()] {
            let found = try await self.found("with", in: records)
            #expect(found?.written == with.written)
            #expect(found?.state == .active)
            #expect(try await self.found("without", in: records)?.written == nil)
        }
    }

    @Test("The longest identity, key and URI fit")
    func longest() async throws {
        let records = try self.open()
        var longest = try credential("longest")
        longest.written = UpstreamAccount(
            uri: "coaps://" + String(repeating: "a", count: 247),
            credentials: PreSharedKey(
                identity: try #require(PSKIdentity(String(repeating: "i", count: 128))), key: Secret([UInt8](0..<64))
            )
        )
        try await records.store([longest])
        #expect(try await self.found("longest", in: records)?.written == longest.written)
    }

    @Test("Its key is in no file in clear")
    func atRest() async throws {
        let records = try self.open()
        var secret = try credential("a")
        secret.written = try self.account("upstream-identity")
        try await records.store([secret])
        let bytes = try self.scratch.allBytes()
        #expect(bytes.range(of: Data(Self.key)) == nil)
        #expect(bytes.range(of: Data("upstream-identity".utf8)) == nil)
    }

    @Test("Moved to another credential, or damaged, it counts as none; the credential itself still works")
    func moved() async throws {
        let records = try self.open()
        var first = try credential("first")
        first.written = try self.account()
        var second = try credential("second", server: "trackers")
        second.written = try self.account("meter-2")
        try await records.store([first, second])
        records.close()
        let queue = try DatabaseQueue(path: self.scratch.state + "/credentials.db")
        try await queue.write { db in
            try db.execute(
                sql: """
                    UPDATE credentials SET sealed_upstream = \
                    (SELECT sealed_upstream FROM credentials WHERE server = 'trackers') WHERE server = 'meters'
                    """)
            try db.execute(sql: "UPDATE credentials SET sealed_upstream = x'00' WHERE server = 'trackers'")
        }
        try queue.close()
        let again = try self.open()
        for name in ["first", "second"] {
            let found = try await self.found(name, in: again)
            #expect(found != nil)
            #expect(found?.written == nil)
        }
    }

    @Test("A store from before takes the new column when it is opened")
    func migration() async throws {
        let records = try self.open()
        try await records.store([try credential("old")])
        records.close()
        let queue = try DatabaseQueue(path: self.scratch.state + "/credentials.db")
        try await queue.write { db in
            try db.execute(sql: "ALTER TABLE credentials DROP COLUMN sealed_upstream")
            try db.execute(sql: "DELETE FROM grdb_migrations WHERE identifier = '2'")
        }
        try queue.close()
        let again = try self.open()
        #expect(try await self.found("old", in: again) != nil)
        var new = try credential("new")
        new.written = try self.account()
        try await again.store([new])
        #expect(try await self.found("new", in: again)?.written == new.written)
    }
}
