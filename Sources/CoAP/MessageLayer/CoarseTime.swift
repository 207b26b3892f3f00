internal import Timing

/// Points in time as four bytes: ticks of 2^29 ns, about 0.54 s, since the first one that was asked for.
///
/// Good for 73 years and for lifetimes of minutes, which are always rounded up.
struct CoarseClock: Sendable {
    private static let shift: Int64 = 29

    private var origin: Instant?

    /// - Parameter origin: where the ticks are to begin, if that is not when the first one is asked for.
    init(origin: Instant? = nil) { self.origin = origin }

    /// The tick of an instant: 1 for the first one, and for instants before it.
    mutating func tick(at now: Instant) -> UInt32 {
        let origin = self.origin ?? now
        self.origin = origin
        return Self.tick(after: origin.nanoseconds(to: now))
    }

    /// The tick of an instant, nil if none was asked for yet.
    func existingTick(at now: Instant) -> UInt32? {
        self.origin.map { Self.tick(after: $0.nanoseconds(to: now)) }
    }

    /// What a difference of ticks stands for at least.
    static func milliseconds(_ ticks: UInt32) -> UInt32 {
        UInt32(clamping: (UInt64(ticks) << UInt64(Self.shift)) / 1_000_000)
    }

    /// A difference of ticks above this is longer than the duration.
    static func span(_ duration: Duration) -> UInt32 {
        UInt32(clamping: duration.wholeNanoseconds >> Self.shift) &+ 1
    }

    private static func tick(after age: Int64) -> UInt32 {
        UInt32(clamping: age >> Self.shift).addingReportingOverflow(1).partialValue
    }
}
