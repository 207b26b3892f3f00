import Foundation
import Gateway
import Secrets
import Testing

@testable import Records

@Suite("Reading the audit journal")
struct JournalReadingTests {
    let scratch = Scratch()

    @Test("Tail gives the last records over segments, with checkpoints only when asked")
    func tail() throws {
        for run in 0..<3 {
            let journal = try self.scratch.journal { $0.segmentSize = 2_000 }
            for index in 0..<10 { journal.record([event(run * 10 + index)]) }
            journal.close()
        }
        let reader = JournalReader(state: self.scratch.state)
        for count in [0, 1, 3, 12, 29, 30, 1_000] {
            let sessions = try reader.tail(count).compactMap(\.session)
            let expected = Array((0..<30).suffix(count)).map { Int64($0) }
            #expect(sessions == expected)
        }
        #expect(try reader.tail(1, checkpoints: true).first?.isCheckpoint == true)
    }

    @Test("Show gives one SIM's records, whatever a device wrote into its texts")
    func show() throws {
        let journal = try self.scratch.journal()
        journal.record([
            event(1, iccid: iccid(1)), event(2, iccid: iccid(2)),
            AuditEvent(.bootstrapRefused, time: 1, endpoint: "\"iccid\":\"\(iccid(1))\"", session: 3),
            event(4, iccid: nil, detail: [.init("iccid", .text(iccid(1)))]), event(5, iccid: iccid(1)),
        ])
        journal.close()
        var sessions: [Int64] = []
        try JournalReader(state: self.scratch.state).show(iccid: try ICCID(iccid(1))) {
            sessions.append($0.session ?? 0)
        }
        #expect(sessions == [1, 5])
    }

    @Test("Follow tells what comes, over a new segment too")
    func follow() async throws {
        let journal = try self.scratch.journal { $0.segmentSize = 1_500 }
        journal.record([event(0)])
        try await journal.synchronize()
        let stream = try JournalReader(state: self.scratch.state).follow(every: .milliseconds(1))
        journal.record((1...20).map { event($0) })
        var sessions: [Int64] = []
        for try await entry in stream {
            sessions.append(entry.session ?? -1)
            if sessions.count == 20 { break }
        }
        #expect(sessions == Array(1...20))
        journal.close()
    }

    @Test("Where no journal is, the error says so")
    func nothing() {
        let error = #expect(throws: RecordsError.self) { try JournalReader(state: self.scratch.state).tail(1) }
        #expect(error?.kind == .notFound)
    }
}
