internal import Timing

// What happens to sockets: datagrams, ends of leases, failures, time.
extension PoolStateMachine {
    // MARK: - Back to the pool

    /// Makes a socket available again after a clean end.
    mutating func retire(_ socket: SocketID, hasMessageIDs: Bool, now: Instant) {
        self.setHoldsRegistration(socket, false)
        guard hasMessageIDs else {
            self.setState(socket, .resting(until: now + self.settings.exchangeLifetime))
            return
        }
        self.becomeIdle(socket, isFresh: false, now: now)
    }

    mutating func quarantine(_ socket: SocketID, parkedBy owner: LeaseOwner?, now: Instant) {
        if let owner, let earlier = self.parked[owner], earlier != socket,
            case .quarantined(let until, _) = self.sockets[earlier.slot].state
        {
            // An owner comes back to the newest of its sockets; the earlier one just serves its time.
            self.setState(earlier, .quarantined(until: until, parkedBy: nil))
        }
        self.setState(socket, .quarantined(until: now + self.settings.quarantine, parkedBy: owner))
    }

    /// - Parameter isFresh: nothing for an earlier device can be on its way, so whoever waits gets it at once.
    mutating func becomeIdle(_ socket: SocketID, isFresh: Bool = true, now: Instant) {
        let upstream = self.sockets[socket.slot].upstream
        guard self.sockets[socket.slot].remote == self.upstreams[upstream].address else {
            // The server has moved meanwhile.
            self.close(socket, keepingPortUntil: now + self.settings.exchangeLifetime, now: now)
            return
        }
        self.setHoldsRegistration(socket, false)
        self.setState(socket, .idle(since: now))
        self.serveWaiters(upstream, fresh: isFresh ? socket : nil, now: now)
        self.closeIfUnwanted(socket, now: now)
        if self.waitingCount > 0 { self.supplyAll(now: now) }
    }

    /// Closes a socket that nobody holds.
    mutating func close(
        _ socket: SocketID,
        keepingPortUntil until: Instant?,
        now: Instant
    ) {
        if let until { self.keepPort(of: socket, until: until) }
        self.remove(socket)
        self.actions.append(.close(socket))
        self.supplyAll(now: now)
    }

    mutating func keepPort(of socket: SocketID, until: Instant) {
        guard let local = self.sockets[socket.slot].local else { return }
        let key = PortKey(local: local, remote: self.sockets[socket.slot].remote)
        self.hotPorts[key] = until
        self.hotPortQueue.append((key, until))
    }

    // MARK: - Making sockets

    mutating func opened(_ socket: SocketID, local: PeerAddress, now: Instant) {
        guard self.isCurrent(socket) else { return }
        self.sockets[socket.slot].local = local
        let key = PortKey(local: local, remote: self.sockets[socket.slot].remote)
        if let until = self.hotPorts[key], until > now {
            self.setState(socket, .quarantined(until: until, parkedBy: nil))
        } else {
            self.becomeIdle(socket, now: now)
        }
        self.supplyAll(now: now)
    }

    mutating func openFailed(_ socket: SocketID, _ failure: OpenFailure, now: Instant) {
        guard self.isCurrent(socket) else { return }
        let upstream = self.sockets[socket.slot].upstream
        let localIndex = self.sockets[socket.slot].localIndex
        self.remove(socket)
        switch failure {
        case .unreachable:
            self.markUnreachable(upstream, now: now)
        case .localAddress:
            if let localIndex {
                self.localPausedUntil[localIndex] = now + .seconds(5)
            } else {
                self.openingPausedUntil = now + .seconds(1)
            }
        case .resources:
            self.openingPausedUntil = now + .seconds(1)
        }
        self.supplyAll(now: now)
    }

    // MARK: - What comes in

    /// A datagram came from the upstream on this socket.
    mutating func received(_ socket: SocketID, now: Instant) {
        guard self.isCurrent(socket) else { return }
        self.sockets[socket.slot].heard = true
        self.sockets[socket.slot].isAwaitingWord = false
        self.sockets[socket.slot].session.heard(now)
        if case .quarantined(let until, let owner) = self.sockets[socket.slot].state {
            // Not through `setState`: the timer comes up at the old time and finds the new one. A quarantine is never
            // made shorter.
            self.sockets[socket.slot].state = .quarantined(
                until: max(until, now + self.settings.quarantine),
                parkedBy: owner
            )
        }
        let upstream = self.sockets[socket.slot].upstream
        if self.heard(upstream, now: now) { self.supply(upstream, now: now) }
    }

