internal import Timing

/// Names one lease of the upstream pool, from the call that asked for it until it was released, refused or broken.
/// Numbers are not used again within one run of the gateway.
package struct LeaseID: Hashable, Sendable {
    package let rawValue: UInt64

    package init(rawValue: UInt64) { self.rawValue = rawValue }
}

/// Whom a socket is leased to: one SIM on one leg. Only the same owner may take a parked socket again.
package struct LeaseOwner: Hashable, Sendable {
    package enum Leg: Hashable, Sendable {
        case bootstrap
        /// With the name of the entry in `servers`.
        case registration(server: String)
    }

    package let iccid: String
    package let leg: Leg

    package init(iccid: String, leg: Leg) {
        self.iccid = iccid
        self.leg = leg
    }

    var isRegistration: Bool { self.leg != .bootstrap }
}

/// How a lease ended, which decides what becomes of its socket.
package enum LeaseEnd: Hashable, Sendable {
    /// Finish got 2.04 and the upstream has that answer: the next device may have the socket at once.
    case clean
    /// Anything else: the socket is quarantined, because a server that gave up on one device may go on writing to its
    /// port with new message IDs (T1). Every request that still comes is answered with RST.
    case unclean
    /// As `unclean`, but the same owner may take this very socket again: a device that renews its request or shakes
    /// hands again is forwarded from the same upstream port, so that the server replaces its session (T3, T4).
    case parked
}

/// The answer to a request for a lease.
package enum LeaseResult: Sendable {
    /// The socket is the caller's from now on. `local` is the address that the server sees, as `ADDRESS:PORT`.
    case granted(LeaseID, upstream: GatewayConfiguration.Upstream, local: String)
    /// No socket is free, or a handshake has to come first: ``LeaseHolder/leaseGranted(_:upstream:now:)`` or `leaseRefused`
    /// follows, within `pool.wait` for the socket and 30 s for each handshake.
    case waiting(LeaseID)
    /// Nothing follows. `retryAfter` suits a Max-Age.
    case refused(FailureCause, retryAfter: Duration)
}
