extension MessageLayer {
    /// The peer is a new DTLS association of the same address (RFC 7252, section 4.2: message IDs belong to an endpoint,
    /// and the association is part of it). What the earlier one has sent is forgotten, so that a new message is not taken
    /// for an old one; our own message IDs go on counting. Called after ``abandonExchanges()``.
    package mutating func beginAssociation() {
        self.memory = MessageMemory()
        self.memoryExpiry = nil
    }
}
