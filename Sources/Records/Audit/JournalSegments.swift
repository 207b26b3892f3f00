internal import Foundation
internal import Glibc

/// The segments of a journal: `NNNNNNNN.jsonl`, numbered from 1 in the order of writing.
struct JournalSegments: Sendable {
    let directory: String

    func path(_ number: Int) -> String { "\(self.directory)/\(Self.name(number))" }

    static func name(_ number: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, 8 - digits.count)) + digits + ".jsonl"
    }

    /// Numbers of the segments that there are, ascending. Other files in the folder are nobody's business.
    func numbers() throws(RecordsError) -> [Int] {
        let names: [String]
        do { names = try FileManager.default.contentsOfDirectory(atPath: self.directory) } catch {
            throw RecordsError(
                .notFound,
                "cannot read the audit folder \(self.directory)",
                remedy: "name the state folder of a gateway that has run, as a user who may read it"
            )
        }
        return names.compactMap { name in
            guard name.hasSuffix(".jsonl"), let number = Int(name.dropLast(6)), Self.name(number) == name else {
                return nil
            }
            return number
        }.sorted()
    }

    /// Reads a segment, or nil when it is there no more: retention may take it away while others read.
    func reader(_ number: Int, offset: Int64 = 0) throws(RecordsError) -> SegmentReader? {
        do throws(RecordsError) {
            return try SegmentReader(path: self.path(number), offset: offset)
        } catch {
            if error.kind == .notFound { return nil }
            throw error
        }
    }

    /// Bytes of a segment; 0 when it is there no more.
    func size(_ number: Int) -> Int64 {
        var status = stat()
        return stat(self.path(number), &status) == 0 ? Int64(status.st_size) : 0
    }
}

/// Reads the lines of one segment, also while it is being written. Memory is bounded by the longest line allowed.
struct SegmentReader: ~Copyable {
    /// One line without its line feed.
    struct Line {
        var bytes: ArraySlice<UInt8>
        /// Where it starts in the file.
        var offset: Int64
        /// False for what stands behind the last line feed: a line that is being written, or was torn.
        var isComplete: Bool
    }

    /// Longer than any line that was ever written.
    static let lineLimit = JournalEncoder.lineLimit + 8 * 1024
    private static let pieceSize = 1024 * 1024

    private let descriptor: Int32
    private let path: String
    /// Used again and again; only ``filled`` bytes of it are the file's.
    private var buffer = [UInt8](repeating: 0, count: pieceSize)
    private var filled = 0
    private var start = 0
    private var searched = 0
    private var offset: Int64

    init(path: String, offset: Int64 = 0) throws(RecordsError) {
        self.path = path
        self.offset = offset
        self.descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard self.descriptor >= 0 else {
            throw RecordsError(
                errno == ENOENT ? .notFound : .notPermitted,
                "cannot read \(path): \(errorText(errno))",
                remedy: "run as a user who may read it"
            )
        }
        if offset > 0 { lseek(self.descriptor, off_t(offset), SEEK_SET) }
    }

    deinit { Glibc.close(self.descriptor) }

    /// The next line, or nil at the end. A line above the limit comes in parts, none of them a record.
    ///
    /// Its bytes lie in the buffer: let go of them before the next call, or the buffer is copied.
    mutating func next() throws(RecordsError) -> Line? {
        while true {
            if let end = self.lineFeed() { return self.take(upTo: end, skipping: 1) }
            self.searched = self.filled
            if self.filled - self.start > Self.lineLimit {
                return self.take(upTo: self.filled, skipping: 0)
            }
            guard try self.fill() else {
                guard self.start < self.filled else { return nil }
                var rest = self.take(upTo: self.filled, skipping: 0)
                rest.isComplete = false
                return rest
            }
        }
    }

    private func lineFeed() -> Int? {
        let (start, end) = (self.searched, self.filled)
        return self.buffer.withUnsafeBytes { bytes in
            guard start < end, let base = bytes.baseAddress, let found = memchr(base + start, 0x0A, end - start) else {
                return nil
            }
            return UnsafeRawPointer(found) - base
        }
    }

    private mutating func take(upTo end: Int, skipping count: Int) -> Line {
        let line = Line(bytes: self.buffer[self.start..<end], offset: self.offset, isComplete: true)
        self.offset += Int64(end + count - self.start)
        self.start = end + count
        self.searched = self.start
        return line
    }

    /// Moves what is left to the front and reads behind it. False at the end of the file.
    private mutating func fill() throws(RecordsError) -> Bool {
        let (descriptor, start, rest) = (self.descriptor, self.start, self.filled - self.start)
        var got = -1
        self.buffer.withUnsafeMutableBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            if start > 0 { memmove(base, base + start, rest) }
            repeat { got = read(descriptor, base + rest, bytes.count - rest) } while got < 0 && errno == EINTR
        }
        guard got >= 0 else {
            throw RecordsError(.unavailable, "cannot read \(self.path): \(errorText(errno))", remedy: "check the disk")
        }
        self.searched -= self.start
        self.start = 0
        self.filled = rest + got
        return got > 0
    }
}
