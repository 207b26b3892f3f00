import Testing

@testable import Gateway

@Suite("How long things took, as metrics show it")
struct LatencyHistogramTests {
    @Test(
        "A time counts for the first bound that it does not exceed",
        arguments: [(0, 0), (5_000_000, 0), (5_000_001, 1), (1_000_000_000, 7), (247_000_000_000, 14)])
    func bounds(nanoseconds: Int64, index: Int) {
        var histogram = LatencyHistogram()
        histogram.record(nanoseconds: nanoseconds)
        var expected = [UInt64](repeating: 0, count: LatencyHistogram.bounds.count + 1)
        expected[index] = 1
        #expect(histogram.counts == expected)
        #expect(histogram.sum == nanoseconds)
    }

    @Test("What takes longer than all bounds has a place of its own, and a clock that went back counts as nothing")
    func edges() {
        var histogram = LatencyHistogram()
        histogram.record(nanoseconds: 247_000_000_001)
        histogram.record(nanoseconds: -1)
        #expect(histogram.counts.last == 1)
        #expect(histogram.counts.first == 1)
        #expect(histogram.sum == 247_000_000_001)
    }
}
