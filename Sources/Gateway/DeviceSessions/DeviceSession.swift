internal import CoAP
internal import DTLS
internal import NIOCore
internal import Timing

/// Where a device's datagrams come from: one of our sockets and the address on the other side.
struct PeerKey: Hashable, Sendable {
    let listener: Int
    let address: PeerAddress
}

/// One address at one of our sockets: the session that lives there, and the handshake that may replace it.
///
/// A live session survives a ClientHello from its address until the new handshake has proved itself (RFC 6347, 4.2.8).
final class DevicePeer: Timed {
    let key: PeerKey
    /// Kept for answers: making one costs an allocation.
    let remote: SocketAddress
    var session: DeviceSession?
    var handshake: Handshake?
    var due: Instant?
    var queueIndex = -1

    init(key: PeerKey, remote: SocketAddress) {
        self.key = key
        self.remote = remote
    }

    var isEmpty: Bool { self.session == nil && self.handshake == nil }
}

/// A DTLS handshake under way.
final class Handshake {
    let dtls: DTLSSession
    let began: Instant
    /// What the identity stands for, once it was looked up.
    var resolution: IdentityResolution?
    /// The generation of the records that ``resolution`` is of.
    var recordGeneration = 0
    /// The identity has to wait here: its key is not looked at.
    var isBackedOff = false
    /// Its failure is in the journal.
    var isReported = false

    init(dtls: DTLSSession, now: Instant) {
        self.dtls = dtls
        self.began = now
    }
}

/// One device that has shown who it is: its secure channel if it has one, its message layer, and what it is doing.
///
/// Owned by the ``DeviceSessions`` actor of its shard and touched nowhere else.
final class DeviceSession {
    let id: UInt64
    /// Changes only under a connection ID, and only when a newer record has proved it.
    var peer: DevicePeer
    let arrival: GatewayConfiguration.Security
    /// Nil for a device that came plain.
    let dtls: DTLSSession?
    /// Messages of it are opened and not worked off yet: see ``DeviceSessions/settle(_:now:)``.
    var isStaged = false
    /// Messages for it wait to be sealed.
    var owesSeal = false
    var layer: MessageLayer
    var record: SIMRecord
    /// Over DTLS exactly one of the two is there, as the identity has decided. On the plain port the path of each request
    /// decides, and a device may have both.
    var bootstrap: BootstrapSession?
    var registration: Registration?
    /// The lease of the bootstrap; a registration has its own.
    var lease: LeaseID?
    /// The command of the bootstrap server that is at the device.
    var deviceExchange: MessageLayer.ExchangeID?
    /// Bodies in blocks on both sides of the bootstrap; there as long as the lease.
    var blocks: BootstrapBlocks?
    /// Packs that were asked for here; nil for nearly every device.
    var packs: PackTransfer?
    /// Tells commands in blocks apart once one was given up in the middle; nil until then.
    var requestTag: UInt8?
    /// The Bootstrap-Request that is upstream.
    var upstreamExchange: MessageLayer.ExchangeID?
    /// When the device last asked for a bootstrap here: wall clock, microseconds since 1970.
    var bootstrapRequestedAt: Int64 = 0
    /// The same moment on the monotonic clock.
    var bootstrapBegan: Instant
    var lastHeard: Instant
    /// True once the device has acknowledged or answered anything: its address is not forged.
    var hasAnswered = false
    var isClosed = false
    /// What the device has said while its record is looked at again; nil at all other times.
    var unjudged: [[UInt8]]?
    /// Where the session was when its last audit record was written, if it has moved since.
    var movedFrom: PeerAddress?

    init(
        id: UInt64, peer: DevicePeer, arrival: GatewayConfiguration.Security, dtls: DTLSSession?,
        layer: MessageLayer, record: SIMRecord, now: Instant
    ) {
        self.id = id
        self.peer = peer
        self.arrival = arrival
        self.dtls = dtls
        self.layer = layer
        self.record = record
        self.bootstrapBegan = now
        self.lastHeard = now
    }

    /// The earliest of the deadlines of what the session does.
    var deadline: Instant? {
        .earlier(self.layer.currentDeadline(), .earlier(self.dtls?.deadline, self.bootstrap?.currentDeadline() ?? nil))
    }

    /// A bootstrap runs here.
    var isBootstrapping: Bool { self.bootstrap?.checkIsRunning() ?? false }
}
