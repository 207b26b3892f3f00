#if canImport(Glibc)
internal import Glibc
#elseif canImport(Musl)
internal import Musl
#endif

/// A point in monotonic time that goes on while the machine sleeps, in nanoseconds since it was started.
///
/// `ContinuousClock.Instant` says the same. Its layout is the standard library's secret, though, so that every type that
/// holds one is laid out, copied and compared through tables at run time; sessions and message layers are full of them.
///
/// Plain 64-bit arithmetic: good for 292 years, and beyond that an instant stays at the end of time.
package struct Instant: Comparable, Hashable, Sendable {
    package let nanoseconds: Int64

    @inlinable
    package init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

    /// `duration` later, or earlier if it is negative.
    @inlinable
    package func advanced(by duration: Duration) -> Instant {
        let (sum, isOver) = self.nanoseconds.addingReportingOverflow(duration.wholeNanoseconds)
        return Instant(nanoseconds: isOver ? (self.nanoseconds < 0 ? .min : .max) : sum)
    }

    /// Negative if `other` is earlier.
    @inlinable
    package func duration(to other: Instant) -> Duration { .nanoseconds(self.nanoseconds(to: other)) }

    /// Negative if `other` is earlier.
    @inlinable
    package func nanoseconds(to other: Instant) -> Int64 {
        let (difference, isOver) = other.nanoseconds.subtractingReportingOverflow(self.nanoseconds)
        return isOver ? (self.nanoseconds < 0 ? .max : .min) : difference
    }

    @inlinable
    package static func < (left: Instant, right: Instant) -> Bool { left.nanoseconds < right.nanoseconds }

    @inlinable
    package static func == (left: Instant, right: Instant) -> Bool { left.nanoseconds == right.nanoseconds }

    @inlinable
    package static func + (instant: Instant, duration: Duration) -> Instant { instant.advanced(by: duration) }

    @inlinable
    package static func += (instant: inout Instant, duration: Duration) { instant = instant.advanced(by: duration) }

    @inlinable
    package static func - (instant: Instant, duration: Duration) -> Instant { instant.advanced(by: .zero - duration) }

    @inlinable
    package static func - (left: Instant, right: Instant) -> Duration { right.duration(to: left) }

    /// Of two deadlines the one that comes first; nil is none.
    @inlinable
    package static func earlier(_ left: Instant?, _ right: Instant?) -> Instant? {
        guard let left else { return right }
        guard let right else { return left }
        return right < left ? right : left
    }

    /// What the clock shows. State machines never ask it: time is an argument of theirs.
    package static var now: Instant {
        var time = timespec()
        clock_gettime(CLOCK_BOOTTIME, &time)
        return Instant(nanoseconds: Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec))
    }
}

extension Duration {
    /// Rounded towards zero; what is longer than 292 years is 292 years.
    @inlinable
    package var wholeNanoseconds: Int64 {
        let attoseconds = self.attoseconds
        // Up to nine seconds the short division will do: it is that of nearly every timer.
        if let short = Int64(exactly: attoseconds) { return short / 1_000_000_000 }
        return Int64(clamping: attoseconds / 1_000_000_000)
    }
}
