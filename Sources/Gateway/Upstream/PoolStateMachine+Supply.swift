internal import Timing

// Where sockets come from and who gets them.
extension PoolStateMachine {
    // MARK: - Upstreams

    /// Makes an upstream known; its address comes with ``resolved(_:to:now:)``.
    mutating func add(_ security: Security = .none) -> UpstreamID {
        self.upstreams.append(Upstream(security: security))
        self.upstreams[self.upstreams.count - 1].health.settings = self.settings.health
        return self.upstreams.count - 1
    }

    /// The address of an upstream became known or changed. Idle sockets to an earlier address are closed; leases that
    /// run keep theirs.
    mutating func resolved(_ upstream: UpstreamID, to address: PeerAddress, now: Instant) {
        guard !self.isStopped, self.upstreams[upstream].address != address else { return }
        self.upstreams[upstream].address = address
        self.upstreams[upstream].health.begin(now: now)
        while let socket = self.popIdle(upstream) {
            self.close(socket, keepingPortUntil: now + self.settings.exchangeLifetime, now: now)
            // `close` refills; what it asked for opens to the new address and is not idle yet.
        }
        self.supply(upstream, now: now)
    }

    /// Those who wait for an upstream that is down now go to their next candidate, in order, or are refused.
    mutating func redirectWaiters(_ upstream: UpstreamID, now: Instant) {
        while let id = self.upstreams[upstream].waiters.popFirst() {
            guard let lease = self.leases[id], lease.place == .waiting(upstream) else { continue }
            self.stopWaiting(owner: lease.owner, for: upstream)
            guard let next = self.firstUsable(lease.candidates, now: now) else {
                self.leases[id] = nil
                self.actions.append(.refuse(id, .upstreamUnreachable))
                continue
            }
            self.startWaiting(id, owner: lease.owner, for: next)
            self.serveWaiters(next, now: now)
            self.supply(next, now: now)
        }
    }

    /// So many leases that wait are a queue. Fewer tell of one server or of a few devices, not of the gateway's load.
    static let queueLength = 8

    /// How long the lease waits that waits longest for a socket, as a share of what it may; 0 where there is no queue.
    mutating func queueShare(now: Instant) -> Double {
        guard self.waitingCount >= Self.queueLength, self.settings.wait > .zero else { return 0 }
        var longest = Duration.zero
        for upstream in self.upstreams.indices {
            while let first = self.upstreams[upstream].waiters.first {
                if let lease = self.leases[first], lease.place == .waiting(upstream) {
                    longest = max(longest, self.settings.wait - now.duration(to: lease.waitsUntil))
                    break
                }
                _ = self.upstreams[upstream].waiters.popFirst()
            }
        }
        return longest / self.settings.wait
    }

    // MARK: - Idle sockets

    func isIdle(_ socket: SocketID, since: Instant) -> Bool {
        self.isCurrent(socket) && self.sockets[socket.slot].state == .idle(since: since)
    }

    /// Takes the idle socket that was used least recently, so that ports and message IDs spread.
    ///
    /// The socket's state still says idle; the caller gives it its next state at once.
    mutating func popIdle(_ upstream: UpstreamID) -> SocketID? {
        while let entry = self.upstreams[upstream].idle.popFirst() {
            if self.isIdle(entry.socket, since: entry.since) { return entry.socket }
        }
        return nil
    }

    /// The same, if that one has rested long enough since it was used. It costs no timer: with a socket or two more in the
    /// pool every one has rested when its turn comes.
    mutating func popRested(_ upstream: UpstreamID, now: Instant) -> SocketID? {
        while let first = self.upstreams[upstream].idle.first {
            let isStale = !self.isIdle(first.socket, since: first.since)
            guard isStale || first.since + self.settings.rest <= now else { return nil }
            _ = self.upstreams[upstream].idle.popFirst()
            if !isStale { return first.socket }
        }
        return nil
    }

