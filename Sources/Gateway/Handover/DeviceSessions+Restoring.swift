internal import CoAP
internal import DTLS
internal import Logging
internal import LwM2M
internal import NIOCore
internal import Timing

/// The start of a run that takes a hand-over up: first registrations with their ports upstream, then, when the listeners
/// are bound, the sessions of their devices. In between a registration is one whose device has no session just now.
extension DeviceSessions {
    /// Judges everything by what stores and configuration say now, and takes the ports back. Called once, before the pool
    /// makes sockets of its own.
    package func prepare(_ handover: Handover) async {
        let age = self.environment.wallClock().subtractingReportingOverflow(handover.savedAt)
        var restoration = Restoration()
        restoration.elapsed = .microseconds(age.overflow ? 0 : max(0, age.partialValue))
        self.pool.enter((handover.ports, restoration.elapsed, self.environment.now())) {
            $0.beginRestoring($1.0, elapsed: $1.1, now: $1.2)
        }
        let standing: PresentStanding
        do {
            standing = try await PresentStanding(
                of: handover, records: self.environment.records, credentials: self.environment.credentials
            )
        } catch {
            for saved in handover.registrations { self.giveUp(saved, .init(.storeUnavailable, reason: "\(error)")) }
            self.restored.sessionsGivenUp = handover.sessions.count
            self.endTurn()
            return
        }
        for saved in handover.registrations {
            restoration.registrations.append(await self.restore(saved, standing, elapsed: restoration.elapsed))
        }
        for saved in handover.sessions {
            if let present = standing.judge(saved) {
                restoration.sessions.append((saved, present))
            } else {
                self.restored.sessionsGivenUp += 1
            }
        }
        self.restoration = restoration
        self.endTurn()
    }

    // MARK: - Registrations

    private func restore(
        _ saved: Handover.Registration, _ standing: PresentStanding, elapsed: Duration
    ) async -> Registration? {
        let (right, record, endpoint): (Registration.Right, SIMRecord, String)
        switch standing.judge(saved) {
        case .success(let found): (right, record, endpoint) = found
        case .failure(let givenUp):
            self.giveUp(saved, givenUp)
            return nil
        }
        guard let relay = self.configuration.servers.first(where: { $0.name == saved.server })?.relay,
            relay.uri.description == saved.upstream
        else {
            self.giveUp(saved, .init(.noRouteForServer, reason: "the server has gone from the configuration, or moved"))
            return nil
        }
        var machine = RegistrationRelay(
            subject: RegistrationRelay.Subject(
                iccid: saved.iccid, endpoint: endpoint, server: saved.server, standing: right.state,
                hasWritten: right.written != nil, peer: "", session: 0
            ),
            record: record, relay: relay
        )
        let now = self.environment.now()
        machine.restore(saved, [], elapsed: elapsed, now: now)
        guard !machine.isExpired(now: now) else {
            self.giveUp(saved, .init(.lifetimeOver))
            return nil
        }
        let registration = Registration(
            right, relay: machine, shortServerID: saved.shortServerID,
            arrival: saved.arrivedSecurely ? .dtls : .plain
        )
        let place = SavedLease(local: saved.local, remote: saved.remote, layer: saved.layer)
        let result = await self.pool.restore(
            place, saved.observations.map(\.server), for: registration.leaseOwner, upstream: relay,
            credentials: registration.written?.credentials, elapsed: elapsed
        )
        switch result {
        case .failure(let failure):
            self.giveUp(saved, .init(failure.cause, reason: failure.reason))
            return nil
        case .success(let (lease, observers)):
            registration.lease = lease
            self.byLease[lease] = .registration(registration)
            var running: [RegistrationRelay.RunningObservation] = []
            for (observation, server) in zip(saved.observations, observers) {
                guard let server else { continue }
                let device = registration.resting.restore(observation.device, elapsed: elapsed, now: now)
                running.append(.init(device: device, server: server))
            }
            registration.relay.restore(saved, running, elapsed: elapsed, now: now)
            self.list(registration)
            self.followLife(of: registration)
            self.restored.registrations += 1
            return registration
        }
    }

    /// Writes down why a registration does not go on.
    private func giveUp(_ saved: Handover.Registration, _ givenUp: PresentStanding.GivenUp) {
        self.pool.enter((saved.local, saved.remote, self.environment.now())) { $0.rest($1.0, to: $1.1, now: $1.2) }
        self.restored.registrationsGivenUp += 1
        self.counters.registrationsClosed += 1
        self.failures.report(givenUp.cause, iccid: saved.iccid, peer: nil, now: self.environment.now())
        var event = AuditEvent(
            .registrationClosed, time: self.environment.wallClock(), cause: givenUp.cause, iccid: saved.iccid,
            upstream: saved.upstream,
            detail: [
                .init("server", .text(saved.server)), .init("at", .text("restart")),
                .init("local", .text(saved.local.description)),
            ]
        )
        if let reason = givenUp.reason { event.detail.append(.init("reason", .text(reason))) }
        self.audits.append(event)
    }

