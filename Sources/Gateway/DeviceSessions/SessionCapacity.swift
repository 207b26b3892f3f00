internal import Glibc

/// How many device sessions this host has memory for: what `limits.sessions: auto` means.
package enum SessionCapacity {
    /// What a session takes at most while it rests, in bytes, its share of tables included.
    static let bytesPerSession = 16 * 1024

    /// For half of the memory that this process may have.
    package static func current() -> Int {
        Self.sessions(machine: Self.machine(), container: Self.read(Self.containerLimit))
    }

    /// What this process may have, in bytes.
    static func memory() -> Int { Self.memory(machine: Self.machine(), container: Self.read(Self.containerLimit)) }

    private static let containerLimit = "/sys/fs/cgroup/memory.max"

    private static func machine() -> Int {
        let pages = sysconf(Int32(_SC_PHYS_PAGES))
        let size = sysconf(Int32(_SC_PAGESIZE))
        let (memory, overflow) = pages.multipliedReportingOverflow(by: size)
        return pages > 0 && size > 0 && !overflow ? memory : 0
    }

    /// - Parameters:
    ///   - machine: bytes of memory; 0 if unknown.
    ///   - container: the limit of the process's control group as the system writes it, `max` for none.
    static func sessions(machine: Int, container: String) -> Int {
        max(1024, Self.memory(machine: machine, container: container) / 2 / Self.bytesPerSession)
    }

    private static func memory(machine: Int, container: String) -> Int {
        let limit = Int(container.prefix { $0 != "\n" }).flatMap { $0 > 0 ? $0 : nil }
        return [machine > 0 ? machine : nil, limit].compactMap { $0 }.min() ?? 1 << 30
    }

    private static func read(_ path: String) -> String {
        guard let file = fopen(path, "r") else { return "" }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 64)
        let count = fread(&bytes, 1, bytes.count, file)
        return String(decoding: bytes.prefix(count), as: UTF8.self)
    }
}
