internal import Glibc

/// How many device sessions this host has memory for: what `limits.sessions: auto` means.
package enum SessionCapacity {
    /// What a session takes at most while it rests, in bytes, its share of tables included.
    static let bytesPerSession = 16 * 1024

    /// For half of the memory that this process may have.
    package static func current() -> Int {
        let pages = sysconf(Int32(_SC_PHYS_PAGES))
        let size = sysconf(Int32(_SC_PAGESIZE))
        let (memory, overflow) = pages.multipliedReportingOverflow(by: size)
        let machine = pages > 0 && size > 0 && !overflow ? memory : 0
        return Self.sessions(machine: machine, container: Self.read("/sys/fs/cgroup/memory.max"))
    }

    /// - Parameters:
    ///   - machine: bytes of memory; 0 if unknown.
    ///   - container: the limit of the process's control group as the system writes it, `max` for none.
    static func sessions(machine: Int, container: String) -> Int {
        let limit = Int(container.prefix { $0 != "\n" }).flatMap { $0 > 0 ? $0 : nil }
        let known = [machine > 0 ? machine : nil, limit].compactMap { $0 }.min() ?? 1 << 30
        return max(1024, known / 2 / Self.bytesPerSession)
    }

    private static func read(_ path: String) -> String {
        guard let file = fopen(path, "r") else { return "" }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 64)
        let count = fread(&bytes, 1, bytes.count, file)
        return String(decoding: bytes.prefix(count), as: UTF8.self)
    }
}
