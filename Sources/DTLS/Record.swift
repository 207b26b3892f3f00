/// The content types that DTLS 1.2 knows (RFC 5246, section 6.2.1).
enum ContentType {
    static let changeCipherSpec: UInt8 = 20
    static let alert: UInt8 = 21
    static let handshake: UInt8 = 22
    static let applicationData: UInt8 = 23
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
    static let headerLength = 13

    let type: UInt8
    /// Both bytes of the version: `FEFD` in DTLS 1.2, but a first hello may say something else.
    let version: UInt16
    let epoch: UInt16
    /// Header and body.
    let bytes: UnsafeRawBufferPointer
    let body: UnsafeRawBufferPointer
}

/// The records of a datagram, in order. Ends silently where the bytes no longer form a record.
struct DatagramRecords: Sequence, IteratorProtocol {
    private var rest: UnsafeRawBufferPointer

    init(_ datagram: UnsafeRawBufferPointer) { self.rest = datagram }

    /// The bytes that ``next()`` has not taken.
    var remaining: Int { self.rest.count }

    mutating func next() -> Record? {
        guard self.rest.count >= Record.headerLength, self.rest[1] == 0xFE else { return nil }
        let length = Int(self.rest[11]) << 8 | Int(self.rest[12])
        let end = Record.headerLength + length
        guard length > 0, end <= self.rest.count else { return nil }
        let bytes = UnsafeRawBufferPointer(rebasing: self.rest[..<end])
        let record = Record(
            type: bytes[0],
            version: UInt16(bytes[1]) << 8 | UInt16(bytes[2]),
            epoch: UInt16(bytes[3]) << 8 | UInt16(bytes[4]),
            bytes: bytes,
            body: UnsafeRawBufferPointer(rebasing: bytes[Record.headerLength...])
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
