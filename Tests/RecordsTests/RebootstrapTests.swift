import Gateway
import Testing

@testable import Records

@Suite("Orders that a device bootstraps again")
struct RebootstrapTests {
    let scratch = Scratch()

    @Test("An order lasts, a newer one replaces it, and settling the older one leaves the newer")
    func replaces() async throws {
        let records = try self.scratch.records()
        for index in 1...2 { _ = try records.sims.add(fields(index), by: "test") }
        let sim = try ICCID(iccid(1))
        try records.sims.rebootstrap(sim, by: "test")
        let first = try #require(try await records.rebootstrapOrders(iccid: iccid(1)).first)
        try records.sims.rebootstrap(sim, by: "test")
        try records.sims.rebootstrap(try ICCID(iccid(2)), by: "test")
        let other = try self.scratch.records()
        #expect(try await other.rebootstrapOrders(iccid: nil).count == 2)
        let second = try #require(try await other.rebootstrapOrders(iccid: iccid(1)).first)
        #expect(second.id != first.id && second.iccid == iccid(1))
        try await other.settle(first)
        #expect(try await records.rebootstrapOrders(iccid: iccid(1)) == [second])
        try await other.settle(second)
        #expect(try await records.rebootstrapOrders(iccid: iccid(1)).isEmpty)
    }

    @Test("An order leaves its trail for the journal and for the running gateway")
    func trail() throws {
        let records = try self.scratch.records()
        _ = try records.sims.add(fields(1), by: "test")
        try records.sims.rebootstrap(try ICCID(iccid(1)), by: "ops")
        let event = try #require(try records.outbox.rows(limit: 10).last?.event)
        #expect(event.name == .simChanged && event.iccid == iccid(1))
        #expect(event.detail.contains(.init("action", .text("rebootstrap"))))
        #expect(event.detail.contains(.init("by", .text("ops"))))
    }

    @Test("Who may not come is not asked to", arguments: [SIMRecord.Status.suspended, .retired])
    func status(status: SIMRecord.Status) async throws {
        let records = try self.scratch.records()
        _ = try records.sims.add(fields(1), by: "test")
        let sim = try ICCID(iccid(1))
        try records.sims.rebootstrap(sim, by: "test")
        _ = try records.sims.setStatus(status, of: sim, by: "test")
        #expect(try await records.rebootstrapOrders(iccid: nil).isEmpty)
        let error = #expect(throws: RecordsError.self) { try records.sims.rebootstrap(sim, by: "test") }
        #expect(error?.kind == .conflict)
        _ = try records.sims.setStatus(.active, of: sim, by: "test")
        try records.sims.rebootstrap(sim, by: "test")
        try records.sims.remove(sim, by: "test")
        #expect(try await records.rebootstrapOrders(iccid: nil).isEmpty)
        #expect(throws: RecordsError.self) { try records.sims.rebootstrap(sim, by: "test") }
    }
}
