internal import Secrets

/// A ClientKeyExchange of a PSK suite (RFC 4279, section 2; RFC 5489, section 2): the identity in clear, and for the
/// suites with forward secrecy the client's public value.
struct KeyExchange {
    /// Nil when it is empty, too long or holds a NUL. Such an identity has no key, and must not reach the library,
    /// which would cut it at the NUL.
    let identity: PSKIdentity?
    /// The record to give to the library in place of what came: one whole message. An unusable identity is replaced, so
    /// that the handshake fails in the same way as with a wrong key.
    let record: [UInt8]

    /// Nil when the lengths in `message` do not fit each other.
    init?(_ message: UnsafeRawBufferPointer, messageSequence: UInt16, suite: CipherSuite?) {
        var cursor = ByteCursor(message)
        guard let sent = cursor.takeVector(lengthBytes: 2) else { return nil }
        let publicValue = cursor.takeRest()
        if suite?.hasForwardSecrecy ?? false {
            guard let count = publicValue.first, count > 0, publicValue.count == 1 + Int(count) else { return nil }
        } else {
            guard publicValue.isEmpty else { return nil }
        }
        self.identity = PSKIdentity(sent)
        let identity = self.identity?.bytes ?? [UInt8(ascii: "?")]
        let length = 2 + identity.count + publicValue.count
        var record: [UInt8] = []
        record.reserveCapacity(Record.headerLength + HandshakeFragment.headerLength + length)
        record += [ContentType.handshake, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0]
        Self.append(HandshakeFragment.headerLength + length, bytes: 2, to: &record)
        record.append(HandshakeType.clientKeyExchange)
        Self.append(length, bytes: 3, to: &record)
        Self.append(Int(messageSequence), bytes: 2, to: &record)
        Self.append(0, bytes: 3, to: &record)
        Self.append(length, bytes: 3, to: &record)
        Self.append(identity.count, bytes: 2, to: &record)
        record += identity
        record += publicValue
        self.record = record
    }

    private static func append(_ value: Int, bytes: Int, to record: inout [UInt8]) {
        for shift in stride(from: (bytes - 1) * 8, through: 0, by: -8) {
            record.append(UInt8(truncatingIfNeeded: value >> shift))
        }
    }
}

/// Puts a fragmented handshake message together, in whatever order and overlap its pieces come. Bounded: a longer
/// message is not taken at all.
struct MessageAssembler {
    /// Enough for an identity of several hundred bytes and a public value of any curve.
    static let maximumLength = 1024

    private var bytes: [UInt8] = []
    private var isPresent: [Bool] = []
    private var missing = 0

    /// Adds a piece; the whole message once nothing is missing. A piece that gives the message another length than
    /// earlier ones did makes it start over: whichever was forged must not keep the real ones out.
    mutating func add(_ fragment: HandshakeFragment) -> [UInt8]? {
        guard fragment.length > 0, fragment.length <= Self.maximumLength else { return nil }
        if fragment.isWhole { return Array(fragment.body) }
        if self.bytes.count != fragment.length {
            self.bytes = Array(repeating: 0, count: fragment.length)
            self.isPresent = Array(repeating: false, count: fragment.length)
            self.missing = fragment.length
        }
        // Both lengths were checked when the fragment was taken from its record.
        guard fragment.offset + fragment.body.count <= self.bytes.count else { return nil }
        for (index, byte) in fragment.body.enumerated() where !self.isPresent[fragment.offset + index] {
            self.bytes[fragment.offset + index] = byte
            self.isPresent[fragment.offset + index] = true
            self.missing -= 1
        }
        return self.missing == 0 ? self.bytes : nil
    }
}
