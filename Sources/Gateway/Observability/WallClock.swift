internal import Glibc

/// The time of day, for records that people read. Nothing is timed with it: it may jump.
package enum WallClock {
    /// UTC, microseconds since 1970.
    package static let microseconds: @Sendable () -> Int64 = {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1000
    }
}
