internal import CoAP
internal import Glibc
internal import NIOCore
internal import NIOPosix
internal import Timing

/// A lease as it goes from one run of the gateway to the next.
struct SavedLease: Sendable {
    var local: PeerAddress
    var remote: PeerAddress
    var layer: MessageLayer.Memento
}

/// Why a lease is not there any more after a restart.
enum RestoreFailure: Error, Sendable {
    /// The system does not give the port: `EADDRINUSE`, or another error.
    case port(errno: CInt)
    /// As many sockets as may be.
    case limit

    var cause: FailureCause {
        switch self {
        case .port: .portTaken
        case .limit: .limit
        }
    }

    var reason: String {
        switch self {
        case .port(let errno): String(cString: strerror(errno))
        case .limit: "too many sockets"
        }
    }
}

// Leases that outlive a restart; all of it runs on the loop.
extension UpstreamPool {
    // MARK: - Before

    /// Where the lease is and what it remembers. Nil when it is not live.
    func saved(_ lease: LeaseID, now: Instant) -> SavedLease? {
        guard let connection = self.connection(of: lease),
            let local = self.machine.sockets[connection.id.slot].local
        else { return nil }
        return SavedLease(
            local: local, remote: self.machine.sockets[connection.id.slot].remote,
            layer: connection.layer.memento(now: now)
        )
    }

    func savedObserver(_ request: MessageLayer.RequestID, on lease: LeaseID) -> MessageLayer.SavedObserver? {
        self.connection(of: lease)?.layer.savedObserver(request)
    }

    /// The next run goes on with this lease: no word to the server, not even that a DTLS session ends.
    func handOver(_ lease: LeaseID) {
        self.forgetCredentials(of: lease)
        guard let socket = self.machine.handOver(lease) else { return }
        self.handedOver.insert(socket)
        guard let connection = self.connection(socket) else { return }
        connection.lease = nil
        connection.link?.session = nil
        // What still comes is answered by the next run.
        connection.isMute = true
    }

    /// Ports that servers may still write to. Called after everything that is handed over was.
    func savedPorts(now: Instant) -> [Handover.Port] {
        self.machine.hotPorts(except: self.handedOver, now: now).map { key, until in
            Handover.Port(
                local: key.local, remote: key.remote,
                remaining: UInt32(clamping: max(0, now.nanoseconds(to: until)) / 1_000_000)
            )
        }
    }

    // MARK: - After

    /// Before anything else: sockets that are made meanwhile could take ports that are wanted back.
    func beginRestoring(_ ports: [Handover.Port], elapsed: Duration, now: Instant) {
        self.machine.suspendSupply()
        for port in ports {
            let until = now + .milliseconds(Int64(port.remaining)) - max(.zero, elapsed)
            self.machine.restoreHotPort(.init(local: port.local, remote: port.remote), until: until, now: now)
        }
    }

    /// The port of a registration that does not go on. Its server may still write to it, meaning that device.
    func rest(_ local: PeerAddress, to remote: PeerAddress, now: Instant) {
        let until = now + self.machine.settings.quarantine
        self.machine.restoreHotPort(.init(local: local, remote: remote), until: until, now: now)
    }

    func endRestoring(now: Instant) {
        self.machine.resumeSupply(now: now)
        self.carryOut()
        self.scheduleTurn()
    }

    /// Makes the socket of a lease again, at the very port that the server knows.
    ///
    /// - Parameter credentials: the device's own pair, for an upstream that wants one.
    func restore(
        _ saved: SavedLease, _ observers: [MessageLayer.SavedObserver], for owner: LeaseOwner,
        upstream: GatewayConfiguration.Upstream, credentials: PreSharedKey?, elapsed: Duration
    ) async -> Result<(lease: LeaseID, observers: [MessageLayer.RequestID?]), RestoreFailure> {
        let now = Instant.now
        let route = self.id(of: upstream, isRelay: true, now: now)
        guard
            let (lease, socket) = self.machine.restore(
                owner, to: route, local: saved.local, remote: saved.remote, now: now
            )
        else { return .failure(.limit) }
        let channel: any Channel
        do {
            channel = try await self.channel(for: socket, remote: saved.remote, local: saved.local).get()
        } catch {
            self.machine.abandonRestored(lease, socket)
            return .failure(.port(errno: (error as? IOError)?.errnoCode ?? EIO))
        }
        guard channel.isActive, self.machine.isCurrent(socket), let descriptor = SocketDescriptor(of: channel) else {
            channel.close(promise: nil)
            self.machine.abandonRestored(lease, socket)
            return .failure(.port(errno: EIO))
        }
        var layer = MessageLayer(
            saved.layer, parameters: self.transmission, options: .proxy, seed: self.seeds(), elapsed: elapsed,
            now: now
        )
        let requests = observers.map { layer.restore($0) }
        let connection = Connection(
            id: socket, channel: channel, descriptor: descriptor, local: "\(saved.local)", layer: layer,
            link: upstream.credentials == nil ? nil : SecureLink()
        )
        while self.connections.count <= socket.slot { self.connections.append(nil) }
        // Until its holder is ready for what comes; servers repeat what they want.
        connection.isMute = true
        self.connections[socket.slot] = connection
        self.counters.socketsOpened += 1
        if let credentials { self.leaseCredentials[lease] = credentials }
        self.begin(lease, on: connection, waited: .zero)
        self.reschedule(connection)
        return .success((lease, requests))
    }

    /// Its holder is wired: over DTLS the handshake may begin.
    func resume(_ lease: LeaseID) {
        guard let socket = self.machine.socket(of: lease) else { return }
        self.connection(socket)?.isMute = false
        self.machine.restored(socket)
        self.carryOut()
    }
}
