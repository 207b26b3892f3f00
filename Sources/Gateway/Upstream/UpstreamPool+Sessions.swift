internal import CoAP
internal import DTLS
internal import Logging
internal import Secrets
internal import Timing

/// The DTLS side of one socket. It stays with the socket, whose sessions come and go.
final class SecureLink {
    /// Nil between two sessions.
    var session: DTLSSession?
    /// What the session was begun with.
    var credentials: PreSharedKey?
    /// Messages that wait for the handshake under way, oldest first.
    private(set) var held: [[UInt8]] = []

    private static let maximumHeld = 16

    /// When the session wants to be looked at.
    var deadline: Instant? { self.session?.deadline }

    /// Keeps a message; false when there is no room, or when it waits already.
    func hold(_ message: [UInt8]) -> Bool {
        guard self.held.count < Self.maximumHeld, !self.held.contains(message) else { return false }
        self.held.append(message)
        return true
    }

    func takeHeld() -> [[UInt8]] {
        defer { self.held = [] }
        return self.held
    }
}

// Upstreams over DTLS: ``PoolStateMachine`` says when to shake hands; here is the rest.
extension UpstreamPool {
    static func security(of upstream: GatewayConfiguration.Upstream) -> PoolStateMachine.Security {
        switch upstream.credentials {
        case nil: .none
        case .fixed: .shared
        case .perDevice, .written: .perLease
        }
    }

    /// A handshake takes as long as a request: an upstream that lets requests take less time has a nearer network.
    static func clientConfiguration(
        _ policy: GatewayConfiguration.DTLSPolicy, _ transmission: TransmissionParameters
    ) -> DTLSConfiguration {
        var configuration = DTLSConfiguration()
        configuration.suites = policy.suites
        // The upstream side is a network of machines: no need to fit the narrowest path.
        configuration.mtu = 1400
        let first = max(transmission.acknowledgementTimeout / 2, .milliseconds(50))
        let rounds = 1 << min(max(transmission.maximumRetransmissions, 0) + 2, 8)
        configuration.initialRetransmission = first
        configuration.handshakeTimeout = min(first * (rounds - 1), .seconds(30))
        configuration.maximumHandshakes = .max
        return configuration
    }

    private func clientContext() -> DTLSContext? {
        if let context = self.dtlsContext { return context }
        do throws(DTLSError) {
            let context = try DTLSContext(role: .client, configuration: self.dtls)
            self.dtlsContext = context
            return context
        } catch {
            self.logger.error("no DTLS towards upstreams", metadata: ["error": "\(error)"])
            return nil
        }
    }

    // MARK: - Credentials of leases

    /// Those that can be shown what they want. A device that comes back with other credentials than the session of its
    /// parked socket has loses that session.
    func usable(
        _ upstreams: [GatewayConfiguration.Upstream], by owner: LeaseOwner, credentials: PreSharedKey?, now: Instant
    ) -> [GatewayConfiguration.Upstream] {
        guard upstreams.contains(where: \.needsDeviceCredentials) else { return upstreams }
        self.endParkedSession(of: owner, unlessWith: credentials, now: now)
        return credentials == nil ? upstreams.filter { !$0.needsDeviceCredentials } : upstreams
    }

    func keep(_ credentials: PreSharedKey, for result: PoolStateMachine.Acquisition) {
        switch result {
        case .granted(let lease, _, _), .waiting(let lease): self.leaseCredentials[lease] = credentials
        case .refused: break
        }
    }

    func forgetCredentials(of lease: LeaseID) {
        guard !self.leaseCredentials.isEmpty else { return }
        self.leaseCredentials[lease] = nil
    }

    private func endParkedSession(of owner: LeaseOwner, unlessWith credentials: PreSharedKey?, now: Instant) {
        guard let socket = self.machine.parked[owner], let link = self.connection(socket)?.link,
            link.session != nil, link.credentials != credentials,
            self.routeOf[self.machine.sockets[socket.slot].upstream].credentials?.belongsToDevice == true
        else { return }
        self.endSession(of: socket)
        self.machine.sessionEnded(socket, now: now)
    }

