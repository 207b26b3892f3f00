internal import Timing

/// The upstream pool's decisions: which socket a device gets, what becomes of it afterwards, and when new ones are made.
///
/// A pure value: events in, actions out, time and randomness as arguments; it knows sockets by number only.
/// ``UpstreamPool`` carries the actions out. After every call that changes anything, take all actions with
/// ``nextAction()``.
///
/// What always holds: a socket belongs to at most one lease; a socket in quarantine goes to nobody, but a parked one to
/// the owner that parked it; every lease that was not refused ends in exactly one of release, refuse and broken.
struct PoolStateMachine: Sendable {
    struct Settings: Sendable, Equatable {
        /// Sockets of each upstream that stand ready.
        var minimumIdle = 8
        /// How long a lease may wait for a socket.
        var wait: Duration = .seconds(2)
        /// How long a socket rests after a lease that did not end cleanly, counted from its last datagram.
        var quarantine: Duration = .seconds(300)
        /// How long it rests after one that did.
        var rest: Duration = .zero
        /// How long a server remembers message IDs.
        var exchangeLifetime: Duration = .seconds(247)
        /// Sockets in all, in whatever state: what descriptors and ports allow.
        var maximumSockets = 4096
        /// Of these, so many are kept for bootstraps.
        var bootstrapReserve = 512
        /// Leases that may wait at once.
        var maximumWaiting = 4096
        /// Sockets that may be under construction at once.
        var maximumOpening = 16
        /// Local addresses to use; empty: the system's choice.
        var localAddresses: [IPAddress] = []
        /// Sockets per local address.
        var portsPerAddress = 28_000
        /// How long a CON message may go without a word over DTLS before the session counts as lost.
        var sessionPatience: Duration = .seconds(4)
        /// How long a server has to give a sign of life when it is asked.
        var probePatience: Duration = .seconds(4)
        /// When servers are asked, and when they are preferred again.
        var health = UpstreamHealth.Settings()
    }

    /// Names a socket: its place in the table, and which of the sockets that had that place it is.
    struct SocketID: Hashable, Sendable {
        let slot: Int
        let generation: UInt32
    }

    /// Index of an upstream, in the order in which ``add(upstream:)`` was called.
    typealias UpstreamID = Int

    enum Acquisition: Sendable, Equatable {
        case granted(LeaseID, SocketID, UpstreamID)
        case waiting(LeaseID)
        case refused(FailureCause, retryAfter: Duration)
    }

    enum Action: Sendable, Equatable {
        /// Make a socket; ``opened(_:local:now:)`` or ``openFailed(_:_:now:)`` reports back.
        case open(SocketID, remote: PeerAddress, local: IPAddress?)
        /// Close it; nothing is reported back, the number is free already.
        case close(SocketID)
        case grant(LeaseID, SocketID, UpstreamID)
        case refuse(LeaseID, FailureCause)
        case broken(LeaseID, SocketID, FailureCause)
        /// Send a CoAP ping on this idle socket; ``probeEnded(_:now:)`` reports back.
        case probe(SocketID, UpstreamID)
        /// Forget that ping, if it is under way.
        case endProbe(SocketID)
        /// The server went down, or answers again: for people.
        case health(UpstreamID, isUp: Bool)
        /// Begin a DTLS handshake on this socket, in place of any session that it has; ``secured(_:now:)`` or
        /// ``handshakeFailed(_:_:now:)`` reports back.
        case secure(SocketID)
        /// Close the DTLS session of this socket, if it has one; nothing is reported back.
        case endSession(SocketID)
    }

    /// Why a socket could not be made.
    enum OpenFailure: Sendable, Equatable {
        /// The network knows no way to the upstream.
        case unreachable
        /// The local address has no port left, or is not ours.
        case localAddress
        /// No descriptors or memory.
        case resources
    }

