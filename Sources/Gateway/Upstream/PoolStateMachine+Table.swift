internal import Timing

// The table of sockets: places, states and the totals that follow from them.
extension PoolStateMachine {
    func isCurrent(_ socket: SocketID) -> Bool {
        socket.slot < self.sockets.count && self.sockets[socket.slot].generation == socket.generation
            && self.sockets[socket.slot].state != .free
    }

    mutating func newSocket(_ upstream: UpstreamID, remote: PeerAddress, localIndex: Int?) -> SocketID {
        let slot = self.freeSlots.popLast() ?? self.sockets.count
        if slot == self.sockets.count { self.sockets.append(Socket()) }
        let generation = self.sockets[slot].generation
        self.sockets[slot] = Socket(
            generation: generation,
            state: .opening,
            upstream: upstream,
            remote: remote,
            localIndex: localIndex
        )
        self.socketCount += 1
        self.openingCount += 1
        self.upstreams[upstream].openingCount += 1
        if let localIndex { self.localUse[localIndex] += 1 }
        return SocketID(slot: slot, generation: generation)
    }

    /// Frees the place. The caller says what happens to a lease.
    mutating func remove(_ socket: SocketID) {
        self.setState(socket, .free)
        self.setHoldsRegistration(socket, false)
        if let localIndex = self.sockets[socket.slot].localIndex { self.localUse[localIndex] -= 1 }
        self.sockets[socket.slot].generation &+= 1
        self.sockets[socket.slot].timer = nil
        self.socketCount -= 1
        self.freeSlots.append(socket.slot)
    }

    /// The one place where a socket changes its state: keeps totals, the index of parked sockets and timers in step.
    mutating func setState(_ socket: SocketID, _ state: SocketState) {
        let upstream = self.sockets[socket.slot].upstream
        switch self.sockets[socket.slot].state {
        case .opening:
            self.openingCount -= 1
            self.upstreams[upstream].openingCount -= 1
        case .idle:
            self.upstreams[upstream].idleCount -= 1
        case .quarantined(_, parkedBy: let owner?):
            if self.parked[owner] == socket { self.parked[owner] = nil }
        case .probing:
            self.upstreams[upstream].probingCount -= 1
        case .free, .securing, .leased, .settling, .resting, .quarantined:
            break
        }
        self.sockets[socket.slot].state = state
        if self.sockets[socket.slot].session.stage != .none { self.endSessionIfOver(socket) }
        switch state {
        case .idle(let since):
            self.upstreams[upstream].idleCount += 1
            self.upstreams[upstream].idle.append((socket, since))
        case .quarantined(let until, let owner):
            if let owner { self.parked[owner] = socket }
            self.setTimer(socket, until)
        case .probing(let until):
            self.upstreams[upstream].probingCount += 1
            self.setTimer(socket, until)
        case .settling(let until), .resting(let until):
            self.setTimer(socket, until)
        case .free, .opening, .securing, .leased:
            break
        }
    }

    mutating func setHoldsRegistration(_ socket: SocketID, _ holds: Bool) {
        guard self.sockets[socket.slot].holdsRegistration != holds else { return }
        self.sockets[socket.slot].holdsRegistration = holds
        self.registrationCount += holds ? 1 : -1
    }

    private mutating func setTimer(_ socket: SocketID, _ deadline: Instant) {
        if let timer = self.sockets[socket.slot].timer, timer <= deadline { return }
        self.sockets[socket.slot].timer = deadline
        self.timers.push(socket, at: deadline)
    }
}
