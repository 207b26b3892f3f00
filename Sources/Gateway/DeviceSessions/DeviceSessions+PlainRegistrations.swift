internal import CoAP
internal import LwM2M
internal import Timing

/// Registrations over the plain port: the source address names the SIM, the port the server, and the grant of an earlier
/// bootstrap gives the right.
extension DeviceSessions {
    static func isBootstrapRequest(_ request: CoAPRequest) -> Bool {
        guard let first = request.options.first(.uriPath) else { return false }
        return first.elementsEqual("bs".utf8) || first.elementsEqual("bspack".utf8)
    }

    /// A request of a plain device that is no bootstrap's.
    ///
    /// A Register needs a grant. An Update carries no name and may come from a new port, behind a NAT for instance: it is
    /// found by its location, under the record of its source address, and the registration moves (this amends T48).
    func dispatchPlainRegistration(
        _ id: MessageLayer.RequestID, _ request: CoAPRequest, of session: DeviceSession, _ work: inout Work
    ) {
        guard let request = OptionPolicy.proxy.screen(request) else {
            session.layer.respond(to: id, CoAPResponse(.badOption), now: work.now, into: &work.events)
            return
        }
        guard session.record.profile != .secure || self.isWatching, let rule = self.relayRule(of: session) else {
            session.layer.respond(to: id, CoAPResponse(.notFound), now: work.now, into: &work.events)
            return
        }
        if RegistrationRequest(request, location: []) == .register {
            self.awaitGrant(id, request, of: session, at: rule, now: work.now)
            return
        }
        if session.registration == nil,
            let known = self.registrations[session.record.iccid]?.first(where: {
                $0.arrival == .plain && $0.server == rule.name && Self.owns(request, &$0.relay)
            })
        {
            self.move(known, to: session, Self.subject(known.relay.subject, session), now: work.now)
        }
        guard let registration = session.registration else {
            session.layer.respond(to: id, CoAPResponse(.notFound), now: work.now, into: &work.events)
            return
        }
        registration.relay.deviceRequested(id, request, wallClock: work.wallClock, into: &work.registration)
    }

    // MARK: - Grants

    /// A Register waits for the look-up of its grant. A device has one request at a time under way, so few can wait.
    private func awaitGrant(
        _ id: MessageLayer.RequestID, _ request: CoAPRequest, of session: DeviceSession,
        at rule: (name: String, relay: GatewayConfiguration.Upstream), now: Instant
    ) {
        Task {
            let grant: PlainGrant?
            do {
                grant = try await self.grant(iccid: session.record.iccid, server: rule.name)
            } catch {
                // Silence: the device repeats its request.
                self.failures.report(
                    .storeUnavailable, iccid: session.record.iccid, peer: session.peer.key.address,
                    now: self.environment.now()
                )
                session.layer.forget(id)
                return
            }
            guard !session.isClosed else { return }
            self.register(id, request, of: session, at: rule, under: grant)
            self.endTurn()
        }
    }

    static func refusal(
        _ cause: FailureCause, of session: DeviceSession, endpoint: String,
        at rule: (name: String, relay: GatewayConfiguration.Upstream), wallClock: Int64
    ) -> AuditEvent {
        AuditEvent(
            .registrationRefused, time: wallClock, cause: cause, iccid: session.record.iccid, endpoint: endpoint,
            peer: session.peer.key.address.description, upstream: rule.relay.uri.description, session: session.id,
            detail: [.init("server", .text(rule.name))]
        )
    }

    private func register(
        _ id: MessageLayer.RequestID, _ request: CoAPRequest, of session: DeviceSession,
        at rule: (name: String, relay: GatewayConfiguration.Upstream), under grant: PlainGrant?
    ) {
        let now = self.environment.now()
        var work = self.beginWork(now: now)
        let (admission, would) = Gate.registrationVerdict(
            on: request, record: session.record, grant: grant, mode: self.configuration.mode
        )
        switch admission {
        case .admit(let endpoint):
            self.noteAnswer(of: session)
            var grant = grant
            if let would {
                grant = self.watchedGrant(of: session, endpoint: endpoint, server: rule.name)
                self.note(would, of: session, endpoint: endpoint, at: rule, wallClock: work.wallClock)
            }
            guard let grant else { return }
            self.enterRegistration(
                session,
                RegistrationRelay.Subject(
                    iccid: session.record.iccid, endpoint: endpoint, server: rule.name, standing: .active,
                    hasWritten: grant.written != nil,
                    peer: session.peer.key.address.description, session: session.id
                ),
                by: .grant(grant), at: rule.relay, now: now
            )
            if would != nil { session.registration?.relay.update(session.record.letThrough) }
            session.registration?.relay.deviceRequested(
                id, request, wallClock: work.wallClock, into: &work.registration
            )
        case .refuse(let cause, let code):
            session.layer.respond(to: id, CoAPResponse(code), now: now, into: &work.events)
            self.audits.append(
                Self.refusal(
                    cause, of: session, endpoint: session.record.endpoint, at: rule, wallClock: work.wallClock))
            self.counters.registrationsRefused[cause, default: 0] += 1
            self.failures.report(cause, iccid: session.record.iccid, peer: session.peer.key.address, now: now)
        }
        self.carryOut(consume work, for: session)
        self.schedule(session.peer)
    }

    /// The server whose registrations come in at this port: the one that the listener names, or the only one.
    private func relayRule(of session: DeviceSession) -> (name: String, relay: GatewayConfiguration.Upstream)? {
        let relays = self.configuration.servers.filter { $0.relay != nil }
        let name = self.listenerEntries[session.peer.key.listener].server
        let rule = name == nil ? (relays.count == 1 ? relays.first : nil) : relays.first { $0.name == name }
        return rule.flatMap { rule in rule.relay.map { (rule.name, $0) } }
    }

    private static func owns(_ request: CoAPRequest, _ relay: inout RegistrationRelay) -> Bool { relay.owns(request) }

    /// The same right, with the session that uses it now.
    private static func subject(
        _ subject: RegistrationRelay.Subject, _ session: DeviceSession
    ) -> RegistrationRelay.Subject {
        var subject = subject
        subject.peer = session.peer.key.address.description
        subject.session = session.id
        return subject
    }
}
