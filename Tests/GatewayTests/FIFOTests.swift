import Testing

@testable import Gateway

@Suite("A queue over one array")
struct FIFOTests {
    private final class Element {
        let number: Int

        init(_ number: Int) { self.number = number }
    }

    @Test("What went in first comes out first, whatever comes in between", arguments: 0..<8 as Range<UInt64>)
    func order(seed: UInt64) {
        var generator = SplitMix(state: seed)
        var queue = FIFO<Int>()
        var plain: [Int] = []
        for number in 0..<2_000 {
            if Int.random(in: 0..<5, using: &generator) < (number < 1_000 ? 3 : 2) {
                queue.append(number)
                plain.append(number)
            } else {
                let popped = queue.popFirst()
                #expect(popped == (plain.isEmpty ? nil : plain.removeFirst()), "seed \(seed)")
            }
            #expect(queue.count == plain.count && queue.first == plain.first, "seed \(seed)")
        }
    }

    @Test("What was taken out is held no longer, although its neighbours wait")
    func release() {
        var queue = FIFO<Element>()
        for number in 0..<3 { queue.append(Element(number)) }
        weak var gone: Element?
        do {
            let first = queue.popFirst()
            #expect(first?.number == 0)
            gone = first
        }
        #expect(gone == nil)
        #expect(queue.first?.number == 1)
    }
}
