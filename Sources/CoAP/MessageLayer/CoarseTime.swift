/// Points in time as four bytes: ticks of 2^59 attoseconds, about 0.58 s, since the first one that was asked for.
///
/// Good for 78 years and for lifetimes of minutes, which are always rounded up.
struct CoarseClock: Sendable {
    private static let shift: Int128 = 59

    private var origin: ContinuousClock.Instant?

    /// The tick of an instant: 1 for the first one, and for instants before it.
    mutating func tick(at now: ContinuousClock.Instant) -> UInt32 {
        let origin = self.origin ?? now
        self.origin = origin
        return Self.tick(of: origin.duration(to: now))
    }

    /// The tick of an instant, nil if none was asked for yet.
    func existingTick(at now: ContinuousClock.Instant) -> UInt32? {
        self.origin.map { Self.tick(of: $0.duration(to: now)) }
    }

    /// A difference of ticks above this is longer than the duration.
    static func span(_ duration: Duration) -> UInt32 {
        UInt32(clamping: duration.attoseconds >> Self.shift) &+ 1
    }

    private static func tick(of age: Duration) -> UInt32 {
        UInt32(clamping: age.attoseconds >> Self.shift).addingReportingOverflow(1).partialValue
    }
}
