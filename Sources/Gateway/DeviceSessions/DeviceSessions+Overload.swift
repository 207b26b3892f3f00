internal import CoAP
internal import Logging
internal import NIOCore
internal import Secrets
internal import Timing

/// What the load of a shard is judged by, and what was decided; see ``OverloadGovernor``.
struct LoadWatch {
    var governor = OverloadGovernor()
    var statistics = LoadStatistics()
    /// The next look at the load.
    var timer: Scheduled<Void>?
    var looks = 0
    /// What each listener had lost when it was last looked at.
    var lost: [UInt32] = []
    /// Changes of the level that may still be told of in the running minute, and those that were not.
    var changesLeft = LoadWatch.changesPerMinute
    var minuteEnds = Instant(nanoseconds: .min)
    var changesUntold = 0

    /// While work is turned away: the sources that have a session.
    var known: Set<UInt64> = []

    static let changesPerMinute = 12

    var level: OverloadGovernor.Level { self.governor.level }
}

/// What a busy gateway turns away, and whom it makes wait.
///
/// Whoever is in goes on at every level: running bootstraps, registrations, and new handshakes from where a session is, as
/// of a device that has bootstrapped and registers from another port.
extension DeviceSessions {
    /// How often the load is looked at. A level shows within two of them.
    private static let loadInterval = Duration.milliseconds(100)
    /// Looks between two at the memory, and between two summaries of what is not logged.
    private static let memoryLooks = 10
    private static let summaryLooks = 100
    /// Looks between two at where sessions are, while that counts.
    private static let knownLooks = 50

    // MARK: - Watching

    /// Begins to look at the load, again and again until ``stop()``. Called twice it still looks once at a time.
    func watchLoad() {
        self.load.timer?.cancel()
        let due = self.environment.now() + Self.loadInterval
        self.load.timer = self.loop.scheduleTask(in: TimeAmount(Self.loadInterval)) {
            self.assumeIsolated { $0.lookAtLoad(due: due) }
        }
    }

    private func lookAtLoad(due: Instant) {
        let now = self.environment.now()
        self.load.looks &+= 1
        self.load.statistics.lag = max(.zero, due.duration(to: now))
        self.lookAtListeners()
        if self.load.looks % Self.memoryLooks == 1 {
            self.load.statistics.residentMemory = ProcessMemory.resident()
        }
        let limits = self.configuration.limits
        if let change = self.load.governor.observe(self.sample(limits, now: now), limits.overload, now: now) {
            self.load.statistics.level = change.to
            self.load.statistics.measure = change.to == .normal ? nil : change.measure
            self.failures.setTerse(change.to >= .terse)
            self.noteKnown()
            self.tell(change, now: now)
            self.endTurn()
        }
        if self.load.level > .normal, self.load.looks % Self.knownLooks == 0 { self.noteKnown() }
        if self.load.looks % Self.summaryLooks == 0 { self.failures.sumUp() }
        self.watchLoad()
    }

    private func sample(_ limits: GatewayConfiguration.Limits, now: Instant) -> OverloadGovernor.Sample {
        var sample = OverloadGovernor.Sample()
        sample.halfOpen = Double(self.halfOpen) / Double(max(1, limits.halfOpen))
        if let sessions = limits.sessions { sample.sessions = Double(self.sessionCount) / Double(max(1, sessions)) }
        sample.queue = self.pool.enter(now) { $0.queueShare(now: $1) }
        sample.receive = self.load.statistics.receiveFill
        sample.memory = Double(self.load.statistics.residentMemory) / Double(Self.memory)
        sample.lag = self.load.statistics.lag
        return sample
    }

    /// What this process may have, in bytes.
    private static let memory = SessionCapacity.memory()

    private func lookAtListeners() {
        var fill = 0.0
        while self.load.lost.count < self.listeners.count { self.load.lost.append(0) }
        for (index, listener) in self.listeners.enumerated() {
            guard let queue = listener.assumeIsolated({ $0.receiveQueue() }) else { continue }
            fill = max(fill, queue.fill)
            // Less than before: the socket was bound anew and counts from 0.
            let before = queue.lost >= self.load.lost[index] ? self.load.lost[index] : 0
            self.load.statistics.lostInKernel &+= UInt64(queue.lost - before)
            self.load.lost[index] = queue.lost
        }
        self.load.statistics.receiveFill = fill
    }

    private func tell(_ change: OverloadGovernor.Change, now: Instant) {
        if self.load.minuteEnds <= now {
            self.load.minuteEnds = now + .seconds(60)
            self.load.changesLeft = LoadWatch.changesPerMinute
        }
        guard self.load.changesLeft > 0 else {
            self.load.changesUntold += 1
            return
        }
        self.load.changesLeft -= 1
        let untold = self.load.changesUntold
        self.load.changesUntold = 0
        var metadata: Logger.Metadata = [
            "level": "\(change.to.rawValue)", "before": "\(change.from.rawValue)",
            "measure": "\(change.measure.rawValue)",
        ]
        if untold > 0 { metadata["suppressed"] = "\(untold)" }
        if change.to > change.from {
            metadata["remedy"] = "\(change.measure.remedy)"
            self.environment.logger.warning("overload: work is turned away", metadata: metadata)
        } else {
            self.environment.logger.notice("overload recedes", metadata: metadata)
        }
        var event = AuditEvent(.gatewayOverload, time: self.environment.wallClock())
        event.detail = [
            .init("level", .integer(Int64(change.to.rawValue))), .init("before", .integer(Int64(change.from.rawValue))),
            .init("measure", .text(change.measure.rawValue)),
        ]
        if untold > 0 { event.detail.append(.init("suppressed", .integer(Int64(untold)))) }
        self.audits.append(event)
    }

