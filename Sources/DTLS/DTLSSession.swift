internal import CWolfSSL
package import Secrets
package import Timing

/// One DTLS 1.2 association with one peer, without any input or output of its own: datagrams and the time come in,
/// datagrams and plaintext go out.
///
/// Used on the event loop of its ``DTLSContext`` only. After every call that can produce datagrams (`init`,
/// ``receive(_:now:)``, ``provide(key:now:)``, ``handleDeadline(now:)``, ``send(_:)``, ``close()``) call
/// ``drainOutput(_:)``; after `receive` and `provide` call ``read(_:)`` until it is false. Inside the bodies of those
/// two no session of the context may be called, except for ``send(_:)`` inside `read`.
///
/// Established, it costs no allocation of its own per datagram; the library makes one per record. Measured with wolfSSL
/// 5.9.2 on x86-64: 2.9 kB per session with CCM-8 or GCM once data came, 5.6 kB before (9.8 kB with ECDHE), all of the
/// library's memory included.
///
/// A server's session can go on in another process: see ``exportState()``. One whose client wants a connection ID of its
/// own in our records can do so only with the wolfSSL that `scripts/setup` builds, because no public function of the
/// library brings that ID back.
package final class DTLSSession {
    package enum Phase: Hashable, Sendable {
        /// From the first accepted hello, or a client's own, to the Finished of both sides.
        case handshaking
        /// Both sides have proved the key.
        case established
        /// Over. Every call does nothing from now on.
        case closed(DTLSCloseReason)
    }

    package internal(set) var phase = Phase.handshaking
    /// A client's own identity, or the one that the client of a server has named: proved only when established. Nil
    /// when the client has named none yet, or none that can exist.
    package internal(set) var identity: PSKIdentity?
    /// What was negotiated; nil before.
    package internal(set) var suite: CipherSuite?
    /// What the peer's protected records name this session by; nil when that was not negotiated, or not offered.
    package internal(set) var connectionID: ConnectionID?
    /// Whether the last call of ``receive(_:now:)`` or ``receiveFromElsewhere(_:now:)`` has opened data in a record that
    /// is newer than every one opened before: where that datagram came from, there the peer is now (RFC 9146, section
    /// 6). Never for a record that is forged, repeated, late, clear, or no data.
    package internal(set) var hasHeardNewer = false

    let context: DTLSContext
    /// The owner of what waits in the context's memory.
    let number: UInt64
    /// Nil as soon as the session is closed: the library overwrites its keys when it frees the object.
    var library: OpaquePointer?
    /// Nil as soon as the handshake is over.
    var handshake: Handshake?
    /// Nil as soon as the client has shown that it has the last flight, and always for a client.
    var lastFlight: LastFlight?
    /// A server's: tells a late repetition of the hello from a new one.
    let clientRandom: ClientRandom?
    /// What the library may take during a call; borrowed.
    var input: UnsafeRawBufferPointer?
    /// The highest number of a record that was opened.
    var newestNumber: UInt64 = 0
    /// The result of the call under way.
    var outcome = DTLSOutcome.nothing

    /// A server's session with the sender of `hello`. Its first flight waits in the output afterwards.
    ///
    /// - Parameters:
    ///   - hello: The datagram that the gate has just accepted.
    ///   - cookies: That gate.
    ///   - connectionID: What the client's records shall name this session by; asked for only if the client offers
    ///     connection IDs. It must be no other live session's. Nil: they are not taken up; nor are they when a CBC suite
    ///     may be chosen, or when the client's own ID is longer than the library's ten bytes.
    /// - Throws: `staleHello`, `helloRefused`, `tooManyHandshakes` or `failure`; nothing is left then, and nothing
    ///   sent.
    package init(
        accepting hello: UnsafeRawBufferPointer,
        from peer: DTLSPeer,
        cookies: CookieGate,
        context: DTLSContext,
        connectionID: @autoclosure () -> ConnectionID? = nil,
        now: Instant
    ) throws(DTLSError) {
        guard context.handshakes < context.configuration.maximumHandshakes else { throw .tooManyHandshakes }
        guard
            context.role == .server, let parsed = try? ClientHello.parse(hello),
            let secret = cookies.secret(behind: parsed, in: hello, from: peer)
        else { throw .staleHello }
        let handshake = Handshake(configuration: context.configuration, now: now)
        handshake.keyExchangeSequence = parsed.messageSequence &+ 1
        handshake.clearSequence = parsed.recordSequence.reduce(0) { $0 << 8 | UInt64($1) }
        self.context = context
        self.number = context.nextNumber()
        self.clientRandom = ClientRandom(parsed.random)
        self.library = nil
        self.handshake = handshake
        context.handshakes += 1
        let library = try self.makeLibraryObject()
        // The library checks the cookie again, over the same bytes.
        let isKeyed = secret.withUnsafeBytes { secret in
            let bytes = secret.bindMemory(to: UInt8.self)
            return wolfSSL_DTLS_SetCookieSecret(library, bytes.baseAddress, UInt32(bytes.count)) == 0
        }
        let isAddressed = peer.withBytes { address in
            // The library only reads and copies the address, although its parameter says otherwise.
            let start = UnsafeMutableRawPointer(mutating: address.baseAddress)
            return wolfSSL_dtls_set_peer(library, start, UInt32(address.count)) == 1
        }
        guard isKeyed, isAddressed else { throw .failure(call: "wolfSSL_DTLS_SetCookieSecret", code: 0) }
        var ownID: ConnectionID?
        if let length = parsed.connectionIDLength, length <= bootgate_longest_connection_id(),
            CipherSuite.allowConnectionIDs(context.suites, for: parsed), let connectionID = connectionID()
        {
            try Self.use(connectionID, in: library)
            ownID = connectionID
        }
        handshake.datagrams = 1
        self.feed(hello, now: now)
        if case .closed(.protocolError(let code)) = self.phase { throw .helloRefused(code: code) }
        if bootgate_has_connection_id(library) == 1 { self.connectionID = ownID }
        self.suite = CipherSuite(rawValue: UInt16(truncatingIfNeeded: wolfSSL_get_current_cipher_suite(library)))
        self.outcome = .nothing
    }

    /// Goes on with the session that `state` was taken from: established at once, with nothing to send, and with the
    /// replay window and the numbers of records as they were. Only one session may ever be made of a state.
    ///
    /// - Parameters:
    ///   - peer: Where the peer was when the state was taken.
    ///   - now: Not looked at: nothing of an established session runs out.
    /// - Throws: `configuration`, `failure`, or `savedState`: the suite is not one of the context's any more, or the
    ///   library does not take the state.
    package init(
        restoring state: DTLSSessionState,
        from peer: DTLSPeer,
        context: DTLSContext,
        now _: Instant
    ) throws(DTLSError) {
        guard context.role == .server else { throw .configuration("a client's context restores no sessions") }
        guard context.suites.contains(state.suite) else {
            throw .savedState("its suite \(state.suite) is not configured any more")
        }
        self.context = context
        self.number = context.nextNumber()
        // A late copy of the hello is answered by the gate, and the peer ignores that.
        self.clientRandom = nil
        self.library = nil
        self.handshake = nil
        self.identity = state.identity
        self.suite = state.suite
        self.connectionID = state.connectionID
        self.newestNumber = state.newestNumber
        try self.importState(state, from: peer)
        self.phase = .established
        context.established += 1
    }

    /// A client's session. Its hello waits in the output afterwards.
    ///
    /// - Parameter connectionIDs: What is offered; not from a context with CBC suites, whose records the library could
    ///   not open then.
    /// - Throws: `tooManyHandshakes`, `keyLength` or `failure`.
    package init(
        connectingAs identity: PSKIdentity,
        key: Secret,
        context: DTLSContext,
        connectionIDs: ConnectionIDOffer = .none,
        now: Instant
    ) throws(DTLSError) {
        guard context.handshakes < context.configuration.maximumHandshakes else { throw .tooManyHandshakes }
        guard (1...64).contains(key.count) else { throw .keyLength(key.count) }
        guard context.role == .client else { throw .configuration("a server's context makes no client sessions") }
        let handshake = Handshake(configuration: context.configuration, now: now)
        handshake.key = key
        self.context = context
        self.number = context.nextNumber()
        self.clientRandom = nil
        self.library = nil
        self.handshake = handshake
        self.identity = identity
        context.handshakes += 1
        let library = try self.makeLibraryObject()
        switch connectionIDs {
        case .none: break
        case .serversOnly: try Self.use(nil, in: library)
        case .own(let connectionID):
            try Self.use(connectionID, in: library)
            self.connectionID = connectionID
        }
        self.advance(now: now)
        if case .closed(.protocolError(let code)) = self.phase { throw .failure(call: "wolfSSL_connect", code: code) }
        self.outcome = .nothing
    }

    deinit {
        self.leavePhase()
        if let library = self.library { wolfSSL_free(library) }
        self.context.output.discard(for: self.number)
        self.context.plaintext.discard(for: self.number)
    }

    /// When ``handleDeadline(now:)`` wants to be called; nil: not by itself. Look again after every call.
    package var deadline: Instant? {
        if let handshake = self.handshake {
            return handshake.timer.deadline.map { min($0, handshake.expiry) } ?? handshake.expiry
        }
        return self.lastFlight?.expiry
    }

    /// The alert that the peer sent in clear during the handshake under way; nil when there was none. A hint only, since
    /// anyone can forge it.
    package var reportedAlert: UInt8? { self.handshake?.peerAlert }

    /// Takes a datagram of the peer. Anything may be in it: what is not authentic, repeated, malformed or out of place
    /// is dropped, and the session lives on.
    ///
    /// A ClientHello that is not this session's own (``isOwnHello(_:)``) belongs to the gate, not here.
    package func receive(_ datagram: UnsafeRawBufferPointer, now: Instant) -> DTLSOutcome {
        self.outcome = .nothing
        self.hasHeardNewer = false
        self.countHandshakeDatagram()
        for record in DatagramRecords(datagram, connectionID: self.connectionID) {
            switch self.phase {
            case .handshaking:
                if self.context.role == .server {
                    self.receiveAsHandshakingServer(record, now: now)
                } else {
                    self.receiveAsHandshakingClient(record, now: now)
                }
            case .established: self.receiveEstablished(record, now: now)
            case .closed: break
            }
        }
        self.endOverlongHandshake()
        return self.outcome
    }

    /// Takes a datagram that names this session by its connection ID but came from another address than the peer's. Only
    /// an established session takes it, and of its records only those with the connection ID: nothing that is not
    /// authentic makes the session answer. See ``hasHeardNewer`` for what the address is worth afterwards.
    package func receiveFromElsewhere(
        _ datagram: UnsafeRawBufferPointer,
        now: Instant
    ) -> DTLSOutcome {
        self.outcome = .nothing
        self.hasHeardNewer = false
        for record in DatagramRecords(datagram, connectionID: self.connectionID) {
            guard case .established = self.phase, record.type == ContentType.connectionID else { break }
            self.receiveEstablished(record, now: now)
        }
        return self.outcome
    }

    /// Lends one opened record and forgets it; false when there is none left. The bytes are overwritten afterwards.
    package func read(_ body: (UnsafeRawBufferPointer) -> Void) -> Bool {
        self.context.plaintext.take(for: self.number, body)
    }

    /// Lends the datagrams to be sent to the peer, one after the other, and forgets them.
    package func drainOutput(_ body: (UnsafeRawBufferPointer) -> Void) {
        while self.context.output.take(for: self.number, body) {}
    }

    /// Does what is due: repeats a flight, gives a handshake up, or gives memory back. Too early a call does nothing.
    package func handleDeadline(now: Instant) -> DTLSOutcome {
        self.outcome = .nothing
        if let handshake = self.handshake {
            if now >= handshake.expiry {
                self.end(handshake.reason(orElse: .handshakeTimeout(alert: handshake.peerAlert)))
            } else if handshake.timer.isDue(now: now) {
                self.repeatFlight()
                handshake.timer.repeated(now: now)
                self.endOverlongHandshake()
            }
        } else if let lastFlight = self.lastFlight, now >= lastFlight.expiry {
            self.releaseHandshakeMemory()
        }
        return self.outcome
    }

    /// Seals `plaintext` into one datagram.
    ///
    /// - Throws: `notEstablished` or `tooLong`, and `failure` when the library failed; the session is closed after
    ///   that.
    package func send(_ plaintext: UnsafeRawBufferPointer) throws(DTLSError) {
        guard case .established = self.phase, let library = self.library else { throw .notEstablished }
        guard !plaintext.isEmpty else { return }
        let written = wolfSSL_write(library, plaintext.baseAddress, Int32(clamping: plaintext.count))
        guard written <= 0 else { return }
        let code = wolfSSL_get_error(library, written)
        if code == bootgate_error_size { throw .tooLong(maximum: self.maximumPlaintext) }
        self.end(.protocolError(code))
        throw .failure(call: "wolfSSL_write", code: code)
    }

    /// How many bytes ``send(_:)`` takes at most; 0 unless established.
    package var maximumPlaintext: Int {
        guard case .established = self.phase, let library = self.library else { return 0 }
        return max(0, Int(wolfSSL_GetMaxOutputSize(library)))
    }

    /// Ends the session: with a close_notify when there are keys to protect it, else in silence. Repeated calls do
    /// nothing.
    package func close() {
        if case .established = self.phase, let library = self.library { _ = wolfSSL_shutdown(library) }
        self.end(.closedLocally)
    }
}

extension DTLSSession: CustomStringConvertible, CustomReflectable {
    package var description: String {
        "DTLSSession(\(self.context.role), \(self.identity?.description ?? "no identity"), \(self.phase))"
    }

    package var customMirror: Mirror { Mirror(self, children: [:]) }
}
