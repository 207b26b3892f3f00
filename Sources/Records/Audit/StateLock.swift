internal import Glibc
internal import Synchronization

/// Holds a state folder for one gateway: two that wrote the same journal would break its chain. The lock goes with the
/// process, however it ends.
final class StateLock: Sendable {
    private let descriptor: Mutex<Int32?>

    init(state: String) throws(RecordsError) {
        let path = state + "/gateway.lock"
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw RecordsError(
                .cannotWrite,
                "cannot make \(path): \(errorText(errno))",
                remedy: "give the state folder to the gateway's user"
            )
        }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            var holder = [UInt8](repeating: 0, count: 16)
            let count = max(0, pread(descriptor, &holder, holder.count, 0))
            let process = String(decoding: holder[..<count].filter { (0x30...0x39).contains($0) }, as: UTF8.self)
            close(descriptor)
            throw RecordsError(
                .inUse,
                "another gateway\(process.isEmpty ? "" : " (process \(process))") uses the state folder \(state)",
                remedy: "stop it first, or give this one a state folder of its own"
            )
        }
        let holder = Array("\(getpid())\n".utf8)
        if ftruncate(descriptor, 0) == 0 { _ = pwrite(descriptor, holder, holder.count, 0) }
        self.descriptor = Mutex(descriptor)
    }

    deinit { self.release() }

    /// Gives the folder back before the process ends. Safe to call twice.
    func release() {
        guard let descriptor = self.descriptor.withLock({ $0.take() }) else { return }
        // Closing alone would leave the lock with a copy of the descriptor: a child that another thread is just starting has
        // one, until it has become the program that it is to run.
        flock(descriptor, LOCK_UN)
        close(descriptor)
    }
}
