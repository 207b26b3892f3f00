internal import Glibc

/// Reads the lines of one segment, also of one that is being written: ``next()`` gives nil at the end and goes on when
/// more has come.
struct AuditLineReader {
    struct Line {
        /// Without the line feed.
        var bytes: [UInt8]
        /// Of the line's first byte in the file.
        var offset: Int
        /// Counted from 1.
        var number: Int
    }

    let path: String
    private let descriptor: AuditDescriptor
    private var buffer: [UInt8]
    /// Of `buffer`: what was read and not yet given out, and how much of that was searched.
    private var start = 0
    private var end = 0
    private var searched = 0
    private var offset: Int
    private var number = 0

    private static let chunk = 256 * 1024

    /// - Parameter offset: first byte to read; line numbers count from there.
    init(path: String, offset: Int = 0) throws(AuditError) {
        self.path = path
        self.offset = offset
        self.buffer = [UInt8](repeating: 0, count: Self.chunk)
        guard let descriptor = AuditDescriptor(path, O_RDONLY) else { throw Self.failure(path, errno) }
        guard descriptor.status.map({ $0.st_mode & S_IFMT == S_IFREG }) ?? false else {
            throw AuditError(.damaged, "the audit segment \(path) is not a file", remedy: "move it away")
        }
        self.descriptor = descriptor
    }

    /// Bytes after the last line feed that was seen.
    var incomplete: Int { self.end - self.start }

    /// Of the first byte that was not given out as part of a line.
    var position: Int { self.offset }

    /// Number that the next line has.
    var nextNumber: Int { self.number + 1 }

    /// The next whole line; nil when the file has none yet.
    mutating func next() throws(AuditError) -> Line? {
        while true {
            let found = self.buffer.withUnsafeBytes { bytes -> Int? in
                guard let base = bytes.baseAddress, self.searched < self.end,
                    let match = memchr(base + self.searched, 0x0A, self.end - self.searched)
                else { return nil }
                return UnsafeRawPointer(match) - base
            }
            if let found {
                let line = Line(
                    bytes: Array(self.buffer[self.start..<found]),
                    offset: self.offset,
                    number: self.number + 1
                )
                self.offset += found + 1 - self.start
                self.number += 1
                self.start = found + 1
                self.searched = self.start
                return line
            }
            self.searched = self.end
            guard try self.fill() else { return nil }
        }
    }

    /// Reads more; false at the end of the file.
    private mutating func fill() throws(AuditError) -> Bool {
        if self.start > 0 {
            self.buffer.replaceSubrange(0..<self.end - self.start, with: Array(self.buffer[self.start..<self.end]))
            self.searched -= self.start
            self.end -= self.start
            self.start = 0
        }
        if self.end == self.buffer.count {
            self.buffer.append(contentsOf: repeatElement(0, count: self.buffer.count))
        }
        let (end, position) = (self.end, self.offset + self.end)
        let descriptor = self.descriptor.number
        while true {
            let count = self.buffer.withUnsafeMutableBytes {
                pread(descriptor, $0.baseAddress.map { $0 + end }, $0.count - end, off_t(position))
            }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw Self.failure(self.path, errno) }
            self.end += count
            return count > 0
        }
    }

    private static func failure(_ path: String, _ code: Int32) -> AuditError {
        AuditError(
            code == ENOENT ? .notFound : code == EACCES ? .notPermitted : .unavailable,
            "cannot read the audit segment \(path): \(AuditDescriptor.text(code))",
            remedy: code == EACCES ? "run this as a user who may read it" : "check the disk"
        )
    }
}
