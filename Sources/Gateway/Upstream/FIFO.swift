/// A queue over one array: appends at the end, takes from the front, both in constant time on average.
struct FIFO<Element> {
    /// Nil where something was taken out, so that it is moved and not copied, and held no longer.
    private var storage: [Element?] = []
    private var head = 0

    var isEmpty: Bool { self.head == self.storage.count }
    var count: Int { self.storage.count - self.head }
    var first: Element? { self.isEmpty ? nil : self.storage[self.head] }

    mutating func append(_ element: Element) { self.storage.append(element) }

    mutating func popFirst() -> Element? {
        guard !self.isEmpty else { return nil }
        var element: Element?
        swap(&element, &self.storage[self.head])
        self.head += 1
        if self.head == self.storage.count {
            self.storage.removeAll(keepingCapacity: true)
            self.head = 0
        } else if self.head >= 64 && self.head * 2 >= self.storage.count {
            self.storage.removeFirst(self.head)
            self.head = 0
        }
        return element
    }
}

extension FIFO: Sendable where Element: Sendable {}
