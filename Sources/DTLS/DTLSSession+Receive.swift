internal import CWolfSSL
package import Secrets
package import Timing

// What may pass from the network into the library, by role and phase. The library believes clear records: one forged
// alert, key exchange or version can end its object. So only what belongs at this point of the handshake goes in.
extension DTLSSession {
    /// Whether `datagram` starts with a ClientHello. From a peer that has a session, such a datagram goes to the gate,
    /// unless it is that session's own: the device may have started again, and if its new handshake completes, the new
    /// session takes the place of the old one (RFC 6347, section 4.2.8).
    package static func isClientHello(_ datagram: UnsafeRawBufferPointer) -> Bool {
        datagram.count > Record.headerLength && datagram[0] == ContentType.handshake && datagram[3] == 0
            && datagram[4] == 0 && datagram[Record.headerLength] == HandshakeType.clientHello
    }

    /// Whether `datagram` is the ClientHello that this session began with, or an earlier one of the same handshake: a
    /// late or repeated datagram, no new handshake. Give it to ``receive(_:now:)``.
    package func isOwnHello(_ datagram: UnsafeRawBufferPointer) -> Bool {
        guard let own = self.clientRandom, let hello = try? ClientHello.parse(datagram) else { return false }
        return ClientRandom(hello.random) == own
    }

    // MARK: Handshake of a server

    func receiveAsHandshakingServer(_ record: Record, now: Instant) {
        guard let handshake = self.handshake else { return }
        switch (record.type, record.epoch) {
        case (ContentType.handshake, 0):
            for fragment in HandshakeFragments(record.body) { self.receiveClear(fragment, handshake, now: now) }
        case (ContentType.changeCipherSpec, 0):
            guard Self.isChangeCipherSpec(record) else { return }
            handshake.hasChangeCipherSpec = true
            if case .provided = handshake.keyStage { self.feedProof(handshake, now: now) }
        case (ContentType.alert, 0): handshake.peerAlert = Self.alert(in: record)
        case (self.finishedType, 1):
            handshake.held.add(record.bytes)
            if case .provided = handshake.keyStage { self.feedProof(handshake, now: now) }
        default: break
        }
    }

    private func receiveClear(_ fragment: HandshakeFragment, _ handshake: Handshake, now: Instant) {
        switch fragment.type {
        case HandshakeType.clientHello:
            // The client has not got our flight, or not all of it.
            guard fragment.isWhole, case .awaitingIdentity = handshake.keyStage, handshake.timer.mayAnswer(now: now)
            else { return }
            self.repeatFlight()
            handshake.timer.answered(now: now)
        case HandshakeType.clientKeyExchange:
            guard case .awaitingIdentity = handshake.keyStage,
                fragment.messageSequence == handshake.keyExchangeSequence,
                let message = handshake.assembler.add(fragment)
            else { return }
            handshake.assembler = MessageAssembler()
            let exchange = message.withUnsafeBytes { bytes in
                KeyExchange(bytes, messageSequence: fragment.messageSequence, suite: self.suite)
            }
            guard let exchange else { return }
            handshake.keyStage = .lookingUp(exchange)
            handshake.timer.pause()
            if let identity = exchange.identity {
                self.identity = identity
                self.outcome = .keyNeeded(identity)
            } else {
                self.resume(with: nil, now: now)
            }
        default: break
        }
    }

    /// Answers ``DTLSOutcome/keyNeeded(_:)``: goes on with what came meanwhile, in order.
    ///
    /// - Parameters:
    ///   - key: Nil when the identity is unknown. The handshake goes on with a random key then, and fails in the same
    ///     silence as with a wrong one. If the store does not answer, do not call this at all: the handshake expires.
    package func provide(key: Secret?, now: Instant) -> DTLSOutcome {
        self.outcome = .nothing
        self.resume(with: key, now: now)
        self.endOverlongHandshake()
        return self.outcome
    }

