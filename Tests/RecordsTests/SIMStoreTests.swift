import Foundation
import GRDB
import Gateway
import Secrets
import Testing

@testable import Records

@Suite("Keeping SIM records")
struct SIMStoreTests {
    let scratch = Scratch()

    @Test("What was added reads back, and a second gateway process sees it")
    func add() throws {
        let records = try self.scratch.records()
        let result = try records.sims.add(
            fields(
                1,
                [
                    .imsi: "262010000000001", .msisdn: "+491510000000", .deviceID: "d-1", .endpoint: "meter-1",
                    .endpointPolicy: "replace", .identity: "id-1", .address: "192.0.2.0/24 2001:db8::7",
                    .status: "suspended", .profile: "secure", .group: "north", .note: "näher am Fluss",
                ]
            ),
            by: "test"
        )
        #expect(result.warnings.isEmpty)
        let other = try self.scratch.records()
        let read = try #require(try other.sims.record(try ICCID(iccid(1))))
        #expect(read == result.record)
        #expect(read.key == Secret(hexadecimal: keyDigits))
        #expect(read.msisdn == "491510000000")
        #expect(read.endpointPolicy == .replace)
        #expect(read.status == .suspended)
        #expect(try other.sims.count() == 1)
    }

    @Test("A generated key is handed out once and works")
    func generatedKey() throws {
        let records = try self.scratch.records()
        let result = try records.sims.add(fields(1, [.key: "generate"]), by: "test")
        let key = try #require(result.generatedKey)
        #expect(key.count == 16)
        #expect(try records.sims.record(try ICCID(iccid(1)))?.key == key)
    }

