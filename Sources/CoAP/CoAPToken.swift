/// The token that matches a response to its request: 0 to 8 bytes, held inline.
package struct CoAPToken: Hashable, Sendable, CustomStringConvertible {
    package static let empty = Self(bits: 0, count: 0)

    /// The bytes in network order, the first byte in the highest; unused low bytes are zero.
    let bits: UInt64
    private let length: UInt8

    /// Number of bytes, 0 to 8.
    package var count: Int { Int(self.length) }

    private init(bits: UInt64, count: UInt8) {
        self.bits = bits
        self.length = count
    }

    /// A token of eight bytes: the form of every token of our own.
    package init(_ value: UInt64) {
        self.init(bits: value, count: 8)
    }

    /// Nil for more than eight bytes: extended tokens (RFC 8974) are not supported.
    package init?(_ bytes: some Collection<UInt8>) {
        guard bytes.count <= 8 else { return nil }
        var bits: UInt64 = 0
        for byte in bytes {
            bits = bits << 8 | UInt64(byte)
        }
        let unused = UInt64(8 &- bytes.count) &* 8
        self.init(bits: unused >= 64 ? 0 : bits << unused, count: UInt8(bytes.count))
    }

    /// The byte at an index below `count`.
    package subscript(index: Int) -> UInt8 {
        UInt8(truncatingIfNeeded: self.bits >> UInt64(56 &- 8 &* index))
    }

    package var bytes: [UInt8] { (0..<self.count).map { self[$0] } }

    package var description: String {
        self.bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}
