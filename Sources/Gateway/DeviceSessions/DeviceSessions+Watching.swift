internal import Secrets
internal import Timing

/// Log-and-audit mode, where it concerns who may come in at all. What becomes of a bootstrap is ``BootstrapSession``'s
/// business.
extension DeviceSessions {
    var isWatching: Bool { self.configuration.mode.isAudit }

    // MARK: - Plain devices without a record

    /// Stands for a plain device without a record; nil in `enforce`, which refuses it. Each address and port is a device of
    /// its own: behind a NAT there may be many.
    func stranger(at key: PeerKey) -> SIMRecord? {
        self.isWatching ? SIMRecord.stranger(at: key.address.description) : nil
    }

    /// A record may have been made for some of them: who is not in the middle of a bootstrap is looked up again.
    func forgetStrangers() {
        guard self.isWatching else { return }
        let now = self.environment.now()
        for session in self.byICCID.values.joined()
        where session.record.isStranger && session.registration == nil && !(session.bootstrap?.isRunning ?? false) {
            self.end(session, cause: nil, now: now)
        }
    }

    // MARK: - DTLS

    /// A retired SIM still has its key, so its device can be let through.
    func handshakeKey(of resolution: IdentityResolution) -> Secret? {
        if self.isWatching, case .bootstrap(let record) = resolution { return record.key }
        return resolution.handshakeKey
    }

    // MARK: - Changes of records

    /// Whether a session goes on although `enforce` would end it: what was learned of the SIM counts for its next
    /// bootstrap. One-time keys of an earlier time are judged as in `enforce`.
    func letsThrough(_ session: DeviceSession, under record: SIMRecord?) -> Bool {
        guard self.isWatching else { return false }
        if session.arrival == .dtls { return session.registration == nil && record != nil }
        let isListed = record?.addresses.contains { $0.contains(session.peer.key.address.ip) } ?? false
        // It is somebody else's now, or nobody's; its next datagram is looked up anew.
        return isListed || session.registration != nil || session.bootstrap?.isRunning ?? false
    }

    func follow(_ record: SIMRecord?, of session: DeviceSession) {
        guard let record else { return }
        session.record = record
        session.bootstrap?.update(record)
        session.registration?.update(record.letThrough, [:])
    }

    func letsThrough(_ registration: Registration) -> Bool { self.isWatching && registration.credential == nil }

    // MARK: - Registrations over the plain port

    /// Leave to register that no bootstrap has given. It is never stored.
    func watchedGrant(of session: DeviceSession, endpoint: String, server: String) -> PlainGrant {
        let rule = self.configuration.servers.first { $0.name == server }
        return PlainGrant(
            id: 0, key: .init(iccid: session.record.iccid, server: server), endpoint: endpoint,
            shortServerID: rule?.matchShortServerID ?? 1, state: .active, mintedAt: self.environment.wallClock()
        )
    }

    /// `enforce` would have refused this Register.
    func note(
        _ would: FailureCause, of session: DeviceSession, endpoint: String,
        at rule: (name: String, relay: GatewayConfiguration.Upstream), wallClock: Int64
    ) {
        let event = Self.refusal(would, of: session, endpoint: endpoint, at: rule, wallClock: wallClock)
        self.audits.append(event.with(.wouldRefuse))
    }
}
