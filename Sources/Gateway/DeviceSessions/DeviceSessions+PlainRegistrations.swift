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
    /// found by its location, under the record of its source address, and the registration moves (this amends T48). One
    /// that the gateway does not know goes to the server, which does or does not.
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
            // Where the SIM has a registration, an Update of another one moves nothing.
            let isKnown = self.registrations[session.record.iccid]?.contains {
                $0.server == rule.name && $0.relay.isRegistered
            }
            guard RegistrationRequest(request, location: []) == .stray, isKnown != true else {
                session.layer.respond(to: id, CoAPResponse(.notFound), now: work.now, into: &work.events)
                return
            }
            self.awaitGrant(id, request, of: session, at: rule, now: work.now)
            return
        }
        registration.relay.deviceRequested(
            id, request, isAnothers: self.isAnothers(request, than: registration), wallClock: work.wallClock,
            into: &work.registration
        )
    }

    // MARK: - Grants

    /// A Register, or an Update of a registration that the gateway does not know, waits for the look-up of its grant. A device has one request at a time under way, so few can wait.
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
        var grant = grant
        if would != nil, case .admit(let endpoint) = admission {
            grant = self.watchedGrant(of: session, endpoint: endpoint, server: rule.name)
        }
        var verdict = admission
        if case .admit = admission, self.isSecure(session.record, grant) {
            verdict = .refuse(.notBootstrapped, .forbidden)
        }
        switch verdict {
        case .admit(let endpoint):
            self.noteAnswer(of: session)
            if let would {
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
            if let registration = session.registration {
                if would != nil { registration.relay.update(session.record.letThrough) }
                registration.relay.deviceRequested(
                    id, request, isAnothers: self.isAnothers(request, than: registration), wallClock: work.wallClock,
                    into: &work.registration
                )
            }
        case .refuse(.notBootstrapped, _) where RegistrationRequest(request, location: []) == .stray:
            // Without leave there is nothing that could have been registered here.
            session.layer.respond(to: id, CoAPResponse(.notFound), now: now, into: &work.events)
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

    /// Whether the device has a registration with this account over DTLS. A source address, which may be forged, does not
    /// take that away from it, unless the operator says that the SIM is a plain device's.
    private func isSecure(_ record: SIMRecord, _ grant: PlainGrant?) -> Bool {
        guard let grant, record.profile != .plain else { return false }
        return self.registrations[record.iccid]?.contains {
            $0.arrival == .dtls && $0.server == grant.key.server && $0.shortServerID == grant.shortServerID
        } ?? false
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
