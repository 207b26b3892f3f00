internal import CoAP
internal import DTLS
internal import NIOCore
internal import Secrets
internal import Timing

/// From datagrams to messages, from messages to what a session is doing, and back.
extension DeviceSessions {
    func open(
        _ peer: DevicePeer, _ arrival: GatewayConfiguration.Security, _ dtls: DTLSSession?, _ record: SIMRecord,
        options: OptionPolicy, now: Instant
    ) -> DeviceSession {
        let layer = MessageLayer(
            parameters: self.configuration.deviceTransmission, options: options, seed: self.nextSeed()
        )
        let session = DeviceSession(
            id: self.nextSession, peer: peer, arrival: arrival, dtls: dtls, layer: layer, record: record, now: now
        )
        self.nextSession += 1
        peer.session = session
        if let connectionID = dtls?.connectionID { self.byConnectionID[connectionID] = session }
        self.sessionCount += 1
        self.noteKnown(peer.key)
        self.counters.sessionsOpened += 1
        var siblings = self.byICCID[record.iccid] ?? []
        if siblings.count >= self.configuration.limits.sessionsPerSIM,
            let victim = self.expendable(among: siblings, isProven: arrival == .dtls)
        {
            self.end(victim, cause: .limit, now: now)
            siblings = self.byICCID[record.iccid] ?? []
        }
        siblings.append(session)
        self.byICCID[record.iccid] = siblings
        return session
    }

    /// Which session of a SIM goes for a new one. A newcomer whose address nobody has proven may be forged: it ends nothing
    /// but plain sessions that nobody has proven either, and idle ones. Nil: it has to stay out.
    func expendable(among siblings: [DeviceSession], isProven: Bool) -> DeviceSession? {
        let plain = siblings.filter { $0.arrival == .plain && $0.registration == nil }
        if let least = plain.first(where: { !$0.hasAnswered })
            ?? plain.first(where: { !($0.bootstrap?.isRunning ?? false) })
        {
            return least
        }
        guard isProven else { return nil }
        // A registered one goes last: its device may sleep behind it.
        return siblings.first { !($0.registration?.relay.isRegistered ?? false) } ?? siblings.first
    }

    /// A datagram of a live session.
    func receive(_ bytes: UnsafeRawBufferPointer, for session: DeviceSession, now: Instant) {
        guard let dtls = session.dtls else {
            session.lastHeard = now
            if !self.trace.isEmpty { self.note(bytes, .fromDevice, of: session) }
            self.withExchanges(of: session, now: now) { events, _ in
                session.layer.receive(bytes, now: now, into: &events)
            }
            return
        }
        if session.owesSeal { self.sealOutgoing() }
        _ = dtls.receive(bytes, now: now)
        dtls.drainOutput { self.transmit($0, to: session.peer) }
        if session.unjudged == nil {
            self.stagePlaintext(of: session, dtls, now: now)
        } else {
            self.readPlaintext(of: session, now: now)
        }
    }

    func readPlaintext(of session: DeviceSession, now: Instant) {
        guard let dtls = session.dtls else { return }
        self.settle(session, now: now)
        if session.unjudged != nil { self.hold(dtls, of: session, now: now) }
        self.withExchanges(of: session, now: now) { events, _ in
            while dtls.read({ message in
                if !self.trace.isEmpty { self.note(message, .fromDevice, of: session) }
                session.layer.receive(message, now: now, into: &events)
            }) {
                session.lastHeard = now
            }
        }
        if case .closed = dtls.phase, !session.isClosed { self.end(session, cause: .deviceUnreachable, now: now) }
    }

    /// Runs `body`, then everything that follows from it: events of the message layer become decisions, decisions become
    /// messages, until nothing is left to do.
    func withExchanges(
        of session: DeviceSession, now: Instant,
        _ body: (inout [MessageLayer.Event], inout [BootstrapSession.Action]) -> Void
    ) {
        var work = self.beginWork(now: now)
        body(&work.events, &work.bootstrap)
        self.carryOut(consume work, for: session)
        self.schedule(session.peer)
    }

    /// What is still to be done for one session.
    struct Work {
        var now: Instant
        var wallClock: Int64
        var events: [MessageLayer.Event] = []
        var bootstrap: [BootstrapSession.Action] = []
        var registration: [RegistrationRelay.Action] = []