    /// A request came to a socket that belongs to nobody: a server still means some earlier device by this port.
    mutating func strayRequest(_ socket: SocketID, now: Instant) {
        guard self.isCurrent(socket) else { return }
        switch self.sockets[socket.slot].state {
        case .idle, .probing, .settling, .resting:
            let upstream = self.sockets[socket.slot].upstream
            self.quarantine(socket, parkedBy: nil, now: now)
            self.supply(upstream, now: now)
        case .free, .opening, .securing, .leased, .quarantined:
            break
        }
    }

    /// All answers of a cleanly ended lease have been acknowledged, or one of them never was.
    mutating func settled(
        _ socket: SocketID,
        isAcknowledged: Bool,
        hasMessageIDs: Bool,
        now: Instant
    ) {
        guard self.isCurrent(socket), case .settling = self.sockets[socket.slot].state else { return }
        if isAcknowledged {
            self.retire(socket, hasMessageIDs: hasMessageIDs, now: now)
        } else {
            self.quarantine(socket, parkedBy: nil, now: now)
        }
    }

    /// The network says that nobody listens at the far end (ECONNREFUSED and the like); the socket itself lives.
    ///
    /// A bootstrap that has heard nothing yet ends, so that the device learns of it at once. All others go on: a server
    /// may come back before the retransmissions end.
    mutating func refused(_ socket: SocketID, now: Instant) {
        guard self.isCurrent(socket) else { return }
        if self.loseSession(socket, now: now) { return }
        self.markUnreachable(self.sockets[socket.slot].upstream, now: now)
        guard case .leased(let id) = self.sockets[socket.slot].state, !self.sockets[socket.slot].heard,
            let lease = self.leases[id], !lease.owner.isRegistration
        else { return }
        self.leases[id] = nil
        self.quarantine(socket, parkedBy: nil, now: now)
        self.actions.append(.broken(id, socket, .upstreamUnreachable))
    }

    /// A request goes out on this socket.
    mutating func requested(_ socket: SocketID) {
        guard self.isCurrent(socket) else { return }
        self.sockets[socket.slot].isAwaitingWord = true
    }

    /// A request on this socket timed out. Counts against the upstream if nothing came since the last one went out.
    mutating func timedOut(_ socket: SocketID, now: Instant) {
        guard self.isCurrent(socket), self.sockets[socket.slot].isAwaitingWord else { return }
        self.forgetSilentSession(socket)
        self.requestUnanswered(self.sockets[socket.slot].upstream, now: now)
    }

    /// The socket closed under our hands. `isUnreachable`: with an error that says so.
    mutating func closed(_ socket: SocketID, isUnreachable: Bool, now: Instant) {
        guard self.isCurrent(socket) else { return }
        let upstream = self.sockets[socket.slot].upstream
        switch self.sockets[socket.slot].state {
        case .free:
            return
        case .opening:
            self.openFailed(socket, isUnreachable ? .unreachable : .resources, now: now)
            return
        case .securing(let id):
            self.keepPort(of: socket, until: now + self.settings.exchangeLifetime)
            self.remove(socket)
            self.markUnreachable(upstream, now: now)
            self.placeAnew(id, without: upstream, cause: .upstreamUnreachable, now: now)
            self.supplyAll(now: now)
            return
        case .leased(let id):
            self.leases[id] = nil
            self.actions.append(.broken(id, socket, .upstreamUnreachable))
            self.keepPort(of: socket, until: now + self.settings.quarantine)
        case .quarantined(let until, _):
            self.keepPort(of: socket, until: until)
        case .settling:
            self.keepPort(of: socket, until: now + self.settings.quarantine)
        case .idle, .probing, .resting:
            self.keepPort(of: socket, until: now + self.settings.exchangeLifetime)
        }
        self.remove(socket)
        if isUnreachable { self.markUnreachable(upstream, now: now) }
        self.supplyAll(now: now)
    }

