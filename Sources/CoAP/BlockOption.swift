/// The value of a Block1 or Block2 option (RFC 7959, section 2.2).
package struct BlockOption: Sendable, Equatable {
    /// Which block, counted in blocks of this size: 0 to 2^20 - 1.
    package var num: UInt32
    /// More blocks follow.
    package var more: Bool
    /// Size exponent, 0 to 6.
    package var szx: UInt8

    /// Bytes of one block: 16 to 1024.
    package var size: Int { 16 << Int(self.szx) }
    /// Where the block begins in the body.
    package var offset: Int { Int(self.num) << (Int(self.szx) + 4) }

    /// Nil if a value is outside its range.
    package init?(num: UInt32, more: Bool, szx: UInt8) {
        guard num < 1 << 20, szx <= 6 else { return nil }
        self.num = num
        self.more = more
        self.szx = szx
    }

    /// Nil for more than three bytes and for the reserved size exponent 7, which gets 4.00.
    package init?(_ value: some Collection<UInt8>) {
        guard value.count <= 3 else { return nil }
        let bits = value.reduce(0) { $0 << 8 | UInt32($1) }
        self.init(num: bits >> 4, more: bits & 8 != 0, szx: UInt8(bits & 7))
    }

    /// The value as the number that the option carries.
    package var uint: UInt32 {
        self.num << 4 | (self.more ? 8 : 0) | UInt32(self.szx)
    }
}

extension CoAPRequest {
    /// Largest body that fits in one message (RFC 7252, section 4.6).
    package static let maximumWholeBody: UInt32 = 1024

    /// The answer to a request that carries only a part of its body, nil for a whole one.
    ///
    /// Bodies are not put together: the first part gets 4.13 with the acceptable size, a later one 4.08, so that the sender
    /// knows and nothing incomplete is ever forwarded. A Block1 option with number 0 and nothing to follow is a whole body.
    package var blockRefusal: CoAPResponse? {
        guard let value = self.options.first(.block1) else { return nil }
        guard let block = BlockOption(value) else {
            return CoAPResponse(.badRequest, diagnostic: "malformed Block1")
        }
        if block.num > 0 {
            return CoAPResponse(.requestEntityIncomplete)
        }
        guard block.more else { return nil }
        var refusal = CoAPResponse(.requestEntityTooLarge)
        refusal.options.append(.size1, uint: Self.maximumWholeBody)
        return refusal
    }
}

extension CoAPResponse {
    /// The payload is a part of the body: a Block2 option with more to follow, with a number above 0, or malformed.
    package var isPartial: Bool {
        guard let value = self.options.first(.block2) else { return false }
        guard let block = BlockOption(value) else { return true }
        return block.more || block.num > 0
    }
}
