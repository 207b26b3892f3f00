internal import CoAP
internal import LwM2M
internal import Timing

/// What of a registration outlives a restart of the gateway: what the server has confirmed, and its observations.
extension RegistrationRelay {
    /// An observation of the server, as the two message layers name it.
    struct RunningObservation {
        let device: MessageLayer.ExchangeID
        let server: MessageLayer.RequestID
    }

    /// Something other than observations is under way.
    var isBusy: Bool {
        !self.upstream.isEmpty || self.device.contains { !$0.isObservation && !$0.request.followsRepetitions }
    }

    var runningObservations: [RunningObservation] {
        self.device.compactMap { entry in
            entry.isObservation ? RunningObservation(device: entry.exchange, server: entry.request.id) : nil
        }
    }

    /// What a hand-over says of it; whoever calls adds ports, layer and observations. Nil when there is nothing that
    /// the server would know.
    func handover(
        by right: Handover.Registration.Right, arrivedSecurely: Bool, shortServerID: UInt16, at place: SavedLease,
        now: Instant
    ) -> Handover.Registration? {
        guard self.isRegistered, case .held = self.lease else { return nil }
        return Handover.Registration(
            iccid: self.subject.iccid, server: self.subject.server, shortServerID: shortServerID, right: right,
            arrivedSecurely: arrivedSecurely, upstream: self.relay.uri.description, local: place.local,
            remote: place.remote, location: self.location, lifetime: self.lifetime,
            remaining: self.expiry.map { now.nanoseconds(to: $0) / 1_000_000 },
            bindingQueues: self.bindingQueues, hasQueueFlag: self.hasQueueFlag, layer: place.layer, observations: []
        )
    }

    /// Takes up what another run of the gateway has left: registered, its lease held, its device not there yet.
    mutating func restore(
        _ saved: Handover.Registration, _ observations: [RunningObservation], elapsed: Duration, now: Instant
    ) {
        self.isRegistered = true
        self.isAttached = false
        self.lease = .held
        self.location = saved.location
        self.lifetime = saved.lifetime
        self.expiry = saved.remaining.map { now + .milliseconds($0) - max(.zero, elapsed) }
        self.bindingQueues = saved.bindingQueues
        self.hasQueueFlag = saved.hasQueueFlag
        self.device = observations.map { observation in
            AtDevice(
                exchange: observation.device, request: ServerRequest(id: observation.server, wantsObservation: true),
                isObservation: true
            )
        }
    }

    /// Its lifetime and the grace after it are over.
    func isExpired(now: Instant) -> Bool { self.expiry.map { $0 + Self.lifetimeGrace <= now } ?? false }
}