    /// The states of a socket. `free` → `opening` → `idle` ⇄ `leased` is the normal life.
    enum SocketState: Sendable, Equatable {
        /// The place is not in use.
        case free
        /// Under construction. Becomes `idle`, or `quarantined` when its port is still remembered, or `free`.
        case opening
        /// Ready for anybody who comes `rest` later, or becomes `quarantined` when a request comes.
        case idle(since: Instant)
        /// A ping is under way. Becomes `idle`.
        case probing(until: Instant)
        /// Somebody's as soon as its handshake is done. Becomes `leased`, or `free`.
        case securing(LeaseID)
        /// Somebody's. Becomes `idle`, `settling`, `resting` or `quarantined` by the way the lease ends.
        case leased(LeaseID)
        /// Its lease ended cleanly but the upstream has not acknowledged the last answer yet. Becomes `idle` or
        /// `quarantined`.
        case settling(until: Instant)
        /// Clean, but its message IDs would repeat too early. Becomes `idle`.
        case resting(until: Instant)
        /// May still get requests meant for its last device. Becomes `idle`; or `leased` again by the owner, if it was
        /// parked.
        case quarantined(until: Instant, parkedBy: LeaseOwner?)
    }

    struct Socket: Sendable {
        var generation: UInt32 = 0
        var state = SocketState.free
        var upstream: UpstreamID = 0
        var remote = PeerAddress(high: 0, low: 0, port: 0)
        /// Index into `localAddresses`; nil: the system's choice.
        var localIndex: Int?
        var local: PeerAddress?
        /// Counted against the registrations' part.
        var holdsRegistration = false
        /// Something came from the upstream since the lease was given.
        var heard = false
        /// Nothing came from the upstream since the last request went out.
        var isAwaitingWord = false
        /// When the entry of this socket in `timers` comes up, if it has one.
        var timer: Instant?
        /// Of an upstream over DTLS only.
        var session = Session()
    }

    struct Upstream: Sendable {
        /// The configuration names it no more: no sockets but for those who wait, and none stays.
        var isRetired = false
        var security = Security.none
        var address: PeerAddress?
        var health = UpstreamHealth()
        /// May hold stale entries: one counts if the socket is idle since the time noted.
        var idle = FIFO<(socket: SocketID, since: Instant)>()
        var idleCount = 0
        var openingCount = 0
        var probingCount = 0
        /// May hold stale entries: one counts if the lease waits for this upstream.
        var waiters = FIFO<LeaseID>()
        var waitingCount = 0
    }

    struct Lease: Sendable {
        enum Place: Sendable, Equatable {
            case socket(SocketID)
            /// The socket is there, its handshake is under way.
            case securing(SocketID)
            case waiting(UpstreamID)
        }

        let owner: LeaseOwner
        let askedAt: Instant
        var candidates: [UpstreamID]
        var place: Place
        /// When its wait for a socket is over.
        var waitsUntil: Instant
    }

    /// A local port as one upstream sees it.
    struct PortKey: Hashable, Sendable {
        let local: PeerAddress
        let remote: PeerAddress
    }

    var settings: Settings
    var upstreams: [Upstream] = []
    var sockets: [Socket] = []
    var freeSlots: [Int] = []
    var leases: [LeaseID: Lease] = [:]
    var parked: [LeaseOwner: SocketID] = [:]
    /// Ports that were given back to the system while a server may still write to them; a new socket that happens to
    /// get one of them rests first.
    var hotPorts: [PortKey: Instant] = [:]
    var hotPortQueue = FIFO<(key: PortKey, until: Instant)>()
    /// All waits are equally long, so their ends come in order; after a change of `wait` for a moment nearly so.
    var waitQueue = FIFO<(lease: LeaseID, until: Instant)>()
    var timers = DeadlineHeap<SocketID>()
    var actions = FIFO<Action>()
    var localUse: [Int]
    var localPausedUntil: [Instant?]
    /// Numbers of local addresses that the configuration names no more.
    var retiredLocals: Set<Int> = []
    /// No socket is made before this.
    var openingPausedUntil: Instant?
    var isStopped = false
    var random: SplitMix64
    private var lastLease: UInt64 = 0

    // Running totals; the tests count them again from the tables after every step.
    var socketCount = 0
    var openingCount = 0
    var waitingCount = 0
    var registrationCount = 0

