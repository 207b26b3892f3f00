package import CoAP
package import DTLS
package import Secrets

/// All that a gateway hands over to the next one when it stops in order: device sessions, registrations with their ports
/// upstream, and the ports that servers may still write to. Bootstraps are no part of it: they have ended by then.
///
/// A plain value, made and taken up on the shard's event loop. It holds live keys: what it is encoded into has to be
/// sealed, and may be taken up once.
package struct Handover: Sendable {
    /// Wall clock, microseconds since 1970; all ages count back from here.
    package var savedAt: Int64
    package var sessions: [Session]
    package var registrations: [Registration]
    package var ports: [Port]

    package init(
        savedAt: Int64, sessions: [Session] = [], registrations: [Registration] = [], ports: [Port] = []
    ) {
        self.savedAt = savedAt
        self.sessions = sessions
        self.registrations = registrations
        self.ports = ports
    }

    /// A device that has shown who it is.
    package struct Session: Sendable {
        /// The listener's own address, which is the one that the device sends to.
        package var listener: PeerAddress
        package var peer: PeerAddress
        package var iccid: String
        /// Nil for a device that came plain.
        package var dtls: DTLSSessionState?
        /// False where another session has this address and only the connection ID leads to this one.
        package var hasAddress: Bool
        /// Milliseconds since it was heard from.
        package var silence: UInt32
        package var layer: MessageLayer.Memento
        /// Its own in ``Handover/registrations``.
        package var registration: Int?
    }

    /// A registration that its server has confirmed, with the socket that the server knows.
    package struct Registration: Sendable, Hashable {
        /// By what right the device came.
        package enum Right: Sendable, Hashable {
            /// A one-time credential.
            case identity(PSKIdentity)
            /// A plain port's grant, which SIM and server name.
            case grant
        }

        package var iccid: String
        /// Name of the entry in `servers`.
        package var server: String
        package var shortServerID: UInt16
        package var right: Right
        package var arrivedSecurely: Bool
        /// URI of the relay when it was opened.
        package var upstream: String
        package var local: PeerAddress
        package var remote: PeerAddress
        package var location: [[UInt8]]
        /// Seconds; 0: for ever.
        package var lifetime: UInt32
        /// Milliseconds until the lifetime is over; nil: never. Negative: it was over then, but not yet its grace.
        package var remaining: Int64?
        package var bindingQueues: Bool
        package var hasQueueFlag: Bool
        package var layer: MessageLayer.Memento
        package var observations: [Observation]
    }

    /// What a server observes at a device: the conversation with each of them.
    package struct Observation: Sendable, Hashable {
        package var device: MessageLayer.SavedObservation
        package var server: MessageLayer.SavedObserver
    }

    /// A local port that a server may still write to, meaning an earlier device.
    package struct Port: Sendable, Hashable {
        package var local: PeerAddress
        package var remote: PeerAddress
        /// Milliseconds.
        package var remaining: UInt32
    }

    /// Bounds of what is read.
    enum Limit {
        static let sessions = 1 << 20
        static let registrations = 1 << 20
        static let ports = 1 << 20
        static let iccid = 32
        static let name = 1024
        static let uri = 1024
        static let locationSegments = 32
        static let locationSegment = 255
        /// Those that were under way together when the bound was reached count too.
        static let observations = RegistrationRelay.Limit.observations + RegistrationRelay.Limit.serverRequests
    }
}

extension Handover.Registration {
    /// Whether it would be read again. One that is not would take all others with it.
    var isReadable: Bool {
        self.iccid.utf8.count <= Handover.Limit.iccid && self.server.utf8.count <= Handover.Limit.name
            && self.upstream.utf8.count <= Handover.Limit.uri
            && self.location.count <= Handover.Limit.locationSegments
            && self.location.allSatisfy { $0.count <= Handover.Limit.locationSegment }
            && self.observations.count <= Handover.Limit.observations
    }
}
