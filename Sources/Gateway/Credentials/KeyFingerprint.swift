internal import Crypto
package import Secrets

/// How people and records name a key without seeing it.
package enum KeyFingerprint {
    /// The first 8 hexadecimal digits of the key's SHA-256.
    package static func text(of key: Secret) -> String {
        let digest = key.withUnsafeBytes { SHA256.hash(data: $0) }
        return digest.withUnsafeBytes { bytes in
            String(unsafeUninitializedCapacity: 8) { digits in
                for index in 0..<4 {
                    digits[2 * index] = Self.digit(bytes[index] >> 4)
                    digits[2 * index + 1] = Self.digit(bytes[index] & 0xF)
                }
                return 8
            }
        }
    }

    private static func digit(_ value: UInt8) -> UInt8 {
        value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + (value - 10)
    }
}
