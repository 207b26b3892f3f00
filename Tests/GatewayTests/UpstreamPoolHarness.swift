import Testing
import Timing

@testable import Gateway

/// Executes the machine's actions as the pool would, keeps books of its own, and fails the test on an action that
/// contradicts them.
struct PoolHarness {
    typealias SocketID = PoolStateMachine.SocketID

    var machine: PoolStateMachine
    var now = Instant.now
    /// Sockets asked for and not reported back yet, in order.
    var opening: [(socket: SocketID, remote: PeerAddress, local: IPAddress?)] = []
    var open: Set<SocketID> = []
    /// Which socket each live lease has, by what the machine said.
    var leased: [LeaseID: SocketID] = [:]
    var waiting: Set<LeaseID> = []
    var refused: [(lease: LeaseID, cause: FailureCause)] = []
    var broken: [(lease: LeaseID, cause: FailureCause)] = []
    var probes: [SocketID] = []
    /// What was said of the health of upstreams.
    var news: [(upstream: PoolStateMachine.UpstreamID, isUp: Bool)] = []
    /// Sockets with a handshake under way, in the order in which they were asked for.
    var securing: [SocketID] = []
    /// Sockets that have a session, as far as the machine's actions say.
    var secured: Set<SocketID> = []
    var closed: [SocketID] = []
    var opensAtOnce = true
    var nextPort: UInt16 = 20_000
    /// Who had a socket last and must still be kept apart from others: by socket, until when.
    var kept: [SocketID: (owner: LeaseOwner?, until: Instant)] = [:]

    init(
        _ change: (inout PoolStateMachine.Settings) -> Void = { _ in }, upstreams: Int = 1, seed: UInt64 = 1,
        security: (Int) -> PoolStateMachine.Security = { _ in .none }
    ) {
        var settings = PoolStateMachine.Settings()
        settings.minimumIdle = 2
        settings.maximumSockets = 16
        settings.bootstrapReserve = 4
        change(&settings)
        self.machine = PoolStateMachine(settings: settings, seed: seed)
        for number in 0..<upstreams {
            let id = self.machine.add(security(number))
            self.machine.resolved(id, to: Self.address(number), now: self.now)
            self.run()
        }
    }

    static func address(_ number: Int, port: UInt16 = 5683) -> PeerAddress {
        PeerAddress(IPAddress(ipv4: 0x0A00_0001 + UInt32(number)), port: port)
    }

    static func device(_ number: Int) -> LeaseOwner { LeaseOwner(iccid: "device-\(number)", leg: .bootstrap) }
    static func registered(_ number: Int) -> LeaseOwner {
        LeaseOwner(iccid: "device-\(number)", leg: .registration(server: "meters"))
    }

    mutating func run(sourceLocation: SourceLocation = #_sourceLocation) {
        while let action = self.machine.nextAction() {
            switch action {
            case .open(let socket, let remote, let local):
                #expect(!self.open.contains(socket), "opened twice", sourceLocation: sourceLocation)
                self.opening.append((socket, remote, local))
                if self.opensAtOnce { self.finishOpening() }
            case .close(let socket):
                #expect(!self.leased.values.contains(socket), "closed under a lease", sourceLocation: sourceLocation)
                self.open.remove(socket)
                self.opening.removeAll { $0.socket == socket }
                self.securing.removeAll { $0 == socket }
                self.secured.remove(socket)
                self.closed.append(socket)
            case .grant(let lease, let socket, _):
                #expect(self.waiting.remove(lease) != nil, "granted unasked", sourceLocation: sourceLocation)
                self.noteGrant(lease, socket, sourceLocation: sourceLocation)
            case .refuse(let lease, let cause):
                #expect(self.waiting.remove(lease) != nil, "refused unasked", sourceLocation: sourceLocation)
                self.refused.append((lease, cause))
            case .broken(let lease, let socket, let cause):
                #expect(self.leased[lease] == socket, "broke what was not leased", sourceLocation: sourceLocation)
                self.leased[lease] = nil
                self.broken.append((lease, cause))
            case .probe(let socket, _):
                #expect(self.open.contains(socket), sourceLocation: sourceLocation)
                self.probes.append(socket)
            case .endProbe(let socket): self.probes.removeAll { $0 == socket }
            case .health(let upstream, let isUp): self.news.append((upstream, isUp))
            case .secure(let socket):
                #expect(self.open.contains(socket), "shakes hands on nothing", sourceLocation: sourceLocation)
                self.secured.remove(socket)
                self.securing.removeAll { $0 == socket }
                self.securing.append(socket)
            case .endSession(let socket):
                self.secured.remove(socket)
                self.securing.removeAll { $0 == socket }
            }
        }
    }

