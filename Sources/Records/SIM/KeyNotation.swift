internal import Secrets

/// How a pre-shared key is written: hexadecimal digits, 16 to 64 bytes, and nothing else. A text taken for hexadecimal,
/// or the reverse, is the commonest reason why a device never gets in, so each near miss has a hint of its own.
enum KeyNotation {
    static let byteCounts = 16...64

    /// Errors tell the length at most, never a part of `text`.
    static func parse(_ text: String) throws(RecordsError) -> Secret {
        let text = text.trimmingSpaces()
        let bytes = text.utf8
        let range = "\(Self.byteCounts.lowerBound) to \(Self.byteCounts.upperBound) bytes"
        guard bytes.allSatisfy(Self.isHexadecimal) else {
            throw RecordsError(.badData, "the key is not hexadecimal", remedy: Self.hint(for: text))
        }
        guard bytes.count.isMultiple(of: 2), let secret = Secret(hexadecimal: text) else {
            throw RecordsError(
                .badData,
                "the key has an odd number of hexadecimal digits (\(bytes.count))",
                remedy: "look for a lost digit, often a leading zero"
            )
        }
        guard Self.byteCounts.contains(secret.count) else {
            let isText = secret.count < 16 && Self.byteCounts.contains(bytes.count)
            throw RecordsError(
                .badData,
                "the key has \(secret.count) bytes, not \(range)",
                remedy: isText
                    ? "if the \(bytes.count) characters are the key themselves, write each as two hexadecimal digits"
                    : "give \(Self.byteCounts.lowerBound * 2) to \(Self.byteCounts.upperBound * 2) hexadecimal digits"
            )
        }
        return secret
    }

    private static func hint(for text: String) -> String {
        if text == "generate" { return "`generate` is for one record at a time, because the key is shown only once" }
        if text.hasPrefix("0x") || text.hasPrefix("0X") { return "leave out the 0x" }
        let isGrouped = text.utf8.allSatisfy { Self.isHexadecimal($0) || $0 == 0x3A || $0 == 0x20 || $0 == 0x2D }
        if isGrouped { return "leave out the signs between the digits" }
        let isBase64 =
            text.utf8.count.isMultiple(of: 4)
            && (text.hasSuffix("=") || text.contains("/") || text.contains("+"))
        if isBase64 { return "it looks like base64; convert it with `base64 -d | xxd -p`" }
        return "it looks like text; write its bytes as hexadecimal digits, for example with `xxd -p`"
    }

    private static func isHexadecimal(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x46, 0x61...0x66: true
        default: false
        }
    }
}
