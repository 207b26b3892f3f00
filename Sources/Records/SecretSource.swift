internal import Glibc
package import Secrets

/// Where a secret of the configuration comes from: `{ file: PATH }` or `{ env: NAME }`. It is never in the
/// configuration itself.
package enum SecretSource: Sendable, Equatable {
    case file(String)
    case environment(String)
}

extension SecretSource {
    /// A secret that was read, and what is risky about the place where it lies.
    package struct Reading: Sendable {
        package var secret: Secret
        /// A sentence for the log, or nil.
        package var warning: String?
    }

    /// How the source is named in messages.
    var name: String {
        switch self {
        case .file(let path): path
        case .environment(let name): "environment variable \(name)"
        }
    }

    /// Reads a secret of any form, white space around it removed: a token, or a private key as PEM. `purpose` and the
    /// rights on files are as for ``readKey(count:purpose:)``.
    package func readText(purpose: String) throws(RecordsError) -> Secret {
        let text: String
        switch self {
        case .environment(let name): text = getenv(name).map { String(cString: $0) } ?? ""
        case .file(let path): text = try SecretFile.read(path: path, purpose: purpose, limit: 65_536)?.text ?? ""
        }
        let trimmed = text.trimmingSpaces()
        guard !trimmed.isEmpty else {
            throw RecordsError(
                .configuration, "the \(purpose) is missing: \(self.name) does not exist or is empty",
                remedy: "put it there"
            )
        }
        return Secret(trimmed.utf8)
    }

    /// Reads a key of exactly `count` bytes, written as hexadecimal digits with white space around them.
    ///
    /// `purpose` names the key in messages ("records key"). A file that others than owner and group can read, or that
    /// others than the owner can write, is refused; one that the group can read is taken with a warning, because
    /// service managers hand out secrets that way.
    ///
    /// - Returns: nil when the file does not exist.
    package func readKey(count: Int, purpose: String) throws(RecordsError) -> Reading? {
        guard let (digits, warning) = try self.readDigits(purpose: purpose, example: count) else { return nil }
        guard digits.utf8.count == count * 2, let secret = Secret(hexadecimal: digits) else {
            throw RecordsError(
                .badData,
                "the \(purpose) in \(self.name) is not \(count * 2) hexadecimal digits",
                remedy:
                    "restore it from a backup, or make a new one with `openssl rand -hex \(count)` if it never was in use"
            )
        }
        return Reading(secret: secret, warning: warning)
    }

    /// Reads a pre-shared key of 1 to 64 bytes, written and guarded as in ``readKey(count:purpose:)``. It is another
    /// server's, so it is never made here, and a short one is taken with a warning.
    package func readPreSharedKey(purpose: String) throws(RecordsError) -> Reading {
        guard let (digits, warning) = try self.readDigits(purpose: purpose, example: 16) else {
            throw RecordsError(
                .configuration,
                "the \(purpose): \(self.name) does not exist",
                remedy: "write the key that the server knows into it, as hexadecimal digits"
            )
        }
        guard (1...128).contains(digits.utf8.count), let secret = Secret(hexadecimal: digits) else {
            throw RecordsError(
                .badData,
                "the \(purpose) in \(self.name) is not a key of 1 to 64 bytes in hexadecimal digits",
                remedy: "write the key that the server knows, two digits a byte"
            )
        }
        let isShort = secret.count < 16
        return Reading(
            secret: secret,
            warning: isShort ? "the \(purpose) has \(secret.count) bytes; below 16 it can be guessed" : warning
        )
    }

    /// The text of the secret without the white space around it; nil when its file does not exist.
    private func readDigits(
        purpose: String, example count: Int
    ) throws(RecordsError) -> (digits: String, warning: String?)? {
        switch self {
        case .environment(let name):
            guard let value = getenv(name) else {
                throw RecordsError(
                    .configuration,
                    "environment variable \(name) for the \(purpose) is not set",
                    remedy: "set it to \(count * 2) hexadecimal digits"
                )
            }
            return (String(cString: value).trimmingSpaces(), nil)
        case .file(let path):
            guard let file = try SecretFile.read(path: path, purpose: purpose) else { return nil }
            return (file.text.trimmingSpaces(), file.warning)
        }
    }

