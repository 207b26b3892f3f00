internal import Timing

// Upstreams over DTLS: when a handshake is due, what follows from its end, and when a session is over.
//
// A lease is granted when the session stands. A session of a fixed pair stays with its socket and serves the next device
// as the socket does; one with credentials of a device ends with its lease. Sessions are not resumed: a session that
// stays costs no handshake at all, and a resumed one would go on without asking for a key that was changed meanwhile.
extension PoolStateMachine {
    /// How the sockets of an upstream are protected.
    enum Security: Sendable, Equatable {
        /// Plain CoAP.
        case none
        /// DTLS with one pair for all devices.
        case shared
        /// DTLS with a pair that belongs to the lease.
        case perLease
    }

    /// The DTLS session of a socket.
    struct Session: Sendable, Equatable {
        enum Stage: Sendable, Equatable {
            case none
            /// A handshake is under way. Becomes `live` or `none`.
            case establishing
            /// Becomes `none` when either end closes it, `establishing` when it seems lost.
            case live(heard: Instant)
        }

        var stage = Stage.none
        /// Something came from the server during the handshake under way.
        var isAnswered = false
        /// The first CON message since anything authentic was heard.
        var silentSince: Instant?
        /// Handshakes in the middle of a lease that failed since the last one that succeeded.
        var failures = 0
        /// No handshake in the middle of a lease before this.
        var retryAt: Instant?

        var isLive: Bool { if case .live = self.stage { true } else { false } }

        /// An authentic record came.
        mutating func heard(_ now: Instant) {
            guard self.isLive else { return }
            self.stage = .live(heard: now)
            self.silentSince = nil
        }
    }

    /// How a handshake came to nothing.
    enum HandshakeFailure: Sendable, Equatable {
        /// The server never said a word.
        case unanswered
        /// It spoke, but the handshake did not succeed: another key, identity or suite.
        case refused
        /// The network says that nobody listens there.
        case unreachable
        /// No session can be made here: memory is short, or the library cannot.
        case unable

        var cause: FailureCause {
            switch self {
            case .unanswered: .upstreamSilent
            case .refused: .upstreamHandshake
            case .unreachable: .upstreamUnreachable
            case .unable: .internal
            }
        }
    }

    /// What is to become of a message that wants to leave on a socket of an upstream over DTLS.
    enum Transmission: Sendable, Equatable {
        case now
        /// Keep it until the handshake under way has ended.
        case hold
        /// There is no session and none is to be made; the message layer repeats what matters.
        case discard
    }

    /// A shared session that was quiet for so long is made anew before the next lease: servers forget sessions, and a
    /// handshake is cheaper than a request that gets no answer.
    static var sharedSessionRest: Duration { .seconds(60) }

    // MARK: - The first handshake of a lease

    /// Whether a socket can serve a lease at once.
    func isReady(_ socket: SocketID, now: Instant) -> Bool {
        switch self.upstreams[self.sockets[socket.slot].upstream].security {
        case .none: return true
        case .perLease: return self.sockets[socket.slot].session.isLive
        case .shared:
            guard case .live(let heard) = self.sockets[socket.slot].session.stage else { return false }
            return heard + Self.sharedSessionRest > now
        }
    }

    mutating func secure(_ socket: SocketID, for lease: LeaseID) {
        self.setState(socket, .securing(lease))
        self.leases[lease]?.place = .securing(socket)
        self.beginHandshake(socket)
    }

    mutating func beginHandshake(_ socket: SocketID) {
        self.sockets[socket.slot].session.stage = .establishing
        self.sockets[socket.slot].session.isAnswered = false
        self.sockets[socket.slot].session.silentSince = nil
        self.actions.append(.secure(socket))
    }

    /// A datagram of the handshake under way came. It proves little, so the upstream does not count as heard.
    mutating func handshakeAnswered(_ socket: SocketID) {
        guard self.isCurrent(socket) else { return }
        self.sockets[socket.slot].session.isAnswered = true
    }

    /// The handshake is complete: both ends have proved the key.
    mutating func secured(_ socket: SocketID, now: Instant) {
        guard self.isCurrent(socket), self.sockets[socket.slot].session.stage == .establishing else { return }
        let upstream = self.sockets[socket.slot].upstream
        self.sockets[socket.slot].session = Session(stage: .live(heard: now))
        let isNews = self.heard(upstream, now: now)
        self.upstreams[upstream].health.pingAnswered()
        switch self.sockets[socket.slot].state {
        case .securing(let lease):
            self.setState(socket, .leased(lease))
            self.leases[lease]?.place = .socket(socket)
            self.actions.append(.grant(lease, socket, upstream))
        case .probing:
            self.becomeIdle(socket, now: now)
        case .free, .opening, .idle, .leased, .settling, .resting, .quarantined:
            break
        }
        if isNews { self.supply(upstream, now: now) }
    }

