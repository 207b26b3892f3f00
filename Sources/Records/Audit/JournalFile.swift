internal import Gateway
internal import Glibc

/// The end of the journal: encodes records, appends them to the last segment, signs checkpoints, begins new segments.
///
/// Belongs to one thread. Every step that touches the disk can fail and be called again: bytes that were written are
/// not written twice, and records wait in the buffer until they are.
final class JournalFile {
    /// A call of the operating system that failed.
    struct Failure: Error, Equatable {
        var what: String
        var code: Int32
    }

    /// Bytes that are gathered before they are written.
    static let chunkSize = 256 * 1024

    private let segments: JournalSegments
    private let key: JournalKey
    private let segmentSize: Int64
    private var encoder: JournalEncoder
    private var descriptor: Int32
    private(set) var segment: Int
    /// Bytes of the segment that are written.
    private var size: Int64
    /// Bytes of the buffer that are written.
    private var written = 0
    private var isSynchronized = false
    /// Bytes of the segment that the disk is known to have.
    private var durable: Int64 = 0
    /// A flush has failed: the system may have dropped what it had taken, and would call the next flush a success. True at
    /// the start: what the last run wrote was read from the system's memory, and how its flushes went is not known.
    private var hasFlushFailed = true
    private let flush: (Int32) -> Int32

    /// Gets each record when it is written.
    let copy: SyslogCopy?

    /// Records without a checkpoint behind them.
    private(set) var unsigned: Int

    /// Opens the segment that `recovery` names and cuts what is torn.
    ///
    /// - Parameter flush: `fdatasync`; a test has one that fails.
    init(
        segments: JournalSegments,
        node: String,
        key: JournalKey,
        segmentSize: Int64,
        recovery: JournalRecovery,
        copy: SyslogCopy? = nil,
        flush: @escaping (Int32) -> Int32 = fdatasync
    ) throws(RecordsError) {
        self.segments = segments
        self.key = key
        self.copy = copy
        self.segmentSize = segmentSize
        self.encoder = JournalEncoder(node: node, seq: recovery.seq, previous: recovery.previous)
        self.segment = recovery.segment
        self.size = recovery.length
        self.flush = flush
        self.unsigned = recovery.unsigned
        let path = segments.path(recovery.segment)
        self.descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o640)
        let isTorn = if case .torn = recovery.finding { true } else { false }
        guard self.descriptor >= 0,
            !isTorn || (ftruncate(self.descriptor, off_t(recovery.length)) == 0 && fsync(self.descriptor) == 0)
        else {
            throw RecordsError(
                .cannotWrite,
                "cannot write the audit journal \(path): \(errorText(errno))",
                remedy: "give the folder and the files in it to the gateway's user, and check the disk"
            )
        }
        synchronizeDirectory(of: path)
    }

    deinit { close(self.descriptor) }

    /// Puts a record into the buffer.
    func append(_ event: AuditEvent) {
        self.encoder.append(event)
        self.unsigned += 1
    }

    /// How far records are to get.
    enum Goal {
        /// The operating system has them.
        case written
        /// The disk has them.
        case synchronized
        /// The disk has them, and a checkpoint behind them.
        case signed
        /// The same, and the next record begins a new segment.
        case rotated
    }

    /// Gets everything in the buffer to `goal`, or throws and can be called again. `time` is the time of a checkpoint.
    func reach(_ goal: Goal, at time: Int64) throws(Failure) {
        switch goal {
        case .written:
            try self.writeOut()
        case .synchronized:
            try self.writeOut()
            try self.synchronize()
        case .signed:
            if self.unsigned > 0 { try self.appendCheckpoint(at: time) }
            try self.reach(.synchronized, at: time)
        case .rotated:
            try self.reach(.signed, at: time)
            try self.beginSegment()
        }
    }

    private func appendCheckpoint(at time: Int64) throws(Failure) {
        do { try self.encoder.appendCheckpoint(at: time, signedBy: self.key) } catch {
            throw Failure(what: "sign a checkpoint of", code: EINVAL)
        }
        self.unsigned = 0
    }

    /// Whether the buffer should be written before more goes into it.
    var isFull: Bool { self.encoder.lines.count >= Self.chunkSize }

    /// Whether the next record belongs into a new segment.
    var isSegmentFull: Bool {
        self.size + Int64(self.encoder.lines.count - self.written) >= self.segmentSize
    }

    private func writeOut() throws(Failure) {
        while self.written < self.encoder.lines.count {
            let (descriptor, start) = (self.descriptor, self.written)
            let count = self.encoder.lines.withUnsafeBytes { bytes in
                let rest = UnsafeRawBufferPointer(rebasing: bytes[start...])
                return write(descriptor, rest.baseAddress, rest.count)
            }
            if count < 0 {
                if errno == EINTR { continue }
                throw Failure(what: "write", code: errno)
            }
            self.written += count
            self.size += Int64(count)
            self.isSynchronized = false
        }
        if self.written > 0, let copy = self.copy { self.encoder.lines.withUnsafeBytes { copy.send($0) } }
        self.encoder.lines.removeAll()
        self.written = 0
    }

    private func synchronize() throws(Failure) {
        guard !self.isSynchronized else { return }
        if self.hasFlushFailed { try self.writeAgain() }
        guard self.flush(self.descriptor) == 0 else {
            self.hasFlushFailed = true
            throw Failure(what: "flush", code: errno)
        }
        self.hasFlushFailed = false
        self.isSynchronized = true
        self.durable = self.size
    }

    /// Gives the system once more what it may have dropped when a flush failed. It still has the bytes in memory as a rule;
    /// where it read zeros back from the disk, they are lost, and nothing may be called durable.
    private func writeAgain() throws(Failure) {
        let descriptor = open(self.segments.path(self.segment), O_RDWR | O_CLOEXEC)
        guard descriptor >= 0 else { throw Failure(what: "flush", code: errno) }
        defer { close(descriptor) }
        var position = self.durable
        var chunk = [UInt8](repeating: 0, count: Self.chunkSize)
        while position < self.size {
            let count = pread(descriptor, &chunk, min(chunk.count, Int(self.size - position)), off_t(position))
            guard count > 0 else { throw Failure(what: "read back", code: count < 0 ? errno : EIO) }
            guard !chunk[..<count].contains(0) else { throw Failure(what: "read back", code: EIO) }
            guard pwrite(descriptor, chunk, count, off_t(position)) == count else {
                throw Failure(what: "write", code: errno)
            }
            position += Int64(count)
        }
        guard self.flush(descriptor) == 0 else { throw Failure(what: "flush", code: errno) }
    }

    private func beginSegment() throws(Failure) {
        let path = self.segments.path(self.segment + 1)
        let next = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0o640)
        guard next >= 0 else { throw Failure(what: "begin a new segment of", code: errno) }
        synchronizeDirectory(of: path)
        close(self.descriptor)
        self.descriptor = next
        self.segment += 1
        self.size = 0
        self.durable = 0
    }

    /// The number of the last record that was encoded.
    var lastSeq: UInt64 { self.encoder.seq - 1 }
}
