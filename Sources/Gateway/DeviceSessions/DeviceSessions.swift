internal import CoAP
package import DTLS
package import Logging
package import NIOCore
internal import Secrets
package import Timing

/// All device sessions of a shard: who is at which address, in which state, and what is due when.
///
/// The actor is pinned to the shard's event loop. Sockets and the upstream pool enter as plain calls, so a
/// datagram costs no task and no thread hop; only look-ups in the stores and commits of credentials are awaited, in
/// batches of what one turn of the loop asked for. It decides little itself: handshakes are ``DTLSSession``'s, messages
/// ``MessageLayer``'s, bootstraps ``BootstrapSession``'s and registrations ``RegistrationRelay``'s business.
package actor DeviceSessions: LoopActor {
    /// What the actor works with; everything comes from outside, time and randomness too.
    package struct Environment: Sendable {
        package var configuration: GatewayConfiguration
        package var records: any RecordStore
        package var credentials: any CredentialStore
        /// Nil when no server is told keys.
        package var publications: PublicationDesk?
        /// Nil where nobody can order a device to bootstrap again.
        package var rebootstraps: (any RebootstrapOrders)?
        /// Nil where nobody can ask for the messages of a SIM.
        package var traces: (any TraceOrders)?
        package var audit: any AuditSink
        package var logger: Logger
        /// Monotonic time.
        package var now: @Sendable () -> Instant
        /// UTC, microseconds since 1970.
        package var wallClock: @Sendable () -> Int64
        /// Seeds of message IDs, tokens and retransmission times, one for each message layer: from the system's generator,
        /// because a device can tell the seed of its own layer from its tokens. In tests any sequence.
        package var seeds: @Sendable () -> UInt64
        /// What connection IDs start with: whoever routes datagrams to several nodes, and a node to its shards, looks there.
        package var node: UInt8 = 0
        package var shard: UInt8 = 0
        /// What else connection IDs consist of. It must not tell anything about ``seeds``: they are sent in clear.
        package var randomBits: @Sendable () -> UInt64 = { .random(in: .min ... .max) }

        package init(
            configuration: GatewayConfiguration, records: any RecordStore, credentials: any CredentialStore,
            publications: PublicationDesk? = nil, audit: any AuditSink, logger: Logger,
            now: @escaping @Sendable () -> Instant,
            wallClock: @escaping @Sendable () -> Int64, seeds: @escaping @Sendable () -> UInt64
        ) {
            self.configuration = configuration
            self.records = records
            self.credentials = credentials
            self.publications = publications
            self.audit = audit
            self.logger = logger
            self.now = now
            self.wallClock = wallClock
            self.seeds = seeds
        }
    }

    /// Silence after which a session without a registration is forgotten. With one it stays until the registration ends.
    static let bootstrapIdleLimit = Duration.seconds(600)
    /// The same for a plain peer that has never answered: its address may be forged, and it counts against its source.
    static let unprovenIdleLimit = Duration.seconds(60)
    /// Entries of each generation of the look-up memories.
    static let cacheCapacity = 16_384

    nonisolated let loop: any EventLoop
    nonisolated package var unownedExecutor: UnownedSerialExecutor { self.loop.executor.asUnownedSerialExecutor() }

    let environment: Environment
    /// The configuration that counts now. Bootstraps that run go on with the one that they began with.
    var shared: Shared<GatewayConfiguration>
    let pool: UpstreamPool
    let failures: FailureLog
    /// Nil when no listener speaks DTLS. Another one takes its place with another configuration; sessions keep theirs.
    var dtlsContext: DTLSContext?
    var cookies: CookieGate
    /// By number; those that a new configuration has closed stay until their number is given to another one.
    var listeners: [Listener] = []
    /// What the configuration says of each of them now.
    var listenerEntries: [GatewayConfiguration.Listener] = []

    var peers: [PeerKey: DevicePeer] = [:]
    var byLease: [LeaseID: LeaseUser] = [:]
    /// The registrations of each SIM, one for each account, whether its device has a session or not.
    var registrations: [String: [Registration]] = [:]
    /// The registrations by what their servers call them: no device gets to name another's.
    var byLocation: [ServerLocation: Registration] = [:]
    /// The live sessions whose records carry a connection ID.
    var byConnectionID: [ConnectionID: DeviceSession] = [:]
    var byICCID: [String: [DeviceSession]] = [:]
    var halfOpen = 0
    var halfOpenBySource: [UInt64: Int] = [:]
    var load = LoadWatch()
    var backOff = BackOffTable()
    var sessionCount = 0
    var nextSession: UInt64 = 1
    var isDraining = false
    package internal(set) var counters = GatewayCounters()

    // What one turn of the loop has collected.
    var arrivals = Arrivals()
    var staged = StagedMessages<DeviceSession>()
    /// Messages that are not sealed yet.
    var outgoing: [(session: DeviceSession, message: [UInt8])] = []
    var audits: [AuditEvent] = []
    var helloReply: [UInt8] = []
    /// See ``beginWork(now:)``.
    var spareWork: Work?

    // Look-ups and commits under way.
    var identities = IdentityMemory(capacity: DeviceSessions.cacheCapacity)
    var addresses = ResolutionCache<IPAddress, SIMRecord?>(capacity: DeviceSessions.cacheCapacity)
    /// Credentials that are usable although their commit is still under way.
    var fresh: [PSKIdentity: IdentityResolution] = [:]
    var identityWaiters: [PSKIdentity: [PeerKey]] = [:]
    var identityQueue: [PSKIdentity] = []
    var addressWaiters: [IPAddress: [HeldDatagram]] = [:]
    var addressQueue: [IPAddress] = []
    var storeQueue: [StoreOrder] = []
    /// Places of bootstrap accounts to be kept, by ICCID, and whether some are on their way to the store.
    var placeQueue: [String: SIMRecord.BootstrapPlace] = [:]
    var isKeepingPlaces = false
    /// The open orders to bootstrap again, by SIM, and those that were carried out and may still be read from the store.
    var orders: [String: RebootstrapOrder] = [:]
    var settledOrders = ResolutionCache<Int64, Bool>(capacity: 1_024)
    /// Whose messages are logged.
    var trace: MessageTrace
    var traceTimer: Scheduled<Void>?
    /// The instances of object 1 that bootstraps have written.
    var serverInstances = ResolutionCache<ServerPlace, UInt16>(capacity: DeviceSessions.cacheCapacity)
    /// SIMs whose devices may hold accounts of a bootstrap that came to nothing.
    var discarded = ResolutionCache<String, Bool>(capacity: DeviceSessions.cacheCapacity)
    /// Moves with every change of the records: an answer that was asked for before a change is not remembered.
    var recordGeneration = 0
    /// Plain sessions that nobody has proven, by source, and all of them.
    var unanswered: [UInt64: Int] = [:]
    var unansweredCount = 0

    /// What an earlier run has left, until the listeners are bound.
    var restoration: Restoration?
    package internal(set) var restored = RestorationSummary()

    // Timers.
    var deadlines = DeadlineQueue<DevicePeer>()
    var lifetimes = DeadlineQueue<Registration>()
    var timer: Scheduled<Void>?
    var timerDue: Instant?

    /// A datagram of a plain peer that waits for the look-up of its address.
    struct HeldDatagram {
        let key: PeerKey
        let remote: SocketAddress
        let bytes: [UInt8]
    }

    /// Credentials and grants of one bootstrap that go to disk with those of others.
    struct StoreOrder {
        let session: DeviceSession
        /// Of the session's bootstraps; see ``BootstrapSession/number``.
        let bootstrap: Int?
        let credentials: [OneTimeCredential]
        let grants: [PlainGrant]
    }

    package init(loop: any EventLoop, pool: UpstreamPool, environment: Environment) throws(DTLSError) {
        self.loop = loop
        self.pool = pool
        self.environment = environment
        self.shared = Shared(environment.configuration)
        self.failures = FailureLog(logger: environment.logger)
        self.trace = MessageTrace(logger: environment.logger, wallClock: environment.wallClock)
        self.cookies = CookieGate(now: environment.now())
        self.dtlsContext = try Self.makeContext(for: environment.configuration)
    }

    /// The sockets, in the order of their numbers. Called once, before the first datagram.
    package func attach(_ listeners: [Listener]) {
        self.listeners = listeners
        self.listenerEntries = listeners.map(\.configuration)
        self.watchLoad()
        self.placeRestored()
    }

    var configuration: GatewayConfiguration { self.shared.value }

    func nextSeed() -> UInt64 { self.environment.seeds() }

    // MARK: - Sending

    func transmit(_ bytes: UnsafeRawBufferPointer, to peer: DevicePeer) {
        self.counters.datagramsToDevices += 1
        self.listeners[peer.key.listener].send(bytes, to: peer.remote)
    }

    /// Sends one message to the device; over DTLS it is sealed at the end of the turn.
    func send(_ message: [UInt8], to session: DeviceSession) {
        guard !session.isClosed else { return }
        if !self.trace.isEmpty { message.withBytes { self.note($0, .toDevice, of: session) } }
        if session.dtls == nil {
            message.withBytes { self.transmit($0, to: session.peer) }
        } else {
            session.owesSeal = true
            self.outgoing.append((session, message))
        }
    }

    // MARK: - The end of a turn

    /// What a turn of the loop has collected leaves together: datagrams, look-ups, commits, audit records, the timer.
    func endTurn() {
        if !self.arrivals.isEmpty { self.takeIn(now: self.environment.now()) }
        if !self.staged.isEmpty { self.workOffStaged(now: self.environment.now()) }
        self.sealOutgoing()
        if !self.identityQueue.isEmpty { self.resolveIdentities() }
        if !self.addressQueue.isEmpty { self.resolveAddresses() }
        if !self.storeQueue.isEmpty { self.storeCredentials() }
        if !self.placeQueue.isEmpty, !self.isKeepingPlaces { self.keepPlaces() }
        if !self.audits.isEmpty {
            if self.configuration.mode.isAudit { self.counters.noteWatched(self.audits) }
            self.environment.audit.record(self.configuration.mode.marked(self.audits))
            self.audits.removeAll(keepingCapacity: true)
        }
        self.pool.enter(()) { pool, _ in pool.flush() }
        for listener in self.listeners { listener.flush() }
        self.armTimer()
    }

    // MARK: - Time

    /// Sees to it that the peer is looked at when the next of its deadlines has come.
    func schedule(_ peer: DevicePeer) {
        if let due = peer.handshake?.dtls.deadline { self.deadlines.wake(peer, by: due) }
        guard let session = peer.session else { return }
        if let deadline = session.deadline { self.deadlines.wake(peer, by: deadline) }
        if let limit = Self.idleLimit(of: session) {
            self.deadlines.wake(peer, by: session.lastHeard.advanced(by: limit))
        }
    }

    /// Nil while the session stays however quiet its device is. A bootstrap that runs has a deadline of its own.
    private static func idleLimit(of session: DeviceSession) -> Duration? {
        if let registration = session.registration, registration.relay.isRegistered { return nil }
        if session.isBootstrapping { return nil }
        let isUnproven = session.arrival == .plain && !session.hasAnswered
        return isUnproven ? Self.unprovenIdleLimit : Self.bootstrapIdleLimit
    }

    /// Nothing is left at this address.
    func forgetIfEmpty(_ peer: DevicePeer) {
        guard peer.isEmpty else { return }
        self.deadlines.remove(peer)
        if self.peers[peer.key] === peer { self.peers[peer.key] = nil }
    }

    private func armTimer() {
        var earliest = self.deadlines.earliest
        if let end = self.lifetimes.earliest { earliest = min(end, earliest ?? end) }
        guard let due = earliest else { return }
        if let armed = self.timerDue, armed <= due { return }
        self.timer?.cancel()
        self.timerDue = due
        let delay = max(due - self.environment.now(), .milliseconds(1))
        self.timer = self.loop.scheduleTask(in: TimeAmount(delay)) {
            self.assumeIsolated { $0.timerFired() }
        }
    }

    private func timerFired() {
        self.timer = nil
        self.timerDue = nil
        let now = self.environment.now()
        while let peer = self.deadlines.next(now: now) {
            if let handshake = peer.handshake, let due = handshake.dtls.deadline, due <= now {
                self.handshakeDue(handshake, of: peer, now: now)
            }
            if let session = peer.session { self.sessionDue(session, now: now) }
            self.schedule(peer)
        }
        while let registration = self.lifetimes.next(now: now) { self.lifetimeDue(registration, now: now) }
        self.endTurn()
    }

    private func sessionDue(_ session: DeviceSession, now: Instant) {
        if let limit = Self.idleLimit(of: session), session.lastHeard.advanced(by: limit) <= now {
            self.end(session, cause: nil, now: now)
            return
        }
        if let dtls = session.dtls, let due = dtls.deadline, due <= now {
            _ = dtls.handleDeadline(now: now)
            dtls.drainOutput { self.transmit($0, to: session.peer) }
        }
        self.withExchanges(of: session, now: now) { events, actions in
            if let due = session.layer.currentDeadline(), due <= now {
                session.layer.handleDeadline(now: now, into: &events)
            }
            session.bootstrap?.handleDeadline(now: now, wallClock: self.environment.wallClock(), into: &actions)
        }
    }
}
