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
        let now = self.environment.now()
        buffer.withUnsafeReadableBytes { bytes in
            switch self.listeners[key.listener].security {
            case .dtls: self.receiveRecord(bytes, key: key, remote: remote, now: now)
            case .plain: self.receivePlain(bytes, key: key, remote: remote, now: now)
            }
        }
    }

    nonisolated package func readComplete(listener: Int) { self.enter(()) { sessions, _ in sessions.endTurn() } }
}

extension DeviceSessions: LeaseHolder {
    nonisolated package func leaseGranted(
        _ id: LeaseID, upstream: GatewayConfiguration.Upstream, now: Instant
    ) {
        self.assumeIsolated { sessions in
            sessions.withSession(of: id, now: now) { session, work in
                session.bootstrap?.leaseGranted(upstream, now: now, into: &work.bootstrap)
                session.registration?.leaseGranted(into: &work.registration)
            }
        }
    }

    nonisolated package func leaseRefused(_ id: LeaseID, cause: FailureCause, now: Instant) {
        self.assumeIsolated { sessions in
            sessions.withSession(of: id, now: now, isOver: true) { session, work in
                session.bootstrap?.leaseRefused(cause, wallClock: work.wallClock, into: &work.bootstrap)
                session.registration?.leaseRefused(cause, into: &work.registration)
            }
        }
    }

    nonisolated package func leaseBroken(_ id: LeaseID, cause: FailureCause, now: Instant) {
        self.assumeIsolated { sessions in
            sessions.withSession(of: id, now: now, isOver: true) { session, work in
                session.bootstrap?.leaseBroken(cause, wallClock: work.wallClock, into: &work.bootstrap)
                session.registration?.leaseBroken(cause, wallClock: work.wallClock, into: &work.registration)
            }
        }
    }

    nonisolated package func lease(
        _ id: LeaseID, received event: MessageLayer.Event, now: Instant
    ) {
        self.enter((id, event, now)) { sessions, arguments in
            let (id, event, now) = arguments
            sessions.withSession(of: id, now: now) { session, work in Self.handle(event, of: session, &work) }
        }
    }

    nonisolated package func upstreamReadComplete() { self.enter(()) { sessions, _ in sessions.endTurn() } }

    /// `isOver`: the lease is gone already and must not be released.
    private func withSession(
        of lease: LeaseID, now: Instant, isOver: Bool = false,
        _ body: (DeviceSession, inout Work) -> Void
    ) {
        guard let session = self.byLease[lease] else { return }
        if isOver {
            self.byLease[lease] = nil
            session.lease = nil
            session.upstreamExchange = nil
        }
        var work = self.beginWork(now: now)
        body(session, &work)
        self.carryOut(consume work, for: session)
        self.schedule(session.peer)
    }

    /// Something that the message layer of the upstream socket reports.
    private static func handle(_ event: MessageLayer.Event, of session: DeviceSession, _ work: inout Work) {
        switch event {
        case .request(let id, let request):
            session.bootstrap?.upstreamRequested(
                id, request, now: work.now, wallClock: work.wallClock, into: &work.bootstrap
            )
            session.registration?.upstreamRequested(id, request, into: &work.registration)
        case .response(let exchange, let response):
            if session.upstreamExchange == exchange {
                session.upstreamExchange = nil
                session.bootstrap?.upstreamAnswered(
                    response, now: work.now, wallClock: work.wallClock, into: &work.bootstrap
                )
            }
            session.registration?.upstreamAnswered(
                exchange, response, wallClock: work.wallClock, into: &work.registration
            )
        case .failed(let exchange, let failure):
            if session.upstreamExchange == exchange {
                session.upstreamExchange = nil
                session.bootstrap?.upstreamFailed(failure, wallClock: work.wallClock, into: &work.bootstrap)
            }
            session.registration?.upstreamFailed(
                exchange, failure, wallClock: work.wallClock, into: &work.registration
            )
        case .settled(let id, .reset): session.registration?.upstreamCancelled(id, into: &work.registration)
        case .settled, .transmit, .acknowledged, .notification, .pong, .dropped: break
        }
    }
}
