package import CoAP
internal import LwM2M
package import Timing

// What the holder of leases asks for. All of it is plain calls on the loop.
extension UpstreamPool {
    /// Asks for a socket to the first of `upstreams` that is not known to be down.
    ///
    /// An owner that has parked a socket gets that one again, if its upstream is in the list. Over DTLS the answer is
    /// ``LeaseResult/waiting(_:)`` until the handshake is done; that takes longer than `pool.wait` if need be.
    ///
    /// - Parameter credentials: the device's own pair, for upstreams that want one; without it they are left out.
    package func acquire(
        for owner: LeaseOwner,
        upstreams: [GatewayConfiguration.Upstream],
        credentials: PreSharedKey? = nil,
        now: Instant
    ) -> LeaseResult {
        let usable = self.usable(upstreams, by: owner, credentials: credentials, now: now)
        guard !usable.isEmpty || upstreams.isEmpty else {
            self.counters.leasesRefused += 1
            return .refused(.upstreamHandshake, retryAfter: .seconds(60))
        }
        var candidates: [PoolStateMachine.UpstreamID] = []
        for upstream in usable { candidates.append(self.id(of: upstream, isRelay: owner.isRegistration, now: now)) }
        let result = self.machine.acquire(owner, from: candidates, now: now)
        if let credentials { self.keep(credentials, for: result) }
        self.carryOut()
        switch result {
        case .granted(let lease, let socket, let upstream):
            guard let connection = self.connection(socket) else {
                // Cannot be: the machine grants only what was opened.
                self.machine.release(lease, .unclean, isSettled: true, hasMessageIDs: true, now: now)
                return .refused(.internal, retryAfter: .seconds(1))
            }
            self.begin(lease, on: connection, waited: .zero)
            return .granted(lease, upstream: self.upstreams[upstream], local: connection.local)
        case .waiting(let lease):
            return .waiting(lease)
        case .refused(let cause, let retryAfter):
            self.counters.leasesRefused += 1
            return .refused(cause, retryAfter: retryAfter)
        }
    }

    /// Ends a lease. No event names it any more. A lease that is not live, or not any more, is ignored.
    ///
    /// With ``LeaseEnd/clean`` an answer that was sent as CON may still be unacknowledged: the socket then goes back to
    /// the pool when the upstream has acknowledged it, and to quarantine if it never does.
    package func release(_ lease: LeaseID, _ end: LeaseEnd, now: Instant) {
        self.forgetCredentials(of: lease)
        guard let socket = self.machine.socket(of: lease), let connection = self.connection(socket) else {
            self.machine.cancelWaiting(lease, now: now)
            self.carryOut()
            return
        }
        let isSettled = end != .clean || !connection.layer.hasUnacknowledged()
        connection.lease = nil
        // A restored lease may end before its holder was ready; the socket's next device is to be heard.
        connection.isMute = false
        connection.layer.rejectsRequests = true
        if isSettled {
            _ = connection.link?.takeHeld()
            connection.layer.abandonExchanges()
        } else {
            connection.settling = true
        }
        self.machine.release(
            lease,
            end,
            isSettled: isSettled,
            hasMessageIDs: self.hasMessageIDs(connection, now: now),
            now: now
        )
        self.carryOut()
        self.reschedule(connection)
    }

    /// The owner has gone while it waited.
    package func cancelWaiting(_ lease: LeaseID, now: Instant) {
        self.release(lease, .unclean, now: now)
    }

    /// Where the server sees a lease that had to wait, as `ADDRESS:PORT`.
    package func local(of lease: LeaseID) -> String? { self.connection(of: lease)?.local }

    /// New leases keep away from this upstream for a while: the caller found out that it is of no use.
    package func markUnreachable(_ upstream: GatewayConfiguration.Upstream, now: Instant) {
        for isRelay in [false, true] {
            guard let id = self.routes[Route(upstream, isRelay: isRelay)] else { continue }
            self.machine.markUnreachable(id, now: now)
        }
        self.carryOut()
        // The first probe has its time.
        self.scheduleTurn()
    }

    /// Whether an upstream answers, as far as is known: for readiness and the metric `upstream_up`.
    package func isReachable(_ upstream: GatewayConfiguration.Upstream) -> Bool {
        let ids = [false, true].compactMap { self.routes[Route(upstream, isRelay: $0)] }
        return ids.contains { self.machine.upstreams[$0].address != nil && self.machine.upstreams[$0].health.isUp }
    }

    // MARK: - Messages

    /// Sends a request of the device's to the server. Nil when the lease is not live.
    ///
    /// - Parameter observation: see ``MessageLayer/send(_:replacing:now:into:)``.
    package func send(
        _ request: CoAPRequest,
        replacing observation: MessageLayer.ExchangeID? = nil,
        on lease: LeaseID,
        now: Instant
    ) -> MessageLayer.ExchangeID? {
        guard let connection = self.connection(of: lease) else { return nil }
        self.machine.requested(connection.id)
        let id = connection.layer.send(request, replacing: observation, now: now, into: &self.events)
        self.dispatch(connection, now: now)
        return id
    }

    /// Answers a request of the server.
    package func respond(
        to request: MessageLayer.RequestID,
        with response: CoAPResponse,
        on lease: LeaseID,
        now: Instant
    ) {
        guard let connection = self.connection(of: lease) else { return }
        connection.layer.respond(to: request, response, now: now, into: &self.events)
        self.dispatch(connection, now: now)
    }

    /// Sends a notification of an observation that the server holds.
    package func notify(
        _ request: MessageLayer.RequestID,
        _ response: CoAPResponse,
        confirmable: Bool,
        on lease: LeaseID,
        now: Instant
    ) {
        guard let connection = self.connection(of: lease) else { return }
        connection.layer.notify(request, response, confirmable: confirmable, now: now, into: &self.events)
        self.dispatch(connection, now: now)
    }

    /// Refuses a request of the server with RST.
    package func reset(_ request: MessageLayer.RequestID, on lease: LeaseID, now: Instant) {
        guard let connection = self.connection(of: lease) else { return }
        connection.layer.reset(request, now: now, into: &self.events)
        self.dispatch(connection, now: now)
    }

    /// Forgets a request of ours; no event names it any more.
    package func cancel(_ exchange: MessageLayer.ExchangeID, on lease: LeaseID) {
        guard let connection = self.connection(of: lease) else { return }
        connection.layer.cancel(exchange)
        self.reschedule(connection)
    }
}