    /// Reads a key as ``readKey(count:purpose:)`` does, and makes a random one first when its file does not exist.
    ///
    /// `mayCreate` is false where a new key would be useless because something was already made with the old one.
    package func readOrCreateKey(
        count: Int,
        purpose: String,
        mayCreate: Bool,
        loss: String
    ) throws(RecordsError) -> (reading: Reading, created: Bool) {
        if let reading = try self.readKey(count: count, purpose: purpose) { return (reading, false) }
        guard case .file(let path) = self, mayCreate else {
            throw RecordsError(
                .wrongKey,
                "the \(purpose) \(self.name) does not exist, but \(loss)",
                remedy: "restore the file from a backup"
            )
        }
        let secret = Secret.random(count: count)
        try SecretFile.create(path: path, purpose: purpose, hexadecimalOf: secret)
        // Read back: another process may have been first, and then its key is the one that counts.
        guard let reading = try self.readKey(count: count, purpose: purpose) else {
            throw RecordsError(
                .cannotWrite,
                "the \(purpose) \(path) vanished right after it was made",
                remedy: "check who else works in that folder"
            )
        }
        return (reading, true)
    }
}

/// Files that hold one secret as text.
private enum SecretFile {
    static func read(path: String, purpose: String, limit: Int = 4096) throws(RecordsError) -> (
        text: String, warning: String?
    )? {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            if errno == ENOENT { return nil }
            throw RecordsError(
                .notPermitted,
                "cannot read the \(purpose) \(path): \(errorText(errno))",
                remedy: "let the user that runs this program read it"
            )
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            throw RecordsError(.badData, "the \(purpose) \(path) is not a file", remedy: "name a file")
        }
        guard status.st_mode & 0o027 == 0 else {
            throw RecordsError(
                .notPermitted,
                "the \(purpose) \(path) is open to other users (mode \(octal(status.st_mode)))",
                remedy: "run `chmod 600 \(path)`"
            )
        }
        var bytes = [UInt8](repeating: 0, count: limit)
        let count = Glibc.read(descriptor, &bytes, bytes.count)
        defer { explicit_bzero(&bytes, bytes.count) }
        guard count >= 0, count < bytes.count else {
            throw RecordsError(.badData, "the \(purpose) \(path) is not a key file", remedy: "name the right file")
        }
        let group = status.st_mode & 0o040 != 0
        return (
            String(decoding: bytes[..<count], as: UTF8.self),
            group ? "the \(purpose) \(path) can be read by its group (mode \(octal(status.st_mode)))" : nil
        )
    }

    /// Writes a file of its own first and links it into place, so that nobody ever reads half a key and a file that
    /// another process made meanwhile stays.
    static func create(path: String, purpose: String, hexadecimalOf secret: Secret) throws(RecordsError) {
        let temporary = "\(path).\(getpid()).new"
        unlink(temporary)
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw Self.cannotCreate(path, purpose, errno) }
        defer {
            close(descriptor)
            unlink(temporary)
        }
        // Room for all, so that nothing is moved and left behind.
        var writer = JSONWriter(capacity: 2 * secret.count + 1)
        secret.withUnsafeBytes { writer.hexadecimal($0) }
        writer.raw("\n")
        var text = writer.take()
        defer { explicit_bzero(&text, text.count) }
        guard write(descriptor, text, text.count) == text.count, fsync(descriptor) == 0 else {
            throw Self.cannotCreate(path, purpose, errno)
        }
        guard link(temporary, path) == 0 || errno == EEXIST else { throw Self.cannotCreate(path, purpose, errno) }
        synchronizeDirectory(of: path)
    }

    private static func cannotCreate(_ path: String, _ purpose: String, _ code: Int32) -> RecordsError {
        RecordsError(
            .cannotWrite,
            "cannot make the \(purpose) \(path): \(errorText(code))",
            remedy: "make it with `openssl rand -hex 32` as a user who may, mode 600, owned by the gateway's user"
        )
    }

    private static func octal(_ mode: mode_t) -> String { String(mode & 0o777, radix: 8) }
}
