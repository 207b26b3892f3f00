/// What the records of a peer name a session by, so that it is found whatever address they come from (RFC 9146).
///
/// Ours have eight bytes always: a record does not say how long its connection ID is. The first byte names the node, the
/// second the shard, and the rest is random: whoever routes datagrams to several nodes looks at the first byte alone.
package struct ConnectionID: Hashable, Sendable {
    static let byteCount = 8
    /// The content type of records that carry one: the first byte of the datagram.
    package static let contentType = ContentType.connectionID

    private let bits: UInt64

    /// - Parameter random: The lower 48 bits count.
    package init(node: UInt8, shard: UInt8, random: UInt64) {
        self.bits = UInt64(node) << 56 | UInt64(shard) << 48 | random & 0xFFFF_FFFF_FFFF
    }

    package var node: UInt8 { UInt8(truncatingIfNeeded: self.bits >> 56) }
    package var shard: UInt8 { UInt8(truncatingIfNeeded: self.bits >> 48) }

    /// The connection ID that the first record of `datagram` carries; nil when that is no whole protected record with
    /// one (RFC 9146, section 4). Looks at nothing else: the bytes are anyone's, and so may be the ID.
    package init?(of datagram: UnsafeRawBufferPointer) {
        guard
            datagram.first == ContentType.connectionID, let bits = Self.bits(in: datagram),
            datagram[1] == 0xFE, datagram[2] == 0xFD, datagram[3] != 0 || datagram[4] != 0
        else { return nil }
        let length = Int(datagram[Self.offset + Self.byteCount]) << 8 | Int(datagram[Self.offset + Self.byteCount + 1])
        guard length > 0, length <= datagram.count - Record.headerLength - Self.byteCount else { return nil }
        self.bits = bits
    }

    /// The connection ID with these eight bytes; nil for any other number of them.
    init?(bytes: UnsafeRawBufferPointer) {
        guard bytes.count == Self.byteCount else { return nil }
        self.bits = UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self))
    }

    /// Whether the record at the front of `bytes`, which is of the type that has one, carries this connection ID.
    func isAtFront(of bytes: UnsafeRawBufferPointer) -> Bool { Self.bits(in: bytes) == self.bits }

    /// Lends the bytes as they stand in a record.
    func withBytes<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R {
        withUnsafeBytes(of: self.bits.bigEndian, body)
    }

    /// The connection ID stands between the sequence number and the length.
    private static let offset = 11

    private static func bits(in bytes: UnsafeRawBufferPointer) -> UInt64? {
        guard bytes.count >= Record.headerLength + Self.byteCount else { return nil }
        return UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: Self.offset, as: UInt64.self))
    }
}

/// What a client says about connection IDs in its hello (RFC 9146, section 3).
package enum ConnectionIDOffer: Hashable, Sendable {
    /// Nothing: records carry none in either direction.
    case none
    /// The client puts the server's ID into its records and wants none in the server's: what a device does that only it
    /// changes its address.
    case serversOnly
    /// The client also wants this one in the server's records. With wolfSSL as the client, the handshake with a server
    /// that knows no connection IDs does not complete.
    case own(ConnectionID)
}
