internal import Timing

/// Decides how much work the gateway turns away: samples in, a level out. A pure value; ``DeviceSessions`` takes the
/// samples and acts.
///
/// A level is reached when two samples in a row demand it, so that a single stall of the machine means nothing. It is left
/// one step at a time, when all measures have stayed below four fifths of its thresholds for `hold`. A gateway that must
/// turn away again soon after it had stopped to do so waits longer the next time: what came was still coming.
package struct OverloadGovernor: Sendable {
    /// What is turned away; each level does what those before it do.
    package enum Level: Int, Sendable, Comparable, CaseIterable {
        case normal
        /// No cookies for addresses without a session.
        case noNewPeers
        /// Bootstraps over the plain port get 5.03.
        case noPlainBootstraps
        /// No log lines of single devices; they are counted and summed up.
        case terse

        package static func < (one: Self, other: Self) -> Bool { one.rawValue < other.rawValue }
    }

    /// What is measured; the names are those of the configuration.
    package enum Measure: String, Sendable, CaseIterable {
        case halfOpen = "half-open"
        case sessions, queue, receive, memory, lag
    }

    /// The state of the gateway at one moment.
    struct Sample: Sendable, Equatable {
        /// Shares of the limits, 0 and more; 1 is the limit.
        var halfOpen = 0.0
        var sessions = 0.0
        var queue = 0.0
        var receive = 0.0
        var memory = 0.0
        var lag = Duration.zero
    }

    /// A level was reached or left.
    struct Change: Sendable, Equatable {
        let from: Level
        let to: Level
        /// What demands the level, or demanded the one that was left.
        let measure: Measure
    }

    /// How far a measure must fall below a threshold before its level is left.
    private static let calmShare = 0.8
    /// `hold` is at most this many times as long for a level that keeps coming back.
    private static let longestHold = 8

    package private(set) var level = Level.normal
    private var demandedBefore = Level.normal
    private var measure = Measure.lag
    private var calmSince: Instant?
    private var leftAt: Instant?
    private var holds = 1

    package init() {}

    /// Takes a sample; every tenth of a second, on the loop that it was taken of.
    mutating func observe(
        _ sample: Sample, _ policy: GatewayConfiguration.OverloadPolicy, now: Instant
    ) -> Change? {
        let (demanded, measure) = Self.judge(sample, policy, share: 1)
        let reached = min(demanded, self.demandedBefore)
        self.demandedBefore = demanded
        if reached > self.level { return self.rise(to: reached, measure, policy, now: now) }
        guard self.level > .normal else { return nil }
        guard Self.judge(sample, policy, share: Self.calmShare).level < self.level else {
            self.calmSince = nil
            return nil
        }
        guard let since = self.calmSince else {
            self.calmSince = now
            return nil
        }
        guard since + policy.hold * self.holds <= now else { return nil }
        self.calmSince = now
        let change = Change(
            from: self.level, to: Level(rawValue: self.level.rawValue - 1) ?? .normal, measure: self.measure)
        self.level = change.to
        if change.to == .normal { self.leftAt = now }
        return change
    }

    private mutating func rise(
        to level: Level, _ measure: Measure, _ policy: GatewayConfiguration.OverloadPolicy, now: Instant
    ) -> Change {
        if self.level == .normal {
            let isBack = self.leftAt.map { now < $0 + policy.hold * (2 * self.holds) } ?? false
            self.holds = isBack ? min(self.holds * 2, Self.longestHold) : 1
        }
        let change = Change(from: self.level, to: level, measure: measure)
        self.level = level
        self.measure = measure
        self.calmSince = nil
        return change
    }

    /// The highest level of which a threshold is reached, and by what. `share`: of each threshold.
    private static func judge(
        _ sample: Sample, _ policy: GatewayConfiguration.OverloadPolicy, share: Double
    ) -> (level: Level, measure: Measure) {
        var highest = 0
        var measure = Measure.lag
        func consider(_ reached: Int, _ candidate: Measure) {
            guard reached > highest else { return }
            highest = reached
            measure = candidate
        }
        func consider(_ value: Double, _ percents: [Int], _ candidate: Measure) {
            consider(percents.prefix(3).count { value >= Double($0) / 100 * share }, candidate)
        }
        consider(sample.halfOpen, policy.halfOpen, .halfOpen)
        consider(sample.sessions, policy.sessions, .sessions)
        consider(sample.queue, policy.queue, .queue)
        consider(sample.receive, policy.receive, .receive)
        consider(sample.memory, policy.memory, .memory)
        consider(policy.lag.prefix(3).count { sample.lag >= $0 * share }, .lag)
        return (Level(rawValue: highest) ?? .terse, measure)
    }
}
