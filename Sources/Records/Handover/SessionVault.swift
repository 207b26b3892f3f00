internal import CLinux
internal import Crypto
internal import Glibc
internal import Secrets

/// The sealed file in which the gateway hands its live sessions to its own next start: written at a clean stop, taken
/// once, and worth nothing afterwards.
///
/// It holds the keys of sessions that go on. A state that is used twice gives them away, so three things keep it from
/// that: the file is removed, durably, before anything of it is handed out; a generation in `credentials.db` moves with
/// every start, so that a copy that is put back later is refused; and a stop that was not clean leaves no file that fits
/// the generation of the next start. It is sealed with a key of the records key, bound to the node and to the version of
/// wolfSSL, and lies in the runtime directory, in memory: over a restart of the gateway, not of the machine.
///
/// A value may be used on any thread that may block.
package struct SessionVault: Sendable {
    /// The name of the file in its directory.
    package static let fileName = "sessions.sealed"
    /// The most bytes that can be saved.
    package static let maximumBodyLength = SealedSessions.maximumBodyLength

    let directory: String
    let node: String
    let library: String
    let maximumAge: Duration
    let key: SymmetricKey
    let generations: SessionGenerations
    /// The state folder, in which the file must not be: its backups would hold live keys.
    let state: String
    let clock: @Sendable () -> Int64

    /// Where the file is.
    package var path: String { self.directory + "/" + Self.fileName }
    private var temporaryPath: String { self.path + ".new" }

    /// What is risky about the directory, as a sentence for the log; nil when nothing is.
    package var warning: String? {
        guard bootgate_is_in_memory(self.directory) == 0 else { return nil }
        return "the runtime directory \(self.directory) is not in memory: sealed keys of live sessions are written to "
            + "its disk at each stop; name one below /run"
    }

    // MARK: Start

    /// Takes what the last clean stop has saved: once in every start of the gateway, before anything is restored. It
    /// moves the generation whether or not there is a file, so that no older one is ever valid again.
    ///
    /// When it returns or throws, the file is gone, and the directory on disk as well, unless the error says that the
    /// file could not be removed; then nothing of it was handed out, and the generation has moved on from it.
    ///
    /// - Returns: the body, to be wiped by the caller; nil when there is no file.
    /// - Throws: why the file is not used, or the generation could not be moved.
    package func take() throws(SessionVaultError) -> [UInt8]? {
        let found: Result<[UInt8]?, SessionVaultError>
        do throws(SessionVaultError) { found = .success(try self.remove()) } catch { found = .failure(error) }
        // After the file: a process that ends here has handed out nothing.
        let expected = try self.store { try self.generations.advance() }
        guard let bytes = try found.get() else { return nil }
        let file = try SealedSessions(reading: bytes, key: self.key)
        try self.check(file.header, expected: expected)
        return try file.open(bytes)
    }

    /// Reads the file and removes it.
    private func remove() throws(SessionVaultError) -> [UInt8]? {
        unlink(self.temporaryPath)
        let descriptor = Glibc.open(self.path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
        let code = errno
        guard descriptor >= 0 || code != ENOENT else { return nil }
        let read: Result<[UInt8], SessionVaultError>
        do throws(SessionVaultError) {
            guard descriptor >= 0 else { throw self.fault("cannot read \(self.path)", code) }
            read = .success(try self.read(descriptor))
        } catch { read = .failure(error) }
        if descriptor >= 0 { close(descriptor) }
        guard unlink(self.path) == 0 else {
            throw .directory("\(self.path) cannot be removed, so it is not used", errno)
        }
        try self.synchronizeDirectory()
        return try read.get()
    }

    private func read(_ descriptor: Int32) throws(SessionVaultError) -> [UInt8] {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw self.fault("cannot read \(self.path)", errno) }
        guard status.st_mode & S_IFMT == S_IFREG else { throw SessionVaultError(.file, "\(self.path) is no file") }
        guard status.st_uid == geteuid(), status.st_mode & 0o077 == 0 else {
            throw SessionVaultError(
                .exposed, "\(self.path) belonged to another user, or others could read it: it was removed"
            )
        }
        guard status.st_size <= SealedSessions.maximumLength else {
            throw SessionVaultError(.tooLarge, "\(self.path) had \(status.st_size) bytes: it was removed")
        }
        var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
        var count = 0
        while count < bytes.count {
            let part = bytes.withUnsafeMutableBytes { buffer in
                let free = UnsafeMutableRawBufferPointer(rebasing: buffer[count...])
                return Glibc.read(descriptor, free.baseAddress, free.count)
            }
            if part < 0, errno == EINTR { continue }
            guard part >= 0 else { throw self.fault("cannot read \(self.path)", errno) }
            // Shorter than it was: what is missing shows as damage.
            if part == 0 { break }
            count += part
        }
        return Array(bytes[..<count])
    }

    private func check(
        _ header: SealedSessions.Header, expected: SessionGeneration?
    ) throws(SessionVaultError) {
        guard header.node == self.node else {
            throw SessionVaultError(
                .otherNode, "the saved sessions are those of node \(header.node), and this is \(self.node)"
            )
        }
        guard header.generation == expected else {
            let number = header.generation.number
            guard let expected, number < expected.number else {
                throw SessionVaultError(
                    .otherStore, "the saved sessions belong to other stores, or to these before a backup was restored"
                )
            }
            throw SessionVaultError(
                .usedAlready,
                "the saved sessions are of start \(number), after which there were \(expected.number &- number) more: "
                    + "someone put a copy of the file back"
            )
        }
        guard header.library == self.library else {
            throw SessionVaultError(
                .otherLibrary,
                "wolfSSL \(header.library) has saved the sessions, and \(self.library) cannot read them"
            )
        }
        let (age, isOverflowing) = self.clock().subtractingReportingOverflow(header.savedAt)
        guard !isOverflowing, Duration.microseconds(Int64(clamping: age.magnitude)) <= self.maximumAge else {
            throw SessionVaultError(
                .tooOld,
                "the sessions were not saved within the last \(self.maximumAge.components.seconds / 3600) hours, as the "
                    + "clock has it"
            )
        }
    }

    // MARK: Stop

    /// Saves the sessions of a clean stop, once, before the stores are closed, for the ``take()`` of the next start.
    /// Overwrites and empties `body` in any case.
    ///
    /// - Throws: why nothing was saved.
    package func save(_ body: inout [UInt8]) throws(SessionVaultError) {
        defer { body.wipe() }
        guard body.count <= Self.maximumBodyLength else {
            throw SessionVaultError(.tooLarge, "\(body.count) bytes of sessions are too many to be saved")
        }
        try self.refuseStateFolder()
        guard let generation = try self.store({ try self.generations.current() }) else {
            throw SessionVaultError(.store, "no start of the gateway is on record in credentials.db")
        }
        let file = SealedSessions(
            savedAt: self.clock(), generation: generation, node: self.node, library: self.library,
            bodyLength: body.count, key: self.key
        )
        unlink(self.temporaryPath)
        let flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC
        let descriptor = Glibc.open(self.temporaryPath, flags, 0o600)
        guard descriptor >= 0 else { throw .directory("cannot save the sessions in \(self.directory)", errno) }
        do throws(SessionVaultError) {
            do throws(SessionVaultError) {
                try self.write(file, body, to: descriptor)
            } catch {
                close(descriptor)
                throw error
            }
            guard close(descriptor) == 0 else { throw self.fault("cannot write \(self.path)", errno) }
            guard rename(self.temporaryPath, self.path) == 0 else {
                throw .directory("cannot save the sessions as \(self.path)", errno)
            }
        } catch {
            unlink(self.temporaryPath)
            throw error
        }
        try self.synchronizeDirectory()
    }

    private func write(_ file: SealedSessions, _ body: [UInt8], to descriptor: Int32) throws(SessionVaultError) {
        do {
            try body.withUnsafeBytes { body in
                try file.seal(body) { bytes in
                    var rest = bytes[...]
                    while !rest.isEmpty {
                        let part = UnsafeRawBufferPointer(rebasing: rest)
                        let count = Glibc.write(descriptor, part.baseAddress, part.count)
                        if count < 0, errno == EINTR { continue }
                        guard count > 0 else { throw self.fault("cannot write \(self.path)", errno) }
                        rest = rest.dropFirst(count)
                    }
                }
            }
        } catch let error as SessionVaultError {
            throw error
        } catch {
            throw SessionVaultError(.file, "the sessions cannot be sealed")
        }
        guard fchmod(descriptor, 0o600) == 0, fsync(descriptor) == 0 else {
            throw self.fault("cannot write \(self.path)", errno)
        }
    }

    /// Live keys must not get into the backups of the state folder.
    private func refuseStateFolder() throws(SessionVaultError) {
        guard let directory = Self.resolved(self.directory), let state = Self.resolved(self.state) else { return }
        guard directory != state, !directory.hasPrefix(state + "/") else {
            throw SessionVaultError(
                .directory, "the runtime directory \(self.directory) lies in the state folder \(self.state)",
                remedy: "name one below /run: live keys must not get into backups"
            )
        }
    }

    private static func resolved(_ path: String) -> String? {
        guard let resolved = realpath(path, nil) else { return nil }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    // MARK: Both

    /// Makes what happened to the names in the directory survive a power cut.
    private func synchronizeDirectory() throws(SessionVaultError) {
        let descriptor = Glibc.open(self.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .directory("cannot open \(self.directory)", errno) }
        defer { close(descriptor) }
        guard fsync(descriptor) == 0 else { throw .directory("cannot write \(self.directory)", errno) }
    }

    private func store<T>(_ body: () throws -> T) throws(SessionVaultError) -> T {
        do { return try body() } catch {
            guard let error = error as? RecordsError else {
                throw SessionVaultError(.store, "credentials.db does not tell which saved sessions are valid")
            }
            throw SessionVaultError(.store, error.what, remedy: error.remedy)
        }
    }

    private func fault(_ what: String, _ code: Int32) -> SessionVaultError {
        SessionVaultError(.file, "\(what): \(errorText(code))")
    }
}

extension Records {
    /// The vault of this gateway's sessions.
    ///
    /// - Parameters:
    ///   - directory: The runtime directory, such as `/run/bootgate`. It has to exist.
    ///   - node: The gateway's name.
    ///   - library: The version of wolfSSL.
    ///   - maximumAge: Saved sessions that are older are refused.
    package func sessionVault(
        directory: String, node: String, library: String, maximumAge: Duration = .seconds(86_400)
    ) -> SessionVault {
        SessionVault(
            directory: directory, node: node, library: library, maximumAge: maximumAge, key: self.vaultKey,
            generations: SessionGenerations(file: self.credentials.file, pool: self.credentials.pool),
            state: self.configuration.state, clock: self.configuration.clock
        )
    }

    /// For a start that has no runtime directory and takes nothing: whatever a stop before it has saved is worth nothing
    /// from now on. Blocks for as long as a commit takes.
    package func outdateSavedSessions() throws {
        _ = try SessionGenerations(file: self.credentials.file, pool: self.credentials.pool).advance()
    }
}
