package import CoAP
package import NIOCore
package import Timing

/// Where the sockets and the pool come in. Everything here is called on the loop of the shard.
extension DeviceSessions: DatagramReceiver {
    nonisolated package func datagram(
        _ buffer: ByteBuffer, from address: PeerAddress, remote: SocketAddress, listener: Int
    ) {
        self.enter((buffer, PeerKey(listener: listener, address: address), remote)) { sessions, datagram in
            let (buffer, key, remote) = datagram
            sessions.receive(buffer, key: key, remote: remote)
        }
    }

    private func receive(_ buffer: ByteBuffer, key: PeerKey, remote: SocketAddress) {
        // The sockets are bound one after another; the first datagrams may come before all are known.
        guard key.listener < self.listeners.count else { return }
        self.counters.datagramsFromDevices += 1
        buffer.withUnsafeReadableBytes { bytes in
            switch self.listeners[key.listener].security {
            case .dtls:
                self.arrivals.append(bytes, from: Arrivals.Origin(key: key, remote: remote))
                if self.arrivals.isFull { self.takeIn(now: self.environment.now()) }
            case .plain: self.receivePlain(bytes, key: key, remote: remote, now: self.environment.now())
            }
        }
    }

    /// The turn ends when the sockets to servers have been read, too: ``upstreamReadComplete()``.
    nonisolated package func readComplete(listener: Int) {
        self.enter(()) { sessions, _ in sessions.pool.enter(()) { pool, _ in pool.endTurnOfHolder() } }
    }
}

extension DeviceSessions: LeaseHolder {
    nonisolated package func leaseGranted(
        _ id: LeaseID, upstream: GatewayConfiguration.Upstream, now: Instant
    ) {
        self.assumeIsolated { sessions in
            sessions.withUser(of: id, now: now) { user, work in
                switch user {
                case .bootstrap(let session):
                    session.bootstrap?.leaseGranted(upstream, wallClock: work.wallClock, into: &work.bootstrap)
                case .registration(let registration):
                    registration.relay.leaseGranted(into: &work.registration)
                }
            }
        }
    }

    nonisolated package func leaseRefused(_ id: LeaseID, cause: FailureCause, now: Instant) {
        self.assumeIsolated { sessions in
            sessions.withUser(of: id, now: now, isOver: true) { user, work in
                switch user {
                case .bootstrap(let session):
                    session.bootstrap?.leaseRefused(cause, wallClock: work.wallClock, into: &work.bootstrap)
                case .registration(let registration):
                    registration.relay.leaseRefused(cause, wallClock: work.wallClock, into: &work.registration)
                }
            }
        }
    }

    nonisolated package func leaseBroken(_ id: LeaseID, cause: FailureCause, now: Instant) {
        self.assumeIsolated { sessions in
            sessions.withUser(of: id, now: now, isOver: true) { user, work in
                switch user {
                case .bootstrap(let session):
                    session.bootstrap?.leaseBroken(cause, wallClock: work.wallClock, into: &work.bootstrap)
                case .registration(let registration):
                    registration.relay.leaseBroken(cause, wallClock: work.wallClock, into: &work.registration)
                }
            }
        }
    }

    nonisolated package func lease(
        _ id: LeaseID, received event: MessageLayer.Event, now: Instant
    ) {
        self.enter((id, event, now)) { $0.received($1.1, on: $1.0, now: $1.2) }
    }

    /// As ``withUser(of:now:isOver:_:)`` does it, without a closure for every message.
    private func received(_ event: MessageLayer.Event, on lease: LeaseID, now: Instant) {
        guard let user = self.byLease[lease] else { return }
        var work = self.beginWork(now: now)
        switch user {
        case .bootstrap(let session):
            self.handle(event, of: session, &work)
            self.carryOut(consume work, for: session)
            self.schedule(session.peer)
        case .registration(let registration):
            Self.handle(event, of: registration, &work)
            self.carryOut(consume work, for: registration)
        }
    }

    nonisolated package func upstreamReadComplete() { self.enter(()) { sessions, _ in sessions.endTurn() } }

    /// `isOver`: the lease is gone already and must not be released.
    private func withUser(
        of lease: LeaseID, now: Instant, isOver: Bool = false,
        _ body: (LeaseUser, inout Work) -> Void
    ) {
        guard let user = self.byLease[lease] else { return }
        if isOver { self.byLease[lease] = nil }
        var work = self.beginWork(now: now)
        switch user {
        case .bootstrap(let session):
            if isOver {
                session.lease = nil
                session.dropBlocks()
                session.upstreamExchange = nil
            }
            body(user, &work)
            self.carryOut(consume work, for: session)
            self.schedule(session.peer)
        case .registration(let registration):
            if isOver { registration.lease = nil }
            body(user, &work)
            self.carryOut(consume work, for: registration)
        }
    }

    /// Something that the message layer of a bootstrap's upstream socket reports.
    private func handle(_ event: MessageLayer.Event, of session: DeviceSession, _ work: inout Work) {
        switch event {
        case .request(let id, let request): Self.receive(request, id, fromServerOf: session, &work)
        case .response(let exchange, let response):
            guard session.upstreamExchange == exchange else { return }
            session.upstreamExchange = nil
            self.upstreamAnswered(response, of: session, &work)
        case .failed(let exchange, let failure):
            guard session.upstreamExchange == exchange else { return }
            session.upstreamExchange = nil
            session.blocks?.upstream = nil
            session.bootstrap?.upstreamFailed(failure, wallClock: work.wallClock, into: &work.bootstrap)
        case .retransmitted: session.bootstrap?.messageRetransmitted()
        case .acknowledged(let exchange):
            if session.upstreamExchange == exchange { session.bootstrap?.upstreamAcknowledged() }
        case .settled, .transmit, .repeated, .notification, .pong, .dropped: break
        }
    }

    /// The same for a registration.
    private static func handle(_ event: MessageLayer.Event, of registration: Registration, _ work: inout Work) {
        switch event {
        case .request(let id, let request):
            registration.relay.upstreamRequested(id, request, now: work.now, into: &work.registration)
        case .repeated(let id): registration.relay.upstreamRepeated(id, into: &work.registration)
        case .response(let exchange, let response):
            registration.relay.upstreamAnswered(
                exchange, response, now: work.now, wallClock: work.wallClock, into: &work.registration
            )
        case .failed(let exchange, let failure):
            registration.relay.upstreamFailed(exchange, failure, wallClock: work.wallClock, into: &work.registration)
        case .settled(let id, .reset), .settled(let id, .unacknowledged):
            registration.relay.upstreamCancelled(id, into: &work.registration)
        case .settled(let id, .superseded): registration.relay.upstreamSuperseded(id)
        case .settled, .transmit, .retransmitted, .acknowledged, .notification, .pong, .dropped: break
        }
    }
}
