internal import Timing

/// Whether an upstream can be used, and whether it is preferred: the circuit breaker of one server, as a pure value.
///
/// ICMP's word is a hint only (RFC 7252, 4.2), so it never ends a bootstrap by itself; it keeps new ones away from a
/// server where nobody listens, for a time that grows with each failure. Any datagram of the server is a sign of life;
/// when none comes, it is asked for one with a CoAP ping (RFC 7252, 4.3) or, over DTLS, with a handshake.
struct UpstreamHealth: Sendable {
    struct Settings: Sendable, Equatable {
        /// How long a server that is up may be quiet before it is asked; nil: it is not.
        var interval: Duration?
        /// How long one that was down must be well before it is preferred again; doubled for one that keeps failing.
        var returnAfter: Duration = .zero
    }

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

    /// First back-off; doubled with each failure up to `longestBackoff`, with a quarter of jitter either way. A server
    /// that is asked for signs of life anyhow is tried as often when it is down.
    static let shortestBackoff: Duration = .seconds(1)
    static let longestBackoff: Duration = .seconds(60)
    /// How long a trial may go without a word before another device may try.
    static let trialInterval: Duration = .seconds(5)
    /// So many requests in a row may time out before the upstream counts as down. A ping counts twice: it was repeated,
    /// and no work is to blame.
    static let toleratedSilences = 4
    /// Between two pings while there is doubt: after a silence, and until a server that was down is preferred again.
    static let doubtInterval: Duration = .seconds(2)
    /// A failure so soon after a return makes the next return slower, up to `longestReturn`.
    static let relapseWindow: Duration = .seconds(300)
    static let longestReturn: Duration = .seconds(300)

    var settings = Settings()
    private(set) var state = State.up(silences: 0)
    /// Failures since anything was heard.
    private(set) var failures = 0
    /// The last sign of life, or when the server became known.
    private var heardAt: Instant?
    private var probedAt: Instant?
    /// It has answered a ping at some time, so it answers pings.
    private var answersPings = false
    /// Anything has come from it at some time.
    private var hasSpoken = false
    /// When it is preferred again; nil: it is.
    private var steadyFrom: Instant?
    private var returnedAt: Instant?
    private var relapses = 0

    var isUp: Bool { if case .up = self.state { true } else { false } }

    /// Up, and long enough to be preferred to one further back in the list.
    func isSteady(now: Instant) -> Bool { self.isUp && self.steadyFrom.map { $0 <= now } ?? true }

    /// Whether pings tell nothing, because the server has never answered one, although it speaks. Then only devices can
    /// find out that it is back.
    var ignoresPings: Bool { self.hasSpoken && !self.answersPings }

    /// The server is known from now on: the first sign of life is asked for after a while.
    mutating func begin(now: Instant) { self.heardAt = self.heardAt ?? now }

    /// Anything came from the upstream. True if it had not been up.
    mutating func heard(now: Instant) -> Bool {
        self.heardAt = now
        self.hasSpoken = true
        if case .up(silences: 0) = self.state { return false }
        let wasUp = self.isUp
        self.state = .up(silences: 0)
        self.failures = 0
        if !wasUp {
            self.returnedAt = now
            self.steadyFrom = now + min(self.settings.returnAfter * (1 << self.relapses), Self.longestReturn)
        }
        return !wasUp
    }

    /// A ping was answered. The datagram itself counts as heard.
    mutating func pingAnswered() { self.answersPings = true }

    /// The upstream refused, or the network said that it cannot be reached. True if this is news; many sockets that
    /// report the same outage count once.
    mutating func failed(now: Instant, jitter: Double) -> Bool {
        if case .down(let until) = self.state, now < until { return false }
        if self.isUp {
            let isRelapse = self.returnedAt.map { now < $0 + Self.relapseWindow } ?? false
            self.relapses = isRelapse ? min(self.relapses + 1, 10) : 0
        }
        self.failures = min(self.failures + 1, 16)
        let longest = min(self.settings.interval ?? Self.longestBackoff, Self.longestBackoff)
        self.state = .down(until: now + min(Self.backoff(failures: self.failures, jitter: jitter), longest))
        return true
    }

    /// A request timed out and nothing was heard meanwhile. True if the upstream counts as down from now on.
    mutating func silent(now: Instant, jitter: Double) -> Bool { self.silent(1, now: now, jitter: jitter) }

    /// A ping found no answer. True if the upstream counts as down from now on.
    mutating func pingUnanswered(now: Instant, jitter: Double) -> Bool {
        guard !self.ignoresPings else { return false }
        return self.silent(2, now: now, jitter: jitter)
    }

    private mutating func silent(_ weight: Int, now: Instant, jitter: Double) -> Bool {
        switch self.state {
        case .up(let silences) where silences + weight <= Self.toleratedSilences:
            self.state = .up(silences: silences + weight)
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
        switch self.state {
        case .up:
            guard let due = self.nextProbe, due <= now else { return false }
            self.probedAt = now
            return true
        case .down: return false
        case .trial(let nextLease, let nextProbe):
            guard now >= nextProbe else { return false }
            self.state = .trial(
                nextLease: nextLease, nextProbe: now + Self.backoff(failures: self.failures, jitter: 0.5))
            return true
        }
    }

    /// When the next ping is due, if any.
    var deadline: Instant? {
        switch self.state {
        case .up: self.nextProbe
        case .down(let until): until
        case .trial(_, let nextProbe): nextProbe
        }
    }

    private var nextProbe: Instant? {
        guard let interval = self.settings.interval, let heard = self.heardAt else { return nil }
        let last = self.probedAt.map { max($0, heard) } ?? heard
        let isInDoubt = self.state != .up(silences: 0) || self.steadyFrom.map { last < $0 } ?? false
        return last + (isInDoubt ? min(Self.doubtInterval, interval) : interval)
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
