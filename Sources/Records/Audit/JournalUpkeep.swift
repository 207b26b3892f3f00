internal import Dispatch
internal import Gateway
internal import Logging

/// What the journal's thread does beside writing: tells what the copy to syslog lost. Belongs to that thread.
struct SyslogReport {
    /// Messages that were dropped are told of at once in the log, and this long after in the journal, so that a receiver
    /// that is away does not fill it.
    static let interval: Duration = .seconds(60)

    private let target: SyslogTarget
    private let copy: SyslogCopy
    private let logger: Logger
    private var lastEvent = ContinuousClock.now
    private var isTold = false

    init(_ target: SyslogTarget, _ copy: SyslogCopy, _ logger: Logger) {
        self.target = target
        self.copy = copy
        self.logger = logger
    }

    /// What the journal is to hold of it now.
    ///
    /// - Parameter isLast: the journal closes.
    mutating func event(at time: Int64, isLast: Bool) -> AuditEvent? {
        guard self.copy.dropped > 0 else { return nil }
        let reason = self.copy.reason
        if !self.isTold {
            self.isTold = true
            self.logger.warning(
                "syslog does not take all journal records; the journal counts those that it did not take",
                metadata: ["to": "\(self.target.name)", "cause": "\(reason)"]
            )
        }
        guard isLast || ContinuousClock.now - self.lastEvent >= Self.interval else { return nil }
        self.lastEvent = .now
        self.isTold = false
        return AuditEvent(
            .journalCopyLost,
            time: time,
            cause: .limit,
            detail: [
                .init("to", .text(self.target.name)),
                .init("records", .integer(Int64(clamping: self.copy.takeDropped()))), .init("reason", .text(reason)),
            ]
        )
    }
}
