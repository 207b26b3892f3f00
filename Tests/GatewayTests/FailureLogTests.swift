import Logging
import NIOConcurrencyHelpers
import Testing
import Timing

@testable import Gateway

/// Keeps what is logged.
private struct Collector: LogHandler {
    let entries: NIOLockedValueBox<[Logger.Metadata]>
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.info

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { self.metadata[key] }
        set { self.metadata[key] = newValue }
    }

    func log(event: LogEvent) { self.entries.withLockedValue { $0.append(event.metadata ?? [:]) } }
}

@Suite("What the operator is told of failures")
struct FailureLogTests {
    private let entries = NIOLockedValueBox<[Logger.Metadata]>([])
    private let now = Instant(nanoseconds: 0)

    private func log() -> FailureLog {
        FailureLog(logger: Logger(label: "test") { _ in Collector(entries: self.entries) })
    }

    private func taken() -> [Logger.Metadata] {
        self.entries.withLockedValue { entries in
            defer { entries = [] }
            return entries
        }
    }

    @Test("Under the highest level of overload devices get no lines; one line for each cause says how many there were")
    func terse() {
        let log = self.log()
        log.setTerse(true)
        for number in 0..<50 {
            log.report(.wrongKey, iccid: "\(number)", peer: nil, now: self.now + .seconds(number))
            log.report(.unauthorized, iccid: nil, peer: nil, now: self.now)
        }
        #expect(self.taken().isEmpty)
        log.sumUp()
        let lines = self.taken()
        #expect(lines.map { $0["cause"]?.description } == ["unauthorized", "wrong key"])
        #expect(lines.allSatisfy { $0["count"] == "50" && $0["iccid"] == nil && $0["remedy"] != nil })
        log.sumUp()
        #expect(self.taken().isEmpty, "nothing new")
    }

    @Test("The end of the highest level sums up what was left out, and there are lines again")
    func afterwards() {
        let log = self.log()
        log.setTerse(true)
        for _ in 0..<7 { log.report(.wrongKey, iccid: "1", peer: nil, now: self.now) }
        log.setTerse(false)
        #expect(self.taken().map { $0["count"]?.description } == ["7"])
        log.report(.wrongKey, iccid: "2", peer: nil, now: self.now)
        let lines = self.taken()
        #expect(lines.map { $0["iccid"]?.description } == ["2"])
        #expect(lines.first?["suppressed"] == nil)
    }
}
