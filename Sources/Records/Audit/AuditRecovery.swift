internal import Gateway
internal import Glibc

/// Where a journal that was found on disk is continued.
///
/// A gateway that is killed or loses power may leave half a line, or, after a power cut, lines behind the last
/// checkpoint with holes in them. Everything from the first such line on is cut, so that the chain goes on from the
/// last sound record. Half a line is never a record and goes; whole lines are kept in a file of their own, because they
/// may as well have been changed by somebody. Damage before a later checkpoint was on disk already and is not a torn
/// end: it stays, for verification to find.
struct AuditRecovery {
    /// The end of the chain at some point of the reading.
    struct End: Equatable {
        var seq: UInt64 = 0
        var hash = AuditLineEncoder.firstPrevious
        /// Records since the last checkpoint; nil when none was read.
        var sinceCheckpoint = 0
    }

    /// What was cut off.
    struct Cut: Equatable {
        var segment: Int
        var offset: Int
        var bytes: Int
        /// Whole lines among it.
        var lines: Int
        /// Name of the file with the cut bytes.
        var kept: String?

        var detail: [AuditEvent.Field] {
            var fields: [AuditEvent.Field] = [
                .init("segment", .text(AuditSegments.name(self.segment))),
                .init("offset", .integer(Int64(self.offset))),
                .init("bytes", .integer(Int64(self.bytes))),
                .init("lines", .integer(Int64(self.lines))),
            ]
            if let kept = self.kept { fields.append(.init("kept", .text(kept))) }
            return fields
        }
    }

    /// The segment to write on; 0 when there is none yet.
    var segment = 0
    /// Its size.
    var size = 0
    var end = End()
    var cut: Cut?

    /// Reads the last segment, cuts what is torn, and finds the end of the chain. The caller holds the lock.
    init(directory: String, now: Int64) throws(AuditError) {
        let segments = try AuditSegments.list(directory)
        guard let last = segments.last else { return }
        self.segment = last
        var found: End?
        for number in segments.reversed() {
            let scan = try Scan(path: AuditSegments.path(number, in: directory))
            found = scan.end
            if number == last {
                self.size = scan.soundBytes
                if scan.soundBytes < scan.bytes { try self.cut(scan, directory: directory, now: now) }
            }
            if found != nil { break }
        }
        if let found {
            self.end = found
        } else if segments != [1] || self.cut?.lines ?? 0 > 0 {
            throw AuditError(
                .damaged,
                "no record of the audit journal \(directory) can be read",
                remedy: "move the folder away and keep it as evidence; a new journal is begun at the next start"
            )
        }
    }

    private mutating func cut(_ scan: Scan, directory: String, now: Int64) throws(AuditError) {
        let path = AuditSegments.path(self.segment, in: directory)
        var cut = Cut(
            segment: self.segment,
            offset: scan.soundBytes,
            bytes: scan.bytes - scan.soundBytes,
            lines: scan.brokenLines
        )
        func failure(_ what: String, _ code: Int32) -> AuditError {
            AuditError(
                .cannotWrite,
                "cannot \(what) the damaged end of \(path): \(AuditDescriptor.text(code))",
                remedy: "make room on the disk and let the gateway's user write there"
            )
        }
        guard let segment = AuditDescriptor(path, O_RDWR) else { throw failure("open", errno) }
        if cut.lines > 0 {
            let name = "cut-\(AuditSegments.name(self.segment))-\(cut.offset)-\(now)"
            guard let copy = AuditDescriptor("\(directory)/\(name)", O_WRONLY | O_CREAT | O_EXCL, mode: 0o640) else {
                throw failure("keep", errno)
            }
            var position = off_t(cut.offset)
            while position < off_t(scan.bytes) {
                let count = sendfile(copy.number, segment.number, &position, scan.bytes - Int(position))
                if count <= 0, count == 0 || errno != EINTR { throw failure("keep", count == 0 ? EIO : errno) }
            }
            guard fsync(copy.number) == 0 else { throw failure("keep", errno) }
            cut.kept = name
        }
        guard ftruncate(segment.number, off_t(cut.offset)) == 0, fsync(segment.number) == 0 else {
            throw failure("cut", errno)
        }
        AuditDescriptor.synchronizeDirectory(directory)
        self.cut = cut
    }
}

extension AuditRecovery {
    /// One segment, read from its beginning.
    private struct Scan {
        /// The last record that is to stay; nil when there is none.
        var end: End?
        /// Bytes up to where it is sound.
        var soundBytes = 0
        var bytes = 0
        /// Whole lines from there on.
        var brokenLines = 0

        init(path: String) throws(AuditError) {
            var reader = try AuditLineReader(path: path)
            var lines: (sound: Int, all: Int) = (0, 0)
            // The end at the first line that is not sound and was not followed by a checkpoint.
            var beforeBreak: (end: End?, bytes: Int, lines: Int)?
            while let line = try reader.next() {
                lines.all += 1
                let frame = AuditFrame(line.bytes)
                let follows =
                    if let end = self.end, let frame {
                        frame.seq == end.seq + 1 && frame.previous == end.hash
                    } else {
                        frame != nil
                    }
                if beforeBreak == nil, !follows || frame?.isSound != true {
                    beforeBreak = (self.end, self.soundBytes, lines.sound)
                }
                guard let frame, frame.isSound else { continue }
                let since = frame.isCheckpoint ? 0 : (self.end?.sinceCheckpoint ?? 0) + 1
                self.end = End(seq: frame.seq, hash: frame.hash, sinceCheckpoint: since)
                self.soundBytes = reader.position
                lines.sound = lines.all
                if frame.isCheckpoint { beforeBreak = nil }
            }
            if let beforeBreak { (self.end, self.soundBytes, lines.sound) = beforeBreak }
            self.bytes = reader.position + reader.incomplete
            self.brokenLines = lines.all - lines.sound
        }
    }
}