    private func credentials(for connection: Connection) -> PreSharedKey? {
        switch self.routeOf[self.machine.sockets[connection.id.slot].upstream].credentials {
        case .fixed(let pair): pair
        case .perDevice, .written: self.machine.holder(of: connection.id).flatMap { self.leaseCredentials[$0] }
        case nil: nil
        }
    }

    // MARK: - Handshakes

    func secure(_ socket: PoolStateMachine.SocketID) {
        guard let connection = self.connection(socket), let link = connection.link else { return }
        let now = Instant.now
        // Without a word: a server that still has its end keeps it, and all that hangs on it, until the new handshake has
        // succeeded (RFC 6347, section 4.2.8).
        link.session = nil
        // A probe of an upstream that wants a pair of a device's own has none: its hello is answered all the same.
        let credentials = self.credentials(for: connection) ?? Self.stranger
        guard let credentials, let context = self.clientContext() else {
            self.machine.handshakeFailed(socket, .unable, now: now)
            return
        }
        do throws(DTLSError) {
            link.session = try DTLSSession(
                connectingAs: credentials.identity, key: credentials.key, context: context, now: now
            )
            link.credentials = credentials
            self.drain(link, to: connection)
            self.reschedule(connection)
        } catch {
            self.logger.error("cannot begin a handshake with an upstream", metadata: ["error": "\(error)"])
            self.machine.handshakeFailed(socket, .unable, now: now)
        }
    }

    private static var stranger: PreSharedKey? {
        PSKIdentity("probe").map { PreSharedKey(identity: $0, key: .random(count: 16)) }
    }

    func endSession(of socket: PoolStateMachine.SocketID) {
        guard let connection = self.connection(socket), let link = connection.link, let session = link.session else {
            return
        }
        session.close()
        self.drain(link, to: connection)
        link.session = nil
        link.credentials = nil
        self.scheduleTurn()
    }

    private func drain(_ link: SecureLink, to connection: Connection) {
        link.session?.drainOutput { self.transmit($0, on: connection) }
    }

    /// What a call on the session of `link` has led to.
    private func follow(
        _ outcome: DTLSOutcome, of link: SecureLink, on connection: Connection, wasLive: Bool,
        now: Instant
    ) {
        switch outcome {
        case .nothing, .keyNeeded: return
        case .established:
            self.counters.handshakesCompleted += 1
            let isFirst = self.machine.lease(of: connection.id) == nil
            if isFirst { connection.layer.beginAssociation() }
            self.machine.secured(connection.id, now: now)
            for message in link.takeHeld() { self.transmit(message, on: connection, link, now: now) }
        case .closed(let reason):
            link.session = nil
            if wasLive {
                self.machine.sessionEnded(connection.id, now: now)
            } else {
                self.handshakeFailed(link, on: connection, reason, now: now)
            }
        }
    }

    private func handshakeFailed(
        _ link: SecureLink, on connection: Connection, _ reason: DTLSCloseReason, now: Instant
    ) {
        self.counters.handshakesFailed += 1
        _ = link.takeHeld()
        let isAnswered = self.machine.sockets[connection.id.slot].session.isAnswered
        let failure: PoolStateMachine.HandshakeFailure = isAnswered ? .refused : .unanswered
        self.logHandshake(of: link, on: connection, failure, reason, now: now)
        link.credentials = nil
        self.machine.handshakeFailed(connection.id, failure, now: now)
    }

