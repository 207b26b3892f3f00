internal import Glibc

/// The memory of this process.
enum ProcessMemory {
    /// Bytes that are resident now; 0 where the system does not say. Takes some microseconds and blocks on no disk.
    static func resident() -> Int {
        let descriptor = open("/proc/self/statm", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return 0 }
        defer { close(descriptor) }
        return withUnsafeTemporaryAllocation(byteCount: 128, alignment: 1) { buffer in
            let count = read(descriptor, buffer.baseAddress, buffer.count)
            guard count > 0 else { return 0 }
            return Self.pages(in: buffer[..<count]) &* Int(sysconf(Int32(_SC_PAGESIZE)))
        }
    }

    /// The second number of the line.
    static func pages(in line: some Sequence<UInt8>) -> Int {
        var fields = 0
        var pages = 0
        for byte in line {
            if byte == UInt8(ascii: " ") {
                fields += 1
                if fields == 2 { break }
            } else if fields == 1, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) {
                pages = pages &* 10 &+ Int(byte - UInt8(ascii: "0"))
            }
        }
        return pages
    }
}
