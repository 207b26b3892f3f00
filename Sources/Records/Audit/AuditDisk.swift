internal import Glibc

/// The system calls through which the journal writes. Tests put failing ones in their place.
package struct AuditDisk: Sendable {
    /// As write(2): the number of bytes taken, or the negative error number.
    package var write: @Sendable (_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) -> Int
    /// As fdatasync(2): 0, or the negative error number.
    package var synchronize: @Sendable (_ descriptor: Int32) -> Int

    package init(
        write: @escaping @Sendable (Int32, UnsafeRawBufferPointer) -> Int,
        synchronize: @escaping @Sendable (Int32) -> Int
    ) {
        self.write = write
        self.synchronize = synchronize
    }

    package static let live = AuditDisk(
        write: { descriptor, bytes in
            let count = Glibc.write(descriptor, bytes.baseAddress, bytes.count)
            return count < 0 ? -Int(errno) : count
        },
        synchronize: { descriptor in fdatasync(descriptor) == 0 ? 0 : -Int(errno) }
    )
}

/// An open file or folder; closed when the last reference goes away.
final class AuditDescriptor: Sendable {
    let number: Int32

    /// As open(2); nil with `errno` set when the system refuses.
    init?(_ path: String, _ flags: Int32, mode: mode_t = 0) {
        self.number = open(path, flags | O_CLOEXEC, mode)
        if self.number < 0 { return nil }
    }

    deinit { close(self.number) }

    /// Size, kind and number of names; nil when the system refuses.
    var status: stat? {
        var status = stat()
        return fstat(self.number, &status) == 0 ? status : nil
    }

    /// What the operating system says about `code`.
    static func text(_ code: Int32) -> String { String(cString: strerror(code)) }

    /// Makes a new name in `directory` survive a power cut. Best effort: some file systems refuse it.
    static func synchronizeDirectory(_ directory: String) {
        guard let descriptor = AuditDescriptor(directory, O_RDONLY | O_DIRECTORY) else { return }
        fsync(descriptor.number)
    }

    /// The folder in which `path` lies.
    static func directory(of path: String) -> String {
        path.lastIndex(of: "/").map { path[..<$0].isEmpty ? "/" : String(path[..<$0]) } ?? "."
    }

    /// Wall clock, microseconds since 1970.
    static func wallClock() -> Int64 {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        return Int64(now.tv_sec) * 1_000_000 + Int64(now.tv_nsec) / 1_000
    }
}
