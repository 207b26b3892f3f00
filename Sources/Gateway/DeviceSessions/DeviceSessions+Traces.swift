internal import CoAP
internal import NIOCore
internal import Timing

/// SIMs whose messages are logged, from the store to the two places where messages pass.
extension DeviceSessions {
    /// Looks for the open orders of one SIM, or (nil) of all.
    func followTraces(iccid: String?) async {
        guard let store = self.environment.traces else { return }
        let orders: [TraceOrder]
        do {
            orders = try await store.traceOrders(iccid: iccid)
        } catch {
            self.failures.report(.storeUnavailable, iccid: iccid, peer: nil, now: self.environment.now())
            return
        }
        let known = iccid.map { [$0] } ?? Array(self.trace.ends.keys)
        for gone in known where !orders.contains(where: { $0.iccid == gone }) {
            self.trace.follow(gone, until: nil)
        }
        for order in orders { self.trace.follow(order.iccid, until: order.until) }
        self.shareTraces()
    }

    /// Gives the pool its copy, and looks again when the first trace is over.
    private func shareTraces() {
        self.pool.enter(self.trace) { $0.trace = $1 }
        self.traceTimer?.cancel()
        self.traceTimer = nil
        guard let end = self.trace.firstEnd else { return }
        let wait = max(end - self.environment.wallClock(), 0) / 1000 + 1
        self.traceTimer = self.loop.scheduleTask(in: .milliseconds(wait)) {
            self.assumeIsolated { sessions in
                sessions.trace.prune()
                sessions.shareTraces()
            }
        }
    }

    /// A message of a device. To be called only while somebody is followed.
    func note(_ message: UnsafeRawBufferPointer, _ direction: MessageTrace.Direction, of session: DeviceSession) {
        self.trace.note(
            message, direction, iccid: session.record.iccid, far: session.peer.key.address.description
        )
    }
}

extension UpstreamPool {
    /// A message of a lease, in either direction. To be called only while somebody is followed.
    func note(_ message: UnsafeRawBufferPointer, _ direction: MessageTrace.Direction, on connection: Connection) {
        guard let lease = connection.lease, let owner = self.machine.leases[lease]?.owner else { return }
        let upstream = self.machine.sockets[connection.id.slot].upstream
        self.trace.note(
            message, direction, iccid: owner.iccid,
            far: "\(self.upstreams[upstream].uri) by \(connection.local)"
        )
    }
}
