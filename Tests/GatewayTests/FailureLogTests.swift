import Logging
import Testing
import Timing

@testable import Gateway

@Suite("What the operator is told of failures")
struct FailureLogTests {
    private let kept = KeptLog()
    private let now = Instant(nanoseconds: 0)

    private func log() -> FailureLog { FailureLog(logger: self.kept.logger) }

    @Test("Under the highest level of overload devices get no lines; one line for each cause says how many there were")
    func terse() {
        let log = self.log()
        log.setTerse(true)
        for number in 0..<50 {
            log.report(.wrongKey, iccid: "\(number)", peer: nil, now: self.now + .seconds(number))
            log.report(.unauthorized, iccid: nil, peer: nil, now: self.now)
        }
        #expect(self.kept.taken().isEmpty)
        log.sumUp()
        let lines = self.kept.taken()
        #expect(lines.map { $0["cause"]?.description } == ["unauthorized", "wrong key"])
        #expect(lines.allSatisfy { $0["count"] == "50" && $0["iccid"] == nil && $0["remedy"] != nil })
        log.sumUp()
        #expect(self.kept.taken().isEmpty, "nothing new")
    }

    @Test("The end of the highest level sums up what was left out, and there are lines again")
    func afterwards() {
        let log = self.log()
        log.setTerse(true)
        for _ in 0..<7 { log.report(.wrongKey, iccid: "1", peer: nil, now: self.now) }
        log.setTerse(false)
        #expect(self.kept.taken().map { $0["count"]?.description } == ["7"])
        log.report(.wrongKey, iccid: "2", peer: nil, now: self.now)
        let lines = self.kept.taken()
        #expect(lines.map { $0["iccid"]?.description } == ["2"])
        #expect(lines.first?["suppressed"] == nil)
    }
}