        /// Forgets all, and keeps the room.
        mutating func empty() {
            if !self.events.isEmpty { self.events.removeAll(keepingCapacity: true) }
            if !self.bootstrap.isEmpty { self.bootstrap.removeAll(keepingCapacity: true) }
            if !self.registration.isEmpty { self.registration.removeAll(keepingCapacity: true) }
        }
    }

    /// With the buffers of earlier work, if they are not in use. ``carryOut(_:for:)`` gives them back.
    func beginWork(now: Instant) -> Work {
        let wallClock = self.environment.wallClock()
        guard var work = self.spareWork.take() else { return Work(now: now, wallClock: wallClock) }
        work.now = now
        work.wallClock = wallClock
        return work
    }

    /// Does all of the work, and what follows from it.
    func carryOut(_ work: consuming Work, for session: DeviceSession) {
        self.doAll(&work, for: session)
        work.empty()
        self.spareWork = work
    }

    func doAll(_ work: inout Work, for session: DeviceSession) {
        var nextEvent = 0
        var nextBootstrap = 0
        var nextRegistration = 0
        while true {
            if nextEvent < work.events.count {
                // Taken out, because a copy retains everything in it.
                var event = MessageLayer.Event.retransmitted
                swap(&event, &work.events[nextEvent])
                nextEvent += 1
                self.handle(consume event, of: session, &work)
            } else if nextBootstrap < work.bootstrap.count {
                var action = BootstrapSession.Action.dropAnswer
                swap(&action, &work.bootstrap[nextBootstrap])
                nextBootstrap += 1
                self.perform(consume action, for: session, &work)
            } else if nextRegistration < work.registration.count {
                nextRegistration += 1
                if let registration = session.registration {
                    self.perform(work.registration[nextRegistration - 1], for: registration, &work)
                }
            } else {
                return
            }
        }
    }

    /// Something that the device's message layer reports.
    private func handle(_ event: consuming MessageLayer.Event, of session: DeviceSession, _ work: inout Work) {
        switch consume event {
        case .transmit(let datagram): self.send(datagram, to: session)
        case .request(let id, let request): self.dispatch(id, request, of: session, &work)
        case .acknowledged(let exchange):
            self.noteAnswer(of: session)
            session.registration?.relay.deviceAcknowledged(exchange, into: &work.registration)
        case .response(let exchange, let response):
            self.noteAnswer(of: session)
            guard let response = Self.screened(response, to: exchange, of: session) else {
                session.layer.cancel(exchange)
                self.fail(exchange, .unusableResponse, of: session, &work)
                return
            }
            if session.deviceExchange == exchange {
                self.deviceAnswered(response, of: session, &work)
            } else {
                self.deviceAnswered(exchange, response, of: session, &work)
            }
        case .notification(let exchange, let response, let isConfirmable):
            guard let registration = session.registration else {
                // Nobody's any more: the next one is rejected.
                session.layer.cancel(exchange)
                return
            }
            guard let response = Self.screened(response, to: exchange, of: session) else {
                session.layer.cancel(exchange)
                self.fail(exchange, .unusableResponse, of: session, &work)
                return
            }
            registration.relay.deviceNotified(
                exchange, response, isConfirmable: isConfirmable, into: &work.registration
            )
        case .failed(let exchange, let failure): self.fail(exchange, failure, of: session, &work)
        case .retransmitted:
            self.counters.retransmissions += 1
            session.bootstrap?.messageRetransmitted()
        case .settled, .pong, .repeated: break
        case .dropped(let reason):
            if reason == .duplicate { session.bootstrap?.deviceRepeated() }
            self.counters.drop("device_\(reason)")
        }
    }

    private func fail(
        _ exchange: MessageLayer.ExchangeID, _ failure: MessageLayer.Failure, of session: DeviceSession,
        _ work: inout Work
    ) {
        if session.deviceExchange == exchange {
            session.deviceExchange = nil
            session.endTransfer(isComplete: false)
            session.bootstrap?.deviceFailed(
                failure, now: work.now, wallClock: work.wallClock, into: &work.bootstrap
            )
        } else {
            self.deviceFailed(exchange, failure, of: session, &work)
        }
    }

