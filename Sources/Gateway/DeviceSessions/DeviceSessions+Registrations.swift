internal import CoAP
internal import DTLS
internal import Timing

/// Registrations: which one a session carries, what they want done, and when they end.
extension DeviceSessions {
    // MARK: - Sessions come and go

    /// A device has shown who it is and by what right it comes: its registration, if it has one, goes on with this session.
    func enterRegistration(
        _ session: DeviceSession, _ subject: RegistrationRelay.Subject, by right: Registration.Right,
        at relay: GatewayConfiguration.Upstream, now: Instant
    ) {
        let isEntitled = subject.standing == .pending || subject.standing == .active
        let known = self.registrations[subject.iccid]?.first {
            $0.server == subject.server && $0.shortServerID == right.shortServerID
        }
        if let other = session.registration, other !== known {
            // On the plain port, when the account has another number by now. The former registration rests.
            self.leaveRegistration(session, cause: .superseded, now: now)
        }
        if isEntitled, let known {
            known.right = right
            self.move(known, to: session, subject, now: now)
            return
        }
        let registration = Registration(
            right, relay: RegistrationRelay(subject: subject, record: session.record, relay: relay), session: session
        )
        session.registration = registration
        // A key past its life gets its 4.03, and touches nothing that another key has.
        if isEntitled { self.list(registration) }
    }

    func list(_ registration: Registration) {
        guard self.registrations[registration.iccid]?.contains(where: { $0 === registration }) != true else { return }
        self.registrations[registration.iccid, default: []].append(registration)
    }

    func strike(_ registration: Registration) {
        self.lifetimes.remove(registration)
        self.place(registration, at: nil)
        var others = self.registrations[registration.iccid] ?? []
        others.removeAll { $0 === registration }
        self.registrations[registration.iccid] = others.isEmpty ? nil : others
    }

    func move(
        _ registration: Registration, to session: DeviceSession, _ subject: RegistrationRelay.Subject,
        now: Instant
    ) {
        if let old = registration.session, old !== session {
            self.leaveRegistration(old, cause: .superseded, isMoving: true, now: now)
            // Over DTLS the old association would only wait for a device that has another one now. On the plain port the
            // old address may still be in the middle of a bootstrap.
            if old.arrival == .dtls { self.end(old, cause: .superseded, now: now) } else { self.schedule(old.peer) }
        }
        registration.relay.attach(subject, record: session.record)
        let names = session.layer.adopt(registration.resting)
        for unwanted in registration.relay.renameObservations(names) { session.layer.cancel(unwanted) }
        registration.resting = MessageLayer.Observations()
        registration.session = session
        registration.arrival = session.arrival
        session.registration = registration
        // Without a session it may have been forgotten a moment ago.
        self.list(registration)
        self.followLife(of: registration)
    }

    /// The session goes; its registration stays for the next one, unless the cause takes the device's right to it.
    func leaveRegistration(
        _ session: DeviceSession, cause: FailureCause?, isMoving: Bool = false, now: Instant
    ) {
        guard let registration = session.registration else { return }
        session.registration = nil
        registration.session = nil
        registration.resting = session.layer.takeObservations()
        var work = self.beginWork(now: now)
        if let cause, cause.endsRegistration {
            registration.relay.end(cause: cause, wallClock: work.wallClock, into: &work.registration)
        } else {
            registration.relay.detach(isMoving: isMoving, into: &work.registration)
        }
        self.carryOut(consume work, for: registration)
    }

    /// Ends a registration, whether its device has a session or not.
    func endRegistration(_ registration: Registration, cause: FailureCause, now: Instant) {
        var work = self.beginWork(now: now)
        registration.relay.end(cause: cause, wallClock: work.wallClock, into: &work.registration)
        // With its session, which may live on: the device's requests get their answers, its notifications are rejected.
        self.carryOut(consume work, for: registration)
        if let session = registration.session { session.registration = nil }
        registration.session = nil
        self.followLife(of: registration)
    }

    func lifetimeDue(_ registration: Registration, now: Instant) {
        var work = self.beginWork(now: now)
        registration.relay.handleDeadline(now: now, wallClock: work.wallClock, into: &work.registration)
        self.carryOut(consume work, for: registration)
        self.followLife(of: registration)
    }

