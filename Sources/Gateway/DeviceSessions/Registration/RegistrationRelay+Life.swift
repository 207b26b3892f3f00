package import CoAP
package import Timing

/// How a registration begins and ends, and how it outlives the sessions of its device.
extension RegistrationRelay {
    /// When ``handleDeadline(now:wallClock:into:)`` wants to be called; nil: never.
    package var deadline: Instant? {
        let end = self.expiry.map { $0 + Self.lifetimeGrace }
        guard let due = self.heldUntil, !self.held.isEmpty else { return end }
        return min(due, end ?? due)
    }

    /// Nothing is left of it: its owner may forget it.
    package var isOver: Bool {
        guard case .none = self.lease else { return false }
        return !self.isAttached && !self.isRegistered
    }

    // MARK: - The life of the registration

    mutating func open(
        _ request: DeviceRequest, _ response: CoAPResponse, now: Instant, wallClock: Int64,
        into actions: inout [Action]
    ) {
        if self.isRegistered {
            actions.append(.journal(self.event(.registrationClosed, wallClock, cause: .superseded)))
            // To both sides a new registration begins without observations (LwM2M Core, section 6.4).
            self.dropObservations(into: &actions)
        }
        self.isRegistered = true
        self.location = response.options.compactMap { $0.number == .locationPath ? Array($0.value) : nil }
        self.lifetime = RegistrationParameters.defaultLifetime
        self.bindingQueues = false
        self.hasQueueFlag = request.parameters?.hasQueueFlag ?? false
        self.renew(request, now: now, into: &actions)
        var event = self.event(.registrationOpened, wallClock)
        event.detail.append(.init("lifetime", .integer(Int64(self.lifetime))))
        actions.append(.journal(event))
    }

    mutating func renew(_ request: DeviceRequest, now: Instant, into actions: inout [Action]) {
        if let lifetime = request.parameters?.lifetime { self.lifetime = lifetime }
        if let queues = request.parameters?.bindingQueues { self.bindingQueues = queues }
        self.expiry = self.lifetime == 0 ? nil : now + .seconds(Int64(self.lifetime))
        actions.append(.lifeChanged)
    }

    mutating func close(
        cause: FailureCause?, keepsLease: Bool = false, wallClock: Int64, into actions: inout [Action]
    ) {
        guard self.isRegistered else { return }
        self.isRegistered = false
        self.location = []
        self.expiry = nil
        actions.append(.lifeChanged)
        actions.append(.journal(self.event(.registrationClosed, wallClock, cause: cause)))
        guard !keepsLease else {
            // To the server they are over with the registration, and the next one begins without.
            self.dropObservations(into: &actions)
            return
        }
        self.forgetExchanges(into: &actions)
        self.releaseLease(into: &actions)
    }

    /// Held requests have waited long enough, or the lifetime is over without an Update.
    package mutating func handleDeadline(
        now: Instant, wallClock: Int64, into actions: inout [Action]
    ) {
        if let due = self.heldUntil, due <= now { self.passHeld(into: &actions) }
        guard let expiry = self.expiry, expiry + Self.lifetimeGrace <= now else { return }
        self.close(cause: .lifetimeOver, wallClock: wallClock, into: &actions)
    }

    /// The device may not have it any more, or the gateway stops.
    package mutating func end(cause: FailureCause, wallClock: Int64, into actions: inout [Action]) {
        self.close(cause: cause, wallClock: wallClock, into: &actions)
        self.isAttached = false
        self.forgetExchanges(into: &actions)
        self.releaseLease(into: &actions)
    }

    // MARK: - The device's sessions

    /// The device has a new session, over DTLS after a handshake with the same or a newer key.
    package mutating func attach(_ subject: Subject, record: SIMRecord) {
        self.subject = subject
        self.record = record
        self.isAttached = true
    }

    /// What observations are called in the message layer of the new session. All at once, because the new name of one may
    /// be the old name of another. Returns the new names of those that nobody wants any more.
    package mutating func renameObservations(
        _ names: [(old: MessageLayer.ExchangeID, new: MessageLayer.ExchangeID)]
    ) -> [MessageLayer.ExchangeID] {
        let places = names.map { name in self.device.firstIndex { $0.isObservation && $0.exchange == name.old } }
        var unwanted: [MessageLayer.ExchangeID] = []
        for (name, place) in zip(names, places) {
            if let place { self.device[place].exchange = name.new } else { unwanted.append(name.new) }
        }
        return unwanted
    }

