/// wolfSSL's form of an exported DTLS session, as far as it must be known here. It belongs to the library, and differs
/// between versions of it: ``DTLSSessionState`` is therefore read with the version alone that wrote it.
enum LibraryExport {
    /// Whether `export` has the outline of a DTLS session, with no peer's address in it: the library checks the lengths
    /// inside, but takes more than that.
    static func isWhole(_ export: UnsafeRawBufferPointer) -> Bool {
        var cursor = ByteCursor(export)
        guard cursor.takeNumber(bytes: 2) == Self.marker, cursor.takeNumber(bytes: 2) == export.count - 2 else {
            return false
        }
        // Options, keys, parameters of the suite.
        for _ in 0..<3 {
            guard let section = cursor.takeVector(lengthBytes: 2), !section.isEmpty else { return false }
        }
        guard let peer = cursor.takeVector(lengthBytes: 2), peer.allSatisfy({ $0 == 0 }) else { return false }
        return cursor.isAtEnd
    }

    /// Sees to it that a session with AES-CCM uses no nonce twice. The library numbers the nonces of such a session from
    /// 0 on, does not export that counter, and on import begins at 0 again: the first record after it would have the
    /// nonce of the first one ever. What it begins with are the last eight bytes of a twelve-byte value of which the
    /// export has only the first four; here all twelve are written.
    ///
    /// The counter goes on with epoch and sequence number of the next record (RFC 6655, section 3, names that as the
    /// nonce). No record of the session had that before: the ones of its first life count from 0 on and do not reach
    /// 2^48, the ones of later lives had lower sequence numbers, and a counter advances together with its number.
    ///
    /// The other suites need nothing: the library draws a new random counter for GCM and a random value for each record
    /// with CBC, and with ChaCha20 the nonce is the sequence number, which it exports.
    ///
    /// - Parameter target: Room for `export` and 16 bytes more.
    /// - Returns: how many bytes were written; nil when `export` is not of the form that is known.
    static func continueCCMNonces(
        _ export: UnsafeRawBufferPointer,
        into target: UnsafeMutableRawBufferPointer
    ) -> Int? {
        let added = 2 * Self.counterLength
        guard Self.isWhole(export), target.count >= export.count + added else { return nil }
        var cursor = ByteCursor(export)
        guard cursor.take(4) != nil, cursor.takeVector(lengthBytes: 2) != nil else { return nil }
        let keysOffset = export.count - cursor.count
        guard let keys = cursor.takeVector(lengthBytes: 2) else { return nil }
        // Numbers of what came; ours: sequence number, that of the epoch before, epoch; number of handshake messages,
        // sizes and flags.
        var fields = ByteCursor(keys)
        guard
            fields.take(42) != nil, let sequence = fields.take(6), fields.take(6) != nil,
            let epoch = fields.take(2), fields.take(12) != nil
        else { return nil }
        // The windows of this epoch and of the one before.
        for _ in 0..<2 {
            guard let words = fields.takeNumber(bytes: 2), fields.take(words * 4) != nil else { return nil }
        }
        // A flag, then the keys of client and server for MAC and cipher.
        guard fields.take(1) != nil else { return nil }
        for _ in 0..<2 {
            guard let length = fields.takeNumber(bytes: 1), fields.take(length * 2) != nil else { return nil }
        }
        let lengthOffset = keysOffset + 2 + keys.count - fields.count
        guard
            fields.takeNumber(bytes: 1) == Self.saltLength, let client = fields.take(Self.saltLength),
            let server = fields.take(Self.saltLength)
        else { return nil }

        var writer = Writer(target: target)
        writer.append(UnsafeRawBufferPointer(rebasing: export[..<lengthOffset]))
        writer.append(UInt8(Self.saltLength + Self.counterLength))
        writer.append(client)
        for _ in 0..<Self.counterLength { writer.append(0) }
        writer.append(server)
        writer.append(epoch)
        writer.append(sequence)
        writer.append(UnsafeRawBufferPointer(rebasing: export[(lengthOffset + 1 + 2 * Self.saltLength)...]))
        writer.overwrite(UInt16(truncatingIfNeeded: export.count - 2 + added), at: 2)
        writer.overwrite(UInt16(truncatingIfNeeded: keys.count + added), at: keysOffset)
        return writer.count
    }

    /// "DTLS session" in one byte, and half a byte of the same beside the number of the form: 6 in wolfSSL 5.9.2.
    private static let marker = 0xA5A6
    /// The part of a nonce that is not in the records, and the part that is (RFC 6655, section 3).
    private static let saltLength = 4
    private static let counterLength = 8

    /// Fills memory that is known to be large enough.
    private struct Writer {
        let target: UnsafeMutableRawBufferPointer
        private(set) var count = 0

        init(target: UnsafeMutableRawBufferPointer) { self.target = target }

        mutating func append(_ bytes: UnsafeRawBufferPointer) {
            UnsafeMutableRawBufferPointer(rebasing: self.target[self.count...]).copyMemory(from: bytes)
            self.count += bytes.count
        }

        mutating func append(_ byte: UInt8) {
            self.target[self.count] = byte
            self.count += 1
        }

        func overwrite(_ value: UInt16, at offset: Int) {
            self.target[offset] = UInt8(truncatingIfNeeded: value >> 8)
            self.target[offset + 1] = UInt8(truncatingIfNeeded: value)
        }
    }
}
