package import CoAP
package import Timing

/// Who uses leases: the device sessions of the shard.
///
/// All calls come on the pool's event loop, and never from inside a call that the holder itself made into the pool:
/// they come from socket reads, timers and completed connects. The holder may call the pool from inside them.
package protocol LeaseHolder: AnyObject, Sendable {
    /// A lease that had to wait has its socket now.
    func leaseGranted(_ id: LeaseID, upstream: GatewayConfiguration.Upstream, now: Instant)

    /// A lease that had to wait gets none: the wait was over, no upstream is reachable any more, or the last handshake
    /// failed.
    func leaseRefused(_ id: LeaseID, cause: FailureCause, now: Instant)

    /// Something happened on the leased socket: request, acknowledged, response, notification, failed, settled.
    func lease(_ id: LeaseID, received event: MessageLayer.Event, now: Instant)

    /// The lease is over because its socket died or nobody listens at the far end; it must not be released any more.
    func leaseBroken(_ id: LeaseID, cause: FailureCause, now: Instant)

    /// All sockets that were readable have been read, and all that servers sent has been delivered: the end of the turn,
    /// and a good moment to write.
    func upstreamReadComplete()
}
