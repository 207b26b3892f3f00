import Gateway
import Testing

@testable import Records

@Suite("Where a device has its bootstrap account")
struct BootstrapPlaceTests {
    let scratch = Scratch()

    private func place(_ records: Records, _ index: Int) async throws -> SIMRecord.BootstrapPlace? {
        try await records.record(iccid: iccid(index))?.bootstrapPlace
    }

    @Test("T20: what was learned is in the record, for every look-up, and survives a restart")
    func remembered() async throws {
        let records = try self.scratch.records()
        for index in 1...3 {
            _ = try records.sims.add(fields(index, [.address: "192.0.2.\(index)"]), by: "test")
        }
        #expect(try await self.place(records, 1) == .unknown)
        for place: SIMRecord.BootstrapPlace in [.instance(0), .untold, .instance(65_535), .instance(7)] {
            try await records.remember([iccid(1): place])
            #expect(try await self.place(records, 1) == place)
        }
        try await records.remember([iccid(2): .untold])
        records.close()

        let later = try self.scratch.records()
        let found = try #require(try await later.record(iccid: iccid(1)))
        #expect(found.bootstrapPlace == .instance(7))
        #expect(try await later.resolve(identities: [found.identity]) == [.bootstrap(found)])
        let address = try #require(IPAddress("192.0.2.1"))
        #expect(try await later.resolve(addresses: [address]) == [found])
        #expect(try await self.place(later, 2) == .untold)
        #expect(try await self.place(later, 3) == .unknown)
        try await later.remember([iccid(1): .unknown])
        #expect(try await self.place(later, 1) == .unknown)
    }

    @Test("A change of the record leaves it, and a removed SIM that comes back is asked again")
    func removed() async throws {
        let records = try self.scratch.records()
        _ = try records.sims.add(fields(1), by: "test")
        try await records.remember([iccid(1): .instance(4)])
        _ = try records.sims.set(ICCID(iccid(1)), SIMFields([.note: "moved"]), by: "test")
        #expect(try await self.place(records, 1) == .instance(4))
        try records.sims.remove(ICCID(iccid(1)), by: "test")
        try await records.revoked()
        _ = try records.sims.add(fields(1), by: "test")
        #expect(try await self.place(records, 1) == .unknown)
    }
}
