internal import Gateway
internal import Glibc

/// Puts records on disk: segments, checkpoints, what to do when the disk refuses. Used by one thread at a time; it
/// blocks.
///
/// Nothing that was encoded is given up: what a failed write left over stays in the encoder's bytes and goes first the
/// next time, so that the chain on disk has no gap.
final class AuditWriter {
    private let settings: AuditSettings
    private let key: AuditSigningKey
    private let disk: AuditDisk
    private let now: @Sendable () -> Int64

    private var encoder: AuditLineEncoder
    /// Of the encoder's bytes: how many are in the file.
    private var written = 0
    private var file: AuditDescriptor?
    private var segment: Int
    private var size: Int
    /// The segment has its last record; the next bytes go to a new one.
    private var isFinished: Bool
    private var sinceCheckpoint: Int
    /// A checkpoint was written that the disk may not have yet.
    private var owesSynchronization = false
    /// Anything was written that the disk may not have yet.
    private var isDirty = false

    /// Events that were taken from the queue; those before `next` are encoded.
    private var events: [AuditEvent] = []
    private var next = 0
    private var lost: (count: UInt64, since: Int64)?

    /// Records encoded in this run, checkpoints included.
    private(set) var records: UInt64 = 0

    private static let chunk = 256 * 1024

    init(
        settings: AuditSettings,
        key: AuditSigningKey,
        disk: AuditDisk,
        recovery: AuditRecovery,
        now: @escaping @Sendable () -> Int64
    ) throws(AuditError) {
        self.settings = settings
        self.key = key
        self.disk = disk
        self.now = now
        self.encoder = AuditLineEncoder(node: settings.node, seq: recovery.end.seq, hash: recovery.end.hash)
        self.segment = recovery.segment
        self.size = recovery.size
        self.isFinished = recovery.segment == 0
        self.sinceCheckpoint = recovery.end.sinceCheckpoint
        if self.isFinished {
            try self.openNextSegment()
        } else {
            let path = AuditSegments.path(recovery.segment, in: settings.directory)
            guard let file = AuditDescriptor(path, O_WRONLY | O_APPEND) else { throw Self.cannotOpen(path, errno) }
            self.file = file
        }
        guard let cut = recovery.cut else { return }
        self.encoder.append(AuditEvent.Name.journalRecovered.rawValue, time: now(), detail: cut.detail)
        self.count(1)
        try self.push()
    }

    /// Number of the last record, written or about to be.
    var seq: UInt64 { self.encoder.seq }

    /// Events that were taken and are not encoded yet.
    var waiting: Int { self.events.count - self.next }

    var isSigned: Bool { self.sinceCheckpoint == 0 && !self.owesSynchronization }

    /// Takes events over from the queue, and the number of those that the queue had to drop after them.
    func take(_ events: [AuditEvent], lost: (count: UInt64, since: Int64)?) {
        if self.next == self.events.count {
            self.events = events
            self.next = 0
        } else {
            self.events.append(contentsOf: events)
        }
        guard let lost else { return }
        self.lost = (lost.count &+ (self.lost?.count ?? 0), self.lost?.since ?? lost.since)
    }

    /// Writes everything that was taken. After an error it can be called again.
    func write() throws(AuditError) {
        try self.push()
        while self.next < self.events.count {
            let before = self.next
            while self.next < self.events.count, self.encoder.bytes.count < Self.chunk,
                self.size + self.encoder.bytes.count < self.settings.segmentBytes,
                self.sinceCheckpoint + (self.next - before) < self.settings.checkpointRecords
            {
                self.encoder.append(self.events[self.next])
                self.next += 1
            }
            self.count(self.next - before)
            try self.push()
        }
        self.events = []
        self.next = 0
        if let lost = self.lost {
            self.lost = nil
            let detail: [AuditEvent.Field] = [
                .init("count", .integer(Int64(clamping: lost.count))), .init("since", .text(Self.text(lost.since))),
            ]
            self.encoder.append("journal.lost", time: self.now(), detail: detail)
            self.count(1)
            try self.push()
        }
    }

    /// Signs what is new and waits until the disk has it.
    func checkpoint() throws(AuditError) {
        if self.sinceCheckpoint > 0 { try self.appendCheckpoint() }
        try self.push()
        if self.owesSynchronization { try self.synchronize() }
    }

