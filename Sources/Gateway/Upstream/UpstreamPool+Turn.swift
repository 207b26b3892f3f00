internal import CoAP
internal import Glibc
internal import Logging
internal import NIOCore
internal import NIOPosix
internal import Timing

// What one turn of the event loop does: datagrams, the machine's actions, deliveries, time.
extension UpstreamPool {
    // MARK: - From the sockets

    func received(_ buffer: ByteBuffer, on socket: PoolStateMachine.SocketID) {
        guard let connection = self.connection(socket), !connection.isMute else { return }
        guard buffer.readableBytes < Self.sliceSize else {
            self.counters.oversize += 1
            return
        }
        self.counters.datagramsIn &+= 1
        buffer.withUnsafeReadableBytes { self.arrivals.append($0, of: socket) }
        if self.arrivals.isFull { self.takeIn() }
        self.owesReadComplete = true
        self.scheduleTurn()
    }

    /// Takes in what the sockets have read, and tells the holder what it says. See ``StagedMessages``.
    func takeIn() {
        guard !self.arrivals.isEmpty else { return }
        let now = Instant.now
        var arrivals = StagedMessages<PoolStateMachine.SocketID>()
        swap(&arrivals, &self.arrivals)
        arrivals.forEach { socket, bytes in
            guard let connection = self.connection(socket), !connection.isMute else { return }
            if let link = connection.link {
                self.receivedRecords(bytes, on: connection, link, now: now)
            } else {
                self.machine.received(socket, now: now)
                if !self.trace.isEmpty { self.note(bytes, .fromServer, on: connection) }
                connection.layer.receive(bytes, now: now, into: &self.events)
            }
            self.dispatch(connection, now: now)
        }
        arrivals.wipe()
        if self.arrivals.isEmpty { self.arrivals = arrivals }
        self.deliver(now: now)
    }

    /// The socket lives, but the network has something to say.
    func socketFailed(_ socket: PoolStateMachine.SocketID, _ error: any Error) {
        self.socketFailed(socket, errno: (error as? IOError)?.errnoCode ?? 0)
    }

    private func socketFailed(_ socket: PoolStateMachine.SocketID, errno: CInt) {
        guard let connection = self.connection(socket) else { return }
        self.logger.debug(
            "upstream socket reports an error",
            metadata: ["local": "\(connection.local)", "error": "\(String(cString: strerror(errno)))"]
        )
        guard errno == ECONNREFUSED else { return }
        self.takeIn()
        let now = Instant.now
        self.machine.refused(socket, now: now)
        self.carryOut()
        self.deliver(now: now)
        self.owesReadComplete = true
        self.scheduleTurn()
    }

    /// The socket is gone. Nothing but errors of the network closes a connected socket, so the upstream gets the blame.
    func socketClosed(_ socket: PoolStateMachine.SocketID) {
        self.takeIn()
        guard let connection = self.connection(socket) else { return }
        self.connections[socket.slot] = nil
        self.counters.socketsLost += 1
        self.logger.notice(
            "upstream socket closed by the system",
            metadata: [
                "local": "\(connection.local)",
                "remedy": "see whether the upstream runs, and routes and packet filters on the way to it",
            ]
        )
        self.machine.closed(socket, isUnreachable: true, now: .now)
        self.carryOut()
        self.owesReadComplete = true
        self.scheduleTurn()
    }

    // MARK: - The layer's events

    /// Takes what a message layer had to say: datagrams into the arena, pool matters to the machine, the rest to the
    /// holder at the next occasion.
    func dispatch(_ connection: Connection, now: Instant) {
        var index = 0
        while index < self.events.count {
            // Taken out, because a copy retains everything in it.
            var event = MessageLayer.Event.retransmitted
            swap(&event, &self.events[index])
            index += 1
            switch event {
            case .transmit(let bytes):
                if !self.trace.isEmpty { bytes.withBytes { self.note($0, .toServer, on: connection) } }
                if let link = connection.link {
                    self.transmit(bytes, on: connection, link, now: now)
                } else {
                    bytes.withBytes { self.transmit($0, on: connection) }
                }
                continue
            case .dropped(.requestRejected):
                self.machine.strayRequest(connection.id, now: now)
                continue
            case .dropped:
                continue
            case .settled(_, let settlement):
                if let isAcknowledged = connection.settling, settlement != .sent {
                    connection.settling = isAcknowledged && settlement == .delivered
                }
                // That a piggybacked answer went out is no news to the one who gave it.
                if settlement == .sent { continue }
            case .pong(let exchange), .failed(let exchange, _):
                if connection.probe == exchange {
                    connection.probe = nil
                    if case .pong = event {
                        self.machine.probeEnded(connection.id, now: now)
                    } else {
                        self.machine.probeUnanswered(connection.id, now: now)
                    }
                    continue
                }
                if case .failed(_, .unacknowledged) = event { self.machine.timedOut(connection.id, now: now) }
            case .retransmitted:
                self.counters.retransmissions &+= 1
            case .request, .repeated, .acknowledged, .response, .notification:
                break
            }
            if let lease = connection.lease {
                self.deliveries.append(.event(lease, consume event))
                self.scheduleTurn()
            }
        }
        self.events.removeAll(keepingCapacity: true)
        self.finishSettling(connection, now: now)
        self.reschedule(connection)
        self.carryOut()
    }

