/// A PSK identity exactly as it travels in a ClientKeyExchange (RFC 4279): bytes, compared as bytes, never trimmed,
/// folded or cut at a NUL. It names a key but is not secret; logs show it shortened all the same (T44).
package struct PSKIdentity: Hashable, Sendable {
    /// The longest identity that either side has to support, and the longest that this gateway takes.
    package static let maximumLength = 128

    /// 1 to 128 bytes, none of them NUL.
    package let bytes: [UInt8]

    /// Nil when `bytes` is empty, longer than 128 bytes or holds a NUL: a C library would see only what stands before
    /// the NUL, so that one identity could pass for another.
    package init?(_ bytes: [UInt8]) {
        guard !bytes.isEmpty, bytes.count <= Self.maximumLength, !bytes.contains(0) else { return nil }
        self.bytes = bytes
    }

    /// The same for bytes of any collection.
    package init?(_ bytes: some Collection<UInt8>) { self.init(Array(bytes)) }

    /// The UTF-8 bytes of `text`, under the same conditions.
    package init?(_ text: String) { self.init(Array(text.utf8)) }

    package func hash(into hasher: inout Hasher) {
        // All at once: an array would be hashed byte by byte.
        self.bytes.withUnsafeBytes { hasher.combine(bytes: $0) }
    }

    /// The identity as text, when it is UTF-8.
    package var text: String? { String(validating: self.bytes, as: UTF8.self) }
}

extension PSKIdentity: CustomStringConvertible, CustomReflectable {
    /// The first and last four characters, for logs: enough to recognise a device by, too little to use.
    package var description: String {
        if self.bytes.allSatisfy({ 0x20..<0x7F ~= $0 }) {
            guard self.bytes.count > 10 else { return String(decoding: self.bytes, as: UTF8.self) }
            let start = String(decoding: self.bytes.prefix(4), as: UTF8.self)
            return start + "…" + String(decoding: self.bytes.suffix(4), as: UTF8.self)
        }
        let shown = self.text.map(Self.escaped) ?? self.bytes.map { Self.hexadecimal($0) }.joined()
        return shown.count <= 10 ? shown : "\(shown.prefix(4))…\(shown.suffix(4))"
    }

    package var customMirror: Mirror { Mirror(self, children: [:]) }

    private static func escaped(_ text: String) -> String {
        String(String.UnicodeScalarView(text.unicodeScalars.map { $0.value < 0x20 || $0.value == 0x7F ? "?" : $0 }))
    }

    private static func hexadecimal(_ byte: UInt8) -> String {
        (byte < 16 ? "0" : "") + String(byte, radix: 16)
    }
}