    // MARK: - Time

    /// When ``handleDeadline(now:)`` wants to be called next.
    var deadline: Instant? {
        var copy = self
        return copy.currentDeadline()
    }

    /// The same. `mutating` although nothing changes: read through the property of its owner, the whole machine would be
    /// copied first.
    mutating func currentDeadline() -> Instant? {
        var earliest = self.timers.earliest
        func consider(_ candidate: Instant?) {
            guard let candidate else { return }
            earliest = earliest.map { min($0, candidate) } ?? candidate
        }
        consider(self.waitQueue.first?.until)
        consider(self.openingPausedUntil)
        consider(self.hotPortQueue.first?.until)
        for index in self.upstreams.indices {
            // Nobody asks one that is retired: what was due would stay due.
            if self.upstreams[index].address != nil, !self.upstreams[index].isRetired {
                consider(self.upstreams[index].health.deadline)
            }
            if self.upstreams[index].waitingCount > 0, let first = self.upstreams[index].idle.first {
                consider(first.since + self.settings.rest)
            }
            if self.upstreams[index].idleCount > self.settings.minimumIdle, let first = self.upstreams[index].idle.first
            {
                consider(first.since + self.idleTime)
            }
        }
        for paused in self.localPausedUntil { consider(paused) }
        return earliest
    }

    /// How long a socket above the minimum stays idle; so long that its port can then serve anybody.
    var idleTime: Duration { max(self.settings.exchangeLifetime, self.settings.quarantine) }

    mutating func handleDeadline(now: Instant) {
        while let first = self.hotPortQueue.first, first.until <= now {
            _ = self.hotPortQueue.popFirst()
            if let until = self.hotPorts[first.key], until <= now { self.hotPorts[first.key] = nil }
        }
        if let paused = self.openingPausedUntil, paused <= now { self.openingPausedUntil = nil }
        for index in self.localPausedUntil.indices {
            if let paused = self.localPausedUntil[index], paused <= now { self.localPausedUntil[index] = nil }
        }
        self.expireSockets(now: now)
        for upstream in self.upstreams.indices {
            self.serveWaiters(upstream, now: now)
            self.trimIdle(upstream, now: now)
            self.supply(upstream, now: now)
            self.probeIfDue(upstream, now: now)
        }
        // Last, so that a socket that comes free at this moment still helps.
        while let first = self.waitQueue.first, first.until <= now {
            _ = self.waitQueue.popFirst()
            guard let lease = self.leases[first.lease], case .waiting(let upstream) = lease.place,
                lease.waitsUntil <= now
            else { continue }
            self.leases[first.lease] = nil
            self.stopWaiting(owner: lease.owner, for: upstream)
            self.actions.append(.refuse(first.lease, .limit))
        }
    }

    private mutating func expireSockets(now: Instant) {
        while let socket = self.timers.popDue(now) {
            guard self.isCurrent(socket), let timer = self.sockets[socket.slot].timer, timer <= now else { continue }
            self.sockets[socket.slot].timer = nil
            let state = self.sockets[socket.slot].state
            switch state {
            case .quarantined(let until, _), .resting(let until), .probing(let until), .settling(let until):
                guard until <= now else {
                    self.sockets[socket.slot].timer = until
                    self.timers.push(socket, at: until)
                    continue
                }
                switch state {
                case .settling: self.quarantine(socket, parkedBy: nil, now: now)
                case .probing: self.probeUnanswered(socket, now: now)
                default: self.becomeIdle(socket, now: now)
                }
            case .free, .opening, .idle, .securing, .leased:
                break
            }
        }
    }

    private mutating func trimIdle(_ upstream: UpstreamID, now: Instant) {
        while let first = self.upstreams[upstream].idle.first {
            let isStale = !self.isIdle(first.socket, since: first.since)
            guard isStale || self.upstreams[upstream].idleCount > self.settings.minimumIdle else { return }
            guard isStale || first.since + self.idleTime <= now else { return }
            _ = self.upstreams[upstream].idle.popFirst()
            if !isStale { self.close(first.socket, keepingPortUntil: nil, now: now) }
        }
    }
}
