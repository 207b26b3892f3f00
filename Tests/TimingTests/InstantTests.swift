import Testing
import Timing

@Suite("Instants")
struct InstantTests {
    @Test("An instant moved by a duration is that far away, either way")
    func moves() {
        let start = Instant(nanoseconds: 5_000_000_000)
        for duration in [Duration.zero, .nanoseconds(1), .milliseconds(-3), .seconds(247), .seconds(86_400 * 3650)] {
            let moved = start.advanced(by: duration)
            #expect(start.duration(to: moved) == duration)
            #expect(moved.duration(to: start) == .zero - duration)
            #expect((start < moved) == (duration > .zero))
        }
    }

    @Test("Durations longer than nine seconds keep every nanosecond")
    func longDurations() {
        #expect(Duration.seconds(10).wholeNanoseconds == 10_000_000_000)
        #expect((Duration.seconds(86_400) + .nanoseconds(7)).wholeNanoseconds == 86_400_000_000_007)
        #expect((Duration.zero - .seconds(10)).wholeNanoseconds == -10_000_000_000)
    }

    @Test("An instant stays at the end of time instead of wrapping round")
    func saturates() {
        let late = Instant(nanoseconds: .max - 1)
        #expect(late.advanced(by: .seconds(1)) == Instant(nanoseconds: .max))
        #expect(Instant(nanoseconds: 0).advanced(by: .seconds(Int64.max)) == Instant(nanoseconds: .max))
        #expect(Instant(nanoseconds: .min).nanoseconds(to: late) == .max)
        #expect(late.nanoseconds(to: Instant(nanoseconds: .min)) == .min)
    }

    @Test("T47: the clock never goes back")
    func monotonic() {
        var last = Instant.now
        for _ in 0..<1000 {
            let next = Instant.now
            #expect(next >= last)
            last = next
        }
    }
}