    init(settings: Settings, seed: UInt64) {
        self.settings = settings
        self.random = SplitMix64(state: seed)
        self.localUse = Array(repeating: 0, count: settings.localAddresses.count)
        self.localPausedUntil = Array(repeating: nil, count: settings.localAddresses.count)
    }

    /// The oldest action that has not been carried out yet.
    mutating func nextAction() -> Action? { self.actions.popFirst() }

    // MARK: - Leases

    /// Asks for a socket to the first of `candidates` that can be used.
    mutating func acquire(
        _ owner: LeaseOwner,
        from candidates: [UpstreamID],
        now: Instant
    ) -> Acquisition {
        guard !self.isStopped else { return .refused(.shutdown, retryAfter: .seconds(30)) }
        if let socket = self.takeParked(by: owner, candidates: candidates, now: now) {
            let lease = self.newLease(owner, candidates: candidates, place: .socket(socket), now: now)
            guard self.give(socket, to: lease, owner: owner, now: now) else { return .waiting(lease) }
            return .granted(lease, socket, self.sockets[socket.slot].upstream)
        }
        if owner.isRegistration
            && self.registrationCount >= self.settings.maximumSockets - self.settings.bootstrapReserve
        {
            return .refused(.limit, retryAfter: self.limitRetryAfter)
        }
        guard let upstream = self.choose(candidates, now: now) else {
            return .refused(.upstreamUnreachable, retryAfter: self.unreachableRetryAfter(candidates, now: now))
        }
        if self.upstreams[upstream].waitingCount == 0, let socket = self.popRested(upstream, now: now) {
            let lease = self.newLease(owner, candidates: candidates, place: .socket(socket), now: now)
            let isReady = self.give(socket, to: lease, owner: owner, now: now)
            self.supply(upstream, now: now)
            return isReady ? .granted(lease, socket, upstream) : .waiting(lease)
        }
        guard self.waitingCount < self.settings.maximumWaiting else {
            return .refused(.limit, retryAfter: self.limitRetryAfter)
        }
        let lease = self.newLease(owner, candidates: candidates, place: .waiting(upstream), now: now)
        self.waitQueue.append((lease, now + self.settings.wait))
        self.startWaiting(lease, owner: owner, for: upstream)
        self.supply(upstream, now: now)
        return .waiting(lease)
    }

    /// The owner has gone while it waited. A lease that has its socket already is released as unclean.
    mutating func cancelWaiting(_ lease: LeaseID, now: Instant) {
        self.release(lease, .unclean, isSettled: true, hasMessageIDs: true, now: now)
    }

    /// Ends a lease.
    ///
    /// - Parameters:
    ///   - isSettled: the upstream has acknowledged all answers that were sent as CON.
    ///   - hasMessageIDs: the socket can go on at once without repeating a message ID within EXCHANGE_LIFETIME.
    /// - Returns: the socket that the lease had.
    @discardableResult
    mutating func release(
        _ id: LeaseID,
        _ end: LeaseEnd,
        isSettled: Bool,
        hasMessageIDs: Bool,
        now: Instant
    ) -> SocketID? {
        guard let lease = self.leases.removeValue(forKey: id) else { return nil }
        switch lease.place {
        case .waiting(let upstream):
            self.stopWaiting(owner: lease.owner, for: upstream)
            return nil
        case .securing(let socket):
            self.close(socket, keepingPortUntil: now + self.settings.exchangeLifetime, now: now)
            return nil
        case .socket(let socket):
            switch end {
            case .clean where !isSettled:
                self.setState(socket, .settling(until: now + self.settings.exchangeLifetime))
            case .clean:
                self.retire(socket, hasMessageIDs: hasMessageIDs, now: now)
            case .unclean:
                self.quarantine(socket, parkedBy: nil, now: now)
            case .parked:
                self.quarantine(socket, parkedBy: lease.owner, now: now)
            }
            return socket
        }
    }

    /// The socket of a live lease.
    func socket(of lease: LeaseID) -> SocketID? {
        guard case .socket(let socket)? = self.leases[lease]?.place else { return nil }
        return socket
    }

