internal import Timing

/// Whether an upstream can be used: the circuit breaker of one server, as a pure value.
///
/// ICMP's word is a hint only (RFC 7252, 4.2), so it never ends a bootstrap by itself; it keeps new ones away from a
/// server where nobody listens, for a time that grows with each failure.
struct UpstreamHealth: Sendable {
    enum State: Sendable, Equatable {
        /// Answers, or has not been tried. `silences` counts requests that timed out since anything was heard.
        /// Becomes `down` by a refusal, or by too many silences.
        case up(silences: Int)
        /// Nobody is let through until the time has come. Becomes `trial` then, or `up` when anything is heard.
        case down(until: Instant)
        /// One device at a time is let through, at `nextLease`, and a ping goes out at `nextProbe`. Becomes `up` when
        /// anything is heard, `down` for longer when this fails too.
        case trial(nextLease: Instant, nextProbe: Instant)
    }

    /// First back-off; doubled with each failure up to `longestBackoff`, with a quarter of jitter either way.
    static let shortestBackoff: Duration = .seconds(1)
    static let longestBackoff: Duration = .seconds(60)
    /// How long a trial may go without a word before another device may try.
    static let trialInterval: Duration = .seconds(5)
    /// So many requests in a row may time out before the upstream counts as down.
    static let toleratedSilences = 4

    private(set) var state = State.up(silences: 0)
    /// Failures since anything was heard.
    private(set) var failures = 0

    var isUp: Bool { if case .up = self.state { true } else { false } }

    /// Anything came from the upstream. True if it had not been up.
    mutating func heard() -> Bool {
        if case .up(silences: 0) = self.state { return false }
        let wasUp = self.isUp
        self.state = .up(silences: 0)
        self.failures = 0
        return !wasUp
    }

    /// The upstream refused, or the network said that it cannot be reached. True if this is news; many sockets that
    /// report the same outage count once.
    mutating func failed(now: Instant, jitter: Double) -> Bool {
        if case .down(let until) = self.state, now < until { return false }
        self.failures = min(self.failures + 1, 16)
        self.state = .down(until: now + Self.backoff(failures: self.failures, jitter: jitter))
        return true
    }

    /// A request timed out and nothing was heard meanwhile. True if the upstream counts as down from now on.
    mutating func silent(now: Instant, jitter: Double) -> Bool {
        switch self.state {
        case .up(let silences) where silences < Self.toleratedSilences:
            self.state = .up(silences: silences + 1)
            return false
        case .up, .trial:
            return self.failed(now: now, jitter: jitter)
        case .down:
            return false
        }
    }

    /// Whether a new lease may be given; in a trial this counts as the one device of the interval.
    mutating func admitsLease(now: Instant) -> Bool {
        self.startTrialIfDue(now: now)
        switch self.state {
        case .up:
            return true
        case .down:
            return false
        case .trial(let nextLease, let nextProbe):
            guard now >= nextLease else { return false }
            self.state = .trial(nextLease: now + Self.trialInterval, nextProbe: nextProbe)
            return true
        }
    }

    /// Whether a ping is due; the next one is planned in the same step.
    mutating func takeProbe(now: Instant) -> Bool {
        self.startTrialIfDue(now: now)
        guard case .trial(let nextLease, let nextProbe) = self.state, now >= nextProbe else { return false }
        self.state = .trial(nextLease: nextLease, nextProbe: now + Self.backoff(failures: self.failures, jitter: 0.5))
        return true
    }

    /// When the next ping is due, if the upstream is not up.
    var deadline: Instant? {
        switch self.state {
        case .up: nil
        case .down(let until): until
        case .trial(_, let nextProbe): nextProbe
        }
    }

    /// When it is worth trying again, for a device that was refused; never less than a second.
    func retryAfter(now: Instant) -> Duration {
        switch self.state {
        case .up: .seconds(1)
        case .down(let until): max(.seconds(1), now.duration(to: until))
        case .trial(let nextLease, _): max(.seconds(1), now.duration(to: nextLease))
        }
    }

    private mutating func startTrialIfDue(now: Instant) {
        guard case .down(let until) = self.state, now >= until else { return }
        self.state = .trial(nextLease: now, nextProbe: now)
    }

    /// `jitter` lies in 0 ..< 1.
    static func backoff(failures: Int, jitter: Double) -> Duration {
        let doubled = Self.shortestBackoff * (1 << min(max(failures - 1, 0), 10))
        return min(doubled, Self.longestBackoff) * (0.75 + jitter / 2)
    }
}
