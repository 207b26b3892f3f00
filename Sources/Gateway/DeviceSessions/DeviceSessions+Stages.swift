internal import CoAP
internal import DTLS
internal import Timing

/// What a turn of the loop does with DTLS in stages: it answers all hellos, takes all handshakes further, opens all
/// messages that have come, works all of them off, seals all that goes out. See ``StagedMessages``.
///
/// Within a session the order of its messages stays: whoever is about to do something else with it settles it first.
extension DeviceSessions {
    /// Looks at what the turn has read, one kind after another.
    func takeIn(now: Instant) {
        var arrivals = Arrivals()
        swap(&arrivals, &self.arrivals)
        arrivals.forEach { origin, bytes in
            self.receiveRecord(bytes, key: origin.key, remote: origin.remote, now: now)
        }
        arrivals.empty()
        if self.arrivals.isEmpty { self.arrivals = arrivals }
    }

    /// Opens what a datagram has brought; it is worked off at the end of the turn.
    func stagePlaintext(of session: DeviceSession, _ dtls: DTLSSession, now: Instant) {
        while dtls.read({ message in
            if !self.trace.isEmpty { self.note(message, .fromDevice, of: session) }
            self.staged.append(message, of: session)
            session.isStaged = true
        }) {
            session.lastHeard = now
        }
        if case .closed = dtls.phase, !session.isClosed {
            self.workOffStaged(now: now)
            self.end(session, cause: .deviceUnreachable, now: now)
        } else if self.staged.isFull {
            self.workOffStaged(now: now)
        }
    }

    func workOffStaged(now: Instant) {
        guard !self.staged.isEmpty else { return }
        // Taken out: nothing may change under the messages that are read.
        var messages = StagedMessages<DeviceSession>()
        swap(&messages, &self.staged)
        messages.forEach { session, message in
            session.isStaged = false
            guard !session.isClosed else { return }
            self.withExchanges(of: session, now: now) { events, _ in
                session.layer.receive(message, now: now, into: &events)
            }
        }
        messages.wipe()
        if self.staged.isEmpty { self.staged = messages }
    }

    /// Seals what waits for it and sends it.
    func sealOutgoing() {
        var next = 0
        while next < self.outgoing.count {
            let (session, message) = self.outgoing[next]
            next += 1
            session.owesSeal = false
            guard !session.isClosed, let dtls = session.dtls else { continue }
            message.withBytes { bytes in
                do throws(DTLSError) { try dtls.send(bytes) } catch { self.counters.drop("unsendable") }
            }
            dtls.drainOutput { self.transmit($0, to: session.peer) }
        }
        if next > 0 { self.outgoing.removeAll(keepingCapacity: true) }
    }

    /// Brings the session to where it would be if each datagram went through all stages at once.
    func settle(_ session: DeviceSession, now: Instant) {
        if session.isStaged { self.workOffStaged(now: now) }
        if session.owesSeal { self.sealOutgoing() }
    }
}