    /// Sees to it that the end of the lifetime is noticed, and that nothing stays of a registration that is over.
    func followLife(of registration: Registration) {
        self.place(registration, at: Self.location(of: &registration.relay))
        if Self.isOver(&registration.relay) {
            self.strike(registration)
        } else if let deadline = Self.deadline(of: &registration.relay) {
            self.lifetimes.wake(registration, by: deadline)
        } else {
            self.lifetimes.remove(registration)
        }
        if let session = registration.session { self.schedule(session.peer) }
    }

    // MARK: - Locations

    private func place(_ registration: Registration, at location: [[UInt8]]?) {
        if location == nil && registration.place == nil { return }
        let place = location.map { ServerLocation(server: registration.server, location: $0) }
        guard place != registration.place else { return }
        if let former = registration.place, self.byLocation[former] === registration { self.byLocation[former] = nil }
        registration.place = place
        if let place { self.byLocation[place] = registration }
    }

    /// Whether a request names the location of somebody else's registration at the same server.
    func isAnothers(_ request: CoAPRequest, than registration: Registration) -> Bool {
        guard !registration.relay.isRegistered, !self.byLocation.isEmpty else { return false }
        let place = ServerLocation(
            server: registration.server, location: RegistrationRequest.location(of: request)
        )
        return self.byLocation[place].map { $0 !== registration } ?? false
    }

    // `inout` although nothing changes: what is read through a property of a class is copied as a whole first.

    private static func location(of relay: inout RegistrationRelay) -> [[UInt8]]? {
        relay.isRegistered && !relay.location.isEmpty ? relay.location : nil
    }

    private static func isOver(_ relay: inout RegistrationRelay) -> Bool { relay.isOver }

    private static func deadline(of relay: inout RegistrationRelay) -> Instant? { relay.deadline }

    // MARK: - Actions

    /// Does all of the work of a registration, with its session if there is one.
    func carryOut(_ work: consuming Work, for registration: Registration) {
        if let session = registration.session {
            self.carryOut(consume work, for: session)
            self.schedule(session.peer)
            return
        }
        var next = 0
        while next < work.registration.count {
            next += 1
            self.perform(work.registration[next - 1], for: registration, &work)
        }
        work.empty()
        self.spareWork = work
        self.followLife(of: registration)
    }

    func perform(_ action: RegistrationRelay.Action, for registration: Registration, _ work: inout Work) {
        switch action {
        case .acquireLease(let upstream): self.acquireLease(to: upstream, for: registration, &work)
        case .releaseLease:
            guard let lease = registration.lease else { return }
            registration.lease = nil
            self.byLease[lease] = nil
            self.pool.enter((lease, work.now)) { $0.release($1.0, .unclean, now: $1.1) }
        case .requestUpstream(let request, let origin):
            guard let lease = registration.lease, let exchange = self.send(request, on: lease, now: work.now) else {
                if let id = origin.id { self.answerDevice(id, DeviceAnswer.response(to: .limit), registration, &work) }
                return
            }
            registration.relay.forwarded(origin, asUpstream: exchange)
        case .answerUpstream(let id, let response):
            guard let lease = registration.lease else { return }
            self.pool.enter((id, response, lease, work.now)) { $0.respond(to: $1.0, with: $1.1, on: $1.2, now: $1.3) }
        case .notifyUpstream(let id, let response, let isConfirmable):
            guard let lease = registration.lease else { return }
            self.pool.enter((id, response, isConfirmable, lease, work.now)) {
                $0.notify($1.0, $1.1, confirmable: $1.2, on: $1.3, now: $1.4)
            }
        case .awaitRepetitions(let id):
            guard let lease = registration.lease else { return }
            let due = work.now + self.configuration.upstreamTransmission.exchangeLifetime
            self.pool.enter((id, due, lease)) { $0.postponeAcknowledgement(of: $1.0, until: $1.1, on: $1.2) }
        case .acknowledgeUpstream(let id):
            guard let lease = registration.lease else { return }
            self.pool.enter((id, lease, work.now)) { $0.acknowledge($1.0, on: $1.1, now: $1.2) }
        case .disownUpstream(let id):
            guard let lease = registration.lease else { return }
            self.pool.enter((id, lease, work.now)) {
                $0.disown($1.0, otherwise: CoAPResponse(.gatewayTimeout), on: $1.1, now: $1.2)
            }
        case .requestDevice(let request, let origin): self.requestDevice(request, origin, registration, &work)
        case .repeatToDevice(let exchange):
            registration.session?.layer.repeatRequest(exchange, into: &work.events)
        case .answerDevice(let id, let response): self.answerDevice(id, response, registration, &work)
        case .cancelDevice(let exchange):
            registration.session?.layer.cancel(exchange)
            registration.resting.remove(exchange)
        case .deviceIsProven: if let session = registration.session { self.noteAnswer(of: session) }
        case .lifeChanged:
            if case .grant(var grant) = registration.right, grant.state == .pending, registration.relay.isRegistered {
                self.use(grant)
                grant.state = .active
                registration.right = .grant(grant)
            }
            self.remindOfOrder(registration, &work)
            self.followLife(of: registration)
        case .askDevice(let request): self.askDevice(request, registration, &work)
        case .orderSettled(let order): self.settle(order)
        case .journal(let event): self.note(event, of: registration, now: work.now)
        case .count(let refused): self.counters.drop(refused.rawValue)
        }
    }

