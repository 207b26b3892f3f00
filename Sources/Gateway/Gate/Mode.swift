internal import Secrets

extension GatewayConfiguration {
    /// `mode`: what becomes of what must not be.
    package enum Mode: Sendable, Equatable {
        case enforce
        /// Log-and-audit mode: every decision is taken and recorded, and what can be let through is let through as it came.
        /// `keepDevices`: the bootstrap account that a device gets leads back here all the same, because it would be seen
        /// once and then leave for the legacy server.
        case audit(keepDevices: Bool)
    }
}

extension GatewayConfiguration.Mode {
    /// Whether the gateway only watches.
    package var isAudit: Bool { self != .enforce }

    /// As the configuration writes it.
    package var name: String { self.isAudit ? "audit" : "enforce" }

    /// The records of this mode: in log-and-audit mode each of them says so, and devices without a SIM record have no ICCID.
    func marked(_ events: [AuditEvent]) -> [AuditEvent] {
        guard self.isAudit else { return events }
        return events.map { event in
            var event = event
            if event.iccid.map(SIMRecord.isStranger) == true { event.iccid = nil }
            event.detail.append(.init("mode", .text("audit")))
            return event
        }
    }
}

/// The words for what `enforce` would have done, in `outcome` of a record's `detail`.
package enum AuditOutcome: String, Sendable, CaseIterable {
    /// It would have been refused, for the cause of the record.
    case wouldRefuse = "would-refuse"
    /// The account would have become what stands in `after`.
    case wouldRewrite = "would-rewrite"
    /// The bootstrap would have been let through as well.
    case wouldFinish = "would-finish"
    /// It could not be let through: nobody has the key of such a handshake.
    case notObservable = "not-observable"

    var field: AuditEvent.Field { .init("outcome", .text(self.rawValue)) }
}

extension AuditEvent {
    /// Says what `enforce` would have done.
    func with(_ outcome: AuditOutcome) -> AuditEvent {
        var event = self
        event.detail.append(outcome.field)
        return event
    }
}

extension SIMRecord {
    private static let strangerPrefix = "peer "

    /// Stands for a plain device without a record that log-and-audit mode lets through; `peer` is its address and port.
    static func stranger(at peer: String) -> SIMRecord? {
        let name = Self.strangerPrefix + peer
        return PSKIdentity(name).map { SIMRecord(iccid: name, endpoint: "", identity: $0, key: nil) }
    }

    /// Whether this is the number of no SIM but of a device without a record.
    static func isStranger(_ iccid: String) -> Bool { iccid.hasPrefix(Self.strangerPrefix) }

    /// Whether the record is no operator's.
    var isStranger: Bool { Self.isStranger(self.iccid) }

    /// The same as one that nothing stands against.
    var letThrough: SIMRecord {
        var record = self
        record.status = .active
        record.profile = .follow
        return record
    }
}
