internal import DTLS
internal import NIOCore

/// Datagrams of DTLS devices that one turn of the loop has read, by what is to be done with them.
///
/// Hellos come first, then all other handshake messages, then the records of live sessions. UDP keeps no order, so DTLS
/// needs none; and the order of any peer's datagrams of one kind stays.
struct Arrivals {
    struct Origin {
        let key: PeerKey
        /// The same for ``Listener/send(_:to:)``.
        let remote: SocketAddress
    }

    private var hellos = StagedMessages<Origin>()
    private var handshakes = StagedMessages<Origin>()
    private var records = StagedMessages<Origin>()

    var isEmpty: Bool { self.hellos.isEmpty && self.handshakes.isEmpty && self.records.isEmpty }
    var isFull: Bool { self.hellos.isFull || self.handshakes.isFull || self.records.isFull }

    mutating func append(_ datagram: UnsafeRawBufferPointer, from origin: Origin) {
        if DTLSSession.isClientHello(datagram) {
            self.hellos.append(datagram, of: origin)
        } else if DeviceSessions.belongsToHandshake(datagram) {
            self.handshakes.append(datagram, of: origin)
        } else {
            self.records.append(datagram, of: origin)
        }
    }

    func forEach(_ body: (Origin, UnsafeRawBufferPointer) -> Void) {
        self.hellos.forEach(body)
        self.handshakes.forEach(body)
        self.records.forEach(body)
    }

    /// Forgets all, and keeps the room.
    mutating func empty() {
        self.hellos.wipe()
        self.handshakes.wipe()
        self.records.wipe()
    }
}
