internal import CoAP
internal import DTLS
internal import NIOCore
internal import Secrets
internal import Timing

/// Devices that come over DTLS: cookies, handshakes, identities.
extension DeviceSessions {
    func receiveRecord(
        _ bytes: UnsafeRawBufferPointer, key: PeerKey, remote: SocketAddress, now: Instant
    ) {
        let peer = self.peers[key]
        // What belongs to a handshake may put another session in the place of this one.
        if let session = peer?.session, session.isStaged, bytes.first != 23 { self.settle(session, now: now) }
        if DTLSSession.isClientHello(bytes) {
            self.receiveHello(bytes, key: key, remote: remote, peer: peer, now: now)
            return
        }
        if bytes.first == ConnectionID.contentType {
            self.receiveNamed(bytes, key: key, remote: remote, peer: peer, now: now)
            return
        }
        guard let peer else {
            // Nothing that could be said in clear would be both safe and honoured.
            self.counters.drop("unknown_session")
            return
        }
        if let handshake = peer.handshake, Self.belongsToHandshake(bytes) || peer.session == nil {
            let outcome = handshake.dtls.receive(bytes, now: now)
            self.advance(handshake, of: peer, outcome, now: now)
        } else if let session = peer.session {
            self.receive(bytes, for: session, now: now)
        }
    }

    /// Handshake messages and ChangeCipherSpec, in whichever epoch.
    static func belongsToHandshake(_ record: UnsafeRawBufferPointer) -> Bool {
        record.first == 22 || record.first == 20
    }

    // MARK: - Hellos

    private func receiveHello(
        _ bytes: UnsafeRawBufferPointer, key: PeerKey, remote: SocketAddress, peer: DevicePeer?,
        now: Instant
    ) {
        guard let context = self.dtlsContext else { return }
        let address = DTLSPeer(high: key.address.high, low: key.address.low, port: key.address.port)
        if self.isDraining, peer?.handshake == nil {
            // Not even a cookie: the device comes again, and finds the next run.
            self.counters.drop("draining")
            return
        }
        switch self.cookies.examine(bytes, from: address, now: now, reply: &self.helloReply) {
        case .drop(let reason):
            self.counters.drop("hello_\(reason)")
        case .reply:
            guard !self.turnsAway(key) else {
                self.counters.drop("overload")
                return
            }
            self.counters.helloVerifications += 1
            self.helloReply.withBytes { reply in
                self.counters.datagramsToDevices += 1
                self.listeners[key.listener].send(reply, to: remote)
            }
        case .accept:
            if let peer, let handshake = peer.handshake, handshake.dtls.isOwnHello(bytes) {
                self.advance(handshake, of: peer, handshake.dtls.receive(bytes, now: now), now: now)
                return
            }
            guard !self.isDraining, self.halfOpen < self.configuration.limits.halfOpen,
                self.sessionCount < self.configuration.limits.sessions ?? .max
            else {
                self.counters.drop("limit")
                return
            }
            guard !self.hasTooManyHandshakes(key) else {
                self.counters.drop("half_open_per_source")
                return
            }
            let dtls: DTLSSession
            do throws(DTLSError) {
                dtls = try DTLSSession(
                    accepting: bytes, from: address, cookies: self.cookies, context: context,
                    connectionID: self.newConnectionID(at: key.listener), now: now
                )
            } catch {
                self.counters.drop("hello_unacceptable")
                return
            }
            let peer = peer ?? DevicePeer(key: key, remote: remote)
            if let old = peer.handshake { self.abandon(old, of: peer, now: now) }
            self.peers[key] = peer
            let handshake = Handshake(dtls: dtls, now: now)
            peer.handshake = handshake
            self.handshakeBegan(key)
            self.advance(handshake, of: peer, .nothing, now: now)
        }
    }

    // MARK: - Progress

