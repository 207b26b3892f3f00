/// How long things took: counts by upper bound, as metrics show them. Plain numbers, changed on one event loop alone.
package struct LatencyHistogram: Sendable, Equatable {
    /// Upper bounds in seconds, from one datagram and back on a wire to a device that gives up (EXCHANGE_LIFETIME).
    package static let bounds: [Double] = [
        0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 247,
    ]
    private static let nanoseconds = Self.bounds.map { Int64($0 * 1e9) }

    /// How many took at most ``bounds`` and more than the bound before; the last count is of what took longer than all.
    package private(set) var counts = [UInt64](repeating: 0, count: Self.bounds.count + 1)
    /// All of them together, in nanoseconds.
    package private(set) var sum: Int64 = 0

    package init() {}

    /// `nanoseconds` below 0 count as 0.
    package mutating func record(nanoseconds: Int64) {
        let index = Self.nanoseconds.firstIndex { nanoseconds <= $0 } ?? Self.bounds.count
        self.counts[index] &+= 1
        self.sum &+= max(0, nanoseconds)
    }
}