    private func finishSettling(_ connection: Connection, now: Instant) {
        guard let isAcknowledged = connection.settling, !connection.layer.hasUnacknowledged() else { return }
        connection.settling = nil
        connection.layer.abandonExchanges()
        self.machine.settled(
            connection.id,
            isAcknowledged: isAcknowledged,
            hasMessageIDs: self.hasMessageIDs(connection, now: now),
            now: now
        )
    }

    // MARK: - The machine's actions

    /// Carries out what the machine wants. Nothing here calls the holder.
    func carryOut() {
        while let action = self.machine.nextAction() {
            switch action {
            case .open(let socket, let remote, let local):
                self.openings.append((socket, remote, local))
            case .close(let socket):
                self.close(socket)
            case .grant(let lease, let socket, let upstream):
                guard let connection = self.connection(socket) else { continue }
                self.begin(lease, on: connection, waited: self.machine.waited(lease, now: .now))
                self.deliveries.append(.granted(lease, upstream))
            case .refuse(let lease, let cause):
                self.forgetCredentials(of: lease)
                self.counters.leasesRefused += 1
                self.deliveries.append(.refused(lease, cause))
            case .broken(let lease, let socket, let cause):
                self.forgetCredentials(of: lease)
                self.counters.leasesBroken += 1
                if let connection = self.connection(socket) {
                    connection.lease = nil
                    connection.layer.rejectsRequests = true
                    _ = connection.link?.takeHeld()
                    connection.layer.abandonExchanges()
                }
                self.deliveries.append(.broken(lease, cause))
            case .probe(let socket, _):
                self.probe(socket)
            case .endProbe(let socket):
                guard let connection = self.connection(socket), let exchange = connection.probe else { continue }
                connection.probe = nil
                connection.layer.cancel(exchange)
            case .health(let upstream, let isUp):
                self.tell(ofHealth: isUp, of: upstream)
            case .secure(let socket):
                self.secure(socket)
            case .endSession(let socket):
                self.endSession(of: socket)
            }
            self.scheduleTurn()
        }
    }

    private func close(_ socket: PoolStateMachine.SocketID) {
        guard let connection = self.connection(socket) else { return }
        self.endSession(of: socket)
        self.flush()
        self.connections[socket.slot] = nil
        connection.channel.close(promise: nil)
    }

    private func probe(_ socket: PoolStateMachine.SocketID) {
        let now = Instant.now
        guard let connection = self.connection(socket) else { return }
        connection.probe = connection.layer.ping(now: now, into: &self.events)
        self.dispatch(connection, now: now)
    }

    private func tell(ofHealth isUp: Bool, of upstream: PoolStateMachine.UpstreamID) {
        var metadata: Logger.Metadata = [
            "upstream": "\(self.upstreams[upstream].uri)",
            "leg": "\(self.routeOf[upstream].isRelay ? "registration" : "bootstrap")",
        ]
        if isUp {
            self.logger.notice("an upstream answers again", metadata: metadata)
        } else {
            metadata["remedy"] = "\(FailureCause.upstreamSilent.remedy)"
            self.logger.warning("an upstream does not answer", metadata: metadata)
        }
    }

    // MARK: - The turn

    /// The rest of this turn happens once all sockets that are readable now have been read.
    func scheduleTurn() {
        guard !self.isTurnScheduled else { return }
        self.isTurnScheduled = true
        self.loop.execute { self.enter(()) { pool, _ in pool.endTurn() } }
    }

    /// The holder's own sockets have been read: it is called back once those of the pool have been, too, so that both
    /// halves of a turn come to one end.
    func endTurnOfHolder() {
        self.owesReadComplete = true
        self.scheduleTurn()
    }

    private func endTurn() {
        self.isTurnScheduled = false
        self.isTurnEnding = true
        self.takeIn()
        self.handleSendFailures()
        var left = Self.openingsPerTurn
        while left > 0, let opening = self.openings.popFirst() {
            left -= 1
            guard self.machine.isCurrent(opening.socket) else { continue }
            self.open(opening.socket, remote: opening.remote, local: opening.local)
        }
        if !self.openings.isEmpty { self.scheduleTurn() }
        if !self.deliveries.isEmpty {
            self.owesReadComplete = true
            self.deliver(now: .now)
        }
        if self.owesReadComplete {
            self.owesReadComplete = false
            self.holder?.upstreamReadComplete()
        }
        self.isTurnEnding = false
        self.flush()
        self.endWarmUpIfReady()
        self.armTimer()
    }

