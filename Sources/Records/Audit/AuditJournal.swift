internal import Foundation
package import Gateway
package import Logging
internal import Synchronization

/// The audit journal of a running gateway.
///
/// ``record(_:)`` puts events into a bounded queue and returns; one thread of the journal's own encodes, chains and writes
/// them, and signs a checkpoint now and then. Nothing of the data path ever waits for the disk. While the disk takes
/// nothing the thread tries again; what no longer fits into the queue is counted, and the count becomes a record of its
/// own as soon as records can be written again.
package final class AuditJournal: AuditSink {
    /// What the journal has done and how it is.
    package struct Statistics: Sendable, Equatable {
        /// Records handed to the operating system, checkpoints not counted.
        package var written: UInt64 = 0
        /// Records that found the queue full.
        package var lost: UInt64 = 0
        /// Records in the queue.
        package var waiting = 0
        /// The last record that the disk has.
        package var durableSeq: UInt64 = 0
        /// How long the oldest record has waited that is not flushed to the disk yet. Without a flush on demand that
        /// grows up to the interval of the checkpoints, and then falls to nothing.
        package var lag: Duration = .zero
        /// Why writing fails at the moment; nil: it does not.
        package var failure: String?

        package init() {}
    }

    private struct Waiter {
        var wantsCheckpoint: Bool
        var continuation: CheckedContinuation<Void, any Error>
    }

    private struct State {
        var queue: [AuditEvent] = []
        var waiters: [Waiter] = []
        /// Since when there is something in the queue.
        var queuedSince: DispatchTime?
        /// Since when there is something that the thread took from the queue and that is not flushed.
        var takenSince: DispatchTime?
        /// Lost since the last record that says so.
        var lost: UInt64 = 0
        var isSignalled = false
        var isClosing = false
        var statistics = Statistics()
    }

    /// What of the configuration may change while the journal is open.
    package struct Policy: Sendable, Equatable {
        /// See ``AuditConfiguration``.
        package var keep: Duration?
        package var checkpointInterval: Duration
        package var checkpointRecords: Int

        package init(keep: Duration?, checkpointInterval: Duration, checkpointRecords: Int) {
            self.keep = keep
            self.checkpointInterval = checkpointInterval
            self.checkpointRecords = checkpointRecords
        }
    }

    /// What is risky about where the signing key lies, for the log.
    package let warnings: [String]
    /// Outbox rows that the journal told of and that may still be in the outbox.
    private let told: Mutex<Set<Int64>>

    private let configuration: AuditConfiguration
    private let policy: Mutex<Policy>
    private let logger: Logger
    private let lock: StateLock
    private let state = Mutex(State())
    private let work = MonotonicSemaphore()
    private let ended = DispatchSemaphore(value: 0)

    /// Opens the journal for this process alone, cuts a torn last line, and starts the thread. A finding is the first
    /// record of this run.
    package init(_ configuration: AuditConfiguration, logger: Logger) throws(RecordsError) {
        try makeDirectory(configuration.directory, mode: 0o750, purpose: "the audit folder")
        self.lock = try StateLock(state: configuration.state)
        let segments = JournalSegments(directory: configuration.directory)
        let recovery = try JournalRecovery(segments)
        let isNew = recovery.seq == 1
        let (reading, _) = try configuration.signingKey.readOrCreateKey(
            count: JournalKey.byteCount,
            purpose: "audit signing key",
            mayCreate: isNew,
            loss: "\(configuration.directory) holds a journal that was signed with one"
        )
        let key = try JournalKey(reading.secret)
        JournalTrust.publish(key, beside: configuration.signingKey)
        let file = try JournalFile(
            segments: segments,
            node: configuration.node,
            key: key,
            segmentSize: configuration.segmentSize,
            recovery: recovery,
            copy: configuration.syslog.map { SyslogCopy($0, node: configuration.node) }
        )
        let trust = try? JournalTrust(signingKey: configuration.signingKey)
        let retention = JournalRetention(
            segments: segments, keep: configuration.keep ?? .zero, trust: trust ?? JournalTrust(keys: [key.publicKey]),
            newestRecord: recovery.time
        )
        self.configuration = configuration
        self.policy = Mutex(
            Policy(
                keep: configuration.keep, checkpointInterval: configuration.checkpointInterval,
                checkpointRecords: configuration.checkpointRecords
            ))
        self.logger = logger
        self.told = Mutex(recovery.outbox)
        self.warnings = Self.warnings(configuration, reading)
        if let event = Self.event(for: recovery, at: configuration.clock()) {
            self.state.withLock { state in
                state.queue.append(event)
                state.queuedSince = .now()
            }
            Self.tell(of: recovery.finding, logger)
        }
        // Unsafe only to the compiler: the thread gets the one reference, and nothing here uses it afterwards.
        nonisolated(unsafe) let handedOver = file
        let thread = Thread { [self] in self.run(handedOver, retention) }
        thread.name = "audit-journal"
        thread.start()
        self.work.signal()
    }

    /// Goes on with another policy; what it makes old is looked for at once. From any thread.
    package func adopt(_ policy: Policy) {
        self.policy.withLock { $0 = policy }
        self.work.signal()
    }

    /// Takes events in order and returns at once. From any thread.
    package func record(_ events: [AuditEvent]) {
        let taken = self.enqueue(events)
        guard taken < events.count else { return }
        self.state.withLock { state in
            state.lost &+= UInt64(events.count - taken)
            state.statistics.lost &+= UInt64(events.count - taken)
        }
    }

    /// Takes as many events as there is room for, and counts nothing as lost.
    ///
    /// - Returns: how many it took, from the first on.
    func enqueue(_ events: [AuditEvent]) -> Int {
        let limit = self.configuration.queueLimit
        let (taken, wakes) = self.state.withLock { state in
            let taken = min(events.count, max(0, limit - state.queue.count))
            if taken > 0, state.queuedSince == nil { state.queuedSince = .now() }
            state.queue.append(contentsOf: events.prefix(taken))
            defer { state.isSignalled = true }
            return (taken, !state.isSignalled)
        }
        if wakes { self.work.signal() }
        return taken
    }

    /// Returns when everything that was recorded before is on disk with a signed checkpoint behind it. Throws when the
    /// disk does not take it; it is tried again all the same.
    package func flush() async throws { try await self.wait(wantsCheckpoint: true) }

    /// Returns when everything that was recorded before is on disk. Calls that come together share one flush.
    package func synchronize() async throws { try await self.wait(wantsCheckpoint: false) }

    package var statistics: Statistics {
        self.state.withLock { state in
            var statistics = state.statistics
            statistics.waiting = state.queue.count
            if let oldest = state.takenSince ?? state.queuedSince {
                let now = DispatchTime.now().uptimeNanoseconds
                statistics.lag = .nanoseconds(Int64(clamping: now - min(now, oldest.uptimeNanoseconds)))
            }
            return statistics
        }
    }

    /// Writes what waits, signs a last checkpoint and ends the thread. Blocks for as long as that takes, but not for a
    /// disk that takes nothing. Safe to call twice.
    package func close() {
        let wasClosing = self.state.withLock { state in
            defer { state.isClosing = true }
            return state.isClosing
        }
        guard !wasClosing else { return }
        self.work.signal()
        self.ended.wait()
        self.lock.release()
    }

    // MARK: - What the outbox needs to know

    func isTold(_ uid: Int64) -> Bool { self.told.withLock { $0.contains(uid) } }
    func markTold(_ uids: [Int64]) { self.told.withLock { $0.formUnion(uids) } }
    func forgetTold(_ uids: [Int64]) { self.told.withLock { $0.subtract(uids) } }

    private func wait(wantsCheckpoint: Bool) async throws {
        try await withCheckedThrowingContinuation { continuation in
            let isClosing = self.state.withLock { state in
                if !state.isClosing {
                    state.waiters.append(Waiter(wantsCheckpoint: wantsCheckpoint, continuation: continuation))
                }
                return state.isClosing
            }
            if isClosing {
                continuation.resume(throwing: Self.failure("it is closed", remedy: ""))
            } else {
                self.work.signal()
            }
        }
    }

    private static func failure(_ what: String, remedy: String) -> RecordsError {
        RecordsError(.unavailable, source: .gateway, "the audit journal takes no records: \(what)", remedy: remedy)
    }

    private static func warnings(_ configuration: AuditConfiguration, _ reading: SecretSource.Reading) -> [String] {
        var warnings = reading.warning.map { [$0] } ?? []
        if case .file(let path) = configuration.signingKey, path.hasPrefix(configuration.state + "/") {
            warnings.append(
                "the audit signing key \(path) lies in the state folder: who can write the journal can also sign it"
            )
        }
        return warnings
    }

    private static func tell(of finding: JournalRecovery.Finding, _ logger: Logger) {
        switch finding {
        case .clean: break
        case .torn(let bytes):
            logger.warning(
                "the audit journal was not closed cleanly; the torn end is cut, and it goes on",
                metadata: ["bytes": "\(bytes)"]
            )
        case .damaged(let segment, let offset):
            logger.error(
                "the audit journal was changed or damaged; it goes on in a new segment",
                metadata: [
                    "segment": "\(JournalSegments.name(segment))", "byte": "\(offset)",
                    "remedy": "`bootgate audit verify` names the records; look who or what has written there",
                ]
            )
        }
    }

    /// What the first record of this run tells of the end of the last one.
    private static func event(for recovery: JournalRecovery, at time: Int64) -> AuditEvent? {
        switch recovery.finding {
        case .clean: nil
        case .torn(let bytes):
            AuditEvent(
                .journalRecovered,
                time: time,
                detail: [
                    .init("segment", .integer(Int64(recovery.segment))), .init("cut", .integer(bytes)),
                ]
            )
        case .damaged(let segment, let offset):
            AuditEvent(
                .journalRecovered,
                time: time,
                detail: [
                    .init("segment", .integer(Int64(segment))), .init("damaged-at", .integer(offset)),
                ]
            )
        }
    }

    // MARK: - The thread

    /// What one round of the thread has to do.
    private struct Round {
        var events: [AuditEvent] = []
        var waiters: [Waiter] = []
        var isClosing = false
    }

    private func run(_ file: JournalFile, _ retention: JournalRetention) {
        var retention = retention
        var checkpointDue: DispatchTime?
        var keep: Duration?
        var retentionDue: DispatchTime?
        var segment = file.segment
        var report = file.copy.flatMap { copy in
            self.configuration.syslog.map { SyslogReport($0, copy, self.logger) }
        }
        while true {
            let policy = self.policy.withLock { $0 }
            if policy.keep != keep {
                keep = policy.keep
                retention.keep = keep ?? .zero
                retentionDue = keep.map { _ in .now() }
            }
            self.waitForWork(until: [checkpointDue, retentionDue].compactMap { $0 }.min())
            var round = self.nextRound()
            if let event = report?.event(at: self.configuration.clock(), isLast: round.isClosing) {
                round.events.append(event)
            }
            var isReached = self.work(on: &round, file, isDue: checkpointDue.map { $0 <= .now() } ?? false)
            if keep != nil, isReached, !round.isClosing,
                segment != file.segment || retentionDue.map({ $0 <= .now() }) ?? false
            {
                segment = file.segment
                let isMore: Bool
                (isReached, isMore) = self.removeOld(&retention, file, &round)
                retentionDue = isMore ? .now() : .now() + Self.interval(self.configuration.retentionInterval)
            }
            for waiter in round.waiters { waiter.continuation.resume() }
            if round.isClosing || !isReached { break }
            if file.unsigned == 0 {
                checkpointDue = nil
            } else if checkpointDue == nil {
                checkpointDue = .now() + Self.interval(policy.checkpointInterval)
            }
        }
        self.ended.signal()
    }

    /// Takes old segments away, after the journal says so and the disk has that, signed.
    ///
    /// - Returns: false first when the journal closes and the disk takes nothing; then whether there is more to remove.
    private func removeOld(
        _ retention: inout JournalRetention, _ file: JournalFile, _ round: inout Round
    ) -> (isReached: Bool, isMore: Bool) {
        do {
            let now = self.configuration.clock()
            let former = retention.obstacle
            let due = try retention.due(before: file.segment, now: now)
            if let obstacle = retention.obstacle, obstacle != former {
                self.logger.warning(
                    "an audit segment does not end with the signature of a known key; it and all behind it stay",
                    metadata: [
                        "segment": "\(JournalSegments.name(obstacle))",
                        "remedy": "`bootgate audit verify` says why; the .pub file has a line for each former key",
                    ]
                )
            }
            guard let removal = due else { return (true, false) }
            file.append(removal.event(at: now, keep: retention.keep))
            guard self.reach(.signed, file, &round) else { return (false, false) }
            self.state.withLock { state in
                state.statistics.written &+= 1
                state.takenSince = nil
            }
            try retention.remove(removal)
            self.logger.notice(
                "old journal segments are removed",
                metadata: ["segments": "\(removal.segments.count)", "through": "\(removal.newest)"]
            )
            return (true, removal.segments.count >= JournalRetention.batchLimit)
        } catch let failure as JournalFile.Failure {
            self.logger.error(
                "cannot \(failure.what) the audit journal: \(errorText(failure.code)); it is tried again later")
        } catch {
            self.logger.error("cannot look for old journal segments: \(error); it is tried again later")
        }
        return (true, false)
    }

    /// Sleeps until somebody calls or a checkpoint is due; then a little longer, so that many records share a write,
    /// unless somebody waits for this one.
    private func waitForWork(until deadline: DispatchTime?) {
        // A call that came while a write was tried again has no signal left; what waits does.
        let isIdle = self.state.withLock { $0.queue.isEmpty && $0.waiters.isEmpty && !$0.isClosing }
        if isIdle {
            self.work.wait(until: deadline ?? .distantFuture)
        }
        let isUrgent = self.state.withLock { $0.isClosing || !$0.waiters.isEmpty }
        if !isUrgent { self.work.wait(until: .now() + Self.interval(self.configuration.window)) }
    }

    private func nextRound() -> Round {
        let time = self.configuration.clock()
        return self.state.withLock { state in
            var round = Round(events: state.queue, waiters: state.waiters, isClosing: state.isClosing)
            // A new array rather than an emptied one: the round keeps the old one.
            state.queue = []
            state.takenSince = state.takenSince ?? state.queuedSince
            state.queuedSince = nil
            state.waiters = []
            state.isSignalled = false
            if state.lost > 0 {
                round.events.append(
                    AuditEvent(
                        .journalLost,
                        time: time,
                        cause: .limit,
                        detail: [.init("records", .integer(Int64(clamping: state.lost)))]
                    )
                )
                state.lost = 0
            }
            return round
        }
    }

    /// - Returns: false when the journal closes and the disk takes nothing.
    private func work(on round: inout Round, _ file: JournalFile, isDue: Bool) -> Bool {
        for index in round.events.indices {
            if file.isSegmentFull {
                guard self.reach(.rotated, file, &round) else { return false }
            } else if file.isFull {
                guard self.reach(.written, file, &round) else { return false }
            }
            // Taken out, because a copy retains everything in it.
            var event = AuditEvent(.journalLost, time: 0)
            swap(&event, &round.events[index])
            file.append(event)
        }
        let goal: JournalFile.Goal
        if isDue || round.isClosing || file.unsigned >= self.policy.withLock({ $0.checkpointRecords })
            || round.waiters.contains(where: \.wantsCheckpoint)
        {
            goal = .signed
        } else {
            goal = round.waiters.isEmpty ? .written : .synchronized
        }
        guard self.reach(goal, file, &round) else { return false }
        let (count, seq) = (UInt64(round.events.count), file.lastSeq)
        self.state.withLock { state in
            state.statistics.written &+= count
            if goal != .written {
                state.statistics.durableSeq = seq
                state.takenSince = nil
            }
        }
        return true
    }

    /// Tries until it works. Nobody who waits is kept waiting by a disk that takes nothing.
    private func reach(_ goal: JournalFile.Goal, _ file: JournalFile, _ round: inout Round) -> Bool {
        while true {
            do {
                try file.reach(goal, at: self.configuration.clock())
                let hadFailed = self.state.withLock { state in
                    defer { state.statistics.failure = nil }
                    return state.statistics.failure != nil
                }
                if hadFailed { self.logger.notice("the audit journal takes records again") }
                return true
            } catch {
                let what =
                    "cannot \(error.what) the audit journal in \(self.configuration.directory): \(errorText(error.code))"
                let (waiters, isClosing, isNews) = self.state.withLock { state in
                    let isNews = state.statistics.failure != what
                    state.statistics.failure = what
                    defer { state.waiters = [] }
                    return (state.waiters, state.isClosing, isNews)
                }
                if isNews { self.logger.error("\(what); free some space or repair the disk, records wait meanwhile") }
                let failure = Self.failure(what, remedy: "free some space or repair the disk")
                for waiter in round.waiters + waiters { waiter.continuation.resume(throwing: failure) }
                round.waiters = []
                if isClosing {
                    self.logger.critical("the gateway stops and audit records are lost", metadata: ["cause": "\(what)"])
                    return false
                }
                self.work.wait(until: .now() + Self.interval(self.configuration.retryInterval))
            }
        }
    }

    private static func interval(_ duration: Duration) -> DispatchTimeInterval {
        let (seconds, attoseconds) = duration.components
        let microseconds = min(seconds, 1_000_000) * 1_000_000 + attoseconds / 1_000_000_000_000
        return .microseconds(Int(microseconds))
    }
}