    /// Gives idle sockets to those who wait, the longest wait first.
    ///
    /// - Parameter fresh: an idle socket that need not rest.
    mutating func serveWaiters(_ upstream: UpstreamID, fresh: SocketID? = nil, now: Instant) {
        var fresh = fresh
        while self.upstreams[upstream].waitingCount > 0, self.upstreams[upstream].idleCount > 0 {
            guard let id = self.upstreams[upstream].waiters.first else { return }
            guard let lease = self.leases[id], lease.place == .waiting(upstream) else {
                _ = self.upstreams[upstream].waiters.popFirst()
                continue
            }
            guard let socket = fresh.take() ?? self.popRested(upstream, now: now) else { return }
            _ = self.upstreams[upstream].waiters.popFirst()
            self.stopWaiting(owner: lease.owner, for: upstream)
            if self.give(socket, to: id, owner: lease.owner, now: now) {
                self.actions.append(.grant(id, socket, upstream))
            }
        }
    }

    // MARK: - New sockets

    /// Asks for as many sockets as those who wait and the minimum need, within all bounds.
    mutating func supply(_ upstream: UpstreamID, now: Instant) {
        guard !self.isStopped, !self.isSupplySuspended, let remote = self.upstreams[upstream].address else { return }
        if case .down(let until) = self.upstreams[upstream].health.state, now < until { return }
        if let paused = self.openingPausedUntil, now < paused { return }
        while self.openingCount < self.settings.maximumOpening {
            let state = self.upstreams[upstream]
            // While somebody waits, the idle ones still rest. One that asks for a sign of life is idle again soon.
            let ready = state.waitingCount > 0 ? 0 : state.idleCount + state.probingCount
            let minimum = state.isRetired ? 0 : self.settings.minimumIdle
            guard ready + state.openingCount < minimum + state.waitingCount else { return }
            if self.socketCount >= self.settings.maximumSockets {
                // Only somebody who waits is worth an idle socket of another upstream.
                guard state.waitingCount > state.openingCount, self.evictIdle(except: upstream, now: now) else {
                    return
                }
            }
            guard let localIndex = self.chooseLocal(for: remote, now: now) else { return }
            let socket = self.newSocket(upstream, remote: remote, localIndex: localIndex.index)
            self.actions.append(.open(socket, remote: remote, local: localIndex.address))
        }
    }

    /// After something came free: every upstream may have been waiting for it.
    mutating func supplyAll(now: Instant) {
        for upstream in self.upstreams.indices { self.supply(upstream, now: now) }
    }

    private mutating func evictIdle(except upstream: UpstreamID, now: Instant) -> Bool {
        let others = self.upstreams.indices.filter { $0 != upstream && self.upstreams[$0].idleCount > 0 }
        guard let richest = others.max(by: { self.upstreams[$0].idleCount < self.upstreams[$1].idleCount }),
            let socket = self.popIdle(richest)
        else { return false }
        self.keepPort(of: socket, until: now + self.settings.exchangeLifetime)
        self.remove(socket)
        self.actions.append(.close(socket))
        return true
    }

    /// The least used of the local addresses that fit the family of `remote`, or the system's choice where none is
    /// configured for that family; nil when all that fit are used up.
    private func chooseLocal(
        for remote: PeerAddress,
        now: Instant
    ) -> (index: Int?, address: IPAddress?)? {
        let addresses = self.settings.localAddresses
        let fitting = self.localAddresses(for: remote)
        guard !fitting.isEmpty else { return (nil, nil) }
        let usable = fitting.filter { index in
            if let paused = self.localPausedUntil[index], now < paused { return false }
            return self.localUse[index] < self.settings.portsPerAddress
        }
        guard let index = usable.min(by: { self.localUse[$0] < self.localUse[$1] }) else { return nil }
        return (index, addresses[index])
    }
}

/// The generator of jitter: small, fast and good enough for spreading retries (not for secrets).
struct SplitMix64: RandomNumberGenerator, Sendable {
    var state: UInt64

    mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = self.state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    /// In 0 ..< 1.
    mutating func unit() -> Double { Double(self.next() >> 11) * 0x1p-53 }
}