    // MARK: - Sessions

    /// The listeners are there: the sessions of ``prepare(_:)`` take their places, before the first datagram.
    func placeRestored() {
        guard let restoration = self.restoration.take() else { return }
        let now = self.environment.now()
        // Those that have their address first; others are found by their connection ID alone.
        for hasAddress in [true, false] {
            for entry in restoration.sessions where entry.saved.hasAddress == hasAddress {
                self.place(entry.saved, entry.standing, of: restoration, now: now)
            }
        }
        for registration in restoration.registrations {
            guard let lease = registration?.lease else { continue }
            self.pool.enter(lease) { $0.resume($1) }
        }
        self.endTurn()
    }

    private func place(
        _ saved: Handover.Session, _ standing: IdentityResolution, of restoration: Restoration, now: Instant
    ) {
        let security: GatewayConfiguration.Security = saved.dtls == nil ? .plain : .dtls
        let registration = saved.registration.flatMap { restoration.registrations[$0] }
        guard
            let listener = self.listeners.firstIndex(where: {
                $0.address == saved.listener && $0.security == security
            })
        else {
            self.restored.sessionsGivenUp += 1
            guard let registration else { return }
            self.restored.registrations -= 1
            self.restored.registrationsGivenUp += 1
            self.failures.report(.listenerRemoved, iccid: saved.iccid, peer: saved.peer, now: now)
            self.endRegistration(registration, cause: .listenerRemoved, now: now)
            return
        }
        let key = PeerKey(listener: listener, address: saved.peer)
        guard let peer = self.place(at: key, for: saved),
            self.sessionCount < self.configuration.limits.sessions ?? .max
        else {
            self.restored.sessionsGivenUp += 1
            return
        }
        var dtls: DTLSSession?
        if let state = saved.dtls, let context = self.dtlsContext {
            let address = DTLSPeer(high: saved.peer.high, low: saved.peer.low, port: saved.peer.port)
            do throws(DTLSError) {
                dtls = try DTLSSession(restoring: state, from: address, context: context, now: now)
            } catch {
                self.environment.logger.notice(
                    "a session cannot be taken up again; its device shakes hands anew", metadata: ["error": "\(error)"]
                )
            }
        }
        guard dtls != nil || saved.dtls == nil else {
            self.restored.sessionsGivenUp += 1
            return
        }
        if saved.hasAddress { self.peers[key] = peer }
        self.restore(saved, dtls, at: peer, standing, registration, elapsed: restoration.elapsed, now: now)
        self.restored.sessions += 1
    }

    /// Nil where somebody else is.
    private func place(at key: PeerKey, for saved: Handover.Session) -> DevicePeer? {
        if saved.hasAddress && self.peers[key] != nil { return nil }
        if !saved.hasAddress && saved.dtls?.connectionID == nil { return nil }
        return DevicePeer(key: key, remote: key.address.socketAddress)
    }

    private func restore(
        _ saved: Handover.Session, _ dtls: DTLSSession?, at peer: DevicePeer, _ standing: IdentityResolution,
        _ registration: Registration?, elapsed: Duration, now: Instant
    ) {
        let options: OptionPolicy
        let record: SIMRecord
        switch standing {
        case .unknown: return
        case .bootstrap(let found): (options, record) = (dtls == nil ? .undecided : .endpoint, found)
        case .registration(_, let found): (options, record) = (.proxy, found)
        }
        let session = self.open(peer, dtls == nil ? .plain : .dtls, dtls, record, options: options, now: now)
        session.layer = MessageLayer(
            saved.layer, parameters: self.configuration.deviceTransmission, options: options, seed: self.nextSeed(),
            elapsed: elapsed, now: now
        )
        session.hasAnswered = true
        session.lastHeard = now - (elapsed + .milliseconds(Int64(saved.silence)))
        switch standing {
        case .unknown: break
        case .bootstrap:
            session.bootstrap = self.makeBootstrap(for: session)
            if let registration, registration.arrival == .plain {
                var subject = registration.relay.subject
                subject.peer = peer.key.address.description
                subject.session = session.id
                self.move(registration, to: session, subject, now: now)
            }
        case .registration(let credential, _):
            guard let relay = self.configuration.servers.first(where: { $0.name == credential.server })?.relay else {
                self.end(session, cause: .noRouteForServer, now: now)
                return
            }
            let subject = RegistrationRelay.Subject(
                iccid: credential.iccid, endpoint: credential.endpoint, server: credential.server,
                standing: credential.state, hasWritten: credential.written != nil,
                peer: peer.key.address.description, session: session.id
            )
            self.enterRegistration(session, subject, by: .credential(credential), at: relay, now: now)
        }
        self.schedule(peer)
    }
}

extension Registration.Right {
    fileprivate var state: OneTimeCredential.State {
        switch self {
        case .credential(let credential): credential.state
        case .grant(let grant): grant.state
        }
    }

    fileprivate var written: UpstreamAccount? {
        switch self {
        case .credential(let credential): credential.written
        case .grant(let grant): grant.written
        }
    }
}
