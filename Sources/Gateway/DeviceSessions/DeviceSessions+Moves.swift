internal import DTLS
internal import NIOCore
internal import Timing

/// Devices whose address changes: sessions are found by the connection ID in their records (RFC 9146).
///
/// The address of a session changes only with a record that is authentic and newer than every one before (section 6).
/// Neither a forged record nor a repeated or late one is answered at its own address, so nothing can be turned against
/// somebody else's address without a record that the device has just sent and that did not arrive otherwise. Even then
/// no more goes there than answers that record, and one confirmable message with its repetitions at a time.
extension DeviceSessions {
    /// A connection ID for a session that begins at this listener; nil where none are negotiated, and in the one case in
    /// 10^14 that it is taken.
    func newConnectionID(at listener: Int) -> ConnectionID? {
        guard self.takesConnectionIDs(at: listener) else { return nil }
        let id = ConnectionID(
            node: self.environment.node, shard: self.environment.shard, random: self.environment.randomBits()
        )
        return self.byConnectionID[id] == nil ? id : nil
    }

    private func takesConnectionIDs(at listener: Int) -> Bool {
        self.listenerEntries[listener].connectionIDs ?? self.configuration.dtls.connectionIDs
    }

    /// A datagram whose first record carries a connection ID: it says whose it is, whatever address it comes from.
    func receiveNamed(
        _ bytes: UnsafeRawBufferPointer, key: PeerKey, remote: SocketAddress, peer: DevicePeer?,
        now: Instant
    ) {
        guard let id = ConnectionID(of: bytes) else {
            self.counters.drop("connection_id_malformed")
            return
        }
        if let peer, let handshake = peer.handshake, handshake.dtls.connectionID == id {
            self.advance(handshake, of: peer, handshake.dtls.receive(bytes, now: now), now: now)
        } else if let session = peer?.session, session.dtls?.connectionID == id {
            self.receive(bytes, for: session, now: now)
        } else if let session = self.byConnectionID[id], session.peer.key == key {
            self.receive(bytes, for: session, now: now)
        } else if let session = self.byConnectionID[id], self.takesConnectionIDs(at: key.listener) {
            self.receive(bytes, from: key, remote: remote, for: session, now: now)
        } else {
            self.counters.drop("connection_id_unknown")
        }
    }

    /// A datagram that names a session which is somewhere else.
    private func receive(
        _ bytes: UnsafeRawBufferPointer, from key: PeerKey, remote: SocketAddress, for session: DeviceSession,
        now: Instant
    ) {
        guard let dtls = session.dtls else { return }
        self.settle(session, now: now)
        _ = dtls.receiveFromElsewhere(bytes, now: now)
        if dtls.hasHeardNewer {
            self.move(session, to: key, remote: remote, now: now)
        } else {
            self.counters.drop("connection_id_not_newer")
        }
        // A late record is still the device's own: what it says counts, and the answer goes where the device is.
        dtls.drainOutput { self.transmit($0, to: session.peer) }
        self.readPlaintext(of: session, now: now)
    }

    /// From now on the session is at `key`: its deadlines, what it is doing and its lease go with it.
    ///
    /// A session that is there already stays. The record proves who sent it, but not from where: a device that forges its
    /// source must not end the session of another one by that. Nor is it necessary, because records with a connection ID
    /// are told apart from those of the resident, which the address alone names.
    private func move(
        _ session: DeviceSession, to key: PeerKey, remote: SocketAddress, now: Instant
    ) {
        let former = session.peer
        let peer: DevicePeer
        if let present = self.peers[key] {
            peer = present.session == nil ? present : DevicePeer(key: key, remote: remote)
        } else {
            peer = DevicePeer(key: key, remote: remote)
            self.peers[key] = peer
        }
        if former.session === session { former.session = nil }
        self.forgetIfEmpty(former)
        peer.session = session
        session.peer = peer
        self.schedule(peer)
        self.counters.sessionsMoved += 1
        if session.movedFrom == nil { session.movedFrom = former.key.address }
        let address = key.address.description
        session.bootstrap?.subject.peer = address
        session.registration?.relay.subject.peer = address
    }

    /// A new handshake has proved that somebody else (`iccid`) is at this address: whoever was there is not any more.
    ///
    /// A session with a connection ID lives on, because its device will be heard from elsewhere: a NAT gives the port of
    /// one device to the next when the first was silent. It ends if it is the same device that comes anew, or if nothing
    /// but its address names it.
    func makeRoom(at peer: DevicePeer, of session: DeviceSession, for iccid: String?, now: Instant) {
        guard session.dtls?.connectionID != nil, session.record.iccid != iccid else {
            self.end(session, cause: .superseded, now: now)
            return
        }
        // Not in the table of addresses: only its connection ID leads there.
        let place = DevicePeer(key: peer.key, remote: peer.remote)
        place.session = session
        session.peer = place
        peer.session = nil
        self.schedule(place)
    }

    func forget(_ connectionID: ConnectionID, of session: DeviceSession) {
        if self.byConnectionID[connectionID] === session { self.byConnectionID[connectionID] = nil }
    }

    /// Keeps an audit record of a session. The first one after a move says where the session was before.
    func journal(_ event: consuming AuditEvent, of session: DeviceSession) {
        guard let former = session.movedFrom else {
            self.audits.append(event)
            return
        }
        session.movedFrom = nil
        event.detail.append(.init("moved-from", .text(former.description)))
        self.audits.append(event)
    }
}