    private func note(_ event: AuditEvent, of registration: Registration, now: Instant) {
        if let session = registration.session {
            self.journal(event, of: session)
        } else {
            self.audits.append(event)
        }
        switch event.name {
        case .registrationOpened: self.counters.registrationsOpened += 1
        case .registrationClosed: self.counters.registrationsClosed += 1
        case .registrationRefused:
            guard let cause = event.cause else { return }
            self.counters.registrationsRefused[cause, default: 0] += 1
            let peer = registration.session?.peer.key.address
            self.failures.report(cause, iccid: registration.iccid, peer: peer, now: now)
        default: break
        }
    }

    private func acquireLease(
        to upstream: GatewayConfiguration.Upstream, for registration: Registration, _ work: inout Work
    ) {
        let credentials = registration.written?.credentials
        let result = self.pool.enter((registration.leaseOwner, upstream, credentials, work.now)) {
            $0.acquire(for: $1.0, upstreams: [$1.1], credentials: $1.2, now: $1.3)
        }
        switch result {
        case .granted(let lease, _, _):
            registration.lease = lease
            self.byLease[lease] = .registration(registration)
            registration.relay.leaseGranted(into: &work.registration)
        case .waiting(let lease):
            registration.lease = lease
            self.byLease[lease] = .registration(registration)
        case .refused(let cause, _):
            registration.relay.leaseRefused(cause, wallClock: work.wallClock, into: &work.registration)
        }
    }

    private func requestDevice(
        _ request: CoAPRequest, _ origin: RegistrationRelay.ServerRequest, _ registration: Registration,
        _ work: inout Work
    ) {
        guard let session = registration.session else { return }
        guard Self.fits(request.options, request.payload, session) else {
            if let replaced = origin.replacing { session.layer.cancel(replaced) }
            let refusal = Passing.tooLarge(blockSize: self.configuration.deviceTransmission.blockSize)
            guard let lease = registration.lease else { return }
            self.pool.enter((origin.id, refusal, lease, work.now)) {
                $0.respond(to: $1.0, with: $1.1, on: $1.2, now: $1.3)
            }
            return
        }
        let exchange =
            if origin.followsRepetitions {
                session.layer.sendOnce(request, replacing: origin.replacing, now: work.now, into: &work.events)
            } else {
                session.layer.send(request, replacing: origin.replacing, now: work.now, into: &work.events)
            }
        registration.relay.forwarded(origin, asDevice: exchange)
    }

    private func answerDevice(
        _ id: MessageLayer.RequestID, _ response: CoAPResponse, _ registration: Registration, _ work: inout Work
    ) {
        guard let session = registration.session else { return }
        let isFitting = Self.fits(response.options, response.payload, session)
        session.layer.respond(
            to: id, isFitting ? response : CoAPResponse(.badGateway), now: work.now, into: &work.events
        )
    }

    /// Whether one DTLS record carries the message. Small ones always fit.
    private static func fits(_ options: CoAPOptions, _ payload: [UInt8], _ session: DeviceSession) -> Bool {
        guard payload.count > 512, let dtls = session.dtls else { return true }
        return Passing.size(options: options, payload: payload) <= dtls.maximumPlaintext
    }
}

extension FailureCause {
    /// Whether a session that ends for this cause takes the device's registration with it. Otherwise the device may come
    /// back and go on.
    fileprivate var endsRegistration: Bool {
        switch self {
        case .suspended, .retired, .removed, .revoked, .unauthorized, .shutdown: true
        default: false
        }
    }
}
