internal import Timing

// Another configuration for a pool that runs.
extension PoolStateMachine {
    /// Takes other settings, other local addresses and other upstreams from now on. Leases go on to their end; sockets that
    /// fit the configuration no more are closed as soon as nobody holds them and no server can mean them any more.
    ///
    /// - Parameter wanted: all upstreams that the configuration names; the others get no idle sockets any more.
    mutating func reload(_ settings: Settings, wanted: Set<UpstreamID>, now: Instant) {
        guard !self.isStopped else { return }
        var settings = settings
        // Numbers of local addresses stay: sockets know theirs by number. What is gone keeps its number, unused.
        let named = Set(settings.localAddresses)
        let known = self.settings.localAddresses
        settings.localAddresses = known + settings.localAddresses.filter { !known.contains($0) }
        let added = settings.localAddresses.count - known.count
        self.localUse += Array(repeating: 0, count: added)
        self.localPausedUntil += Array(repeating: nil, count: added)
        self.retiredLocals = Set(
            settings.localAddresses.indices.filter { !named.contains(settings.localAddresses[$0]) })
        self.settings = settings
        for id in self.upstreams.indices {
            self.upstreams[id].isRetired = !wanted.contains(id)
            self.upstreams[id].health.settings = settings.health
            if self.upstreams[id].isRetired { self.upstreams[id].health.settings.interval = nil }
        }
        for slot in self.sockets.indices {
            guard case .idle = self.sockets[slot].state else { continue }
            self.closeIfUnwanted(SocketID(slot: slot, generation: self.sockets[slot].generation), now: now)
        }
        self.supplyAll(now: now)
    }

    /// Closes an idle socket that the configuration has no use for.
    mutating func closeIfUnwanted(_ socket: SocketID, now: Instant) {
        guard self.isCurrent(socket), case .idle = self.sockets[socket.slot].state, !self.isWanted(socket) else {
            return
        }
        self.close(socket, keepingPortUntil: now + self.settings.exchangeLifetime, now: now)
    }

    private func isWanted(_ socket: SocketID) -> Bool {
        let socket = self.sockets[socket.slot]
        if self.upstreams[socket.upstream].isRetired { return false }
        if let index = socket.localIndex { return !self.retiredLocals.contains(index) }
        // The system's choice, as long as no address of the family is named.
        return self.localAddresses(for: socket.remote).isEmpty
    }

    /// Numbers of the local addresses that are named for the family of `remote`.
    func localAddresses(for remote: PeerAddress) -> [Int] {
        let addresses = self.settings.localAddresses
        return addresses.indices.filter {
            addresses[$0].isIPv4 == remote.ip.isIPv4 && !self.retiredLocals.contains($0)
        }
    }
}
