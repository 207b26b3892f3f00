internal import Secrets
internal import Timing

/// Who has shown wrong keys of late: each entry stands for one PSK identity at one source, an IPv4 address or an IPv6 /64.
///
/// Never for an identity alone: whoever knows an ICCID could lock its meter out. Never for a source alone: many devices
/// share an address. Unknown identities count like wrong keys, so that the wire does not tell them apart. The table has a
/// fixed size; where it is full, the oldest entry of a few makes room, and its back-off is forgotten. A pure value.
struct BackOffTable: Sendable {
    private struct Entry {
        /// 0: empty.
        var key: UInt64 = 0
        var failures: UInt8 = 0
        var lastFailure = Instant(nanoseconds: 0)
        var until = Instant(nanoseconds: 0)

        /// When its failures count no more: a pause that outlasts ``BackOffTable/memory`` does not wipe out what led to it.
        var forgotten: Instant {
            max(self.lastFailure + BackOffTable.memory, self.until + self.lastFailure.duration(to: self.until))
        }
    }

    /// So many failures cost nothing: somebody mistypes, a key is changed at one end first.
    static let free = 3
    /// The first pause; doubled with each further failure.
    static let shortest = Duration.seconds(10)
    /// Failures older than this do not count, unless half of the time since then was a pause.
    static let memory = Duration.seconds(600)
    /// Places of one key.
    private static let ways = 4

    private var entries: [Entry]

    /// - Parameter sets: a power of two; four entries each.
    init(sets: Int = 1024) { self.entries = Array(repeating: Entry(), count: max(1, sets) * Self.ways) }

    /// Whether this identity has to wait at this source.
    func isBackedOff(_ identity: PSKIdentity, at source: UInt64, now: Instant) -> Bool {
        let key = Self.key(identity, source)
        return self.places(of: key).contains { self.entries[$0].key == key && self.entries[$0].until > now }
    }

    /// A key was wrong, or the identity is unknown.
    ///
    /// - Returns: how long it has to wait from now on; nil while failures are still free.
    mutating func failed(
        _ identity: PSKIdentity, at source: UInt64, longest: Duration, now: Instant
    ) -> Duration? {
        let key = Self.key(identity, source)
        let place = self.place(for: key, now: now)
        if self.entries[place].key != key || self.entries[place].forgotten <= now {
            self.entries[place] = Entry(key: key)
        }
        let failures = min(self.entries[place].failures + 1, 32)
        self.entries[place].failures = failures
        self.entries[place].lastFailure = now
        let beyond = Int(failures) - Self.free
        guard beyond >= 0 else { return nil }
        let pause = min(Self.shortest * (1 << min(beyond, 10)), longest)
        guard pause > .zero else { return nil }
        self.entries[place].until = now + pause
        return pause
    }

    /// The key was right.
    mutating func succeeded(_ identity: PSKIdentity, at source: UInt64) {
        let key = Self.key(identity, source)
        for place in self.places(of: key) where self.entries[place].key == key { self.entries[place] = Entry() }
    }

    /// The place of the key, else an empty one, else that of the oldest failure.
    private func place(for key: UInt64, now: Instant) -> Int {
        let places = self.places(of: key)
        var best = places.lowerBound
        for place in places {
            if self.entries[place].key == key { return place }
            if self.entries[best].key != 0,
                self.entries[place].key == 0 || self.entries[place].lastFailure < self.entries[best].lastFailure
            {
                best = place
            }
        }
        return best
    }

    private func places(of key: UInt64) -> Range<Int> {
        let sets = self.entries.count / Self.ways
        let first = Int(key % UInt64(sets)) * Self.ways
        return first..<first + Self.ways
    }

    /// Keyed with the process's random seed, so that nobody can aim at the entry of another.
    private static func key(_ identity: PSKIdentity, _ source: UInt64) -> UInt64 {
        var hasher = Hasher()
        hasher.combine(identity)
        hasher.combine(source)
        return max(1, UInt64(bitPattern: Int64(hasher.finalize())))
    }
}
