internal import Dispatch
package import Gateway
internal import Glibc
internal import Synchronization

/// The audit journal of a running gateway: takes events from the data path and writes them as signed, chained records.
///
/// ``record(_:)`` may be called on any thread or event loop and returns at once; one queue of its own does the writing.
/// Events of one caller keep their order. What came within a few milliseconds is one write. When the disk refuses, events wait
/// up to a bound while it is tried again; beyond it they are counted, and a record `journal.lost` says how many, as soon
/// as it can be written. Nothing here ends the process.
package final class AuditJournal: AuditSink {
    /// What an operator wants to know about the journal.
    package struct Status: Sendable, Equatable {
        /// Records of this run that are written, checkpoints included.
        package var records: UInt64 = 0
        /// Number of the last record; 0 in an empty journal.
        package var seq: UInt64 = 0
        /// Events that wait to be written.
        package var waiting = 0
        /// Events of this run that were dropped.
        package var lost: UInt64 = 0
        /// Why the last attempt to write failed; nil when it did not.
        package var failure: AuditError?
    }

    private struct Inbox {
        var events: [AuditEvent] = []
        /// Events that the writer has taken and not written.
        var taken = 0
        /// Dropped since the writer last took the number.
        var dropped: (count: UInt64, since: Int64)?
        var flushes: [CheckedContinuation<AuditError?, Never>] = []
        /// A run of the writer is under way or will be.
        var isScheduled = false
        var isCheckpointScheduled = false
        var isClosed = false
        var retryDelay: Duration
        var status = Status()
    }

    private enum Purpose {
        /// Writes what waits; the one run that comes again by itself.
        case batch
        /// Writes what waits and signs it.
        case checkpoint
        /// Writes what waits and makes it durable.
        case flush
        case close
    }

    private let settings: AuditSettings
    private let now: @Sendable () -> Int64
    private let inbox: Mutex<Inbox>
    // Two locks, so that those who record never wait for the disk: only the queue takes this one.
    private let writer: Mutex<AuditWriter>
    private let lock: Mutex<AuditDescriptor?>
    private let queue = DispatchQueue(label: "bootgate.audit")

    /// Opens the journal in `settings.directory`, or begins one. A torn end is cut and recorded; the chain goes on.
    ///
    /// - Parameter now: wall clock in microseconds since 1970, for the journal's own records; nil takes the system's.
    /// - Throws: when another gateway writes it, when it cannot be written, or when nothing of it can be read.
    package init(
        settings: AuditSettings,
        key: AuditSigningKey,
        disk: AuditDisk = .live,
        now: (@Sendable () -> Int64)? = nil
    ) throws(AuditError) {
        let now = now ?? { AuditDescriptor.wallClock() }
        let lock = try Self.lock(settings.directory)
        let recovery = try AuditRecovery(directory: settings.directory, now: now())
        let writer = try AuditWriter(settings: settings, key: key, disk: disk, recovery: recovery, now: now)
        var inbox = Inbox(retryDelay: settings.retryDelay.lowerBound)
        inbox.status.seq = writer.seq
        inbox.status.records = writer.records
        let needsCheckpoint = !writer.isSigned
        inbox.isCheckpointScheduled = needsCheckpoint
        self.settings = settings
        self.now = now
        self.inbox = Mutex(inbox)
        self.writer = Mutex(writer)
        self.lock = Mutex(lock)
        if needsCheckpoint { self.scheduleCheckpoint() }
    }

    package var status: Status {
        self.inbox.withLock { inbox in
            var status = inbox.status
            status.waiting = inbox.events.count + inbox.taken
            return status
        }
    }

    package func record(_ events: [AuditEvent]) {
        if events.isEmpty { return }
        let mustSchedule = self.inbox.withLock { inbox in
            let room = inbox.isClosed ? 0 : max(0, self.settings.queueLimit - inbox.events.count - inbox.taken)
            inbox.events.append(contentsOf: events.prefix(room))
            if room < events.count {
                let count = UInt64(events.count - room)
                inbox.dropped = ((inbox.dropped?.count ?? 0) &+ count, inbox.dropped?.since ?? events[room].time)
                inbox.status.lost &+= count
            }
            if inbox.isScheduled || inbox.isClosed { return false }
            inbox.isScheduled = true
            return true
        }
        if mustSchedule { self.schedule(after: self.settings.batchDelay) }
    }

    /// Returns when everything that was accepted before is on disk.
    ///
    /// - Throws: why the disk did not take it. The events are kept and tried again.
    package func flush() async throws(AuditError) { try await self.run(.flush) }

    /// Writes and signs everything, then gives the journal free for another gateway. Later events are dropped.
    ///
    /// - Throws: why the disk did not take everything; the journal is closed all the same.
    package func close() async throws(AuditError) { try await self.run(.close) }

    private func run(_ purpose: Purpose) async throws(AuditError) {
        let failure: AuditError? = await withCheckedContinuation { continuation in
            let isClosed = self.inbox.withLock { inbox in
                if inbox.isClosed { return true }
                if purpose == .close { inbox.isClosed = true }
                inbox.flushes.append(continuation)
                return false
            }
            if isClosed {
                let closed = AuditError(.closed, source: .gateway, "the audit journal is closed", remedy: "")
                continuation.resume(returning: purpose == .close ? nil : closed)
            } else {
                self.queue.async { self.work(purpose) }
            }
        }
        if let failure { throw failure }
    }

    private func schedule(after delay: Duration) {
        self.queue.asyncAfter(deadline: .now() + Self.interval(delay)) { self.work(.batch) }
    }

    private func scheduleCheckpoint() {
        let interval = Self.interval(self.settings.checkpointInterval)
        self.queue.asyncAfter(deadline: .now() + interval) { [weak self] in self?.work(.checkpoint) }
    }

    /// One run of the writer, on the queue.
    private func work(_ purpose: Purpose) {
        // After the closing run the folder may belong to another gateway.
        if purpose != .close, self.inbox.withLock({ $0.isClosed }) { return }
        let (events, dropped, flushes) = self.inbox.withLock { inbox in
            defer {
                inbox.taken += inbox.events.count
                inbox.events = []
                inbox.dropped = nil
                inbox.flushes = []
                if purpose == .checkpoint { inbox.isCheckpointScheduled = false }
            }
            return (inbox.events, inbox.dropped, inbox.flushes)
        }
        let isClosing = purpose == .close
        let mustSynchronize = purpose == .flush || !flushes.isEmpty
        let result = self.writer.withLock { writer in
            writer.take(events, lost: dropped)
            var failure: AuditError?
            do throws(AuditError) {
                try writer.write()
                if isClosing || purpose == .checkpoint {
                    try writer.checkpoint()
                } else if mustSynchronize {
                    try writer.synchronize()
                }
            } catch {
                failure = error
            }
            return (
                failure: failure, waiting: writer.waiting, isSigned: writer.isSigned, records: writer.records,
                seq: writer.seq
            )
        }
        self.finish(purpose, result.failure, waiting: result.waiting, isSigned: result.isSigned) { status in
            status.records = result.records
            status.seq = result.seq
        }
        if isClosing { self.lock.withLock { $0 = nil } }
        for flush in flushes { flush.resume(returning: result.failure) }
    }

    /// Notes how a run of the writer ended and decides when the next one comes.
    private func finish(
        _ purpose: Purpose,
        _ failure: AuditError?,
        waiting: Int,
        isSigned: Bool,
        update: (inout Status) -> Void
    ) {
        let (delay, mustScheduleCheckpoint) = self.inbox.withLock { inbox -> (Duration?, Bool) in
            update(&inbox.status)
            inbox.taken = waiting
            inbox.status.failure = failure
            if inbox.isClosed {
                if purpose == .close { inbox.status.lost &+= UInt64(waiting) }
                return (nil, false)
            }
            let needsCheckpoint = !isSigned && !inbox.isCheckpointScheduled && failure == nil
            if needsCheckpoint { inbox.isCheckpointScheduled = true }
            var delay: Duration?
            if failure != nil {
                if purpose == .batch || !inbox.isScheduled {
                    delay = inbox.retryDelay
                    inbox.isScheduled = true
                }
                inbox.retryDelay = min(inbox.retryDelay * 2, self.settings.retryDelay.upperBound)
            } else {
                inbox.retryDelay = self.settings.retryDelay.lowerBound
                if purpose == .batch {
                    inbox.isScheduled = !inbox.events.isEmpty || inbox.dropped != nil
                    delay = inbox.isScheduled ? self.settings.batchDelay : nil
                }
            }
            return (delay, needsCheckpoint)
        }
        if let delay { self.schedule(after: delay) }
        if mustScheduleCheckpoint { self.scheduleCheckpoint() }
    }

    /// Makes the folder if need be and takes it for this process; the system frees it when the process ends.
    private static func lock(_ directory: String) throws(AuditError) -> AuditDescriptor {
        if mkdir(directory, 0o750) == 0 {
            AuditDescriptor.synchronizeDirectory(AuditDescriptor.directory(of: directory))
        } else if errno != EEXIST {
            throw AuditError(
                .cannotWrite,
                "cannot make the audit journal \(directory): \(AuditDescriptor.text(errno))",
                remedy: "make the state folder and give it to the gateway's user"
            )
        }
        guard let descriptor = AuditDescriptor(directory, O_RDONLY | O_DIRECTORY) else {
            throw AuditError(
                .notPermitted,
                "cannot open the audit journal \(directory): \(AuditDescriptor.text(errno))",
                remedy: "give the folder to the gateway's user"
            )
        }
        guard flock(descriptor.number, LOCK_EX | LOCK_NB) == 0 else {
            let code = errno
            throw AuditError(
                code == EWOULDBLOCK ? .inUse : .unavailable,
                code == EWOULDBLOCK
                    ? "another gateway writes the audit journal \(directory)"
                    : "cannot lock the audit journal \(directory): \(AuditDescriptor.text(code))",
                remedy: code == EWOULDBLOCK
                    ? "stop it, or give this one a state folder of its own" : "use a file system with locks"
            )
        }
        return descriptor
    }

    private static func interval(_ duration: Duration) -> DispatchTimeInterval {
        let (seconds, attoseconds) = duration.components
        let nanoseconds = seconds.multipliedReportingOverflow(by: 1_000_000_000)
        return nanoseconds.overflow ? .never : .nanoseconds(Int(nanoseconds.partialValue + attoseconds / 1_000_000_000))
    }
}