    /// Whether the client, asked to prove the key that was provided, has sent something that does not prove it. Nothing
    /// is decided by that: the datagram may have been forged, and the client's own proof may still come.
    package var hasFailedProof: Bool { self.handshake?.hasFedFinished ?? false }

    private func resume(with key: Secret?, now: Instant) {
        guard let handshake = self.handshake, case .lookingUp(let exchange) = handshake.keyStage else { return }
        if let key, (1...64).contains(key.count) {
            handshake.key = key
        } else {
            handshake.key = .random(count: 16)
            handshake.fault = key == nil ? .unknownIdentity : .unusableKey
        }
        handshake.keyStage = .provided
        handshake.timer.resume(now: now)
        self.feed(exchange.record, now: now)
        self.feedProof(handshake, now: now)
    }

    /// ChangeCipherSpec, then Finished: whatever order they came in.
    private func feedProof(_ handshake: Handshake, now: Instant) {
        guard handshake.hasChangeCipherSpec else { return }
        if !handshake.hasFedChangeCipherSpec {
            handshake.hasFedChangeCipherSpec = true
            self.feed(Self.changeCipherSpec, now: now)
        }
        for record in handshake.held.takeAll() {
            handshake.hasFedFinished = true
            self.feed(record, now: now)
        }
    }

    // MARK: Handshake of a client

    func receiveAsHandshakingClient(_ record: Record, now: Instant) {
        guard let handshake = self.handshake else { return }
        switch (record.type, record.epoch) {
        case (ContentType.handshake, 0): if Self.isOfServer(record) { self.feed(record.bytes, now: now) }
        case (ContentType.changeCipherSpec, 0):
            guard Self.isChangeCipherSpec(record) else { return }
            handshake.hasChangeCipherSpec = true
            self.feed(record.bytes, now: now)
            for held in handshake.held.takeAll() { self.feed(held, now: now) }
        case (ContentType.alert, 0): handshake.peerAlert = Self.alert(in: record)
        case (self.finishedType, 1):
            if handshake.hasChangeCipherSpec {
                self.feed(record.bytes, now: now)
            } else {
                handshake.held.add(record.bytes)
            }
        default: break
        }
    }

    /// Whether the record holds well-formed messages that a server sends in clear, and nothing else.
    private static func isOfServer(_ record: Record) -> Bool {
        var fragments = HandshakeFragments(record.body)
        while let fragment = fragments.next() {
            switch fragment.type {
            case HandshakeType.serverHello, HandshakeType.helloVerifyRequest, HandshakeType.serverKeyExchange,
                HandshakeType.serverHelloDone:
                continue
            default: return false
            }
        }
        return fragments.isAtEnd
    }

    // MARK: Established

    func receiveEstablished(_ record: Record, now: Instant) {
        let isOfHandshake =
            record.type == ContentType.handshake || (record.type == ContentType.changeCipherSpec && record.epoch == 0)
        if isOfHandshake, self.lastFlight?.mayRepeat(now: now) ?? false {
            // The client repeats its last flight: it has not got ours.
            self.repeatFlight()
        }
        // Clear records never reach the library again: before the first application record one could end the session.
        if record.epoch > 0 { self.open(record) }
    }

    // MARK: Common

    /// The type that the peer's Finished has. Under a connection ID every protected record has the same one.
    private var finishedType: UInt8 { self.connectionID == nil ? ContentType.handshake : ContentType.connectionID }

    func countHandshakeDatagram() { self.handshake?.datagrams += 1 }

    func endOverlongHandshake() {
        guard let handshake = self.handshake else { return }
        if handshake.datagrams > self.context.configuration.maximumHandshakeDatagrams {
            self.end(handshake.reason(orElse: .tooManyDatagrams))
        }
    }

    private static let changeCipherSpec: [UInt8] = [
        ContentType.changeCipherSpec, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1,
    ]

    private static func isChangeCipherSpec(_ record: Record) -> Bool { record.body.count == 1 && record.body[0] == 1 }

    private static func alert(in record: Record) -> UInt8? { record.body.count == 2 ? record.body[1] : nil }
}
