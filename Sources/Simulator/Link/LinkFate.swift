/// What a link does to its datagrams: shares in percent, times in milliseconds.
struct LinkBehaviour {
    var loss: Double = 0
    var duplicate: Double = 0
    /// Held back, so that those behind arrive before.
    var reorder: Double = 0
    var delay: Double = 0
    /// Added to the delay: anything between nothing and this.
    var jitter: Double = 0
    var seed: UInt64 = 0

    /// How much longer a datagram takes that is held back: longer than any that comes right behind it.
    var holdBack: Double { max(2 * (self.delay + self.jitter), 100) }
}

/// Which way a datagram goes.
enum LinkDirection: UInt64, CaseIterable {
    /// From a client to the server.
    case up = 1
    case down = 2
}

/// What becomes of one datagram. Drawn from the seed and from the datagram's place alone: the client's number, the
/// direction, and how many came before it that way. So what happens to one device does not hang on what others do.
struct LinkFate: Equatable {
    /// The time after which each copy goes on, in milliseconds; empty for a datagram that is lost.
    var delays: [Double] = []
    var isHeldBack = false

    init(_ behaviour: LinkBehaviour, client: UInt64, direction: LinkDirection, number: UInt64) {
        var draws = Draws(behaviour.seed, client, direction.rawValue, number)
        // Always the same draws in the same order, so that a changed share changes nothing else.
        let isLost = draws.percent() < behaviour.loss
        let isDoubled = draws.percent() < behaviour.duplicate
        self.isHeldBack = draws.percent() < behaviour.reorder
        let first = behaviour.delay + behaviour.jitter * draws.percent() / 100
        let second = behaviour.delay + behaviour.jitter * draws.percent() / 100
        guard !isLost else {
            self.isHeldBack = false
            return
        }
        self.delays.append(first + (self.isHeldBack ? behaviour.holdBack : 0))
        if isDoubled { self.delays.append(second) }
    }
}

/// Numbers that four others determine (SplitMix64).
private struct Draws {
    private var state: UInt64

    init(_ numbers: UInt64...) {
        self.state = 0
        for number in numbers {
            self.state = self.next() ^ number
        }
    }

    private mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var value = self.state
        value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
        return value ^ value >> 31
    }

    /// From 0 to below 100.
    mutating func percent() -> Double { Double(self.next() >> 11) / Double(1 << 53) * 100 }
}
