internal import CoAP
internal import Secrets
internal import Timing

/// A registration with what it holds: its upstream socket, and the session of its device while there is one.
///
/// Owned by the ``DeviceSessions`` actor of its shard and touched nowhere else.
final class Registration: Timed {
    /// What gives a device the right to register.
    enum Right {
        case credential(OneTimeCredential)
        case grant(PlainGrant)

        var shortServerID: UInt16 {
            switch self {
            case .credential(let credential): credential.shortServerID
            case .grant(let grant): grant.shortServerID
            }
        }
    }

    let iccid: String
    /// Name of the entry in `servers`, and which of its accounts: a device may have several at one server.
    let server: String
    let shortServerID: UInt16
    var relay: RegistrationRelay
    var lease: LeaseID?
    /// Nil while the device has none.
    var session: DeviceSession?
    /// How the device came last. What came over DTLS does not go on without.
    var arrival: GatewayConfiguration.Security
    var right: Right
    /// What the server observes at the device, while the device has no session.
    var resting = MessageLayer.Observations()
    var due: Instant?
    var queueIndex = -1
    /// Under which it is found in the actor's table.
    var place: ServerLocation?

    init(_ right: Right, relay: RegistrationRelay, session: DeviceSession) {
        self.iccid = relay.subject.iccid
        self.server = relay.subject.server
        self.shortServerID = right.shortServerID
        self.right = right
        self.relay = relay
        self.session = session
        self.arrival = session.arrival
    }

    /// One of an earlier run of the gateway, whose device has no session yet.
    init(
        _ right: Right, relay: RegistrationRelay, shortServerID: UInt16, arrival: GatewayConfiguration.Security
    ) {
        self.iccid = relay.subject.iccid
        self.server = relay.subject.server
        self.shortServerID = shortServerID
        self.right = right
        self.relay = relay
        self.session = nil
        self.arrival = arrival
    }

    var leaseOwner: LeaseOwner { LeaseOwner(iccid: self.iccid, leg: .registration(server: self.server)) }

    /// By which the device came over DTLS.
    var credential: OneTimeCredential? { if case .credential(let credential) = self.right { credential } else { nil } }

    /// What the bootstrap server wrote for this device, where the relay shows it to the server.
    var written: UpstreamAccount? {
        switch self.right {
        case .credential(let credential): credential.written
        case .grant(let grant): grant.written
        }
    }

    /// What the stores say now.
    func update(_ record: SIMRecord, _ standing: [PSKIdentity: IdentityResolution]) {
        self.relay.update(record)
        guard let identity = self.credential?.identity, case .registration(let credential, _)? = standing[identity]
        else { return }
        self.right = .credential(credential)
        self.relay.subject.standing = credential.state
    }
}

/// What a server calls a registration.
struct ServerLocation: Hashable {
    /// Name of the entry in `servers`.
    let server: String
    let location: [[UInt8]]
}

/// Who is told what happens on a leased socket.
enum LeaseUser {
    case bootstrap(DeviceSession)
    case registration(Registration)
}