    /// On the plain port one message layer serves both legs, which treat unknown options differently.
    private static func screened(
        _ response: CoAPResponse, to exchange: MessageLayer.ExchangeID, of session: DeviceSession
    ) -> CoAPResponse? {
        guard session.arrival == .plain else { return response }
        return (session.deviceExchange == exchange ? OptionPolicy.endpoint : .proxy).screen(response)
    }

    /// A request of the device: its identity or, on the plain port, its path has decided what it may ask for.
    private func dispatch(
        _ id: MessageLayer.RequestID, _ request: CoAPRequest, of session: DeviceSession, _ work: inout Work
    ) {
        var request = request
        if session.arrival == .dtls {
            if let registration = session.registration {
                registration.relay.deviceRequested(
                    id, request, isAnothers: self.isAnothers(request, than: registration), wallClock: work.wallClock,
                    into: &work.registration
                )
                return
            }
        } else if !Self.isBootstrapRequest(request) {
            self.dispatchPlainRegistration(id, request, of: session, &work)
            return
        } else if let screened = OptionPolicy.endpoint.screen(request) {
            request = screened
        } else {
            session.layer.respond(to: id, CoAPResponse(.badOption), now: work.now, into: &work.events)
            return
        }
        session.bootstrap?.adopt(self.shared)
        let answer: CoAPResponse
        switch (request.code, request.uriPath ?? [""]) {
        case (.post, ["bs"]):
            self.counters.bootstrapsRequested += 1
            guard !self.isDraining else {
                answer = DeviceAnswer.response(to: .shutdown)
                break
            }
            guard !self.turnsAwayBootstrap(of: session) else {
                self.counters.drop("overload")
                answer = DeviceAnswer.response(to: .limit)
                break
            }
            session.bootstrapRequestedAt = work.wallClock
            session.bootstrapBegan = work.now
            session.bootstrap?.deviceRequested(
                id, request, now: work.now, wallClock: work.wallClock, into: &work.bootstrap
            )
            return
        case (.get, ["bspack"]):
            self.requestPack(id, request, of: session, &work)
            return
        case (_, ["bs"]): answer = CoAPResponse(.methodNotAllowed)
        default: answer = CoAPResponse(.notFound)
        }
        session.layer.respond(to: id, answer, now: work.now, into: &work.events)
    }

    // MARK: - Bootstrap actions

    private func perform(
        _ action: consuming BootstrapSession.Action, for session: DeviceSession, _ work: inout Work
    ) {
        switch consume action {
        case .acquireLease(let upstreams):
            let owner = LeaseOwner(iccid: session.record.iccid, leg: .bootstrap)
            let credentials =
                upstreams.contains(where: \.needsDeviceCredentials) ? session.record.preSharedKey : nil
            let result = self.pool.enter((owner, upstreams, credentials, work.now)) {
                $0.acquire(for: $1.0, upstreams: $1.1, credentials: $1.2, now: $1.3)
            }
            switch result {
            case .granted(let lease, let upstream, _):
                self.take(lease, for: session)
                session.bootstrap?.leaseGranted(upstream, wallClock: work.wallClock, into: &work.bootstrap)
            case .waiting(let lease): self.take(lease, for: session)
            case .refused(let cause, _):
                session.bootstrap?.leaseRefused(cause, wallClock: work.wallClock, into: &work.bootstrap)
            }
        case .releaseLease(let end): self.release(end, of: session, now: work.now)
        case .requestUpstream(let request):
            guard let lease = session.lease else { return }
            // A new bootstrap on the same socket; the server begins anew as well (T3).
            session.blocks?.server.removeAll()
            self.requestUpstream(request, on: lease, of: session, now: work.now)
        case .cancelUpstreamRequest:
            session.blocks?.upstream = nil
            guard let lease = session.lease, let exchange = session.upstreamExchange else { return }
            session.upstreamExchange = nil
            self.pool.enter((exchange, lease)) { $0.cancel($1.0, on: $1.1) }
        case .answerUpstream(let id, let response):
            let answer = session.blocks?.server.respond(to: id, response, now: work.now) ?? response
            self.answerUpstream(id, answer, of: session, now: work.now)
        case .requestDevice(let request): self.requestDevice(request, of: session, &work)
        case .cancelDeviceRequest:
            if let exchange = session.deviceExchange { session.layer.cancel(exchange) }
            session.deviceExchange = nil
            session.endTransfer(isComplete: false)
        case .answerDevice(let id, let response):
            let answer = session.packs?.device.respond(to: id, response, now: work.now) ?? response
            session.layer.respond(to: id, answer, now: work.now, into: &work.events)
        case .store(let credentials, let grants):
            for credential in credentials {
                self.fresh[credential.identity] = .registration(credential, session.record)
            }
            self.storeQueue.append(
                StoreOrder(
                    session: session, bootstrap: session.bootstrap?.number, credentials: credentials, grants: grants
                ))
        case .discard(let identities, let grants):
            self.discarded.insert(true, for: session.record.iccid)
            self.discard(identities, grants: grants)
        case .publish(let credentials): self.publish(credentials, for: session)
        case .restore(let credentials): self.restore(credentials)
        case .commit(let credentials, let keys): self.commit(credentials, keys)
        case .serversWritten(let instances):
            for (shortServerID, instance) in instances {
                let place = ServerPlace(iccid: session.record.iccid, shortServerID: shortServerID)
                self.serverInstances.insert(instance, for: place)
            }
        case .remember(let place): self.remember(place, of: session)
        case .dropAnswer: self.counters.drop("device_answer")
        case .journal(let event): self.journal(event, of: session)
        case .warn(let cause):
            self.failures.report(cause, iccid: session.record.iccid, peer: session.peer.key.address, now: work.now)
        case .ended(let cause):
            if let cause {
                self.counters.bootstrapFailed(cause, session.arrival)
                self.failures.report(
                    cause, iccid: session.record.iccid, peer: session.peer.key.address, now: work.now
                )
            } else {
                self.counters.bootstrapsFinished.add(session.arrival)
                self.counters.bootstrapTimes.record(
                    nanoseconds: session.bootstrapBegan.nanoseconds(to: work.now)
                )
                self.discarded.remove(session.record.iccid)
                self.noteBootstrap(of: session, &work)
            }
        }
    }