    /// The device's session is over, the registration is not. Exchanges do not outlive the session (RFC 7252,
    /// section 5.3.2), observations do: clients go on with them after another handshake.
    ///
    /// `isMoving`: the next session is there already.
    package mutating func detach(isMoving: Bool = false, into actions: inout [Action]) {
        guard self.isAttached else { return }
        self.isAttached = false
        self.superseded = nil
        for index in self.upstream.indices { self.upstream[index].request.id = nil }
        self.waiting = []
        for entry in self.device where !entry.isObservation {
            actions.append(.answerUpstream(entry.request.id, CoAPResponse(.gatewayTimeout)))
        }
        self.device.removeAll { !$0.isObservation }
        for held in self.held { actions.append(.disownUpstream(held.origin.id)) }
        self.held = []
        self.heldUntil = nil
        self.errand?.rest()
        if !isMoving { self.endIfUnused(into: &actions) }
    }

    /// A device that left before it was registered leaves nothing behind.
    mutating func endIfUnused(into actions: inout [Action]) {
        guard !self.isAttached, !self.isRegistered, self.upstream.isEmpty else { return }
        self.releaseLease(into: &actions)
    }

    /// The lease was for this one question; its port must not serve the Register that may follow, which is another
    /// device to the server.
    mutating func endStray(_ request: DeviceRequest, into actions: inout [Action]) {
        guard request.kind == .stray, !self.isRegistered, self.upstream.isEmpty, self.waiting.isEmpty else { return }
        // The layer of another lease numbers its requests from the start.
        self.forgetExchanges(into: &actions)
        self.releaseLease(into: &actions)
    }

    // MARK: - The lease

    package mutating func leaseGranted(into actions: inout [Action]) {
        guard case .wanted = self.lease else { return }
        self.lease = .held
        for (request, origin) in self.waiting { actions.append(.requestUpstream(request, origin)) }
        self.waiting = []
    }

    package mutating func leaseRefused(_ cause: FailureCause, wallClock: Int64, into actions: inout [Action]) {
        self.lease = .none
        for (_, origin) in self.waiting {
            if let id = origin.id { actions.append(.answerDevice(id, DeviceAnswer.response(to: cause))) }
            guard origin.kind == .register else { continue }
            actions.append(.journal(self.event(.registrationRefused, wallClock, cause: cause)))
        }
        self.waiting = []
    }

    /// The socket died: what was under way there is lost, and with it the address that the server knows.
    package mutating func leaseBroken(_ cause: FailureCause, wallClock: Int64, into actions: inout [Action]) {
        guard case .held = self.lease else { return }
        self.lease = .none
        self.forgetExchanges(cause: cause, into: &actions)
        self.close(cause: cause, wallClock: wallClock, into: &actions)
    }

    private mutating func releaseLease(into actions: inout [Action]) {
        if case .none = self.lease { return }
        self.lease = .none
        actions.append(.releaseLease)
    }

    private mutating func dropObservations(into actions: inout [Action]) {
        for entry in self.device where entry.isObservation {
            actions.append(.cancelDevice(entry.exchange))
            actions.append(.disownUpstream(entry.request.id))
        }
        self.device.removeAll { $0.isObservation }
    }

    /// `cause`: what the device is told that waits for an answer.
    private mutating func forgetExchanges(
        cause: FailureCause = .upstreamUnreachable, into actions: inout [Action]
    ) {
        for entry in self.device { actions.append(.cancelDevice(entry.exchange)) }
        // Observations that these were to take the place of.
        for held in self.held { if let replaced = held.origin.replacing { actions.append(.cancelDevice(replaced)) } }
        if let superseded { actions.append(.cancelDevice(superseded)) }
        if let exchange = self.errand?.exchange { actions.append(.cancelDevice(exchange)) }
        self.errand?.rest()
        for origin in self.upstream.map(\.request) + self.waiting.map(\.1) {
            if let id = origin.id { actions.append(.answerDevice(id, DeviceAnswer.response(to: cause))) }
        }
        self.device = []
        self.upstream = []
        self.held = []
        self.heldUntil = nil
        self.waiting = []
        self.superseded = nil
    }
}
