import Gateway
import Synchronization
import Testing

@testable import Records

@Suite("Orders to log the messages of a SIM")
struct TraceTests {
    let scratch = Scratch()

    @Test("An order lasts for its time, a newer one replaces it, and it can be taken back")
    func life() async throws {
        let now = Mutex<Int64>(1_000_000)
        let records = try self.scratch.records { $0.clock = { now.withLock { $0 } } }
        for index in 1...2 { _ = try records.sims.add(fields(index), by: "test") }
        let sim = try ICCID(iccid(1))
        try records.sims.trace(sim, for: .seconds(10), by: "test")
        try records.sims.trace(sim, for: .seconds(20), by: "test")
        try records.sims.trace(try ICCID(iccid(2)), for: .seconds(5), by: "test")
        let order = TraceOrder(iccid: iccid(1), until: 21_000_000)
        #expect(try await records.traceOrders(iccid: iccid(1)) == [order])
        #expect(try await records.traceOrders(iccid: nil).count == 2)
        now.withLock { $0 = 6_000_000 }
        #expect(try await records.traceOrders(iccid: nil) == [order])
        #expect(try records.sims.endTrace(sim, by: "test"))
        #expect(try await records.traceOrders(iccid: nil).isEmpty)
        #expect(try !records.sims.endTrace(sim, by: "test"))
        #expect(throws: RecordsError.self) {
            try records.sims.trace(try ICCID(iccid(9)), for: .seconds(5), by: "test")
        }
    }

    @Test("An order, its end and a look at a key leave their trail for the journal")
    func trail() throws {
        let records = try self.scratch.records()
        _ = try records.sims.add(fields(1), by: "test")
        let sim = try ICCID(iccid(1))
        try records.sims.trace(sim, for: .seconds(60), by: "ops")
        _ = try records.sims.endTrace(sim, by: "ops")
        try records.sims.noteProvision(sim, format: "tlv", by: "factory")
        let events = try records.outbox.rows(limit: 10).map(\.event).dropFirst()
        #expect(events.allSatisfy { $0.name == .simChanged && $0.iccid == iccid(1) })
        let details = events.map { event in event.detail.filter { $0.key != "outbox" } }
        #expect(
            details == [
                [.init("action", .text("trace")), .init("by", .text("ops")), .init("seconds", .integer(60))],
                [.init("action", .text("trace")), .init("by", .text("ops")), .init("seconds", .integer(0))],
                [.init("action", .text("provision")), .init("by", .text("factory")), .init("format", .text("tlv"))],
            ])
    }
}
