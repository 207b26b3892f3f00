internal import CAllocations

/// Runs an operation many times and prints what one of them costs.
///
/// The time is that of the fastest of ten rounds, which other programs disturb least. Allocations are counted in the C
/// library's place and are the same in every run.
struct Harness {
    /// Only names that hold this text are run.
    let filter: String
    private let clock = ContinuousClock()

    func printHeader() {
        print(Self.row("operation", "bytes", "ns/op", "MB/s", "allocs/op", "peak bytes"))
    }

    /// - Parameter bytes: what one operation reads or writes.
    func measure(_ name: String, bytes: Int, rounds: Int = 10, _ operation: () -> Int) {
        guard self.filter.isEmpty || name.contains(self.filter) else { return }
        var sink = operation()
        // As many times as take about 20 ms.
        let once = max(1, Self.nanoseconds(self.clock.measure { sink &+= operation() }))
        let count = Int(max(3, min(100_000, 20_000_000 / once)))
        var best = Int64.max
        for _ in 0..<rounds {
            let time = self.clock.measure { for _ in 0..<count { sink &+= operation() } }
            best = min(best, Self.nanoseconds(time) / Int64(count))
        }
        bootgate_reset_peak()
        let held = bootgate_allocated_bytes()
        let before = bootgate_allocations()
        for _ in 0..<16 { sink &+= operation() }
        let allocations = Double(bootgate_allocations() - before) / 16
        let peak = bootgate_peak_bytes() - held
        precondition(sink != .min)
        let speed = best == 0 ? 0 : Double(bytes) * 1000 / Double(best)
        print(
            Self.row(name, "\(bytes)", "\(best)", Self.rounded(speed), Self.rounded(allocations), "\(peak)")
        )
    }

    /// Prints what was measured elsewhere: the time of one operation of those that were done.
    func report(_ name: String, bytes: Int, nanoseconds: Int64, allocations: Double) {
        let speed = nanoseconds == 0 ? 0 : Double(bytes) * 1000 / Double(nanoseconds)
        print(Self.row(name, "\(bytes)", "\(nanoseconds)", Self.rounded(speed), Self.rounded(allocations), "-"))
    }

    private static func nanoseconds(_ duration: Duration) -> Int64 {
        duration.components.seconds * 1_000_000_000 + duration.components.attoseconds / 1_000_000_000
    }

    private static func rounded(_ value: Double) -> String {
        let tenths = (value * 10).rounded()
        return "\(Int(tenths) / 10).\(Int(tenths) % 10)"
    }

    private static func row(_ name: String, _ figures: String...) -> String {
        func padding(_ text: String, _ width: Int) -> String {
            String(repeating: " ", count: max(0, width - text.count))
        }
        return name + padding(name, 44) + figures.map { padding($0, 12) + $0 }.joined()
    }
}