    /// One line for each upstream in ten seconds at most.
    private func logHandshake(
        of link: SecureLink, on connection: Connection, _ failure: PoolStateMachine.HandshakeFailure,
        _ reason: DTLSCloseReason, now: Instant
    ) {
        let upstream = self.machine.sockets[connection.id.slot].upstream
        if let next = self.nextHandshakeLog[upstream], now < next { return }
        self.nextHandshakeLog[upstream] = now + .seconds(10)
        self.logger.warning(
            "no DTLS session with an upstream",
            metadata: [
                "upstream": "\(self.upstreams[upstream].uri)", "local": "\(connection.local)",
                "identity": "\(link.credentials?.identity.description ?? "none")", "reason": "\(reason)",
                "cause": "\(failure.cause.rawValue)", "remedy": "\(failure.cause.remedy)",
            ]
        )
    }

    // MARK: - Records

    func receivedRecords(
        _ bytes: UnsafeRawBufferPointer, on connection: Connection, _ link: SecureLink, now: Instant
    ) {
        guard let session = link.session else { return }
        if self.isHelloProbe(connection) {
            // Any answer to a hello shows that the server is there.
            self.machine.received(connection.id, now: now)
            self.machine.probeEnded(connection.id, now: now)
            return
        }
        let wasLive = session.phase == .established
        if !wasLive { self.machine.handshakeAnswered(connection.id) }
        let outcome = session.receive(bytes, now: now)
        self.drain(link, to: connection)
        self.follow(outcome, of: link, on: connection, wasLive: wasLive, now: now)
        var isHeard = false
        while session.read({ message in
            if !self.trace.isEmpty { self.note(message, .fromServer, on: connection) }
            connection.layer.receive(message, now: now, into: &self.events)
        }) {
            isHeard = true
        }
        if isHeard {
            self.machine.received(connection.id, now: now)
        } else if wasLive, Self.isClearAlert(bytes) {
            self.machine.sessionDenied(connection.id, now: now)
        }
    }

    private func isHelloProbe(_ connection: Connection) -> Bool {
        let socket = self.machine.sockets[connection.id.slot]
        guard case .probing = socket.state else { return false }
        return self.machine.upstreams[socket.upstream].security == .perLease
    }

    /// A record of an alert in epoch 0: two bytes, nothing else in the datagram.
    private static func isClearAlert(_ bytes: UnsafeRawBufferPointer) -> Bool {
        bytes.count == 15 && bytes[0] == 21 && bytes[3] == 0 && bytes[4] == 0
    }

    /// A message of the layer that wants to leave.
    func transmit(_ message: [UInt8], on connection: Connection, _ link: SecureLink, now: Instant) {
        // Type 0 in the header of RFC 7252, section 3.
        let isConfirmable = message.first.map { $0 & 0x30 == 0 } ?? false
        switch self.machine.transmission(on: connection.id, isConfirmable: isConfirmable, now: now) {
        case .now: self.seal(message, on: connection, link, now: now)
        case .hold: if !link.hold(message) { self.counters.unsent &+= 1 }
        case .discard: self.counters.unsent &+= 1
        }
    }

    private func seal(_ message: [UInt8], on connection: Connection, _ link: SecureLink, now: Instant) {
        guard let session = link.session else { return }
        message.withBytes { bytes in
            do throws(DTLSError) {
                try session.send(bytes)
            } catch {
                self.counters.unsent &+= 1
                self.logger.debug("cannot seal a message for an upstream", metadata: ["error": "\(error)"])
            }
        }
        self.drain(link, to: connection)
        if case .closed = session.phase {
            link.session = nil
            self.machine.sessionEnded(connection.id, now: now)
        }
    }

    // MARK: - Time

    func handleDeadline(of link: SecureLink, on connection: Connection, now: Instant) {
        guard let session = link.session, let due = session.deadline, due <= now else { return }
        let wasLive = session.phase == .established
        var outcome = session.handleDeadline(now: now)
        if outcome == .nothing, let alert = session.reportedAlert {
            // The server may well have said no. It had until now to prove the contrary.
            session.close()
            outcome = .closed(.handshakeTimeout(alert: alert))
        }
        self.drain(link, to: connection)
        self.follow(outcome, of: link, on: connection, wasLive: wasLive, now: now)
    }
}
