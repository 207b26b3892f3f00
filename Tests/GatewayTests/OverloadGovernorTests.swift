import Testing
import Timing

@testable import Gateway

@Suite("When work is turned away, and when that ends")
struct OverloadGovernorTests {
    /// Shows the governor a sample every tenth of a second.
    private struct Script {
        var governor = OverloadGovernor()
        var policy = GatewayConfiguration.OverloadPolicy()
        var now = Instant(nanoseconds: 0)
        var changes: [OverloadGovernor.Change] = []

        mutating func show(_ sample: OverloadGovernor.Sample, times: Int = 1) {
            for _ in 0..<times {
                self.now = self.now + .milliseconds(100)
                if let change = self.governor.observe(sample, self.policy, now: self.now) {
                    self.changes.append(change)
                }
            }
        }

        mutating func show(halfOpen: Double, times: Int = 1) {
            self.show(OverloadGovernor.Sample(halfOpen: halfOpen), times: times)
        }
    }

    @Test("One sample means nothing, the second in a row raises the level")
    func twoInARow() {
        var script = Script()
        for _ in 0..<5 {
            script.show(halfOpen: 0.6)
            script.show(halfOpen: 0.1)
        }
        #expect(script.governor.level == .normal)
        script.show(halfOpen: 0.6, times: 2)
        #expect(script.governor.level == .noNewPeers)
        #expect(script.changes == [.init(from: .normal, to: .noNewPeers, measure: .halfOpen)])
    }

    @Test("The second sample counts for the lower of the two levels, so that one peak raises no level by itself")
    func lowerOfTwo() {
        var script = Script()
        script.show(halfOpen: 0.6)
        script.show(halfOpen: 1)
        #expect(script.governor.level == .noNewPeers)
        script.show(halfOpen: 1)
        #expect(script.governor.level == .terse)
    }

    @Test(
        "Every measure raises the level by itself, at its own thresholds",
        arguments: [
            (
                OverloadGovernor.Sample(halfOpen: 0.5), OverloadGovernor.Level.noNewPeers,
                OverloadGovernor.Measure.halfOpen
            ),
            (.init(halfOpen: 0.75), .noPlainBootstraps, .halfOpen), (.init(halfOpen: 0.9), .terse, .halfOpen),
            (.init(sessions: 0.95), .noNewPeers, .sessions), (.init(sessions: 2), .noNewPeers, .sessions),
            (.init(queue: 0.75), .noPlainBootstraps, .queue), (.init(receive: 0.9), .terse, .receive),
            (.init(memory: 0.85), .noPlainBootstraps, .memory), (.init(lag: .milliseconds(250)), .noNewPeers, .lag),
            (.init(lag: .seconds(2)), .terse, .lag),
            (.init(halfOpen: 0.5, receive: 0.8), .noPlainBootstraps, .receive),
        ])
    func measures(
        sample: OverloadGovernor.Sample, level: OverloadGovernor.Level, measure: OverloadGovernor.Measure
    ) {
        var script = Script()
        script.show(sample, times: 2)
        #expect(script.changes == [.init(from: .normal, to: level, measure: measure)])
    }

    @Test("A measure without thresholds raises nothing")
    func switchedOff() {
        var script = Script()
        script.policy.lag = []
        script.policy.halfOpen = [50]
        script.show(.init(halfOpen: 1, lag: .seconds(60)), times: 20)
        #expect(script.governor.level == .noNewPeers)
    }

    @Test("A level is left one step at a time, each after the hold in calm")
    func leaving() {
        var script = Script()
        script.show(halfOpen: 1, times: 2)
        script.show(halfOpen: 0, times: 30)
        #expect(script.governor.level == .terse)
        script.show(halfOpen: 0)
        #expect(script.governor.level == .noPlainBootstraps)
        script.show(halfOpen: 0, times: 29)
        #expect(script.governor.level == .noPlainBootstraps)
        script.show(halfOpen: 0, times: 31)
        #expect(script.governor.level == .normal)
        #expect(script.changes.map(\.to) == [.terse, .noPlainBootstraps, .noNewPeers, .normal])
    }

    @Test("Just below the threshold is not calm: the level stays until four fifths of it")
    func hysteresis() {
        var script = Script()
        script.show(halfOpen: 0.5, times: 2)
        script.show(halfOpen: 0.41, times: 600)
        #expect(script.governor.level == .noNewPeers)
        script.show(halfOpen: 0.39, times: 31)
        #expect(script.governor.level == .normal)
    }

    @Test("One restless sample in the hold begins it anew")
    func restless() {
        var script = Script()
        script.show(halfOpen: 0.5, times: 2)
        for _ in 0..<10 {
            script.show(halfOpen: 0, times: 29)
            script.show(halfOpen: 0.45)
        }
        #expect(script.governor.level == .noNewPeers)
    }

    @Test(
        "An overload that comes back soon is held longer, up to eight times; after a long calm the hold is short again")
    func comesBack() {
        var script = Script()
        var holds: [Int] = []
        for _ in 0..<6 {
            script.show(halfOpen: 0.5, times: 2)
            var samples = 0
            while script.governor.level > .normal, samples < 1000 {
                script.show(halfOpen: 0)
                samples += 1
            }
            holds.append(samples)
        }
        #expect(holds == [31, 61, 121, 241, 241, 241])
        script.show(halfOpen: 0, times: 1000)
        script.show(halfOpen: 0.5, times: 2)
        script.show(halfOpen: 0, times: 31)
        #expect(script.governor.level == .normal)
    }
}