    /// How long the owner of a live lease has waited, if it gets its socket now.
    func waited(_ lease: LeaseID, now: Instant) -> Duration { self.leases[lease]?.askedAt.duration(to: now) ?? .zero }

    /// The lease that a socket belongs to.
    func lease(of socket: SocketID) -> LeaseID? {
        guard self.isCurrent(socket), case .leased(let lease) = self.sockets[socket.slot].state else { return nil }
        return lease
    }

    /// The lease that a socket belongs to, or will when its handshake is done.
    func holder(of socket: SocketID) -> LeaseID? {
        guard self.isCurrent(socket) else { return nil }
        return switch self.sockets[socket.slot].state {
        case .leased(let lease), .securing(let lease): lease
        default: nil
        }
    }

    /// Ends everything: waiting leases are refused, live ones broken, all sockets closed.
    mutating func stop() {
        self.isStopped = true
        for (id, lease) in self.leases.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
            switch lease.place {
            case .waiting(let upstream):
                self.stopWaiting(owner: lease.owner, for: upstream)
                self.actions.append(.refuse(id, .shutdown))
            case .securing:
                self.actions.append(.refuse(id, .shutdown))
            case .socket(let socket):
                self.actions.append(.broken(id, socket, .shutdown))
            }
        }
        self.leases.removeAll()
        for slot in self.sockets.indices where self.sockets[slot].state != .free {
            let socket = SocketID(slot: slot, generation: self.sockets[slot].generation)
            self.remove(socket)
            self.actions.append(.close(socket))
        }
    }

    // MARK: - Inside

    private mutating func newLease(
        _ owner: LeaseOwner, candidates: [UpstreamID], place: Lease.Place, now: Instant
    ) -> LeaseID {
        self.lastLease += 1
        let id = LeaseID(rawValue: self.lastLease)
        self.leases[id] = Lease(
            owner: owner, askedAt: now, candidates: candidates, place: place, waitsUntil: now + self.settings.wait
        )
        return id
    }

    /// The socket that this owner has parked, if its upstream is among the candidates and not known to be down.
    private mutating func takeParked(
        by owner: LeaseOwner,
        candidates: [UpstreamID],
        now: Instant
    ) -> SocketID? {
        guard let socket = self.parked[owner] else { return nil }
        let upstream = self.sockets[socket.slot].upstream
        guard candidates.contains(upstream), self.upstreams[upstream].health.admitsLease(now: now) else { return nil }
        return socket
    }

    private func unreachableRetryAfter(_ candidates: [UpstreamID], now: Instant) -> Duration {
        candidates.lazy.filter { self.upstreams[$0].address != nil }
            .map { self.upstreams[$0].health.retryAfter(now: now) }.min() ?? .seconds(10)
    }

    /// Leases are short and quarantine is long: half a minute spreads the returns without keeping anybody out for long.
    private var limitRetryAfter: Duration { .seconds(30) }

    /// Makes `socket` the lease's own; the lease's place says so already or is set here. False: a handshake comes first,
    /// and its end grants the lease.
    mutating func give(
        _ socket: SocketID, to lease: LeaseID, owner: LeaseOwner, now: Instant
    ) -> Bool {
        self.sockets[socket.slot].heard = false
        self.sockets[socket.slot].isAwaitingWord = false
        self.setHoldsRegistration(socket, owner.isRegistration)
        guard self.isReady(socket, now: now) else {
            self.secure(socket, for: lease)
            return false
        }
        self.setState(socket, .leased(lease))
        self.leases[lease]?.place = .socket(socket)
        return true
    }

    mutating func startWaiting(_ lease: LeaseID, owner: LeaseOwner, for upstream: UpstreamID) {
        self.leases[lease]?.place = .waiting(upstream)
        self.upstreams[upstream].waiters.append(lease)
        self.upstreams[upstream].waitingCount += 1
        self.waitingCount += 1
        if owner.isRegistration { self.registrationCount += 1 }
    }

    mutating func stopWaiting(owner: LeaseOwner, for upstream: UpstreamID) {
        self.upstreams[upstream].waitingCount -= 1
        self.waitingCount -= 1
        if owner.isRegistration { self.registrationCount -= 1 }
    }
}
