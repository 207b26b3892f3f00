internal import CoAP
internal import NIOCore
internal import Timing

/// Devices that come without DTLS: the source address is checked before anything else happens.
extension DeviceSessions {
    /// Datagrams that may wait for the look-up of their address, over all peers.
    private static var maximumHeld: Int { 1024 }

    func receivePlain(
        _ bytes: UnsafeRawBufferPointer, key: PeerKey, remote: SocketAddress, now: Instant
    ) {
        if let session = self.peers[key]?.session {
            self.receive(bytes, for: session, now: now)
            return
        }
        if self.turnAwayPlain(bytes, key: key, remote: remote) { return }
        if let known = self.addresses.value(for: key.address.ip) {
            self.admit(bytes, key: key, remote: remote, record: known, now: now)
            return
        }
        guard self.addressWaiters.count < Self.maximumHeld, self.addressWaiters[key.address.ip, default: []].count < 4
        else {
            self.counters.drop("limit")
            return
        }
        let held = HeldDatagram(key: key, remote: remote, bytes: [UInt8](bytes))
        if self.addressWaiters[key.address.ip] == nil { self.addressQueue.append(key.address.ip) }
        self.addressWaiters[key.address.ip, default: []].append(held)
    }

    /// One batch of look-ups for all new source addresses of this turn.
    func resolveAddresses() {
        let batch = self.addressQueue
        self.addressQueue.removeAll(keepingCapacity: true)
        let generation = self.recordGeneration
        Task {
            let records: [SIMRecord?]
            do {
                records = try await self.environment.records.resolve(addresses: batch)
            } catch {
                // Silence: the device repeats its request.
                for address in batch { self.addressWaiters[address] = nil }
                self.failures.report(.storeUnavailable, iccid: nil, peer: nil, now: self.environment.now())
                return
            }
            let now = self.environment.now()
            for (address, record) in zip(batch, records) {
                if generation == self.recordGeneration { self.addresses.insert(record, for: address) }
                for held in self.addressWaiters.removeValue(forKey: address) ?? [] {
                    held.bytes.withUnsafeBytes { bytes in
                        if let session = self.peers[held.key]?.session {
                            self.receive(bytes, for: session, now: now)
                        } else {
                            self.admit(bytes, key: held.key, remote: held.remote, record: record, now: now)
                        }
                    }
                }
            }
            self.endTurn()
        }
    }

    /// A datagram of an address without a session: the first of a device, or of nobody.
    private func admit(
        _ bytes: UnsafeRawBufferPointer, key: PeerKey, remote: SocketAddress, record: SIMRecord?,
        now: Instant
    ) {
        let peer = DevicePeer(key: key, remote: remote)
        guard let record = record ?? self.stranger(at: key) else {
            self.refuse(bytes, from: peer, because: .unauthorized, now: now)
            return
        }
        let source = Self.source(of: key.address.ip)
        guard !self.isDraining, self.unanswered[source, default: 0] < self.configuration.limits.unansweredPerSource,
            self.sessionCount < self.configuration.limits.sessions ?? .max, self.hasRoom(for: record)
        else {
            self.refuse(bytes, from: peer, because: self.isDraining ? .shutdown : .limit, now: now)
            return
        }
        self.peers[key] = peer
        self.unanswered[source, default: 0] += 1
        self.unansweredCount += 1
        let session = self.open(peer, .plain, nil, record, options: .undecided, now: now)
        session.bootstrap = self.makeBootstrap(for: session)
        self.receive(bytes, for: session, now: now)
    }

    /// Sources can be forged: those that nobody has proven take a quarter of all places at most, and end no session of their
    /// SIM behind which somebody is.
    private func hasRoom(for record: SIMRecord) -> Bool {
        let limits = self.configuration.limits
        guard self.unansweredCount < (limits.sessions ?? .max) / 4 else { return false }
        let siblings = self.byICCID[record.iccid] ?? []
        return siblings.count < limits.sessionsPerSIM || self.expendable(among: siblings, isProven: false) != nil
    }

    /// Answers a request of an unknown source with 4.00, and one for which there is no room with 5.03, and keeps nothing.
    /// The answer is shorter than any request, so that nobody gains by forging a source.
    private func refuse(
        _ bytes: UnsafeRawBufferPointer, from peer: DevicePeer, because cause: FailureCause, now: Instant
    ) {
        var layer = MessageLayer(
            parameters: self.configuration.deviceTransmission, options: .endpoint, seed: self.nextSeed()
        )
        var events: [MessageLayer.Event] = []
        layer.receive(bytes, now: now, into: &events)
        var index = 0
        while index < events.count {
            switch events[index] {
            case .transmit(let datagram): datagram.withBytes { self.transmit($0, to: peer) }
            case .request(let id, let request):
                layer.respond(to: id, DeviceAnswer.response(to: cause), now: now, into: &events)
                self.failures.report(cause, iccid: nil, peer: peer.key.address, now: now)
                guard cause == .unauthorized else {
                    // Not one by one in the journal, which an overload would fill.
                    self.counters.drop("limit")
                    break
                }
                self.counters.bootstrapFailed(cause, .plain)
                self.audits.append(
                    AuditEvent(
                        .bootstrapRefused, time: self.environment.wallClock(), cause: cause,
                        endpoint: request.uriQuery?.first { $0.hasPrefix("ep=") }.map { String($0.dropFirst(3)) },
                        peer: peer.key.address.description
                    )
                )
            default: break
            }
            index += 1
        }
    }

    /// The device at this address has answered: it is there, and no longer counts as unproven.
    func noteAnswer(of session: DeviceSession) {
        guard !session.hasAnswered else { return }
        session.hasAnswered = true
        if session.arrival == .plain { self.releaseUnanswered(session) }
    }

    func releaseUnanswered(_ session: DeviceSession) {
        let source = Self.source(of: session.peer.key.address.ip)
        self.unansweredCount -= 1
        let count = self.unanswered[source, default: 1] - 1
        self.unanswered[source] = count > 0 ? count : nil
    }
}
