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
