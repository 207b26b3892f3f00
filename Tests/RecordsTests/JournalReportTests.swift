import Foundation
import Gateway
import Testing

@testable import Records

@Suite("The report of a journal")
struct JournalReportTests {
    private let scratch = Scratch()

    private func journal(_ events: [AuditEvent]) throws {
        let journal = try self.scratch.journal()
        journal.record(events)
        journal.close()
    }

    private func report(since: Int64? = nil, until: Int64? = nil) throws -> JournalReport {
        try JournalReader(state: self.scratch.state).report(since: since, until: until)
    }

    private static let audit = AuditEvent.Field("mode", .text("audit"))

    private static func refused(
        _ cause: FailureCause, iccid: String? = nil, endpoint: String? = nil, peer: String? = nil, at time: Int64 = 0,
        _ detail: [AuditEvent.Field] = []
    ) -> AuditEvent {
        AuditEvent(
            .bootstrapRefused, time: time, cause: cause, iccid: iccid, endpoint: endpoint, peer: peer, detail: detail)
    }

    private static func written(_ uri: String, to after: String, iccid: String, isWatched: Bool = false) -> AuditEvent {
        func account(_ uri: String, _ security: String) -> AuditEvent.Value {
            .object([.init("uri", .text(uri)), .init("security", .text(security))])
        }
        return AuditEvent(
            .bootstrapWritten, time: 0, iccid: iccid,
            detail: [
                .init("account", .text("meters")), .init("ssid", .integer(1111)),
                .init("before", account(uri, "NoSec")),
                .init("after", account(after, "PSK")),
            ] + (isWatched ? [Self.audit] : [])
        )
    }

    @Test("Refusals are told apart by what became of them, with causes, numbers and examples")
    func refusals() throws {
        let would: [AuditEvent.Field] = [.init("outcome", .text("would-refuse")), Self.audit]
        try self.journal([
            Self.refused(.suspended, iccid: "1", would), Self.refused(.suspended, iccid: "1", would),
            Self.refused(.suspended, iccid: "2", would), Self.refused(.suspended, iccid: "1"),
            Self.refused(.wrongKey, iccid: "3", [.init("outcome", .text("not-observable")), Self.audit]),
        ])
        let report = try self.report()
        #expect(report.records == 5 && report.watched == 4)
        let rows = report.refusals.rows
        #expect(rows.map(\.key.outcome) == [.wouldRefuse, .refused, .notObservable])
        #expect(rows[0].key.cause == "suspended" && rows[0].count.times == 3 && rows[0].count.devices == 2)
        #expect(rows[0].count.examples == ["1", "2"])
    }

    @Test("Devices without a record are listed by address and name, ports apart; with a record they are not")
    func strangers() throws {
        try self.journal([
            Self.refused(.unauthorized, endpoint: "a", peer: "192.0.2.7:40000"),
            Self.refused(.unauthorized, endpoint: "a", peer: "192.0.2.7:40001"),
            Self.refused(.unauthorized, endpoint: "b", peer: "[2001:db8::7]:40000"),
            Self.refused(.unauthorized, iccid: "1", endpoint: "c", peer: "192.0.2.8:1"),
            Self.refused(.unknownIdentity, peer: "192.0.2.9:1", [.init("identity", .text("abcd…wxyz"))]),
        ])
        let rows = try self.report().strangers.rows
        #expect(
            Set(rows.map(\.key)) == [
                .init(address: "192.0.2.7", endpoint: "a", identity: ""),
                .init(address: "2001:db8::7", endpoint: "b", identity: ""),
                .init(address: "", endpoint: "", identity: "abcd…wxyz"),
            ])
        #expect(rows.first?.count.times == 2)
    }

    @Test("Accounts are counted by what they were and what they became, in either mode")
    func accounts() throws {
        try self.journal([
            Self.written("coap://a", to: "coaps://edge", iccid: "1"),
            Self.written("coap://a", to: "coaps://edge", iccid: "2"),
            Self.written("coap://a", to: "coaps://edge", iccid: "1", isWatched: true),
        ])
        let rows = try self.report().rewrites.rows
        #expect(rows.map(\.count.times) == [2, 1] && rows.map(\.key.isWouldBe) == [false, true])
        #expect(rows[0].key.from == "coap://a NoSec" && rows[0].key.to == "coaps://edge PSK")
    }

    @Test("What the configuration lacks stands in the words of the refusals")
    func lacks() throws {
        let reason = AuditEvent.Field("reason", .text("no entry of servers is for short server ID 7"))
        try self.journal([
            Self.refused(.noRouteForServer, iccid: "1", [reason]),
            Self.refused(.noRouteForServer, iccid: "2", [reason]),
        ])
        let rows = try self.report().lacks.rows
        #expect(rows.map(\.key.reason) == ["no entry of servers is for short server ID 7"])
        #expect(rows.first?.count.devices == 2)
    }

    @Test("Only the asked time counts")
    func time() throws {
        try self.journal([1_000_000, 2_000_000, 3_000_000].map { Self.refused(.suspended, iccid: "1", at: $0) })
        let report = try self.report(since: 2_000_000, until: 3_000_000)
        #expect(report.refusals.rows.map(\.count.times) == [1])
        #expect(report.first == report.last && report.first.hasPrefix("1970-01-01T00:00:02"))
    }

    @Test("A table that is full counts what it leaves out, and known keys go on")
    func bounds() {
        var table = JournalReport.Table<Int>(limit: 2, devicesPerRow: 1)
        for key in [1, 2, 3, 1, 4] { table.note(key, device: "device \(key) \(table.others)", at: "t") }
        #expect(table.rows.map(\.key) == [1, 2] && table.rows.map(\.count.times) == [2, 1])
        #expect(table.rows.map(\.count.devices) == [1, 1] && table.others == 2)
    }

    @Test("Causes and reasons with quotation marks in them do not take a record for one of the other mode")
    func quoting() throws {
        try self.journal([
            Self.refused(
                .unauthorized, endpoint: "\"mode\":\"audit\"}", peer: "192.0.2.7:1",
                [
                    .init("reason", .text("\"mode\":\"audit\"}"))
                ])
        ])
        let report = try self.report()
        #expect(report.watched == 0)
        #expect(report.strangers.rows.first?.key.endpoint == "\"mode\":\"audit\"}")
    }
}
