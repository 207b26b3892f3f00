internal import Crypto
package import Secrets

/// How people and records name a key without seeing it.
package enum KeyFingerprint {
    /// The first 8 hexadecimal digits of the key's SHA-256.
    package static func text(of key: Secret) -> String {
        let digest = key.withUnsafeBytes { SHA256.hash(data: $0) }
        return digest.prefix(4).map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }
}
