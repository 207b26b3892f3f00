internal import CoAP
internal import DTLS
internal import Timing

/// Records that change while their devices shake hands: what was looked up for the handshake may not hold any more when the
/// device has proved its key.
extension DeviceSessions {
    /// A session whose record may have changed while its device shook hands: what it says waits until the record has been
    /// looked at again. From now on changes find the session by themselves.
    func judgeBeforeUse(_ session: DeviceSession) {
        session.unjudged = []
        Task {
            let isJudged = await self.judgeAnew(session.record.iccid)
            let messages = session.unjudged ?? []
            session.unjudged = nil
            if !session.isClosed {
                let now = self.environment.now()
                if isJudged {
                    self.receive(messages, for: session, now: now)
                } else {
                    self.end(session, cause: .storeUnavailable, now: now)
                }
            }
            self.endTurn()
        }
    }

    /// Keeps what the device says while its record is looked at again. What is too much the device repeats.
    func hold(_ dtls: DTLSSession, of session: DeviceSession, now: Instant) {
        while dtls.read({ message in
            session.lastHeard = now
            guard let count = session.unjudged?.count, count < 4 else {
                self.counters.drop("limit")
                return
            }
            session.unjudged?.append(Array(message))
        }) {}
    }

    /// What was kept of a device.
    private func receive(_ messages: [[UInt8]], for session: DeviceSession, now: Instant) {
        self.withExchanges(of: session, now: now) { events, _ in
            for message in messages {
                message.withUnsafeBytes { bytes in
                    if !self.trace.isEmpty { self.note(bytes, .fromDevice, of: session) }
                    session.layer.receive(bytes, now: now, into: &events)
                }
            }
        }
    }
}
