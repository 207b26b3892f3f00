internal import CoAP
internal import DTLS
internal import Timing

/// The end of a run that hands over: what goes on in the next one leaves without a word to anybody, the rest ends.
extension DeviceSessions {
    /// Whether registrations have requests under way, which a moment later they may not have.
    package var hasExchanges: Bool {
        self.registrations.values.contains { $0.contains { Self.isBusy(&$0.relay) } }
    }

    /// `inout` although nothing changes: what is read through a property of a class is copied as a whole first.
    private static func isBusy(_ relay: inout RegistrationRelay) -> Bool { relay.isBusy }

    /// Takes everything out that the next run goes on with, and ends the rest as ``stop()`` does. Called once, after the
    /// drain; nothing is to be done with the sessions afterwards.
    package func handOver() -> Handover {
        // What servers have said before counts.
        self.pool.enter(()) { pool, _ in pool.takeIn() }
        let now = self.environment.now()
        var handover = Handover(savedAt: self.environment.wallClock())
        var numbers: [ObjectIdentifier: Int] = [:]
        let users = self.byICCID.values.flatMap { $0 }.map { ($0, $0.registration) }
        for registration in Array(self.registrations.values.joined()) {
            guard let saved = self.handOver(registration, now: now) else { continue }
            numbers[ObjectIdentifier(registration)] = handover.registrations.count
            handover.registrations.append(saved)
        }
        handover.sessions.reserveCapacity(users.count)
        for (session, registration) in users {
            let number = registration.flatMap { numbers[ObjectIdentifier($0)] }
            guard let saved = self.handOver(session, registration: number, now: now) else { continue }
            handover.sessions.append(saved)
        }
        self.stop()
        handover.ports = self.pool.enter(now) { $0.savedPorts(now: $1) }
        return handover
    }

    private func handOver(_ registration: Registration, now: Instant) -> Handover.Registration? {
        guard let lease = registration.lease, registration.relay.isRegistered else { return nil }
        // What log-and-audit mode has let through stands in no store: the next run could not judge it.
        if case .grant(let grant) = registration.right, grant.id == 0 { return nil }
        // Whatever the server still waits for gets its answer now: nothing is done twice.
        if let session = registration.session {
            self.leaveRegistration(session, cause: nil, isMoving: true, now: now)
        }
        let right: Handover.Registration.Right = registration.credential.map { .identity($0.identity) } ?? .grant
        guard let place = self.pool.enter((lease, now), { $0.saved($1.0, now: $1.1) }),
            var saved = registration.relay.handover(
                by: right, arrivedSecurely: registration.arrival == .dtls, shortServerID: registration.shortServerID,
                at: place, now: now
            )
        else { return nil }
        for running in registration.relay.runningObservations {
            guard let device = registration.resting.saved(running.device, now: now),
                let server = self.pool.enter((running.server, lease), { $0.savedObserver($1.0, on: $1.1) })
            else { continue }
            saved.observations.append(Handover.Observation(device: device, server: server))
        }
        guard saved.isReadable else { return nil }
        self.pool.enter(lease) { $0.handOver($1) }
        self.byLease[lease] = nil
        self.strike(registration)
        return saved
    }

    private func handOver(
        _ session: DeviceSession, registration: Int?, now: Instant
    ) -> Handover.Session? {
        guard !session.isClosed, !(session.bootstrap?.isRunning ?? false) else { return nil }
        var state: DTLSSessionState?
        if let dtls = session.dtls {
            dtls.drainOutput { self.transmit($0, to: session.peer) }
            do throws(DTLSError) {
                state = try dtls.exportState()
            } catch {
                // It ends with the others; its device shakes hands again.
                return nil
            }
        } else if registration == nil {
            // A plain peer without a registration has nothing that it would miss.
            return nil
        }
        let saved = Handover.Session(
            listener: self.listeners[session.peer.key.listener].address, peer: session.peer.key.address,
            iccid: session.record.iccid, dtls: state, hasAddress: self.peers[session.peer.key] === session.peer,
            silence: UInt32(clamping: max(0, session.lastHeard.nanoseconds(to: now)) / 1_000_000),
            layer: session.layer.memento(now: now), registration: registration
        )
        self.takeOut(session)
        return saved
    }

    /// As ``end(_:cause:now:)`` does, but without a word.
    private func takeOut(_ session: DeviceSession) {
        session.isClosed = true
        self.sessionCount -= 1
        if session.arrival == .plain && !session.hasAnswered { self.releaseUnanswered(session) }
        if let connectionID = session.dtls?.connectionID { self.forget(connectionID, of: session) }
        if session.peer.session === session { session.peer.session = nil }
        self.forgetIfEmpty(session.peer)
        var siblings = self.byICCID[session.record.iccid] ?? []
        siblings.removeAll { $0 === session }
        self.byICCID[session.record.iccid] = siblings.isEmpty ? nil : siblings
    }
}
