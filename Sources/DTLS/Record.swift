/// The content types that DTLS 1.2 knows (RFC 5246, section 6.2.1).
enum ContentType {
    static let changeCipherSpec: UInt8 = 20
    static let alert: UInt8 = 21
    static let handshake: UInt8 = 22
    static let applicationData: UInt8 = 23
    /// A protected record of any type with a connection ID in its header (`tls12_cid`, RFC 9146, section 4).
    static let connectionID: UInt8 = 25
}

/// The handshake messages that a PSK handshake has (RFC 5246, section 7.4).
enum HandshakeType {
    static let clientHello: UInt8 = 1
    static let serverHello: UInt8 = 2
    static let helloVerifyRequest: UInt8 = 3
    static let serverKeyExchange: UInt8 = 12
    static let serverHelloDone: UInt8 = 14
    static let clientKeyExchange: UInt8 = 16
}

/// One record as it lies in a datagram (RFC 6347, section 4.1). Nothing of it is authentic yet.
struct Record {
    /// Without a connection ID.
    static let headerLength = 13

    let type: UInt8
    /// Both bytes of the version: `FEFD` in DTLS 1.2, but a first hello may say something else.
    let version: UInt16
    let epoch: UInt16
    /// Header and body.
    let bytes: UnsafeRawBufferPointer
    let body: UnsafeRawBufferPointer

    /// Epoch and sequence number: of two protected records of one sender, the one with the higher number is the newer
    /// one.
    var number: UInt64 { UInt64(bigEndian: self.bytes.loadUnaligned(fromByteOffset: 3, as: UInt64.self)) }
}

/// The records of a datagram, in order. Ends silently where the bytes no longer form a record, and before a record with
/// the connection ID of another session: those of two sessions are never mixed in a datagram (RFC 9147, section 4).
struct DatagramRecords: Sequence, IteratorProtocol {
    private var rest: UnsafeRawBufferPointer
    private let connectionID: ConnectionID?

    /// - Parameter connectionID: The one that the session is named by, if it is.
    init(_ datagram: UnsafeRawBufferPointer, connectionID: ConnectionID? = nil) {
        self.rest = datagram
        self.connectionID = connectionID
    }

    /// The bytes that ``next()`` has not taken.
    var remaining: Int { self.rest.count }

    mutating func next() -> Record? {
        var headerLength = Record.headerLength
        guard self.rest.count >= headerLength, self.rest[1] == 0xFE else { return nil }
        if self.rest[0] == ContentType.connectionID {
            guard let connectionID = self.connectionID, connectionID.isAtFront(of: self.rest) else { return nil }
            headerLength += ConnectionID.byteCount
        }
        let length = Int(self.rest[headerLength - 2]) << 8 | Int(self.rest[headerLength - 1])
        let end = headerLength + length
        guard length > 0, end <= self.rest.count else { return nil }
        let bytes = UnsafeRawBufferPointer(rebasing: self.rest[..<end])
        let record = Record(
            type: bytes[0],
            version: UInt16(bytes[1]) << 8 | UInt16(bytes[2]),
            epoch: UInt16(bytes[3]) << 8 | UInt16(bytes[4]),
            bytes: bytes,
            body: UnsafeRawBufferPointer(rebasing: bytes[headerLength...])
        )
        self.rest = UnsafeRawBufferPointer(rebasing: self.rest[end...])
        return record
    }
}

/// A handshake message or a piece of one (RFC 6347, section 4.2.2).
struct HandshakeFragment {
    static let headerLength = 12

    let type: UInt8
    /// Of the whole message.
    let length: Int
    let messageSequence: UInt16
    let offset: Int
    let body: UnsafeRawBufferPointer

    var isWhole: Bool { self.offset == 0 && self.body.count == self.length }
}

/// The handshake messages and pieces in the body of one clear record. Ends at the first one whose lengths do not fit.
struct HandshakeFragments: Sequence, IteratorProtocol {
    private var cursor: ByteCursor

    init(_ body: UnsafeRawBufferPointer) { self.cursor = ByteCursor(body) }

    /// Whether ``next()`` has taken everything, and so found nothing wrong.
    var isAtEnd: Bool { self.cursor.isAtEnd }

    mutating func next() -> HandshakeFragment? {
        var cursor = self.cursor
        guard
            let type = cursor.takeNumber(bytes: 1), let length = cursor.takeNumber(bytes: 3),
            let sequence = cursor.takeNumber(bytes: 2), let offset = cursor.takeNumber(bytes: 3),
            let count = cursor.takeNumber(bytes: 3), offset + count <= length, let body = cursor.take(count)
        else { return nil }
        self.cursor = cursor
        return HandshakeFragment(
            type: UInt8(truncatingIfNeeded: type),
            length: length,
            messageSequence: UInt16(truncatingIfNeeded: sequence),
            offset: offset,
            body: body
        )
    }
}
