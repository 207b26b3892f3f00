internal import Timing

/// The earliest of many deadlines: a binary heap with lazy deletion.
///
/// Entries are never searched for. Whoever changes its mind about a deadline lets the old entry come up, compares it
/// with what it wants now and pushes again. One entry per key and "push only what is earlier than the entry in the heap"
/// keep the heap as small as the number of keys, however often a deadline moves.
struct DeadlineHeap<Key> {
    private var entries: [(deadline: Instant, key: Key)] = []

    var count: Int { self.entries.count }

    /// The earliest entry's deadline.
    var earliest: Instant? { self.entries.first?.deadline }

    mutating func push(_ key: Key, at deadline: Instant) {
        self.entries.append((deadline, key))
        var child = self.entries.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard self.entries[child].deadline < self.entries[parent].deadline else { return }
            self.entries.swapAt(child, parent)
            child = parent
        }
    }

    /// Takes out the earliest entry if its time has come.
    mutating func popDue(_ now: Instant) -> Key? {
        guard let first = self.entries.first, first.deadline <= now else { return nil }
        let last = self.entries.removeLast()
        guard !self.entries.isEmpty else { return first.key }
        self.entries[0] = last
        var parent = 0
        while true {
            var least = parent
            for child in (2 &* parent &+ 1)...(2 &* parent &+ 2)
            where child < self.entries.count && self.entries[child].deadline < self.entries[least].deadline {
                least = child
            }
            guard least != parent else { return first.key }
            self.entries.swapAt(parent, least)
            parent = least
        }
    }
}

extension DeadlineHeap: Sendable where Key: Sendable {}
