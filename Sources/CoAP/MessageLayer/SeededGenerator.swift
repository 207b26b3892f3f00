/// SplitMix64: eight bytes of state, so that every peer can have a generator of its own.
///
/// It draws timeouts, the first message ID and tokens. A token is one whole output, and an output tells the state, so the
/// peer itself can foresee all that its layer will draw. Whoever has not seen its datagrams cannot (RFC 7252, section
/// 5.3.1), as long as each layer's seed is drawn from the system's generator by itself: seeds that follow from one another
/// would tell the tokens of one peer to the next, and run through the same outputs.
struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: UInt64

    init(seed: UInt64) {
        self.state = seed
    }

    mutating func next() -> UInt64 {
        self.state &+= 0x9e37_79b9_7f4a_7c15
        var z = self.state
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }
}
