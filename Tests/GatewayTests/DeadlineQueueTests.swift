import Testing
import Timing

@testable import Gateway

@Suite("The queue of deadlines")
struct DeadlineQueueTests {
    final class Member: Timed {
        let name: Int
        var due: Instant?
        var queueIndex = -1
        init(_ name: Int) { self.name = name }
    }

    let start = Instant.now

    @Test("Members come out in the order of their deadlines, and only when due")
    func order() {
        var queue = DeadlineQueue<Member>()
        let members = [5, 1, 4, 2, 3].map(Member.init)
        for member in members { queue.wake(member, by: self.start + .seconds(member.name)) }
        #expect(queue.next(now: self.start) == nil)
        var out: [Int] = []
        while let member = queue.next(now: self.start + .seconds(3)) { out.append(member.name) }
        #expect(out == [1, 2, 3])
        #expect(queue.earliest == self.start + .seconds(4))
    }

    @Test("An earlier deadline moves a member forward, a later one leaves it where it is")
    func moving() {
        var queue = DeadlineQueue<Member>()
        let a = Member(1)
        let b = Member(2)
        queue.wake(a, by: self.start + .seconds(10))
        queue.wake(b, by: self.start + .seconds(20))
        queue.wake(b, by: self.start + .seconds(5))
        queue.wake(a, by: self.start + .seconds(30))
        #expect(queue.next(now: self.start + .seconds(60))?.name == 2)
        #expect(queue.next(now: self.start + .seconds(60))?.name == 1)
        #expect(queue.count == 0)
    }

    @Test("Random insertions, moves and removals never break the order", arguments: [1, 7, 99] as [UInt64])
    func random(seed: UInt64) {
        var generator = SplitMix(state: seed)
        var queue = DeadlineQueue<Member>()
        var present: [Int: Member] = [:]
        for step in 0..<5000 {
            switch generator.next() % 4 {
            case 0, 1:
                let member = Member(step)
                present[step] = member
                queue.wake(member, by: self.start + .milliseconds(Int(generator.next() % 10_000)))
            case 2:
                if let member = present.values.randomElement(using: &generator) {
                    queue.wake(member, by: self.start + .milliseconds(Int(generator.next() % 10_000)))
                }
            default:
                if let member = present.values.randomElement(using: &generator) {
                    queue.remove(member)
                    present[member.name] = nil
                }
            }
        }
        #expect(queue.count == present.count, "seed \(seed)")
        var last = self.start
        while let due = queue.earliest, let member = queue.next(now: self.start + .seconds(20)) {
            #expect(due >= last, "seed \(seed)")
            last = due
            present[member.name] = nil
        }
        #expect(present.isEmpty, "seed \(seed)")
    }
}

/// Random numbers that a seed repeats.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var z = self.state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}
