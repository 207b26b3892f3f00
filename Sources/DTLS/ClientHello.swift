/// A whole, well-formed ClientHello of DTLS 1.2 in a datagram of its own (RFC 6347, section 4.2.1). Borrows the bytes.
struct ClientHello {
    /// Of the record: an answer repeats it.
    let recordSequence: UnsafeRawBufferPointer
    /// Of the message: an answer repeats it.
    let messageSequence: UInt16
    /// The version that the client speaks, and its random: 34 bytes.
    let versionAndRandom: UnsafeRawBufferPointer
    let sessionID: UnsafeRawBufferPointer
    let cookie: UnsafeRawBufferPointer
    let suites: UnsafeRawBufferPointer
    let compressionMethods: UnsafeRawBufferPointer
    /// The length of the connection ID that the client wants in our records; nil when it offers none.
    let connectionIDLength: Int?

    var random: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: self.versionAndRandom.dropFirst(2)) }

    func offers(_ suite: CipherSuite) -> Bool {
        stride(from: 0, to: self.suites.count, by: 2).contains { index in
            UInt16(self.suites[index]) << 8 | UInt16(self.suites[index + 1]) == suite.rawValue
        }
    }

    /// Takes apart `datagram`. Lenient in one point: the version in the record's header may be anything of DTLS, since
    /// clients on mbedTLS 2.28 that may speak several versions send `FE 00` there.
    static func parse(_ datagram: UnsafeRawBufferPointer) throws(DTLSDropReason) -> ClientHello {
        var records = DatagramRecords(datagram)
        guard let record = records.next() else { throw .notHandshake }
        guard record.epoch == 0 else { throw .unknownSession }
        guard record.type == ContentType.handshake, records.remaining == 0 else { throw .notHandshake }
        guard let type = record.body.first, type == HandshakeType.clientHello else { throw .notHello }
        var fragments = HandshakeFragments(record.body)
        guard let message = fragments.next() else { throw .malformedHello }
        guard message.isWhole else { throw .fragmentedHello }
        guard fragments.isAtEnd else { throw .malformedHello }

        var cursor = ByteCursor(message.body)
        guard let versionAndRandom = cursor.take(34) else { throw .malformedHello }
        guard versionAndRandom[0] == 0xFE, versionAndRandom[1] == 0xFD else { throw .version }
        guard
            let sessionID = cursor.takeVector(lengthBytes: 1), sessionID.count <= 32,
            let cookie = cursor.takeVector(lengthBytes: 1),
            let suites = cursor.takeVector(lengthBytes: 2), !suites.isEmpty, suites.count.isMultiple(of: 2),
            let compressionMethods = cursor.takeVector(lengthBytes: 1), compressionMethods.contains(0),
            let extensions = Self.extensions(&cursor)
        else { throw .malformedHello }
        return ClientHello(
            recordSequence: UnsafeRawBufferPointer(rebasing: record.bytes[5..<11]),
            messageSequence: message.messageSequence,
            versionAndRandom: versionAndRandom,
            sessionID: sessionID,
            cookie: cookie,
            suites: suites,
            compressionMethods: compressionMethods,
            connectionIDLength: extensions.connectionIDLength
        )
    }

    private struct Extensions {
        var connectionIDLength: Int?
    }

    /// The extensions fill the rest of the hello exactly; they may be missing altogether. Nil when they do not fit.
    private static func extensions(_ cursor: inout ByteCursor) -> Extensions? {
        var found = Extensions()
        if cursor.isAtEnd { return found }
        guard let block = cursor.takeVector(lengthBytes: 2), cursor.isAtEnd else { return nil }
        var extensions = ByteCursor(block)
        while !extensions.isAtEnd {
            guard let type = extensions.takeNumber(bytes: 2), let body = extensions.takeVector(lengthBytes: 2)
            else { return nil }
            guard type == Self.connectionIDExtension else { continue }
            // One byte of length, and the ID. Malformed or twice: not offered, and the library does not look at it.
            let isWellFormed = body.count == 1 + Int(body.first ?? 0) && found.connectionIDLength == nil
            found.connectionIDLength = isWellFormed ? body.count - 1 : .max
        }
        return found
    }

    /// RFC 9146, section 3.
    private static let connectionIDExtension = 54
}

/// A client's random: 32 bytes that tell one handshake from the next.
struct ClientRandom: Equatable {
    private let words: (UInt64, UInt64, UInt64, UInt64)

    /// Nil unless there are 32 bytes.
    init?(_ bytes: UnsafeRawBufferPointer) {
        guard bytes.count == 32 else { return nil }
        func word(_ index: Int) -> UInt64 { bytes.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self) }
        self.words = (word(0), word(1), word(2), word(3))
    }

    static func == (left: ClientRandom, right: ClientRandom) -> Bool { left.words == right.words }
}
