/// Leave to register over the plain port: looked up when a Register comes, and marked as used by it.
extension DeviceSessions {
    /// The grant under which this SIM may register with `server` over the plain port, or nil: then it has not
    /// bootstrapped there, or the grant has ended. For ``Gate/judgeRegistration(_:record:grant:)``.
    ///
    /// Throws when the store does not answer: then nothing is sent, and the device repeats its Register. One look-up of
    /// the store for each Register, shared with those that come meanwhile.
    func grant(iccid: String, server: String) async throws -> PlainGrant? {
        let key = PlainGrant.Key(iccid: iccid, server: server)
        return try await self.environment.credentials.grants(for: [key]).first.flatMap { $0 }
    }

    /// The server has accepted the first Register under this grant: it is in use now, and those before it are not.
    func use(_ grant: PlainGrant) {
        guard grant.state == .pending else { return }
        Task {
            let changed: [PlainGrant]
            do {
                changed = try await self.environment.credentials.prove(grant: grant.id)
            } catch {
                self.failures.report(
                    .storeUnavailable, iccid: grant.key.iccid, peer: nil, now: self.environment.now()
                )
                return
            }
            for other in changed {
                var event = AuditEvent(
                    other.state == .active ? .credentialActive : .credentialReplaced,
                    time: self.environment.wallClock(), cause: other.state == .active ? nil : .superseded,
                    iccid: other.key.iccid, endpoint: other.endpoint
                )
                event.detail = [
                    .init("server", .text(other.key.server)), .init("ssid", .integer(Int64(other.shortServerID))),
                    .init("security", .text("NoSec")),
                ]
                self.audits.append(event)
            }
            self.endTurn()
        }
    }
}
