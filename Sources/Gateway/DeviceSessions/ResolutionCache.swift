/// A bounded memory of look-ups: the records themselves stay in the store.
///
/// Two generations: what is used moves to the young one; when that is full, it becomes the old one and what was old and
/// unused is forgotten. Look-up and insertion cost one or two hash look-ups, and nothing is scanned.
struct ResolutionCache<Key: Hashable, Value> {
    /// Entries per generation.
    private let capacity: Int
    private var young: [Key: Value] = [:]
    private var old: [Key: Value] = [:]

    init(capacity: Int) { self.capacity = max(capacity, 1) }

    var count: Int { self.young.count + self.old.count }

    mutating func value(for key: Key) -> Value? {
        if let value = self.young[key] { return value }
        guard let value = self.old.removeValue(forKey: key) else { return nil }
        self.insert(value, for: key)
        return value
    }

    mutating func insert(_ value: Value, for key: Key) {
        if self.young.count >= self.capacity {
            self.old = self.young
            self.young = [:]
            self.young.reserveCapacity(self.capacity)
        }
        self.young[key] = value
    }

    mutating func remove(_ key: Key) {
        self.young.removeValue(forKey: key)
        self.old.removeValue(forKey: key)
    }

    mutating func removeAll(where isStale: (Value) -> Bool) {
        self.young = self.young.filter { !isStale($0.value) }
        self.old = self.old.filter { !isStale($0.value) }
    }

    mutating func removeAll() {
        self.young = [:]
        self.old = [:]
    }
}
