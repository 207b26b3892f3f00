package import DTLS
package import Logging

/// What has happened since the start, as plain numbers: one value per shard, changed on its event loop alone.
package struct GatewayCounters: Sendable {
    /// One number for each way in which devices come.
    package struct ByArrival: Sendable, Equatable {
        package var dtls = 0
        package var plain = 0

        package var total: Int { self.dtls + self.plain }

        mutating func add(_ arrival: GatewayConfiguration.Security) {
            switch arrival {
            case .dtls: self.dtls += 1
            case .plain: self.plain += 1
            }
        }
    }

    package var bootstrapsRequested = 0
    package var bootstrapsFinished = ByArrival()
    package var bootstrapsFailed: [FailureCause: ByArrival] = [:]
    /// From the device's request to its answer to Finish; of those that finished.
    package var bootstrapTimes = LatencyHistogram()
    package var registrationsOpened = 0
    package var registrationsClosed = 0
    package var registrationsRefused: [FailureCause: Int] = [:]
    /// Log-and-audit mode: what was let through and `enforce` would have refused; records of the journal by cause.
    package var wouldRefuse: [FailureCause: Int] = [:]
    package var handshakesCompleted = 0
    /// The completed ones by what was agreed on.
    package var handshakeSuites: [CipherSuite: Int] = [:]
    /// From the hello with a valid cookie to the device's proof; of those that completed.
    package var handshakeTimes = LatencyHistogram()
    package var handshakesFailed: [FailureCause: Int] = [:]
    package var helloVerifications = 0
    /// Times that an identity had to wait at one source for wrong keys.
    package var backOffs = 0
    package var datagramsFromDevices = 0
    package var datagramsToDevices = 0
    /// Messages to devices that went out again, because no ACK had come in time.
    package var retransmissions = 0
    /// Datagrams and messages that were not processed, by reason.
    package var dropped: [String: Int] = [:]
    package var sessionsOpened = 0
    package var sessionsClosed = 0
    /// Times that a session was found at another address by its connection ID.
    package var sessionsMoved = 0

    package init() {}

    mutating func drop(_ reason: String) { self.dropped[reason, default: 0] += 1 }

    mutating func bootstrapFailed(_ cause: FailureCause, _ arrival: GatewayConfiguration.Security) {
        self.bootstrapsFailed[cause, default: ByArrival()].add(arrival)
    }

    /// Log-and-audit mode: records that go to the journal.
    mutating func noteWatched(_ events: [AuditEvent]) {
        for event in events {
            guard let cause = event.cause, event.detail.contains(AuditOutcome.wouldRefuse.field) else { continue }
            self.wouldRefuse[cause, default: 0] += 1
        }
    }

    mutating func handshakeFailed(_ cause: FailureCause) { self.handshakesFailed[cause, default: 0] += 1 }

    /// All counters that are not zero, for one log line.
    package var metadata: Logger.Metadata {
        var metadata: Logger.Metadata = [:]
        func add(_ name: String, _ value: Int) { if value > 0 { metadata[name] = "\(value)" } }
        add("bootstraps_requested", self.bootstrapsRequested)
        add("bootstraps_finished", self.bootstrapsFinished.total)
        for (cause, count) in self.bootstrapsFailed { add("bootstraps_failed_\(cause.label)", count.total) }
        add("registrations_opened", self.registrationsOpened)
        add("registrations_closed", self.registrationsClosed)
        for (cause, count) in self.registrationsRefused { add("registrations_refused_\(cause.label)", count) }
        add("handshakes_completed", self.handshakesCompleted)
        for (cause, count) in self.handshakesFailed { add("handshakes_failed_\(cause.label)", count) }
        add("hello_verifications", self.helloVerifications)
        add("back_offs", self.backOffs)
        add("datagrams_from_devices", self.datagramsFromDevices)
        add("datagrams_to_devices", self.datagramsToDevices)
        add("retransmissions_to_devices", self.retransmissions)
        for (reason, count) in self.dropped { add("dropped_\(reason)", count) }
        add("sessions_opened", self.sessionsOpened)
        add("sessions_closed", self.sessionsClosed)
        add("sessions_moved", self.sessionsMoved)
        return metadata
    }
}

extension FailureCause {
    /// The cause as one word, for metrics and counters.
    package var label: String { self.rawValue.replacing(" ", with: "_") }
}
