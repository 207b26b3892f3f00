internal import Timing

// Leases and ports that outlive a restart.
extension PoolStateMachine {
    /// No socket is made until ``resumeSupply(now:)``, so that none takes a port that a registration will want back.
    mutating func suspendSupply() { self.isSupplySuspended = true }

    mutating func resumeSupply(now: Instant) {
        self.isSupplySuspended = false
        self.supplyAll(now: now)
    }

    /// The lease of a registration as it was before the restart; its socket is being made, and nobody else's meanwhile.
    /// Nil when there are as many sockets as may be.
    mutating func restore(
        _ owner: LeaseOwner, to upstream: UpstreamID, local: PeerAddress, remote: PeerAddress, now: Instant
    ) -> (LeaseID, SocketID)? {
        guard !self.isStopped, self.socketCount < self.settings.maximumSockets else { return nil }
        let localIndex = self.settings.localAddresses.firstIndex(of: local.ip)
        let socket = self.newSocket(upstream, remote: remote, localIndex: localIndex)
        self.sockets[socket.slot].local = local
        let lease = self.newLease(owner, candidates: [upstream], place: .socket(socket), now: now)
        self.setHoldsRegistration(socket, true)
        self.setState(socket, .leased(lease))
        return (lease, socket)
    }

    /// Its port could not be had: nothing stays of the lease.
    mutating func abandonRestored(_ lease: LeaseID, _ socket: SocketID) {
        self.leases[lease] = nil
        guard self.isCurrent(socket) else { return }
        self.remove(socket)
    }

    /// Its socket is there. Over DTLS the handshake begins at once, because the server's own requests need it too.
    mutating func restored(_ socket: SocketID) {
        guard self.isCurrent(socket), self.upstreams[self.sockets[socket.slot].upstream].security != .none else {
            return
        }
        self.beginHandshake(socket)
    }

    /// The lease goes on in the next run: it ends here without a word, and its port is not quarantined.
    mutating func handOver(_ lease: LeaseID) -> SocketID? {
        guard let socket = self.socket(of: lease) else { return nil }
        self.leases[lease] = nil
        return socket
    }

    /// Ports that a server may still write to, with the time until when; those of `handedOver` are left out.
    func hotPorts(except handedOver: Set<SocketID>, now: Instant) -> [(key: PortKey, until: Instant)] {
        var ports = self.hotPorts.filter { $0.value > now }
        for (slot, place) in self.sockets.enumerated() {
            let socket = SocketID(slot: slot, generation: place.generation)
            guard let local = place.local, !handedOver.contains(socket) else { continue }
            let until: Instant
            switch place.state {
            case .free, .opening: continue
            case .quarantined(let end, _): until = end
            case .leased, .settling: until = now + self.settings.quarantine
            case .idle, .probing, .resting, .securing: until = now + self.settings.exchangeLifetime
            }
            let key = PortKey(local: local, remote: place.remote)
            ports[key] = max(until, ports[key] ?? until)
        }
        return ports.map { ($0.key, $0.value) }
    }

    /// A port of an earlier run. Whoever happens to get it rests first.
    mutating func restoreHotPort(_ key: PortKey, until: Instant, now: Instant) {
        let until = min(until, now + max(self.settings.quarantine, self.settings.exchangeLifetime))
        guard until > now else { return }
        self.hotPorts[key] = until
        // The queue is in no order then; what comes late in it stays a little longer.
        self.hotPortQueue.append((key, until))
    }
}
