internal import Admin
internal import Gateway
internal import Glibc
internal import Logging
internal import Publishing
internal import Records

/// Takes another configuration while the gateway runs: on SIGHUP, one at a time.
///
/// The file is read and checked as a whole first. What it cannot do leaves everything as it is, and the log and the journal
/// say why.
actor Reloader {
    /// What it works on besides the gateway itself.
    struct Parts: Sendable {
        let records: Records
        let journal: AuditJournal
        let publisher: PublisherSwitch
        let access: AdminAccess
        let log: LogSettings
    }

    private let path: String
    private var configuration: BootgateConfiguration
    private let parts: Parts
    private let logger: Logger
    private var gateway: RunningGateway?
    private var isStopping = false
    private var isRunning = false
    private var waiting: [CheckedContinuation<Void, Never>] = []
    private(set) var counts = Observation.Reloads()
    /// Called when servers are told keys for the first time.
    private var startPublishing: (@Sendable () -> Void)?

    init(path: String, configuration: BootgateConfiguration, parts: Parts, logger: Logger) {
        self.path = path
        self.configuration = configuration
        self.parts = parts
        self.logger = logger
    }

    /// The gateway is ready.
    func begin(_ gateway: RunningGateway, startPublishing: @escaping @Sendable () -> Void) {
        self.gateway = gateway
        self.startPublishing = startPublishing
    }

    /// No reload begins any more. Returns when the one that runs has ended.
    func stop() async {
        self.isStopping = true
        while self.isRunning { await withCheckedContinuation { self.waiting.append($0) } }
    }

    /// Reads the file again. Callers come one after another; what they find in the file at the end counts.
    func reload() async {
        guard !self.isStopping, let gateway = self.gateway else {
            self.logger.notice("the gateway is stopping; the configuration is not read again")
            return
        }
        self.isRunning = true
        ServiceManager.reloading()
        await self.reload(gateway)
        ServiceManager.ready(gateway)
        self.isRunning = false
        let waiting = self.waiting
        self.waiting = []
        for continuation in waiting { continuation.resume() }
    }

    private func reload(_ gateway: RunningGateway) async {
        let prepared: PreparedConfiguration
        do {
            prepared = try PreparedConfiguration.read(self.path)
        } catch {
            self.refuse(error.mistakes)
            return
        }
        let new = prepared.configuration
        let changes = self.configuration.changes(to: new)
        guard changes.needsRestart.isEmpty else {
            await prepared.publisher?.close()
            self.refuse([ReloadRefusal(needsRestart: changes.needsRestart).description])
            return
        }
        for warning in prepared.warnings { self.logger.warning("\(warning)") }
        do {
            try await gateway.reload(to: new.gateway)
        } catch {
            await prepared.publisher?.close()
            self.refuse(["\(error)"])
            return
        }
        await self.parts.publisher.replace(with: prepared.publisher)
        if prepared.publisher != nil { self.startPublishing?() }
        self.parts.records.adopt(prepared.records.lifetimes)
        self.parts.journal.adopt(new.audit.policy)
        self.parts.access.set(prepared.admin)
        self.parts.log.set(new.log)
        self.configuration = new
        self.counts.applied += 1
        self.logger.notice(
            "configuration reloaded",
            metadata: ["changed": "\(changes.all.isEmpty ? "nothing" : changes.all.joined(separator: ", "))"])
        self.note("applied", [.init("changed", .list(changes.all.map { .text($0) }))])
    }

    private func refuse(_ reasons: [String]) {
        self.counts.refused += 1
        for reason in reasons { self.logger.error("\(reason)") }
        self.logger.error("the configuration is not taken; the gateway goes on with the one that it has")
        self.note("refused", [.init("reasons", .list(reasons.map { .text($0) }))])
    }

    private func note(_ outcome: String, _ fields: [AuditEvent.Field]) {
        self.parts.journal.record([
            AuditEvent(
                .gatewayReloaded, time: WallClock.microseconds(), detail: [.init("outcome", .text(outcome))] + fields)
        ])
    }
}

extension BootgateConfiguration.Audit {
    /// What of it may change while the journal is open.
    var policy: AuditJournal.Policy {
        .init(keep: self.keep, checkpointInterval: self.checkpointEvery, checkpointRecords: self.checkpointRecords)
    }
}

extension ServiceManager {
    /// The configuration is being read again: systemd wants to know since when.
    static func reloading() {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        self.notify("RELOADING=1\nMONOTONIC_USEC=\(time.tv_sec * 1_000_000 + time.tv_nsec / 1000)")
    }

    /// The listeners are bound.
    static func ready(_ gateway: RunningGateway) {
        self.notify("READY=1\nSTATUS=\(gateway.listeners.map(\.description).joined(separator: " "))")
    }
}
