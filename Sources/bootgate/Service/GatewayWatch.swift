internal import Admin
internal import DTLS
internal import Gateway
internal import Logging
internal import Records
internal import Synchronization
internal import Timing

/// What monitoring is told of the gateway and its stores while `serve` runs.
///
/// The stores are looked at in the background: a question about them never waits for a disk, and one that hangs shows as
/// a store that has not answered for a while.
final class GatewayWatch: Sendable {
    /// How often the stores are asked, and how long an answer counts.
    private static let interval = Duration.seconds(2)
    private static let patience = Duration.seconds(6)
    private static let censusInterval = Duration.seconds(60)

    private struct State {
        var gateway: RunningGateway?
        var storesAnsweredAt: Instant?
        var writeFailure: RecordsError?
        var census: [OneTimeCredential.State: Int]?
        var censusDue = Instant.now
    }

    private let records: Records
    private let journal: AuditJournal
    private let logger: Logger
    private let startedAt = Instant.now
    private let state = Mutex(State())

    init(records: Records, journal: AuditJournal, logger: Logger) {
        self.records = records
        self.journal = journal
        self.logger = logger
    }

    /// The listeners are bound; nil: they are being closed.
    func set(_ gateway: RunningGateway?) { self.state.withLock { $0.gateway = gateway } }

    func observation() async -> Observation {
        let state = self.state.withLock { $0 }
        let now = Instant.now
        let answers = state.storesAnsweredAt.map { $0.duration(to: now) < Self.patience } ?? false
        return Observation(
            version: Bootgate.version, wolfSSL: DTLSLibrary.version, gateway: await state.gateway?.statistics(),
            journal: self.journal.statistics, credentials: answers ? state.census : nil, storesAnswer: answers,
            storesTakeChanges: state.writeFailure == nil, uptime: Double(self.startedAt.nanoseconds(to: now)) / 1e9
        )
    }

    /// Looks at the stores now, so that a gateway that is ready shows as ready at once.
    func lookAtStores() async {
        self.note(await self.records.writeFailure())
        guard (try? await self.records.ping()) != nil else { return }
        self.state.withLock { $0.storesAnsweredAt = .now }
        guard self.state.withLock({ $0.censusDue <= .now }), let census = try? await self.records.credentialCensus()
        else { return }
        self.state.withLock { state in
            state.census = census
            state.censusDue = .now + Self.censusInterval
        }
    }

    /// Tells the operator when writes begin to fail, and when they work again.
    private func note(_ failure: RecordsError?) {
        let before = self.state.withLock { state in
            defer { state.writeFailure = failure }
            return state.writeFailure
        }
        if let failure, failure != before {
            self.logger.error(
                "the stores take no changes, so no bootstrap can finish",
                metadata: ["cause": "\(failure.what)", "remedy": "\(failure.remedy)"]
            )
        } else if failure == nil, before != nil {
            self.logger.notice("the stores take changes again")
        }
    }

    /// - Parameter jump: microseconds by which the wall clock went further than time.
    private func noteClock(_ jump: Int64) {
        guard abs(jump) > 10_000_000 else { return }
        self.logger.warning(
            "the wall clock was set; times in journal and log do not follow on those before",
            metadata: [
                "seconds": "\(jump / 1_000_000)", "remedy": "see whether this host's time synchronization works",
            ]
        )
    }

    /// Looks at them again and again until the task is cancelled.
    func followStores() async {
        var clock = (wall: WallClock.microseconds(), at: Instant.now)
        while !Task.isCancelled {
            try? await Task.sleep(for: Self.interval)
            let now = (wall: WallClock.microseconds(), at: Instant.now)
            self.noteClock(now.wall - clock.wall - clock.at.nanoseconds(to: now.at) / 1000)
            clock = now
            await self.lookAtStores()
        }
    }
}