    func advance(
        _ handshake: Handshake, of peer: DevicePeer, _ outcome: DTLSOutcome, now: Instant
    ) {
        handshake.dtls.drainOutput { self.transmit($0, to: peer) }
        switch outcome {
        case .nothing:
            // A look-up that failed is tried again with the next datagram of the device.
            if handshake.resolution == nil, !handshake.isBackedOff, let identity = handshake.dtls.identity {
                self.lookUp(identity, for: handshake, of: peer, now: now)
            }
            // The device hears nothing and tries on for a while; the operator need not wait for its end.
            if handshake.dtls.hasFailedProof { self.reportFailure(of: handshake, of: peer, now: now) }
        case .keyNeeded(let identity): self.lookUp(identity, for: handshake, of: peer, now: now)
        case .established: self.promote(handshake, of: peer, now: now)
        case .closed: self.abandon(handshake, of: peer, now: now)
        }
        self.schedule(peer)
    }

    func handshakeDue(_ handshake: Handshake, of peer: DevicePeer, now: Instant) {
        self.advance(handshake, of: peer, handshake.dtls.handleDeadline(now: now), now: now)
    }

    /// The handshake came to nothing.
    private func abandon(_ handshake: Handshake, of peer: DevicePeer, now: Instant) {
        guard peer.handshake === handshake else { return }
        peer.handshake = nil
        self.handshakeEnded(peer.key)
        self.forgetIfEmpty(peer)
        self.reportFailure(of: handshake, of: peer, now: now)
    }

    /// Counts why a handshake fails, once, and records it if the device has named itself.
    private func reportFailure(of handshake: Handshake, of peer: DevicePeer, now: Instant) {
        guard !handshake.isReported else { return }
        handshake.isReported = true
        guard !handshake.isBackedOff else {
            self.counters.drop("back_off")
            return
        }
        guard let resolution = handshake.resolution, let identity = handshake.dtls.identity else {
            self.counters.handshakeFailed(.deviceUnreachable)
            return
        }
        let cause: FailureCause
        var iccid: String?
        switch resolution {
        case .unknown: cause = .unknownIdentity
        case .bootstrap(let record), .registration(_, let record):
            cause = record.status == .retired && !self.isWatching ? .retired : .wrongKey
            iccid = record.iccid
        }
        self.counters.handshakeFailed(cause)
        let event = AuditEvent(
            .bootstrapRefused, time: self.environment.wallClock(), cause: cause, iccid: iccid,
            peer: peer.key.address.description, detail: [.init("identity", .text(identity.description))]
        )
        self.audits.append(self.isWatching ? event.with(.notObservable) : event)
        self.failures.report(cause, iccid: iccid, peer: peer.key.address, now: now)
        if handshake.dtls.hasFailedProof { self.noteWrongKey(identity, of: iccid, at: peer.key, now: now) }
    }

    // MARK: - Identities

    private func lookUp(
        _ identity: PSKIdentity, for handshake: Handshake, of peer: DevicePeer, now: Instant
    ) {
        guard !self.mustWait(identity, at: peer.key, now: now) else {
            handshake.isBackedOff = true
            self.advance(handshake, of: peer, handshake.dtls.provide(key: nil, now: now), now: now)
            return
        }
        if let known = self.fresh[identity] ?? self.identities.value(for: identity) {
            self.provide(known, of: self.recordGeneration, to: handshake, of: peer, now: now)
        } else if self.identityWaiters[identity] == nil {
            self.identityWaiters[identity] = [peer.key]
            self.identityQueue.append(identity)
        } else if self.identityWaiters[identity]?.contains(peer.key) == false {
            self.identityWaiters[identity]?.append(peer.key)
        }
    }

    private func provide(
        _ resolution: IdentityResolution, of generation: Int, to handshake: Handshake, of peer: DevicePeer,
        now: Instant
    ) {
        handshake.resolution = resolution
        handshake.recordGeneration = generation
        self.advance(
            handshake, of: peer, handshake.dtls.provide(key: self.handshakeKey(of: resolution), now: now), now: now)
    }

