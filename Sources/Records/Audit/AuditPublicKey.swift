internal import Crypto
internal import Glibc

/// The key with which anybody can check the journal's checkpoints.
///
/// The file is PEM with a SubjectPublicKeyInfo of Ed25519 (RFC 8410), as other programs read it.
package struct AuditPublicKey: Sendable, Equatable {
    /// First 8 hexadecimal digits of the SHA-256 of the 32 bytes: how checkpoints name the key.
    package let id: String
    private let bytes: [UInt8]

    /// What stands before the 32 bytes in a SubjectPublicKeyInfo.
    private static let header: [UInt8] = [0x30, 0x2A, 0x30, 0x05, 0x06, 0x03, 0x2B, 0x65, 0x70, 0x03, 0x21, 0x00]
    private static let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

    /// Nil unless `bytes` are 32.
    package init?(_ bytes: some Collection<UInt8>) {
        guard bytes.count == 32 else { return nil }
        self.bytes = Array(bytes)
        self.id = AuditText.hexadecimal(SHA256.hash(data: self.bytes).prefix(4))
    }

    /// Nil unless `pem` is one public key of Ed25519.
    package init?(pem: String) {
        let lines = pem.split(whereSeparator: \.isNewline)
        guard lines.count == 3, lines[0] == "-----BEGIN PUBLIC KEY-----", lines[2] == "-----END PUBLIC KEY-----",
            let bytes = Self.decode(base64: lines[1].utf8), bytes.starts(with: Self.header)
        else { return nil }
        self.init(bytes.dropFirst(Self.header.count))
    }

    /// Reads the file that lies beside the signing key.
    package init(path: String) throws(AuditError) {
        guard let descriptor = AuditDescriptor(path, O_RDONLY) else {
            let code = errno
            throw AuditError(
                code == ENOENT ? .notFound : .notPermitted,
                "cannot read the public audit key \(path): \(AuditDescriptor.text(code))",
                remedy: "name the .pub file that the gateway keeps beside its audit signing key"
            )
        }
        var buffer = [UInt8](repeating: 0, count: 4096)
        let count = read(descriptor.number, &buffer, buffer.count)
        guard count > 0, let key = Self(pem: String(decoding: buffer[..<count], as: UTF8.self)) else {
            throw AuditError(
                .badData,
                "\(path) is not a public key of Ed25519",
                remedy: "name the .pub file that the gateway keeps beside its audit signing key"
            )
        }
        self = key
    }

    /// The contents of the `.pub` file.
    package var pem: String {
        let text = String(decoding: Self.encode(base64: Self.header + self.bytes), as: UTF8.self)
        return "-----BEGIN PUBLIC KEY-----\n\(text)\n-----END PUBLIC KEY-----\n"
    }

    func isValid(signature: [UInt8], of message: [UInt8]) -> Bool {
        guard let key = try? Curve25519.Signing.PublicKey(rawRepresentation: self.bytes) else { return false }
        return key.isValidSignature(signature, for: message)
    }

    // 44 bytes are 60 characters with one `=`; nothing else has to be read or written.

    private static func encode(base64 bytes: [UInt8]) -> [UInt8] {
        var result: [UInt8] = []
        for start in stride(from: 0, to: bytes.count, by: 3) {
            let group = bytes[start..<min(start + 3, bytes.count)]
            var bits: UInt32 = 0
            for index in 0..<3 { bits = bits << 8 | (index < group.count ? UInt32(group[start + index]) : 0) }
            for index in 0..<4 {
                let digit = Self.alphabet[Int(bits >> UInt32(18 - 6 * index) & 63)]
                result.append(index <= group.count ? digit : UInt8(ascii: "="))
            }
        }
        return result
    }

    private static func decode(base64 text: some Collection<UInt8>) -> [UInt8]? {
        var result: [UInt8] = []
        var bits: UInt32 = 0
        var count = 0
        for character in text where character != UInt8(ascii: "=") {
            guard let value = Self.alphabet.firstIndex(of: character) else { return nil }
            bits = bits << 6 | UInt32(value)
            count += 6
            if count >= 8 {
                count -= 8
                result.append(UInt8(truncatingIfNeeded: bits >> UInt32(count)))
            }
        }
        return Self.encode(base64: result).elementsEqual(text) ? result : nil
    }
}
