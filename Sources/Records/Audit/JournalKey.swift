internal import Crypto
internal import Foundation
internal import Glibc
internal import Secrets

/// The Ed25519 key that signs checkpoints.
struct JournalKey: Sendable {
    static let byteCount = 32

    private let key: Curve25519.Signing.PrivateKey

    init(_ secret: Secret) throws(RecordsError) {
        do {
            self.key = try secret.withUnsafeBytes { try Curve25519.Signing.PrivateKey(rawRepresentation: $0) }
        } catch {
            throw RecordsError(.badData, "the audit signing key is not an Ed25519 key", remedy: "make a new one")
        }
    }

    /// 32 bytes.
    var publicKey: [UInt8] { Array(self.key.publicKey.rawRepresentation) }

    func sign(_ text: [UInt8]) throws -> [UInt8] { Array(try self.key.signature(for: text)) }

    static func isValid(_ signature: [UInt8], of text: [UInt8], by publicKey: [UInt8]) -> Bool {
        guard let key = try? Curve25519.Signing.PublicKey(rawRepresentation: publicKey) else { return false }
        return key.isValidSignature(signature, for: text)
    }
}

/// Public keys whose checkpoints count. They lie beside the signing key, in a file with `.pub` at the end of its name,
/// one a line, so that whoever verifies needs no access to the signing key; keys that were in use earlier stay there.
package struct JournalTrust: Sendable, Equatable {
    package var keys: [[UInt8]]

    package init(keys: [[UInt8]]) { self.keys = keys }

    /// From the `.pub` file, or else from the signing key itself.
    package init(signingKey source: SecretSource) throws(RecordsError) {
        if case .file(let path) = source, let text = try? String(contentsOfFile: path + ".pub", encoding: .utf8) {
            let keys = text.split(whereSeparator: \.isNewline).compactMap { line in
                Secret(hexadecimal: line.prefix { $0 != " " }).map { $0.withUnsafeBytes { Array($0) } }
            }
            if !keys.isEmpty {
                self.keys = keys
                return
            }
        }
        guard let reading = try source.readKey(count: JournalKey.byteCount, purpose: "audit signing key") else {
            throw RecordsError(
                .notFound,
                "neither \(source.name) nor a .pub file beside it exists",
                remedy: "start the gateway once, or bring the .pub file of the gateway that wrote the journal"
            )
        }
        self.keys = [try JournalKey(reading.secret).publicKey]
    }

    /// Puts the public key beside the signing key, unless it is there. Failing is no harm: the signing key will do.
    static func publish(_ key: JournalKey, beside source: SecretSource) {
        guard case .file(let path) = source else { return }
        let digits = hexadecimalText(key.publicKey)
        if let text = try? String(contentsOfFile: path + ".pub", encoding: .utf8), text.contains(digits) { return }
        let descriptor = open(path + ".pub", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { return }
        let line = Array("\(digits)\n".utf8)
        _ = write(descriptor, line, line.count)
        close(descriptor)
    }
}
