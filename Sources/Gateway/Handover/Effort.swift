internal import Glibc
internal import Timing

/// What a step took: on the clock on the wall, and of the process's own time, in microseconds.
package struct Effort: Sendable, Hashable {
    package var wall: Int64 = 0
    package var processor: Int64 = 0

    package init() {}

    /// Measures `body` and adds it.
    package mutating func measure<Value, Failure: Error>(
        _ body: () async throws(Failure) -> Value
    ) async throws(Failure) -> Value {
        let (began, used) = (Instant.now, Self.processorTime())
        let value = try await body()
        self.wall += began.nanoseconds(to: .now) / 1_000
        self.processor += (Self.processorTime() - used) / 1_000
        return value
    }

    /// Nanoseconds.
    private static func processorTime() -> Int64 {
        var time = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        return Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec)
    }
}