    /// Waits until the disk has everything that was written.
    func synchronize() throws(AuditError) {
        guard let file = self.file, self.isDirty else { return }
        let result = self.disk.synchronize(file.number)
        guard result == 0 else { throw self.failure("synchronize", Int32(truncatingIfNeeded: -result)) }
        (self.isDirty, self.owesSynchronization) = (false, false)
        guard let links = file.status?.st_nlink, links > 0 else {
            self.isFinished = true
            throw AuditError(
                .damaged,
                source: .operator,
                "the audit segment \(AuditSegments.path(self.segment, in: self.settings.directory)) was removed",
                remedy: "restore the folder; records go on in the next segment"
            )
        }
    }

    private func count(_ records: Int) {
        self.sinceCheckpoint += records
        self.records &+= UInt64(records)
    }

    private func appendCheckpoint() throws(AuditError) {
        let time = AuditTime.clamped(self.now())
        let message = AuditCheckpoint.message(seq: self.encoder.seq &+ 1, time: time, previous: self.encoder.hash)
        guard let signature = self.key.signature(of: message) else {
            throw AuditError(
                .unavailable,
                source: .gateway,
                "the audit journal cannot be signed",
                remedy: "report this as a bug"
            )
        }
        let detail = AuditCheckpoint.detail(keyID: self.key.publicKey.id, signature: signature)
        self.encoder.append(AuditCheckpoint.event, time: time, detail: detail)
        self.count(1)
        self.sinceCheckpoint = 0
        self.owesSynchronization = true
    }

    /// Writes what is encoded, and ends a checkpoint's distance or a segment where it is due.
    private func push() throws(AuditError) {
        try self.writeBytes()
        if self.isFinished { return }
        let isFull = self.size >= self.settings.segmentBytes
        if isFull ? self.sinceCheckpoint > 0 : self.sinceCheckpoint >= self.settings.checkpointRecords {
            try self.appendCheckpoint()
            try self.writeBytes()
        }
        if self.owesSynchronization { try self.synchronize() }
        if isFull { self.isFinished = true }
    }

    private func writeBytes() throws(AuditError) {
        let total = self.encoder.bytes.count
        if self.isFinished, self.written == 0, total > 0 { try self.openNextSegment() }
        guard let file = self.file else { return }
        while self.written < total {
            let (written, disk) = (self.written, self.disk)
            let result = self.encoder.bytes.withUnsafeBytes {
                disk.write(file.number, UnsafeRawBufferPointer(rebasing: $0[written...]))
            }
            if result == -Int(EINTR) { continue }
            guard result > 0, result <= total - written else {
                throw self.failure("write", result == 0 ? ENOSPC : Int32(truncatingIfNeeded: -result))
            }
            self.isDirty = true
            self.written += result
            self.size += result
        }
        self.encoder.removeAll()
        self.written = 0
    }

    private func openNextSegment() throws(AuditError) {
        let path = AuditSegments.path(self.segment + 1, in: self.settings.directory)
        guard let file = AuditDescriptor(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND, mode: 0o640) else {
            throw Self.cannotOpen(path, errno)
        }
        AuditDescriptor.synchronizeDirectory(self.settings.directory)
        self.file = file
        self.segment += 1
        self.size = 0
        self.isFinished = false
    }

    private func failure(_ verb: String, _ code: Int32) -> AuditError {
        AuditError(
            .unavailable,
            "cannot \(verb) the audit segment \(AuditSegments.path(self.segment, in: self.settings.directory)): "
                + AuditDescriptor.text(code),
            remedy: code == ENOSPC ? "make room on the disk" : "check the disk; the gateway tries again by itself"
        )
    }

    private static func cannotOpen(_ path: String, _ code: Int32) -> AuditError {
        AuditError(
            .cannotWrite,
            "cannot open the audit segment \(path): \(AuditDescriptor.text(code))",
            remedy: "give the folder to the gateway's user and make room on the disk"
        )
    }

    private static func text(_ time: Int64) -> String {
        var bytes: [UInt8] = []
        AuditTime.append(time, to: &bytes)
        return String(decoding: bytes, as: UTF8.self)
    }
}
