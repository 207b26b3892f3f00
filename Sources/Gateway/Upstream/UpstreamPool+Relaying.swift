package import CoAP
package import Timing

// What the registration leg needs of a lease beyond requests and answers; see `MessageLayer`.
extension UpstreamPool {
    /// Leaves a request of the server without an empty ACK until `due`, so that the server goes on repeating it.
    package func postponeAcknowledgement(
        of request: MessageLayer.RequestID, until due: Instant, on lease: LeaseID
    ) {
        self.connection(of: lease)?.layer.postponeAcknowledgement(of: request, until: due)
    }

    /// Sends the empty ACK for a request of the server.
    package func acknowledge(_ request: MessageLayer.RequestID, on lease: LeaseID, now: Instant) {
        guard let connection = self.connection(of: lease) else { return }
        connection.layer.acknowledge(request, into: &self.events)
        self.dispatch(connection, now: now)
    }

    /// Treats a request of the server as if it had never arrived, or answers it with `response` if that is too late; an
    /// observation of the server is forgotten.
    package func disown(
        _ request: MessageLayer.RequestID, otherwise response: CoAPResponse, on lease: LeaseID,
        now: Instant
    ) {
        guard let connection = self.connection(of: lease) else { return }
        connection.layer.disown(request, otherwise: response, now: now, into: &self.events)
        self.dispatch(connection, now: now)
    }
}
