internal import Timing

/// When a flight is repeated (RFC 6347, section 4.2.4): after an interval that doubles each time, up to a minute.
struct RetransmissionTimer {
    private static let longest: Duration = .seconds(60)

    /// When the flight is due again; nil while nothing is to be repeated.
    private(set) var deadline: Instant?
    private var interval: Duration
    private var lastSent: Instant

    init(initial: Duration, now: Instant) {
        self.interval = min(initial, Self.longest)
        self.lastSent = now
        self.deadline = now + self.interval
    }

    func isDue(now: Instant) -> Bool { self.deadline.map { $0 <= now } ?? false }

    /// The flight went out again because it was due.
    mutating func repeated(now: Instant) {
        self.interval = min(self.interval * 2, Self.longest)
        self.lastSent = now
        self.deadline = now + self.interval
    }

    /// Whether the flight may go out again because the peer repeated its own: at most once in half an interval, so that
    /// two ends cannot keep each other going.
    func mayAnswer(now: Instant) -> Bool {
        self.deadline != nil && self.lastSent.duration(to: now) >= self.interval / 2
    }

    /// The flight went out again because the peer repeated its own: the next time that it is due moves away.
    mutating func answered(now: Instant) {
        self.lastSent = now
        self.deadline = now + self.interval
    }

    /// Nothing is repeated until ``resume(now:)``.
    mutating func pause() { self.deadline = nil }

    mutating func resume(now: Instant) { self.deadline = now + self.interval }
}