    @Test("ICCID, identity and a prefix belong to one SIM each; the error names the other one")
    func conflicts() throws {
        let records = try self.scratch.records()
        _ = try records.sims.add(fields(1, [.identity: "shared", .address: "192.0.2.0/24"]), by: "test")
        for (more, name) in [
            ([SIMField.iccid: iccid(1)], iccid(1)), ([.identity: "shared"], iccid(1)),
            ([.address: "192.0.2.99/24"], iccid(1)), ([.address: "::ffff:192.0.2.0/120"], iccid(1)),
        ] {
            let error = #expect(throws: RecordsError.self) { try records.sims.add(fields(2, more), by: "test") }
            #expect(error?.kind == .conflict)
            #expect(error?.description.contains(name) == true)
        }
        #expect(throws: Never.self) { try records.sims.add(fields(2, [.address: "192.0.2.7"]), by: "test") }
        let error = #expect(throws: RecordsError.self) {
            try records.sims.set(try ICCID(iccid(2)), SIMFields([.identity: "shared"]), by: "test")
        }
        #expect(error?.kind == .conflict)
        #expect(try records.sims.count() == 2)
    }

    @Test("A removed SIM gives its identity and addresses back")
    func remove() throws {
        let records = try self.scratch.records()
        _ = try records.sims.add(fields(1, [.identity: "a", .address: "192.0.2.1"]), by: "test")
        try records.sims.remove(try ICCID(iccid(1)), by: "test")
        #expect(throws: Never.self) {
            try records.sims.add(fields(2, [.identity: "a", .address: "192.0.2.1"]), by: "test")
        }
        let error = #expect(throws: RecordsError.self) { try records.sims.remove(try ICCID(iccid(1)), by: "test") }
        #expect(error?.kind == .notFound)
    }

    @Test("A record whose key cannot be opened any more can be suspended, imported anew, removed, and get another key")
    func unreadableKey() async throws {
        let records = try self.scratch.records()
        let sim = try ICCID(iccid(1))
        _ = try records.sims.add(fields(1, [.identity: "a"]), by: "test")
        func damage() throws {
            try records.sims.pool.write { try $0.execute(sql: "UPDATE sims SET sealed_key = randomblob(44)") }
        }
        try damage()
        #expect(throws: RecordsError.self) { try records.sims.record(sim) }
        #expect(throws: Never.self) { try records.revokeCredentials(of: sim, server: nil, by: "test") }
        #expect(try records.sims.setStatus(.suspended, of: sim, by: "test").changed)
        try damage()
        _ = try records.sims.set(sim, SIMFields([.key: keyDigits]), by: "test")
        #expect(try records.sims.record(sim)?.key == Secret(hexadecimal: keyDigits))
        try damage()
        let file = try self.scratch.write("iccid,key\n\(iccid(1)),\(keyDigits)\n", to: "sims.csv")
        #expect(try records.sims.importRecords(from: file, format: .csv, by: "test").updated == 1)
        #expect(try records.sims.record(sim)?.key == Secret(hexadecimal: keyDigits))
        try damage()
        let identity = try #require(PSKIdentity("a"))
        #expect(try await records.resolve(identities: [identity]) == [.unknown])
        try records.sims.remove(sim, by: "test")
        #expect(try records.sims.count() == 0)
    }

    @Test("A change that fails leaves nothing behind, in no table")
    func atomicity() throws {
        let records = try self.scratch.records()
        _ = try records.sims.add(fields(1, [.address: "192.0.2.1"]), by: "test")
        let before = try self.rows(records)
        #expect(throws: RecordsError.self) {
            try records.sims.add(fields(2, [.address: "192.0.2.2 192.0.2.1"]), by: "test")
        }
        #expect(try self.rows(records) == before)
    }

    private func rows(_ records: Records) throws -> [String: Int] {
        try records.sims.pool.read { db in
            var counts: [String: Int] = [:]
            for table in ["sims", "addresses", "changes", "outbox", "revocations"] {
                counts[table] = try Int.fetchOne(db, sql: "SELECT count(*) FROM \(table)")
            }
            return counts
        }
    }

    @Test("Each change leaves a row for the gateway and a row for the journal; the journal's tells no value")
    func trail() throws {
        let records = try self.scratch.records()
        let sim = try ICCID(iccid(1))
        _ = try records.sims.add(fields(1), by: "ana")
        _ = try records.sims.set(sim, SIMFields([.note: "somewhere", .key: keyDigits + "00"]), by: "ana")
        _ = try records.sims.setStatus(.suspended, of: sim, by: "ana")
        _ = try records.sims.setStatus(.suspended, of: sim, by: "ana")
        _ = try records.sims.setStatus(.active, of: sim, by: "ana")
        _ = try records.sims.setStatus(.retired, of: sim, by: "ana")
        try records.sims.remove(sim, by: "ana")
        #expect(try self.rows(records) == ["sims": 0, "addresses": 0, "changes": 6, "outbox": 6, "revocations": 1])
        let events = try records.outbox.rows(limit: 10).map(\.event)
        #expect(events.allSatisfy { $0.name == .simChanged && $0.iccid == iccid(1) })
        let actions = events.compactMap { event in
            event.detail.first { $0.key == "action" }.flatMap {
                if case .text(let text) = $0.value { text } else { nil }
            }
        }
        #expect(actions == ["add", "set", "suspend", "resume", "retire", "remove"])
        #expect(events.allSatisfy { $0.detail.contains(.init("by", .text("ana"))) })
        #expect(events[1].detail.contains(.init("fields", .list([.text("key"), .text("note")]))))
        #expect(!"\(events)".contains("somewhere") && !"\(events)".contains(keyDigits))
    }

    @Test("A list is filtered and comes in pages that lose and repeat nothing; keys stay sealed")
    func list() throws {
        let records = try self.scratch.records()
        for index in 1...25 {
            _ = try records.sims.add(
                fields(
                    index,
                    [
                        .group: index.isMultiple(of: 2) ? "even" : "odd", .endpoint: "Meter_\(index)",
                        .status: index == 7 ? "retired" : "active",
                    ]
                ),
                by: "test"
            )
        }
        var query = SIMQuery()
        query.limit = 10
        var seen: [String] = []
        while true {
            let page = try records.sims.list(query)
            #expect(page.allSatisfy { $0.hasKey && $0.record.key == nil })
            seen += page.map(\.record.iccid)
            guard let last = page.last else { break }
            query.after = last.record.iccid
        }
        #expect(seen == (1...25).map { iccid($0) })
        query = SIMQuery()
        query.group = "even"
        #expect(try records.sims.list(query).count == 12)
        query.status = .retired
        #expect(try records.sims.list(query).isEmpty)
        query.group = nil
        #expect(try records.sims.list(query).map(\.record.iccid) == [iccid(7)])
        query = SIMQuery()
        query.text = "meter_2"
        #expect(try records.sims.list(query).count == 7)
        query.text = "meter%"
        #expect(try records.sims.list(query).isEmpty)
    }

    @Test("T45: no key lies open in any file, any error, or any text")
    func secrets() async throws {
        let records = try self.scratch.records()
        let key = Secret.random(count: 32)
        let digits = key.withUnsafeBytes { hexadecimalText($0) }
        let raw = key.withUnsafeBytes { Data($0) }
        let result = try records.sims.add(fields(1, [.key: digits]), by: "test")
        var oneTime = try credential("one-time")
        oneTime.key = key
        try await records.store([oneTime])
        let error = #expect(throws: RecordsError.self) { try records.sims.add(fields(1, [.key: digits]), by: "test") }
        var texts = "\(result) \(String(describing: error)) \(try records.outbox.rows(limit: 9)) "
        dump(result, to: &texts)
        let resolved = try await records.resolve(identities: [oneTime.identity])
        dump(resolved, to: &texts)
        texts += "\(try records.credentials.list(CredentialLister.Page()))"
        let bytes = try self.scratch.allBytes() + Data(texts.utf8)
        #expect(bytes.range(of: raw) == nil)
        #expect(bytes.range(of: Data(digits.utf8)) == nil)
        #expect(bytes.range(of: Data(digits.uppercased().utf8)) == nil)
        #expect(bytes.range(of: Data(raw.base64EncodedString().utf8.dropLast(4))) == nil)
        // The search itself works: what is meant to be readable is found.
        #expect(bytes.range(of: Data(iccid(1).utf8)) != nil)
    }

    @Test("A sealed key that is moved to another SIM does not open")
    func sealedToItsRow() async throws {
        let records = try self.scratch.records()
        _ = try records.sims.add(fields(1), by: "test")
        _ = try records.sims.add(fields(2), by: "test")
        try await records.sims.pool.write { db in
            try db.execute(
                sql: "UPDATE sims SET sealed_key = (SELECT sealed_key FROM sims WHERE iccid = ?) WHERE iccid = ?",
                arguments: [iccid(1), iccid(2)]
            )
        }
        let error = #expect(throws: RecordsError.self) { try records.sims.record(try ICCID(iccid(2))) }
        #expect(error?.kind == .damaged)
        let identities = try [1, 2].map { try #require(PSKIdentity(iccid($0))) }
        let resolutions = try await records.resolve(identities: identities)
        #expect(resolutions[1] == .unknown)
        guard case .bootstrap = resolutions[0] else {
            Issue.record("a damaged record must not take the others of its batch with it")
            return
        }
    }
}
