internal import Timing

// What is known of the servers: who is asked for a sign of life, what its absence means, and who is preferred.
extension PoolStateMachine {
    // MARK: - Preference

    /// The first candidate that is up and steady; else the first that is up. It has an address, of course.
    func firstUsable(_ candidates: [UpstreamID], now: Instant) -> UpstreamID? {
        // A closure over the machine would copy it.
        var up: UpstreamID?
        for upstream in candidates where self.upstreams[upstream].address != nil {
            if self.upstreams[upstream].health.isSteady(now: now) { return upstream }
            if up == nil, self.upstreams[upstream].health.isUp { up = upstream }
        }
        return up
    }

    /// The same for a new lease, which may also be the trial of a server that was down: where no other is up, or where
    /// only a device can find out, because that server answers no pings.
    mutating func choose(_ candidates: [UpstreamID], now: Instant) -> UpstreamID? {
        let best = self.firstUsable(candidates, now: now)
        for upstream in candidates where self.upstreams[upstream].address != nil {
            if upstream == best { return best }
            if self.upstreams[upstream].health.isUp { continue }
            guard best == nil || self.upstreams[upstream].health.ignoresPings else { continue }
            if self.upstreams[upstream].health.admitsLease(now: now) { return upstream }
        }
        return best
    }

    // MARK: - Signs of life

    /// Something came from the server; true if it had been down.
    mutating func heard(_ upstream: UpstreamID, now: Instant) -> Bool {
        guard self.upstreams[upstream].health.heard(now: now) else { return false }
        self.actions.append(.health(upstream, isUp: true))
        return true
    }

    /// The caller, or a socket, found out that the upstream cannot be reached.
    mutating func markUnreachable(_ upstream: UpstreamID, now: Instant) {
        let wasUp = self.upstreams[upstream].health.isUp
        guard self.upstreams[upstream].health.failed(now: now, jitter: self.random.unit()) else { return }
        self.becameUnusable(upstream, wasUp: wasUp, now: now)
    }

    /// A request found no answer.
    mutating func requestUnanswered(_ upstream: UpstreamID, now: Instant) {
        let wasUp = self.upstreams[upstream].health.isUp
        guard self.upstreams[upstream].health.silent(now: now, jitter: self.random.unit()) else { return }
        self.becameUnusable(upstream, wasUp: wasUp, now: now)
    }

    private mutating func becameUnusable(_ upstream: UpstreamID, wasUp: Bool, now: Instant) {
        if wasUp { self.actions.append(.health(upstream, isUp: false)) }
        self.redirectWaiters(upstream, now: now)
    }

    // MARK: - Probes

    /// Asks a server for a sign of life if it is time. Over DTLS inside a session that still stands; without one the
    /// handshake is the question.
    mutating func probeIfDue(_ upstream: UpstreamID, now: Instant) {
        guard self.upstreams[upstream].address != nil, !self.upstreams[upstream].isRetired,
            self.upstreams[upstream].health.takeProbe(now: now),
            self.upstreams[upstream].probingCount == 0, let socket = self.popIdle(upstream)
        else { return }
        self.setState(socket, .probing(until: now + self.settings.probePatience))
        if self.isReady(socket, now: now) {
            self.actions.append(.probe(socket, upstream))
        } else {
            self.beginHandshake(socket)
        }
    }

    /// The ping was answered, or it was refused some other way.
    mutating func probeEnded(_ socket: SocketID, now: Instant) {
        guard self.isCurrent(socket), case .probing = self.sockets[socket.slot].state else { return }
        self.upstreams[self.sockets[socket.slot].upstream].health.pingAnswered()
        self.becomeIdle(socket, now: now)
    }

    /// No answer in time.
    mutating func probeUnanswered(_ socket: SocketID, now: Instant) {
        guard self.isCurrent(socket), case .probing = self.sockets[socket.slot].state else { return }
        let upstream = self.sockets[socket.slot].upstream
        switch self.sockets[socket.slot].session.stage {
        case .establishing:
            self.actions.append(.endSession(socket))
            self.handshakeFailed(socket, .unanswered, now: now)
        case .live:
            // The server may have forgotten the session alone.
            self.actions.append(.endProbe(socket))
            self.setState(socket, .probing(until: now + self.settings.probePatience))
            self.beginHandshake(socket)
        case .none:
            self.actions.append(.endProbe(socket))
            let wasUp = self.upstreams[upstream].health.isUp
            let isDown = self.upstreams[upstream].health.pingUnanswered(now: now, jitter: self.random.unit())
            self.becomeIdle(socket, now: now)
            if isDown { self.becameUnusable(upstream, wasUp: wasUp, now: now) }
        }
    }
}