    mutating func finishOpening(port: UInt16? = nil) {
        guard !self.opening.isEmpty else { return }
        let (socket, _, local) = self.opening.removeFirst()
        self.open.insert(socket)
        self.nextPort += 1
        let bound = PeerAddress(local ?? IPAddress(ipv4: 0x7F00_0001), port: port ?? self.nextPort)
        self.machine.opened(socket, local: bound, now: self.now)
    }

    /// Lets the oldest handshake succeed.
    mutating func finishHandshake() {
        guard !self.securing.isEmpty else { return }
        let socket = self.securing.removeFirst()
        self.secured.insert(socket)
        self.machine.secured(socket, now: self.now)
        self.run()
    }

    /// Lets the oldest handshake fail.
    mutating func failHandshake(_ failure: PoolStateMachine.HandshakeFailure) {
        guard !self.securing.isEmpty else { return }
        self.machine.handshakeFailed(self.securing.removeFirst(), failure, now: self.now)
        self.run()
    }

    /// Acquires over DTLS and lets the handshake succeed.
    mutating func takeSecurely(
        _ owner: LeaseOwner, from upstreams: [Int] = [0], sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> (lease: LeaseID, socket: SocketID) {
        let lease = try self.wait(owner, from: upstreams, sourceLocation: sourceLocation)
        self.finishHandshake()
        let socket = try #require(self.leased[lease], "not granted", sourceLocation: sourceLocation)
        return (lease, socket)
    }

    mutating func transmit(_ socket: SocketID, isConfirmable: Bool = true) -> PoolStateMachine.Transmission {
        defer { self.run() }
        return self.machine.transmission(on: socket, isConfirmable: isConfirmable, now: self.now)
    }

    mutating func acquire(_ owner: LeaseOwner, from upstreams: [Int] = [0]) -> PoolStateMachine.Acquisition {
        let result = self.machine.acquire(owner, from: upstreams, now: self.now)
        switch result {
        case .granted(let lease, let socket, _): self.noteGrant(lease, socket, owner: owner)
        case .waiting(let lease): self.waiting.insert(lease)
        case .refused: break
        }
        self.run()
        return result
    }

    /// Acquires and expects a socket at once.
    mutating func take(
        _ owner: LeaseOwner,
        from upstreams: [Int] = [0],
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> (lease: LeaseID, socket: SocketID) {
        guard case .granted(let lease, let socket, _) = self.acquire(owner, from: upstreams) else {
            Issue.record("no socket at once", sourceLocation: sourceLocation)
            throw CancellationError()
        }
        return (lease, socket)
    }

    /// Acquires and expects to wait.
    mutating func wait(
        _ owner: LeaseOwner,
        from upstreams: [Int] = [0],
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> LeaseID {
        guard case .waiting(let lease) = self.acquire(owner, from: upstreams) else {
            Issue.record("did not have to wait", sourceLocation: sourceLocation)
            throw CancellationError()
        }
        return lease
    }

    mutating func release(
        _ lease: LeaseID,
        _ end: LeaseEnd,
        isSettled: Bool = true,
        hasMessageIDs: Bool = true
    ) {
        let owner = self.machine.leases[lease]?.owner
        if let socket = self.leased.removeValue(forKey: lease), end != .clean {
            self.kept[socket] = (end == .parked ? owner : nil, self.now + self.machine.settings.quarantine)
        }
        self.waiting.remove(lease)
        self.machine.release(lease, end, isSettled: isSettled, hasMessageIDs: hasMessageIDs, now: self.now)
        self.run()
    }

    mutating func advance(_ duration: Duration) {
        self.now += duration
        self.machine.handleDeadline(now: self.now)
        self.run()
    }

    func state(_ socket: SocketID) -> PoolStateMachine.SocketState? {
        self.machine.isCurrent(socket) ? self.machine.sockets[socket.slot].state : nil
    }

    private mutating func noteGrant(
        _ lease: LeaseID,
        _ socket: SocketID,
        owner: LeaseOwner? = nil,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        #expect(self.open.contains(socket), "granted what is not open", sourceLocation: sourceLocation)
        #expect(!self.leased.values.contains(socket), "leased twice", sourceLocation: sourceLocation)
        let owner = owner ?? self.machine.leases[lease]?.owner
        #expect(owner != nil, "a lease without an owner", sourceLocation: sourceLocation)
        if let kept = self.kept.removeValue(forKey: socket), kept.until > self.now {
            #expect(kept.owner == owner, "left quarantine for somebody else", sourceLocation: sourceLocation)
        }
        self.leased[lease] = socket
    }
}