    /// A handshake came to nothing.
    ///
    /// With a fixed pair it counts against the upstream, whatever went wrong: no device could get through. A pair of a
    /// device's own that is refused is that device's trouble alone, or one wrong key would take the server from all.
    mutating func handshakeFailed(_ socket: SocketID, _ failure: HandshakeFailure, now: Instant) {
        guard self.isCurrent(socket), self.sockets[socket.slot].session.stage == .establishing else { return }
        let upstream = self.sockets[socket.slot].upstream
        let state = self.sockets[socket.slot].state
        self.sockets[socket.slot].session.stage = .none
        switch (failure, self.upstreams[upstream].security) {
        case (.unable, _): break
        case (.refused, .perLease):
            // Whoever refuses a key is there.
            if self.heard(upstream, now: now) { self.supply(upstream, now: now) }
        case (.refused, _), (.unanswered, _), (.unreachable, _): self.markUnreachable(upstream, now: now)
        }
        switch state {
        case .securing(let lease):
            // Nothing was said for this lease. The port is given back, because a late datagram of this handshake could
            // disturb the next one.
            self.close(socket, keepingPortUntil: now + self.settings.exchangeLifetime, now: now)
            self.placeAnew(lease, without: upstream, cause: failure.cause, now: now)
        case .probing:
            self.becomeIdle(socket, now: now)
        case .leased:
            let failures = min(self.sockets[socket.slot].session.failures + 1, 16)
            self.sockets[socket.slot].session.failures = failures
            self.sockets[socket.slot].session.retryAt =
                now + UpstreamHealth.backoff(failures: failures, jitter: self.random.unit())
        case .free, .opening, .idle, .settling, .resting, .quarantined:
            break
        }
    }

    /// A lease whose handshake failed goes to its next candidate, or is refused.
    mutating func placeAnew(
        _ id: LeaseID, without upstream: UpstreamID, cause: FailureCause, now: Instant
    ) {
        guard var lease = self.leases[id] else { return }
        lease.candidates.removeAll { $0 == upstream }
        lease.waitsUntil = now + self.settings.wait
        self.leases[id] = lease
        guard let next = self.firstUsable(lease.candidates, now: now) else {
            self.leases[id] = nil
            self.actions.append(.refuse(id, cause))
            return
        }
        guard self.waitingCount < self.settings.maximumWaiting else {
            self.leases[id] = nil
            self.actions.append(.refuse(id, .limit))
            return
        }
        self.waitQueue.append((id, lease.waitsUntil))
        self.startWaiting(id, owner: lease.owner, for: next)
        self.serveWaiters(next, now: now)
        self.supply(next, now: now)
    }

    // MARK: - In the middle of a lease

    /// Asked for each message that wants to leave on a socket of an upstream over DTLS. May begin a handshake, on the same
    /// socket and port: when the session is gone, and when the server keeps silent as one does that has lost its own end.
    mutating func transmission(
        on socket: SocketID, isConfirmable: Bool, now: Instant
    ) -> Transmission {
        guard self.isCurrent(socket) else { return .discard }
        guard self.upstreams[self.sockets[socket.slot].upstream].security != .none else { return .now }
        let session = self.sockets[socket.slot].session
        switch session.stage {
        case .establishing: return .hold
        case .none:
            guard self.mayRenew(socket), session.retryAt.map({ $0 <= now }) ?? true else { return .discard }
            self.beginHandshake(socket)
            return .hold
        case .live:
            guard isConfirmable else { return .now }
            if let since = session.silentSince, since + self.settings.sessionPatience <= now, self.mayRenew(socket) {
                self.beginHandshake(socket)
                return .hold
            }
            if session.silentSince == nil { self.sockets[socket.slot].session.silentSince = now }
            return .now
        }
    }

    /// The server closed the session, or no record can be sealed any more. If a CON message waits for its answer, the
    /// next handshake begins at once; else with the next message, so that a server that closes idle sessions is left
    /// alone.
    mutating func sessionEnded(_ socket: SocketID, now: Instant) {
        guard self.isCurrent(socket), self.sockets[socket.slot].session.isLive else { return }
        let isWaiting = self.sockets[socket.slot].session.silentSince != nil
        self.sockets[socket.slot].session = Session()
        if isWaiting, self.mayRenew(socket) { self.beginHandshake(socket) }
    }

    /// The server says in clear that it knows no such session, while a CON message waits for its answer. Anybody can
    /// forge that; all that it leads to is a handshake.
    mutating func sessionDenied(_ socket: SocketID, now: Instant) {
        guard self.isCurrent(socket), self.sockets[socket.slot].session.silentSince != nil else { return }
        self.actions.append(.endSession(socket))
        self.sessionEnded(socket, now: now)
    }

    /// Only leases are worth a handshake: whatever else a socket sends answers somebody who is gone.
    private func mayRenew(_ socket: SocketID) -> Bool {
        if case .leased = self.sockets[socket.slot].state { true } else { false }
    }

    // MARK: - Ends

    /// An exchange timed out: the server may have lost the session. The next message begins a handshake.
    mutating func forgetSilentSession(_ socket: SocketID) {
        guard self.sockets[socket.slot].session.isLive, self.sockets[socket.slot].session.silentSince != nil else {
            return
        }
        self.sockets[socket.slot].session = Session()
        self.actions.append(.endSession(socket))
    }

    /// Nobody listens at the far end, so nobody knows the session there. True when that is all that is to be done.
    mutating func loseSession(_ socket: SocketID, now: Instant) -> Bool {
        switch self.sockets[socket.slot].session.stage {
        case .none: return false
        case .establishing:
            let isLeased = if case .leased = self.sockets[socket.slot].state { true } else { false }
            self.actions.append(.endSession(socket))
            self.handshakeFailed(socket, .unreachable, now: now)
            return !isLeased
        case .live:
            self.sockets[socket.slot].session = Session()
            self.actions.append(.endSession(socket))
            return false
        }
    }

    /// Called with every change of state: the session of one device must never serve another.
    mutating func endSessionIfOver(_ socket: SocketID) {
        guard self.upstreams[self.sockets[socket.slot].upstream].security == .perLease else { return }
        switch self.sockets[socket.slot].state {
        case .idle, .resting, .quarantined(_, parkedBy: nil):
            self.sockets[socket.slot].session = Session()
            self.actions.append(.endSession(socket))
        case .free, .opening, .securing, .leased, .probing, .settling, .quarantined:
            break
        }
    }
}