    /// Tells the holder what has come up. What its own calls bring up in the meantime follows in the same loop, after
    /// each callback has returned.
    func deliver(now: Instant) {
        guard !self.isDelivering, let holder = self.holder else { return }
        self.isDelivering = true
        defer { self.isDelivering = false }
        while let delivery = self.deliveries.popFirst() {
            switch delivery {
            case .granted(let lease, let upstream):
                guard self.machine.socket(of: lease) != nil else { continue }
                holder.leaseGranted(lease, upstream: self.upstreams[upstream], now: now)
            case .refused(let lease, let cause):
                holder.leaseRefused(lease, cause: cause, now: now)
            case .broken(let lease, let cause):
                holder.leaseBroken(lease, cause: cause, now: now)
            case .event(let lease, let event):
                guard self.machine.socket(of: lease) != nil else { continue }
                holder.lease(lease, received: event, now: now)
            }
        }
    }

    /// Takes a copy of one datagram; it leaves with the next ``flush()``, at the end of the turn at the latest.
    func transmit(_ bytes: UnsafeRawBufferPointer, on connection: Connection) {
        self.departures.append(bytes, of: connection)
        if self.departures.isFull { self.flush() }
        if !self.isTurnEnding { self.scheduleTurn() }
    }

    /// Gives to the kernel what was taken since the last call. All at once, because a server sleeps between datagrams: the
    /// first one wakes it, which costs as much as sending, and finds it awake for the others.
    func flush() {
        guard !self.departures.isEmpty else { return }
        var departures = StagedMessages<Connection>()
        swap(&departures, &self.departures)
        departures.forEach { connection, bytes in
            guard connection.channel.isActive else { return }
            switch connection.descriptor.send(bytes) {
            case .sent: self.counters.datagramsOut &+= 1
            case .full: self.counters.unsent &+= 1
            case .failed(let errno):
                self.counters.unsent &+= 1
                self.sendFailures.append((connection.id, errno))
                self.scheduleTurn()
            }
        }
        departures.wipe()
        if self.departures.isEmpty { self.departures = departures }
    }

    /// What sending met with since the last turn. Not told to the machine at once: it may be at work.
    private func handleSendFailures() {
        guard !self.sendFailures.isEmpty else { return }
        let failures = self.sendFailures
        self.sendFailures.removeAll(keepingCapacity: true)
        for (socket, errno) in failures { self.socketFailed(socket, errno: errno) }
    }

    func endWarmUpIfReady() {
        guard !self.warmUp.isEmpty, self.machine.openingCount == 0,
            self.machine.upstreams.allSatisfy({ $0.address != nil })
        else { return }
        self.endWarmUp()
    }

    func endWarmUp() {
        let promises = self.warmUp
        self.warmUp = []
        for promise in promises { promise.succeed() }
    }

    // MARK: - Time

    /// Keeps the socket's entry among the timers at or before its deadline.
    func reschedule(_ connection: Connection) {
        var next = connection.layer.currentDeadline()
        if let due = connection.link?.deadline { next = next.map { min($0, due) } ?? due }
        guard let deadline = next else { return }
        if let scheduled = connection.scheduled, scheduled <= deadline { return }
        connection.scheduled = deadline
        self.layerTimers.push(connection.id, at: deadline)
        if self.timerDue.map({ deadline < $0 }) ?? true { self.scheduleTurn() }
    }

    private func armTimer() {
        guard !self.machine.isStopped,
            let due = Instant.earlier(self.layerTimers.earliest, self.machine.currentDeadline())
        else { return }
        if let timerDue = self.timerDue, timerDue <= due { return }
        self.timer?.cancel()
        self.timerDue = due
        let delay = max(Instant.now.duration(to: due), .milliseconds(1))
        self.timer = self.loop.scheduleTask(in: TimeAmount(delay)) { [weak self] in
            self?.assumeIsolated { $0.timerFired() }
        }
    }

    private func timerFired() {
        self.timer = nil
        self.timerDue = nil
        // What has come in time counts, although nobody has looked at it yet.
        self.takeIn()
        let now = Instant.now
        if let due = self.machine.currentDeadline(), due <= now {
            self.machine.handleDeadline(now: now)
            self.carryOut()
        }
        while let socket = self.layerTimers.popDue(now) {
            guard let connection = self.connection(socket), let scheduled = connection.scheduled, scheduled <= now
            else {
                continue
            }
            connection.scheduled = nil
            if let deadline = connection.layer.currentDeadline(), deadline <= now {
                connection.layer.handleDeadline(now: now, into: &self.events)
            }
            if let link = connection.link { self.handleDeadline(of: link, on: connection, now: now) }
            self.dispatch(connection, now: now)
        }
        self.carryOut()
        self.deliver(now: now)
        self.owesReadComplete = true
        self.endTurn()
    }
}