    // MARK: - The lease of a session

    // The pool lives on the same loop: calls into it are plain calls.

    func send(
        _ request: CoAPRequest, on lease: LeaseID, now: Instant
    ) -> MessageLayer.ExchangeID? {
        self.pool.enter((request, lease, now)) { $0.send($1.0, on: $1.1, now: $1.2) }
    }

    private func take(_ lease: LeaseID, for session: DeviceSession) {
        session.lease = lease
        session.blocks = self.makeBlocks()
        self.byLease[lease] = .bootstrap(session)
    }

    private func release(_ end: LeaseEnd, of session: DeviceSession, now: Instant) {
        guard let lease = session.lease else { return }
        session.lease = nil
        session.dropBlocks()
        session.upstreamExchange = nil
        self.byLease[lease] = nil
        self.pool.enter((lease, end, now)) { $0.release($1.0, $1.1, now: $1.2) }
    }

    private func answerUpstream(
        _ id: MessageLayer.RequestID, _ response: CoAPResponse, of session: DeviceSession,
        now: Instant
    ) {
        guard let lease = session.lease else { return }
        self.pool.enter((id, response, lease, now)) { $0.respond(to: $1.0, with: $1.1, on: $1.2, now: $1.3) }
    }

    // MARK: - Ends

    /// Ends a session. A registration outlives it, unless the cause says otherwise.
    func end(_ session: DeviceSession, cause: FailureCause?, now: Instant) {
        guard !session.isClosed else { return }
        var work = self.beginWork(now: now)
        session.bootstrap?.deviceGone(cause ?? .deviceUnreachable, wallClock: work.wallClock, into: &work.bootstrap)
        self.carryOut(consume work, for: session)
        self.leaveRegistration(session, cause: cause, now: now)
        if let dtls = session.dtls {
            if session.owesSeal { self.sealOutgoing() }
            dtls.close()
            dtls.drainOutput { self.transmit($0, to: session.peer) }
        }
        session.isClosed = true
        self.sessionCount -= 1
        self.counters.sessionsClosed += 1
        if session.arrival == .plain && !session.hasAnswered { self.releaseUnanswered(session) }
        if let connectionID = session.dtls?.connectionID { self.forget(connectionID, of: session) }
        if session.peer.session === session { session.peer.session = nil }
        self.forgetIfEmpty(session.peer)
        var siblings = self.byICCID[session.record.iccid] ?? []
        siblings.removeAll { $0 === session }
        self.byICCID[session.record.iccid] = siblings.isEmpty ? nil : siblings
    }
}
