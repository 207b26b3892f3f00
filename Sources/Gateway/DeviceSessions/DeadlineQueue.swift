internal import Timing

/// Something that has to be looked at when a time has come. The two properties belong to ``DeadlineQueue``.
protocol Timed: AnyObject {
    var due: Instant? { get set }
    /// Place in the queue; -1 outside of it.
    var queueIndex: Int { get set }
}

/// What is due when: a binary heap of deadlines, earliest first, whose members know their places.
///
/// A deadline that moves to a later time stays where it is: whoever is woken too early looks at its own deadlines and goes
/// back in. So a timer that is set and cancelled with every message costs a comparison. A member that is gone is taken
/// out at once: sessions that come and go leave nothing behind.
struct DeadlineQueue<Member: Timed> {
    private var heap: [Member] = []

    var count: Int { self.heap.count }
    var earliest: Instant? { self.heap.first?.due }

    /// Wakes `member` at `due` at the latest.
    mutating func wake(_ member: Member, by due: Instant) {
        if member.queueIndex < 0 {
            member.due = due
            member.queueIndex = self.heap.count
            self.heap.append(member)
            self.siftUp(member.queueIndex)
        } else if let present = member.due, due < present {
            member.due = due
            self.siftUp(member.queueIndex)
        }
    }

    /// Takes out the earliest member if it is due.
    mutating func next(now: Instant) -> Member? {
        guard let first = self.heap.first, let due = first.due, due <= now else { return nil }
        self.remove(first)
        return first
    }

    mutating func remove(_ member: Member) {
        let index = member.queueIndex
        guard index >= 0 else { return }
        member.queueIndex = -1
        member.due = nil
        let last = self.heap.removeLast()
        guard last !== member else { return }
        self.heap[index] = last
        last.queueIndex = index
        self.siftUp(index)
        self.siftDown(last.queueIndex)
    }

    private mutating func siftUp(_ start: Int) {
        var child = start
        while child > 0 {
            let parent = (child - 1) / 2
            guard self.isEarlier(child, parent) else { return }
            self.swap(child, parent)
            child = parent
        }
    }

    private mutating func siftDown(_ start: Int) {
        var parent = start
        while true {
            let left = 2 * parent + 1
            guard left < self.heap.count else { return }
            let right = left + 1
            let child = right < self.heap.count && self.isEarlier(right, left) ? right : left
            guard self.isEarlier(child, parent) else { return }
            self.swap(child, parent)
            parent = child
        }
    }

    private func isEarlier(_ a: Int, _ b: Int) -> Bool {
        guard let first = self.heap[a].due, let second = self.heap[b].due else { return false }
        return first < second
    }

    private mutating func swap(_ a: Int, _ b: Int) {
        self.heap.swapAt(a, b)
        self.heap[a].queueIndex = a
        self.heap[b].queueIndex = b
    }
}
