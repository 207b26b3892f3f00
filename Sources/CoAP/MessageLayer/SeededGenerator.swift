/// SplitMix64: eight bytes of state, so that every peer can have a generator of its own.
///
/// It draws timeouts, the first message ID and tokens. A token is one whole output: whoever has not seen the datagrams
/// of a peer cannot guess it as long as the seed comes from the system's generator (RFC 7252, section 5.3.1).
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
