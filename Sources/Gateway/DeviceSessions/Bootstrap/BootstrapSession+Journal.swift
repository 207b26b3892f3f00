internal import LwM2M
internal import Secrets

/// The audit records of a bootstrap. Keys appear as fingerprints alone.
extension BootstrapSession {
    func event(
        _ name: AuditEvent.Name, _ time: Int64, cause: FailureCause? = nil, endpoint: String? = nil
    ) -> AuditEvent {
        AuditEvent(
            name, time: time, cause: cause, iccid: self.subject.record.iccid,
            endpoint: endpoint ?? self.subject.record.endpoint, peer: self.subject.peer, session: self.subject.session
        )
    }

    func event(
        _ name: AuditEvent.Name, _ time: Int64, of attempt: Attempt, cause: FailureCause? = nil
    ) -> AuditEvent {
        self.event(name, time, of: attempt.origin, cause: cause, detail: attempt.detail)
    }

    /// Made in one go: each copy of an event counts references to all of its texts.
    private func event(
        _ name: AuditEvent.Name, _ time: Int64, of origin: Attempt.Origin, cause: FailureCause? = nil,
        detail: [AuditEvent.Field]
    ) -> AuditEvent {
        AuditEvent(
            name, time: time, cause: cause, iccid: self.subject.record.iccid, endpoint: origin.endpoint,
            peer: self.subject.peer, upstream: origin.upstreamURI, session: self.subject.session, detail: detail
        )
    }

    /// Records something about the running attempt.
    func journal(_ name: AuditEvent.Name, _ time: Int64, into actions: inout [Action]) {
        // The attempt as a whole would be copied for it.
        guard let origin = self.attempt?.origin, let detail = self.attempt?.detail else { return }
        actions.append(.journal(self.event(name, time, of: origin, detail: detail)))
    }

    func mintedEvent(_ credential: OneTimeCredential, of origin: Attempt.Origin, _ time: Int64) -> AuditEvent {
        self.event(
            .credentialMinted, time, of: origin,
            detail: [
                .init("server", .text(credential.server)),
                .init("ssid", .integer(Int64(credential.shortServerID))),
                .init("identity", .text(credential.identity.description)),
                .init("key", .text(KeyFingerprint.text(of: credential.key))),
            ]
        )
    }

    func mintedEvent(_ grant: PlainGrant, of origin: Attempt.Origin, _ time: Int64) -> AuditEvent {
        self.event(
            .credentialMinted, time, of: origin,
            detail: [
                .init("server", .text(grant.key.server)), .init("ssid", .integer(Int64(grant.shortServerID))),
                .init("security", .text(SecurityMode.noSec.name)),
            ]
        )
    }

    /// `namesKeys`: nothing was minted, so that one-time identities and keys only have a name.
    func writtenEvent(
        _ change: AccountChange, of origin: Attempt.Origin, _ time: Int64, namesKeys: Bool = false
    ) -> AuditEvent {
        self.event(
            .bootstrapWritten, time, of: origin,
            detail: [
                .init("instance", .integer(Int64(change.instanceID))),
                .init("account", .text(change.isBootstrapServer ? "bootstrap" : change.server ?? "server")),
                .init("ssid", .integer(Int64(change.shortServerID ?? 0))),
                .init("before", .object(Self.fields(change.before))),
                .init("after", .object(Self.fields(change.after, isOneTime: namesKeys && change.isMinted))),
            ]
        )
    }

    private static func fields(_ account: AccountSummary, isOneTime: Bool = false) -> [AuditEvent.Field] {
        var fields: [AuditEvent.Field] = [
            .init("uri", .text(account.uri)), .init("security", .text(account.securityMode)),
        ]
        if isOneTime {
            return fields + [
                .init("identity", .text("one-time identity")), .init("key", .text("one-time key")),
            ]
        }
        if let identity = account.identity { fields.append(.init("identity", .text(identity))) }
        if let key = account.key { fields.append(.init("key", .text(KeyFingerprint.text(of: key)))) }
        return fields
    }
}

extension AccountChange {
    /// Whether the account goes out with a one-time identity and key.
    fileprivate var isMinted: Bool {
        !self.isBootstrapServer && self.server != nil && self.after.securityMode == SecurityMode.preSharedKey.name
    }
}
