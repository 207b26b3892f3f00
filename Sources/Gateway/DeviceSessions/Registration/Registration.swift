internal import CoAP
internal import Timing

/// A registration with what it holds: its upstream socket, and the session of its device while there is one.
///
/// Owned by the ``DeviceSessions`` actor of its shard and touched nowhere else.
final class Registration: Timed {
    let owner: LeaseOwner
    var relay: RegistrationRelay
    var lease: LeaseID?
    /// Nil while the device has none.
    var session: DeviceSession?
    /// How the device came last. What came over DTLS does not go on without.
    var arrival: GatewayConfiguration.Security
    /// By which the device came over DTLS; nil where a grant gives the right.
    var credential: OneTimeCredential?
    /// Marked as used once the server has taken the registration.
    var unusedGrant: PlainGrant?
    /// What the server observes at the device, while the device has no session.
    var resting = MessageLayer.Observations()
    var due: Instant?
    var queueIndex = -1

    init(owner: LeaseOwner, relay: RegistrationRelay, session: DeviceSession) {
        self.owner = owner
        self.relay = relay
        self.session = session
        self.arrival = session.arrival
    }
}

/// Who is told what happens on a leased socket.
enum LeaseUser {
    case bootstrap(DeviceSession)
    case registration(Registration)
}