    /// One batch of look-ups for all identities that this turn has met.
    func resolveIdentities() {
        let batch = self.identityQueue
        self.identityQueue.removeAll(keepingCapacity: true)
        let generation = self.recordGeneration
        Task {
            let resolutions: [IdentityResolution]
            do {
                resolutions = try await self.environment.records.resolve(identities: batch)
            } catch {
                for identity in batch { self.identityWaiters[identity] = nil }
                self.counters.handshakeFailed(.storeUnavailable)
                self.failures.report(.storeUnavailable, iccid: nil, peer: nil, now: self.environment.now())
                return
            }
            let now = self.environment.now()
            for (identity, resolution) in zip(batch, resolutions) {
                // A one-time credential ends by time, by a newer one and by revocation: the store is asked each time.
                if generation == self.recordGeneration, !resolution.isOneTime {
                    self.identities.insert(resolution, for: identity)
                }
                for key in self.identityWaiters.removeValue(forKey: identity) ?? [] {
                    guard let peer = self.peers[key], let handshake = peer.handshake,
                        handshake.resolution == nil, handshake.dtls.identity == identity
                    else { continue }
                    self.provide(resolution, of: generation, to: handshake, of: peer, now: now)
                }
            }
            self.endTurn()
        }
    }

    // MARK: - Established

    /// The device has proved its key: the handshake becomes the session of its address.
    private func promote(_ handshake: Handshake, of peer: DevicePeer, now: Instant) {
        guard peer.handshake === handshake, let resolution = handshake.resolution else { return }
        peer.handshake = nil
        self.handshakeEnded(peer.key)
        self.noteRightKey(handshake.dtls.identity, at: peer.key)
        self.counters.handshakesCompleted += 1
        self.counters.handshakeTimes.record(nanoseconds: handshake.began.nanoseconds(to: now))
        if let suite = handshake.dtls.suite { self.counters.handshakeSuites[suite, default: 0] += 1 }
        if let old = peer.session { self.makeRoom(at: peer, of: old, for: resolution.iccid, now: now) }
        self.peers[peer.key] = peer
        let session: DeviceSession
        switch resolution {
        case .unknown:
            // Cannot be: nobody has the random key that an unknown identity is given.
            self.counters.handshakeFailed(.internal)
            self.forgetIfEmpty(peer)
            return
        case .bootstrap(let record):
            session = self.open(peer, .dtls, handshake.dtls, record, options: .endpoint, now: now)
            session.bootstrap = self.makeBootstrap(for: session)
        case .registration(let credential, let record):
            guard let rule = self.configuration.servers.first(where: { $0.name == credential.server }),
                let relay = rule.relay
            else {
                handshake.dtls.close()
                handshake.dtls.drainOutput { self.transmit($0, to: peer) }
                self.failures.report(.noRouteForServer, iccid: record.iccid, peer: peer.key.address, now: now)
                self.forgetIfEmpty(peer)
                return
            }
            session = self.open(peer, .dtls, handshake.dtls, record, options: .proxy, now: now)
            let subject = RegistrationRelay.Subject(
                iccid: credential.iccid, endpoint: credential.endpoint, server: credential.server,
                standing: credential.state, hasWritten: credential.written != nil, peer: peer.key.address.description,
                session: session.id
            )
            self.enterRegistration(session, subject, by: .credential(credential), at: relay, now: now)
            if credential.state == .pending { self.prove(credential) }
        }
        // While the device proved its key, its SIM may have changed.
        if handshake.recordGeneration != self.recordGeneration { self.judgeBeforeUse(session) }
        self.readPlaintext(of: session, now: now)
    }

    func makeBootstrap(for session: DeviceSession) -> BootstrapSession {
        BootstrapSession(
            subject: BootstrapSession.Subject(
                record: session.record, arrival: session.arrival, peer: session.peer.key.address.description,
                session: session.id
            ),
            configuration: self.shared,
            mayHoldDiscarded: self.discarded.value(for: session.record.iccid) ?? false
        )
    }
}

extension IdentityResolution {
    fileprivate var isOneTime: Bool { if case .registration = self { true } else { false } }

    /// The key to shake hands with; nil where the handshake goes on with a random one and fails in silence.
    var handshakeKey: Secret? {
        switch self {
        case .bootstrap(let record): record.status == .retired ? nil : record.key
        case .registration(let credential, let record):
            record.status == .retired || credential.state == .revoked ? nil : credential.key
        case .unknown: nil
        }
    }
}
