internal import CWolfSSL
internal import Secrets
internal import Timing

// The one place where records enter the library, and where what it answers becomes a change of phase.
extension DTLSSession {
    /// - Throws: `failure`, when memory is short.
    func makeLibraryObject() throws(DTLSError) -> OpaquePointer {
        guard let library = wolfSSL_new(self.context.library) else { throw .failure(call: "wolfSSL_new", code: 0) }
        self.library = library
        let pointer = Unmanaged.passUnretained(self).toOpaque()
        wolfSSL_SetIOReadCtx(library, pointer)
        wolfSSL_SetIOWriteCtx(library, pointer)
        wolfSSL_dtls_set_using_nonblock(library, 1)
        // The library counts whole seconds and gives up after seven repetitions. With 0 it leaves both to us.
        _ = wolfSSL_dtls_set_timeout_init(library, 0)
        return library
    }

    /// Makes records name the session by `connectionID`; with nil, only ours may name the peer's.
    ///
    /// - Throws: `failure`, when memory is short or the library knows no connection IDs.
    static func use(_ connectionID: ConnectionID?, in library: OpaquePointer) throws(DTLSError) {
        let result =
            connectionID?.withBytes { bootgate_use_connection_id(library, $0.baseAddress, UInt32($0.count)) }
            ?? bootgate_use_connection_id(library, nil, 0)
        guard result == 1 else { throw .failure(call: "wolfSSL_dtls_cid_use", code: 0) }
    }

    /// Gives one record of the handshake to the library.
    func feed(_ record: UnsafeRawBufferPointer, now: Instant) {
        self.input = record
        self.advance(now: now)
        self.input = nil
    }

    func feed(_ record: [UInt8], now: Instant) {
        record.withUnsafeBytes { self.feed($0, now: now) }
    }

    /// Lets the library go on with the handshake, as far as its input reaches.
    func advance(now: Instant) {
        guard let library = self.library, let handshake = self.handshake else { return }
        handshake.hasSent = false
        let result = self.context.role == .server ? wolfSSL_accept(library) : wolfSSL_connect(library)
        if result == 1 {
            self.becomeEstablished(now: now)
            return
        }
        if handshake.hasSent {
            // A new flight: its repetitions start from the beginning.
            handshake.timer = RetransmissionTimer(initial: self.context.configuration.initialRetransmission, now: now)
        }
        self.check(wolfSSL_get_error(library, result))
    }

    /// Gives one protected record to the library; what it opens waits in the context's memory.
    func open(_ record: Record) {
        guard let library = self.library else { return }
        guard self.context.plaintext.makeRoom(for: record.bytes.count) else { return }
        let free = self.context.plaintext.free
        self.input = record.bytes
        let count = wolfSSL_read(library, free.baseAddress, Int32(clamping: free.count))
        self.input = nil
        if count > 0 {
            self.context.plaintext.keep(Int(count), for: self.number)
            // The client has the last flight, and the library has just freed all of the handshake.
            self.lastFlight = nil
            if record.number > self.newestNumber {
                self.newestNumber = record.number
                self.hasHeardNewer = true
            }
            return
        }
        let code = wolfSSL_get_error(library, count)
        if code == bootgate_error_zero_return {
            _ = wolfSSL_shutdown(library)
            self.end(.closedByPeer)
        } else {
            self.check(code)
        }
    }

    /// Sends the flight again that the library keeps.
    func repeatFlight() {
        guard let library = self.library else { return }
        let result = wolfSSL_dtls_got_timeout(library)
        if result != 1 { self.check(wolfSSL_get_error(library, result)) }
    }

    func releaseHandshakeMemory() {
        self.lastFlight = nil
        if let library = self.library { _ = wolfSSL_FreeHandshakeResources(library) }
    }

    func becomeEstablished(now: Instant) {
        guard let library = self.library, self.handshake != nil else { return }
        self.leavePhase()
        self.phase = .established
        self.context.established += 1
        self.outcome = .established
        self.suite = CipherSuite(rawValue: UInt16(truncatingIfNeeded: wolfSSL_get_current_cipher_suite(library)))
        self.handshake = nil
        switch self.context.role {
        case .server: self.lastFlight = LastFlight(configuration: self.context.configuration, now: now)
        case .client: self.releaseHandshakeMemory()
        }
    }

    /// Frees everything but the output that waits. The first reason counts.
    func end(_ reason: DTLSCloseReason) {
        if case .closed = self.phase { return }
        self.leavePhase()
        self.phase = .closed(reason)
        self.outcome = .closed(reason)
        self.handshake = nil
        self.lastFlight = nil
        self.input = nil
        if let library = self.library { wolfSSL_free(library) }
        self.library = nil
    }

    /// Keeps the context's counters right.
    func leavePhase() {
        switch self.phase {
        case .handshaking: if self.handshake != nil { self.context.handshakes -= 1 }
        case .established: self.context.established -= 1
        case .closed: break
        }
    }

    /// Everything but "more input, please" is final.
    private func check(_ code: Int32) {
        switch code {
        case bootgate_error_want_read, bootgate_error_want_write: break
        case bootgate_error_fatal_alert: self.end(.peerAlert)
        default: self.end(.protocolError(code))
        }
    }

    // MARK: What the library asks for

    /// The record that is being fed, once. Clear records get the version of DTLS 1.2 and a number of ours.
    func takeInput(into target: UnsafeMutableRawBufferPointer) -> Int? {
        guard let record = self.input else { return nil }
        self.input = nil
        guard record.count <= target.count, record.count >= Record.headerLength else { return nil }
        target.copyMemory(from: record)
        if let handshake = self.handshake, record[3] == 0, record[4] == 0 {
            target[1] = 0xFE
            target[2] = 0xFD
            for index in 0..<6 {
                target[5 + index] = UInt8(truncatingIfNeeded: handshake.clearSequence >> UInt64((5 - index) * 8))
            }
            handshake.clearSequence &+= 1
        }
        return record.count
    }

    func takeOutput(_ datagram: UnsafeRawBufferPointer) {
        self.context.output.append(datagram, for: self.number)
        if let handshake = self.handshake {
            handshake.datagrams += 1
            handshake.hasSent = true
        }
    }

    /// The key's length, or 0 when there is none.
    func copyKey(to target: UnsafeMutableRawBufferPointer) -> UInt32 {
        guard let key = self.handshake?.key, key.count <= target.count else { return 0 }
        key.withUnsafeBytes { target.copyMemory(from: $0) }
        return UInt32(key.count)
    }

    /// As a C string. The library adds the NUL itself when the identity is as long as it can be.
    func copyIdentity(to target: UnsafeMutableRawBufferPointer) -> Bool {
        guard let identity = self.identity?.bytes, identity.count <= target.count else { return false }
        target.copyBytes(from: identity)
        if identity.count < target.count { target[identity.count] = 0 }
        return true
    }
}
