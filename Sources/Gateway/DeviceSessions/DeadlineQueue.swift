/// What is due when: a binary heap of deadlines, earliest first.
///
/// Entries are not removed when a deadline moves: whoever is woken too early looks at its own deadline and goes back in.
/// So each member keeps at most one entry in force, and a timer that is set and cancelled with every message costs
/// nothing here.
struct DeadlineQueue<Member> {
    private var heap: [(due: ContinuousClock.Instant, member: Member)] = []

    var isEmpty: Bool { self.heap.isEmpty }
    var count: Int { self.heap.count }
    var earliest: ContinuousClock.Instant? { self.heap.first?.due }

    mutating func add(_ member: Member, due: ContinuousClock.Instant) {
        self.heap.append((due, member))
        var child = self.heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard self.heap[child].due < self.heap[parent].due else { break }
            self.heap.swapAt(child, parent)
            child = parent
        }
    }

    /// Takes out the earliest entry if it is due.
    mutating func next(now: ContinuousClock.Instant) -> Member? {
        guard let first = self.heap.first, first.due <= now else { return nil }
        self.heap.swapAt(0, self.heap.count - 1)
        self.heap.removeLast()
        var parent = 0
        while true {
            let left = 2 * parent + 1
            guard left < self.heap.count else { break }
            let right = left + 1
            let child = right < self.heap.count && self.heap[right].due < self.heap[left].due ? right : left
            guard self.heap[child].due < self.heap[parent].due else { break }
            self.heap.swapAt(parent, child)
            parent = child
        }
        return first.member
    }
}