    // MARK: - Turning away

    /// Whether a hello gets no cookie: nobody has a session there.
    func turnsAway(_ key: PeerKey) -> Bool {
        self.load.level >= .noNewPeers && !self.load.known.contains(Self.source(of: key.address.ip))
    }

    /// While work is turned away, a new session makes its source known.
    func noteKnown(_ key: PeerKey) {
        guard self.load.level > .normal else { return }
        self.load.known.insert(Self.source(of: key.address.ip))
    }

    /// Takes time in proportion to the number of sessions, and so is done now and then only: one that ended or moved a
    /// moment ago does no harm.
    private func noteKnown() {
        self.load.known.removeAll(keepingCapacity: self.load.level > .normal)
        guard self.load.level > .normal else { return }
        for session in self.byICCID.values.joined() {
            self.load.known.insert(Self.source(of: session.peer.key.address.ip))
        }
    }

    /// Whether a plain device gets 5.03 for the bootstrap that it asks for.
    func turnsAwayBootstrap(of session: DeviceSession) -> Bool {
        self.load.level >= .noPlainBootstraps && session.arrival == .plain && !(session.bootstrap?.isRunning ?? false)
    }

    /// The same for a datagram of an address without a session, which is not even looked up.
    func turnAwayPlain(_ bytes: UnsafeRawBufferPointer, key: PeerKey, remote: SocketAddress) -> Bool {
        guard self.load.level >= .noPlainBootstraps, let message = try? CoAPCodec.decode(bytes),
            message.type == .confirmable || message.type == .nonConfirmable,
            Self.isBootstrapRequest(CoAPRequest(message.code, options: message.options))
        else { return false }
        self.counters.drop("overload")
        // Nobody would see a NON's answer as one that has to come.
        guard message.type == .confirmable else { return true }
        let answer = CoAPResponse(.serviceUnavailable, maxAge: DeviceAnswer.retryAfter)
        let datagram = CoAPCodec.encode(
            CoAPMessage(
                type: .acknowledgement, code: answer.code, messageID: message.messageID, token: message.token,
                options: answer.options
            ))
        self.counters.datagramsToDevices += 1
        datagram.withBytes { self.listeners[key.listener].send($0, to: remote) }
        return true
    }

    // MARK: - Sources of what is unproven

    /// Sources are counted by IPv4 address or by IPv6 /64.
    static func source(of address: IPAddress) -> UInt64 { address.isIPv4 ? address.low : address.high }

    /// Whether a source has as many handshakes that have proved nothing yet as it may.
    func hasTooManyHandshakes(_ key: PeerKey) -> Bool {
        self.halfOpenBySource[Self.source(of: key.address.ip), default: 0]
            >= self.configuration.limits.halfOpenPerSource
    }

    func handshakeBegan(_ key: PeerKey) {
        self.halfOpen += 1
        self.halfOpenBySource[Self.source(of: key.address.ip), default: 0] += 1
    }

    func handshakeEnded(_ key: PeerKey) {
        self.halfOpen -= 1
        let source = Self.source(of: key.address.ip)
        let left = self.halfOpenBySource[source, default: 1] - 1
        self.halfOpenBySource[source] = left > 0 ? left : nil
    }

    // MARK: - Wrong keys

    /// Whether this identity has shown so many wrong keys from here that its key is not even looked at. What it sees is
    /// what a wrong key leads to.
    func mustWait(_ identity: PSKIdentity, at key: PeerKey, now: Instant) -> Bool {
        self.backOff.isBackedOff(identity, at: Self.source(of: key.address.ip), now: now)
    }

    /// A key was wrong, or its identity is unknown. The journal gets one record when it has to wait, not one for each try.
    func noteWrongKey(_ identity: PSKIdentity, of iccid: String?, at key: PeerKey, now: Instant) {
        let longest = self.configuration.limits.backOff
        guard
            let pause = self.backOff.failed(
                identity, at: Self.source(of: key.address.ip), longest: longest, now: now)
        else { return }
        self.counters.backOffs += 1
        self.audits.append(
            AuditEvent(
                .bootstrapRefused, time: self.environment.wallClock(), cause: .backOff, iccid: iccid,
                peer: key.address.description,
                detail: [
                    .init("identity", .text(identity.description)),
                    .init("seconds", .integer(pause.components.seconds)),
                ]
            )
        )
        self.failures.report(.backOff, iccid: iccid, peer: key.address, now: now)
    }

    func noteRightKey(_ identity: PSKIdentity?, at key: PeerKey) {
        guard let identity else { return }
        self.backOff.succeeded(identity, at: Self.source(of: key.address.ip))
    }
}

extension OverloadGovernor.Measure {
    /// What the operator can do about it.
    fileprivate var remedy: String {
        switch self {
        case .halfOpen:
            "many handshakes prove nothing: a flood, or many devices at once; raise limits.half-open if it is they"
        case .sessions: "raise limits.sessions, or add a gateway"
        case .queue: "devices wait for upstream sockets: raise pool.min-idle, or name more addresses in pool.from"
        case .receive: "more datagrams come than can be read: look where they come from, or add a gateway"
        case .memory: "add memory, or lower limits.sessions"
        case .lag: "the machine is too busy: see what else runs on it"
        }
    }
}
