import Foundation
import GRDB
import Gateway
import Secrets
import Testing

@testable import Records

@Suite("Look-ups of the data path")
struct LookupTests {
    let scratch = Scratch()

    private func address(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }

    @Test("A batch is answered in its order, known and unknown ones mixed")
    func batch() async throws {
        let records = try self.scratch.records()
        for index in 1...5 { _ = try records.sims.add(fields(index, [.identity: "sim-\(index)"]), by: "test") }
        try await records.store((1...5).map { try credential("one-\($0)", sim: $0) })
        let names = ["sim-3", "nobody", "one-2", "sim-1", "one-5", "one-", "sim-3"]
        let resolutions = try await records.resolve(identities: names.map { try #require(PSKIdentity($0)) })
        let answers = resolutions.map { resolution in
            switch resolution {
            case .bootstrap(let record): "bootstrap \(record.iccid == iccid(3) ? 3 : 1)"
            case .registration(let credential, let record): "registration \(credential.iccid == record.iccid)"
            case .unknown: "unknown"
            }
        }
        #expect(
            answers == [
                "bootstrap 3", "unknown", "registration true", "bootstrap 1", "registration true", "unknown",
                "bootstrap 3",
            ]
        )
    }

    @Test("A bootstrap comes with the key, a registration with the credential's key and the record without its own")
    func keys() async throws {
        let records = try self.scratch.records()
        _ = try records.sims.add(fields(1, [.identity: "sim"]), by: "test")
        let one = try credential("one")
        try await records.store([one])
        let resolutions = try await records.resolve(identities: [#require(PSKIdentity("sim")), one.identity])
        guard case .bootstrap(let record) = resolutions[0], case .registration(let found, let other) = resolutions[1]
        else {
            Issue.record("\(resolutions)")
            return
        }
        #expect(record.key == Secret(hexadecimal: keyDigits))
        #expect(found == one)
        #expect(other.key == nil && other.iccid == iccid(1))
    }

    @Test("Identities are bytes: case, spaces and endings count")
    func exactBytes() async throws {
        let records = try self.scratch.records()
        _ = try records.sims.add(fields(1, [.identity: "Meter"]), by: "test")
        for name in ["meter", "Meter ", "Mete", "Meter\u{301}"] {
            #expect(try await records.resolve(identities: [#require(PSKIdentity(name))]) == [.unknown])
        }
    }

    @Test("Of the prefixes that hold a source the longest wins, and a mapped IPv4 source is the IPv4 one")
    func longestPrefix() async throws {
        let records = try self.scratch.records()
        for (index, address) in ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "2001:db8::/32 192.0.2.1", "::/0"]
            .enumerated()
        {
            _ = try records.sims.add(fields(index + 1, [.address: address]), by: "test")
        }
        let sources = [
            "10.9.9.9", "10.1.9.9", "10.1.2.3", "::ffff:10.1.2.3", "2001:db8:1::1", "192.0.2.1", "198.51.100.1",
        ]
        let found = try await records.resolve(addresses: sources.map(self.address)).map { $0?.iccid }
        #expect(found == [1, 2, 3, 3, 4, 4, 5].map { iccid($0) })
        try records.sims.remove(try ICCID(iccid(5)), by: "test")
        #expect(try await records.resolve(addresses: [self.address("198.51.100.1")]) == [nil])
    }

    @Test("Longest prefix agrees with a search through all of them", arguments: 1...8)
    func longestPrefixModel(seed: Int) async throws {
        var random = Seeded(state: UInt64(seed))
        let records = try self.scratch.records()
        var prefixes: [(IPPrefix, String)] = []
        for index in 1...60 {
            let bits = UInt32.random(in: 0...0x1F, using: &random) << 27 | UInt32.random(in: 0...3, using: &random)
            let prefix = IPPrefix(IPAddress(ipv4: bits), length: Int.random(in: 97...128, using: &random))
            guard !prefixes.contains(where: { $0.0 == prefix }) else { continue }
            _ = try records.sims.add(fields(index, [.address: prefix.description]), by: "test")
            prefixes.append((prefix, iccid(index)))
        }
        let sources = (0..<200).map { _ in
            IPAddress(
                ipv4: UInt32.random(in: 0...0x1F, using: &random) << 27 | UInt32.random(in: 0...3, using: &random)
            )
        }
        let found = try await records.resolve(addresses: sources).map { $0?.iccid }
        let expected = sources.map { source in
            prefixes.filter { $0.0.contains(source) }.max { $0.0.length < $1.0.length }?.1
        }
        #expect(found == expected, "seed \(seed)")
    }

    @Test("A look-up by address reads an index, however many addresses there are")
    func plan() throws {
        let records = try self.scratch.records()
        let plan = try records.sims.pool.read { db in
            try Row.fetchAll(
                db,
                sql: "EXPLAIN QUERY PLAN SELECT iccid FROM addresses WHERE length = 1 AND base = x'00'"
            ).map { $0["detail"] as String }
        }
        #expect(plan.allSatisfy { $0.contains("SEARCH") && $0.contains("PRIMARY KEY") })
    }

    @Test("A change counts from the next look-up on")
    func changes() async throws {
        let records = try self.scratch.records()
        let other = try self.scratch.records()
        let identity = try #require(PSKIdentity(iccid(1)))
        #expect(try await records.resolve(identities: [identity]) == [.unknown])
        _ = try other.sims.add(fields(1), by: "test")
        #expect(try await records.resolve(identities: [identity]) != [.unknown])
        _ = try other.sims.setStatus(.suspended, of: try ICCID(iccid(1)), by: "test")
        #expect(try await records.record(iccid: iccid(1))?.status == .suspended)
        try other.sims.remove(try ICCID(iccid(1)), by: "test")
        #expect(try await records.resolve(identities: [identity]) == [.unknown])
        #expect(try await records.record(iccid: iccid(1)) == nil)
    }
}

@Suite("What a running gateway is told")
struct ChangeFeedTests {
    let scratch = Scratch()

    private func feed() throws -> (Records, ChangeFeed) {
        let records = try self.scratch.records()
        return (records, try ChangeFeed(file: records.sims.file, interval: .milliseconds(1)))
    }

    @Test("Each change is told once, in order; nothing is told where nothing changed")
    func order() throws {
        let (records, feed) = try self.feed()
        var position = try feed.end()
        #expect(try feed.next(after: &position).isEmpty)
        _ = try records.sims.add(fields(1), by: "test")
        _ = try records.sims.add(fields(2), by: "test")
        _ = try records.sims.set(try ICCID(iccid(2)), SIMFields([.note: "x"]), by: "test")
        #expect(try feed.next(after: &position) == [.sim(iccid: iccid(1)), .sim(iccid: iccid(2))])
        #expect(try feed.next(after: &position).isEmpty)
        _ = try records.sims.setStatus(.retired, of: try ICCID(iccid(1)), by: "test")
        #expect(try feed.next(after: &position) == [.sim(iccid: iccid(1))])
    }

    @Test("Two readers of the feed each hear everything")
    func twoReaders() throws {
        let (records, feed) = try self.feed()
        var first = try feed.end()
        var second = first
        _ = try records.sims.add(fields(1), by: "test")
        #expect(try feed.next(after: &first) == [.sim(iccid: iccid(1))])
        #expect(try feed.next(after: &second) == [.sim(iccid: iccid(1))])
    }

    @Test("An import, more changes than can be named, and a store that was set back are told as everything")
    func everything() throws {
        let (records, feed) = try self.feed()
        var position = try feed.end()
        let path = try self.scratch.write("iccid\n\(iccid(1))\n", to: "a.csv")
        _ = try records.sims.importRecords(from: path, format: .csv, by: "test")
        #expect(try feed.next(after: &position) == [.everything])
        let insert = { (count: Int64) in
            try records.sims.write { db, trail in
                for _ in 0..<count { try trail.change(iccid: iccid(1), in: db) }
            }
        }
        try insert(Int64(ChangeFeed.batchLimit) + 1)
        #expect(try feed.next(after: &position) == [.everything])
        try insert(2)
        #expect(try feed.next(after: &position) == [.sim(iccid: iccid(1))])
        try records.sims.write { db, _ in
            try db.execute(
                sql: "DELETE FROM changes WHERE seq > 1; UPDATE sqlite_sequence SET seq = 1 WHERE name = 'changes'"
            )
        }
        #expect(try feed.next(after: &position) == [.everything])
    }

    @Test("Old rows go, and a reader that missed them looks at everything")
    func pruned() throws {
        let (records, feed) = try self.feed()
        var position = try feed.end()
        try records.sims.write { db, trail in
            for _ in 0..<20 { try trail.change(iccid: iccid(1), in: db) }
            try db.execute(sql: "DELETE FROM changes WHERE seq < 10")
        }
        #expect(try feed.next(after: &position) == [.everything])
    }

    @Test("The stream tells what another process commits")
    func stream() async throws {
        let records = try self.scratch.records { $0.changeInterval = .milliseconds(1) }
        let other = try self.scratch.records()
        var changes = records.changes().makeAsyncIterator()
        _ = try other.sims.add(fields(1), by: "test")
        #expect(await changes.next() == .sim(iccid: iccid(1)))
        _ = try records.sims.add(fields(2), by: "test")
        #expect(await changes.next() == .sim(iccid: iccid(2)))
    }
}
