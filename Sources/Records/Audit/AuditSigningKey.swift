internal import Crypto
internal import Glibc
package import Secrets

/// The key that signs the journal's checkpoints: Ed25519 (RFC 8032).
///
/// The file holds the 32 bytes of the seed as 64 hexadecimal digits. It lies outside of the state folder, so that
/// whoever can write the journal cannot sign it.
package struct AuditSigningKey: Sendable {
    package let publicKey: AuditPublicKey
    /// What is risky about the place where the key lies, or could not be done there; a sentence for the log.
    package private(set) var warning: String?
    private let key: Curve25519.Signing.PrivateKey

    /// Nil unless `seed` has 32 bytes.
    package init?(seed: Secret) {
        guard let key = seed.withUnsafeBytes({ try? Curve25519.Signing.PrivateKey(rawRepresentation: $0) }),
            let publicKey = AuditPublicKey(key.publicKey.rawRepresentation)
        else { return nil }
        self.key = key
        self.publicKey = publicKey
    }

    /// Reads the key at `path` and makes a random one first when there is no such file. The public key is kept beside it
    /// in `path` with `.pub` appended.
    ///
    /// A file that others can read, or that group or others can write, is refused; one that the group can read gives a
    /// warning, because service managers hand out secrets that way.
    package static func load(path: String) throws(AuditError) -> AuditSigningKey {
        var key: AuditSigningKey
        if let found = try Self.read(path: path) {
            key = found
        } else {
            try Self.create(path: path)
            // Read back: another process may have been first, and then its key is the one that counts.
            guard let made = try Self.read(path: path) else {
                throw AuditError(
                    .cannotWrite,
                    "the audit signing key \(path) vanished right after it was made",
                    remedy: "check who else works in that folder"
                )
            }
            key = made
        }
        key.publish(path: path + ".pub")
        return key
    }

    func signature(of message: [UInt8]) -> [UInt8]? {
        (try? self.key.signature(for: message)).map { Array($0) }
    }

    private static func read(path: String) throws(AuditError) -> AuditSigningKey? {
        guard let descriptor = AuditDescriptor(path, O_RDONLY) else {
            let code = errno
            if code == ENOENT { return nil }
            throw AuditError(
                .notPermitted,
                "cannot read the audit signing key \(path): \(AuditDescriptor.text(code))",
                remedy: "let the gateway's user read it"
            )
        }
        guard let status = descriptor.status, status.st_mode & S_IFMT == S_IFREG else {
            throw AuditError(.badData, "the audit signing key \(path) is not a file", remedy: "name a file")
        }
        let mode = String(status.st_mode & 0o777, radix: 8)
        guard status.st_mode & 0o027 == 0 else {
            throw AuditError(
                .notPermitted,
                "the audit signing key \(path) is open to other users (mode \(mode))",
                remedy: "run `chmod 600 \(path)`"
            )
        }
        var bytes = [UInt8](repeating: 0, count: 256)
        let count = Glibc.read(descriptor.number, &bytes, bytes.count)
        defer { explicit_bzero(&bytes, bytes.count) }
        guard count >= 0 else {
            throw AuditError(
                .unavailable,
                "cannot read the audit signing key \(path): \(AuditDescriptor.text(errno))",
                remedy: "check the disk"
            )
        }
        let isSpace: (UInt8) -> Bool = { $0 == 0x20 || (0x09...0x0D).contains($0) }
        let digits = bytes[..<count].drop(while: isSpace)
        let end = digits.firstIndex(where: isSpace) ?? digits.endIndex
        guard digits[end...].allSatisfy(isSpace), end - digits.startIndex == 64,
            let seed = Secret(hexadecimal: String(decoding: digits[..<end], as: UTF8.self)), var key = Self(seed: seed)
        else {
            throw AuditError(
                .badData,
                "the audit signing key \(path) is not 64 hexadecimal digits",
                remedy: "restore it from a backup, or move it away to have a new one made; records that the old key "
                    + "signed are then checked with the old public key"
            )
        }
        if status.st_mode & 0o040 != 0 {
            key.warning = "the audit signing key \(path) can be read by its group (mode \(mode))"
        }
        return key
    }

    /// Writes a file of its own first and links it into place, so that nobody ever reads half a key and a file that
    /// another process made meanwhile stays.
    private static func create(path: String) throws(AuditError) {
        func failure(_ code: Int32) -> AuditError {
            AuditError(
                .cannotWrite,
                "cannot make the audit signing key \(path): \(AuditDescriptor.text(code))",
                remedy: "make it with `openssl rand -hex 32`, mode 600, owned by the gateway's user"
            )
        }
        let temporary = "\(path).\(getpid()).new"
        unlink(temporary)
        guard let descriptor = AuditDescriptor(temporary, O_WRONLY | O_CREAT | O_EXCL, mode: 0o600) else {
            throw failure(errno)
        }
        defer { unlink(temporary) }
        var text: [UInt8] = []
        text.reserveCapacity(65)
        Secret.random(count: 32).withUnsafeBytes { AuditText.appendHexadecimal($0, to: &text) }
        text.append(UInt8(ascii: "\n"))
        defer { explicit_bzero(&text, text.count) }
        guard write(descriptor.number, text, text.count) == text.count, fsync(descriptor.number) == 0 else {
            throw failure(errno)
        }
        guard link(temporary, path) == 0 || errno == EEXIST else { throw failure(errno) }
        AuditDescriptor.synchronizeDirectory(AuditDescriptor.directory(of: path))
    }

    /// Keeps the public key beside the signing key. A folder that cannot be written is no reason not to start.
    private mutating func publish(path: String) {
        let text = Array(self.publicKey.pem.utf8)
        if let present = try? AuditPublicKey(path: path), present == self.publicKey { return }
        let temporary = "\(path).\(getpid()).new"
        unlink(temporary)
        guard let descriptor = AuditDescriptor(temporary, O_WRONLY | O_CREAT | O_EXCL, mode: 0o644),
            write(descriptor.number, text, text.count) == text.count, fchmod(descriptor.number, 0o644) == 0,
            rename(temporary, path) == 0
        else {
            let code = errno
            unlink(temporary)
            if self.warning == nil {
                self.warning = "cannot keep the public audit key \(path): \(AuditDescriptor.text(code))"
            }
            return
        }
    }
}

extension AuditSigningKey: CustomStringConvertible, CustomReflectable {
    package var description: String { "AuditSigningKey(\(self.publicKey.id))" }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}
