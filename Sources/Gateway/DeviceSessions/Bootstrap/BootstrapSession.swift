package import CoAP
internal import LwM2M
package import Secrets
package import Timing

/// The bootstrap of one device, from its Bootstrap-Request to the answer to Finish: events in, actions out.
///
/// One value per device session; it outlives single bootstraps, because a device may ask again at any time (T3). It knows
/// no sockets, clocks or tasks: its owner, the actor of the device sessions, feeds events on the event loop of the shard
/// and carries out the actions in order. Requests of the upstream server pass one at a time (T7) and only after the
/// device has its 2.04 (T5). Finish passes only when every credential of this bootstrap is on disk (T38, T39) and no
/// account was refused (T42).
package struct BootstrapSession: Sendable {
    /// The device, as the rest of the gateway has established it.
    package struct Subject: Sendable {
        package var record: SIMRecord
        /// The port that the device came through.
        package var arrival: GatewayConfiguration.Security
        /// Address and port, for the journal.
        package var peer: String
        package var session: UInt64

        package init(record: SIMRecord, arrival: GatewayConfiguration.Security, peer: String, session: UInt64) {
            self.record = record
            self.arrival = arrival
            self.peer = peer
            self.session = session
        }
    }

    package enum Action: Sendable, Equatable {
        /// Find a socket to one of these servers; the answer comes as ``leaseGranted(_:wallClock:into:)`` or
        /// ``leaseRefused(_:wallClock:into:)``.
        case acquireLease([GatewayConfiguration.Upstream])
        case releaseLease(LeaseEnd)
        /// Send this on the lease; its outcome comes as ``upstreamAnswered(_:now:wallClock:into:)`` or
        /// ``upstreamFailed(_:wallClock:into:)``.
        case requestUpstream(CoAPRequest)
        /// Forget the request that is under way upstream.
        case cancelUpstreamRequest
        case answerUpstream(MessageLayer.RequestID, CoAPResponse)
        /// Send this to the device; its outcome comes as ``deviceAnswered(_:now:wallClock:into:)`` or
        /// ``deviceFailed(_:wallClock:into:)``.
        case requestDevice(CoAPRequest)
        /// Forget the request that is under way at the device.
        case cancelDeviceRequest
        case answerDevice(MessageLayer.RequestID, CoAPResponse)
        /// Make these durable and usable at once, and tell servers that hold several keys of an endpoint; the outcome comes
        /// as ``credentialsStored(_:wallClock:into:)``.
        case store([OneTimeCredential], grants: [PlainGrant])
        /// This bootstrap came to nothing: its credentials and grants go (T38).
        case discard([PSKIdentity], grants: [Int64])
        /// Tell servers with one key for each endpoint these new ones; the outcome comes as
        /// ``credentialsPublished(_:wallClock:into:)``.
        case publish([OneTimeCredential])
        /// Finish has come to anything but 2.04: what those servers knew before counts again.
        case restore([OneTimeCredential])
        /// The device has finished its bootstrap: no handshake will tell of the first use of these.
        case commit([OneTimeCredential], GatewayConfiguration.KeysPerEndpoint)
        /// Where the device gets its Server objects: instances of object 1 by short server ID.
        case serversWritten([UInt16: UInt16])
        /// Keep this with the SIM's record.
        case remember(SIMRecord.BootstrapPlace)
        /// An answer of the device could not be used.
        case dropAnswer
        case journal(AuditEvent)
        /// Something was refused that the operator should know of now, although the bootstrap goes on.
        case warn(FailureCause)
        /// A bootstrap is over: nil when the device and its server both have their answer to Finish.
        case ended(FailureCause?)
    }

    var subject: Subject
    /// Shared by all sessions: a copy in each would be larger than the rest of it.
    private var shared: Shared<GatewayConfiguration>
    /// What the next bootstrap follows, if the running one began with another.
    private var next: Shared<GatewayConfiguration>?
    var configuration: GatewayConfiguration { self.shared.value }
    /// The one that a request of the device is judged by: of the bootstrap that it would begin.
    var nextConfiguration: GatewayConfiguration { (self.next ?? self.shared).value }
    /// Changed where it stands. Copying it out and back would count references to all that it holds, with every event.
    var attempt: Attempt?
    private var nextNumber = 0
    /// The device may hold accounts of an earlier bootstrap whose credentials are gone.
    var mayHoldDiscarded: Bool
    /// When ``handleDeadline(now:wallClock:into:)`` has to be called; nil while nothing runs. Moved by every command of
    /// the server: the device gives up after the same time without one (spec 1.7).
    package private(set) var deadline: Instant?

    /// - Parameter mayHoldDiscarded: a bootstrap of this SIM has ended with ``Action/discard(_:grants:)``, and none has
    ///   finished since.
    package init(subject: Subject, configuration: Shared<GatewayConfiguration>, mayHoldDiscarded: Bool = false) {
        self.subject = subject
        self.shared = configuration
        self.mayHoldDiscarded = mayHoldDiscarded
    }

    /// The record has changed; what comes from now on is judged by the new one.
    package mutating func update(_ record: SIMRecord) { self.subject.record = record }

    /// The next bootstrap is to follow this configuration, also one that supersedes another; one that runs goes on with
    /// the one that it began with.
    package mutating func adopt(_ configuration: Shared<GatewayConfiguration>) {
        self.next = self.shared === configuration ? nil : configuration
        if !self.isRunning { self.followNext() }
    }

    private mutating func followNext() {
        guard let next = self.next.take() else { return }
        self.shared = next
    }

    /// True between a Bootstrap-Request that was let through and its end.
    package var isRunning: Bool { self.attempt != nil }

    // `mutating` although nothing changes: read through an optional property of a class, the whole session would be copied
    // first.

    mutating func checkIsRunning() -> Bool { self.attempt != nil }

    mutating func currentDeadline() -> Instant? { self.deadline }

    /// Which bootstrap of this session runs; nil while none does. Names it to orders whose outcome comes later.
    package var number: Int? { self.attempt?.number }

    /// What the running bootstrap hands out; nothing if it may not finish any more.
    var mintedIdentities: [PSKIdentity] {
        guard let attempt = self.attempt, !attempt.mustNotFinish else { return [] }
        return attempt.minted.map(\.identity)
    }

    mutating func startTimer(_ now: Instant) {
        // A command may be on its way to the device for as long as the timers of that leg take.
        let patience = max(
            self.configuration.upstreamTransmission.exchangeLifetime,
            self.configuration.deviceTransmission.exchangeLifetime)
        self.deadline = now.advanced(by: patience)
    }

    /// Ends the attempt, and returns it for what is left to say of it.
    mutating func endAttempt() -> Attempt? {
        self.deadline = nil
        return self.attempt.take()
    }

    // MARK: - The device asks

    /// `POST /bs` with a new message ID (repeats are answered by the message layer and never get here). The newest
    /// request wins: a running bootstrap is superseded and the new one goes upstream from the same port, so that the
    /// server replaces its session too (T3).
    package mutating func deviceRequested(
        _ id: MessageLayer.RequestID, _ request: CoAPRequest, now: Instant, wallClock: Int64,
        into actions: inout [Action]
    ) {
        let mode = self.nextConfiguration.mode
        switch Gate.verdict(on: request, record: self.subject.record, arrival: self.subject.arrival, mode: mode) {
        case .refuse(let cause):
            actions.append(.answerDevice(id, DeviceAnswer.response(to: cause)))
            actions.append(.journal(self.event(.bootstrapRefused, wallClock, cause: cause)))
            actions.append(.ended(cause))
        case .refuseFormat:
            actions.append(.answerDevice(id, CoAPResponse(.unsupportedContentFormat)))
            actions.append(.journal(self.event(.bootstrapRefused, wallClock, cause: .unsupported)))
            actions.append(.ended(.unsupported))
        case .forward(let endpoint, let query):
            self.goUpstream(id, endpoint: endpoint, query: query, now: now, wallClock: wallClock, into: &actions)
        case .watch(let endpoint, let query, let would):
            self.goUpstream(
                id, endpoint: endpoint, query: query, would: would, now: now, wallClock: wallClock, into: &actions
            )
        }
    }

    private mutating func goUpstream(
        _ id: MessageLayer.RequestID, endpoint: String, query: [String], would: FailureCause? = nil, now: Instant,
        wallClock: Int64, into actions: inout [Action]
    ) {
        var inherited = self.supersede(wallClock: wallClock, into: &actions)
        let upstreams = self.configuration.bootstrap.upstreams
        if let upstream = inherited, !upstreams.contains(upstream) {
            actions.append(.releaseLease(.parked))
            inherited = nil
        }
        self.begin(id, endpoint: endpoint, query: query, upstreams: upstreams, now: now, wallClock: wallClock)
        actions.append(.journal(self.event(.bootstrapRequested, wallClock, endpoint: endpoint)))
        if let would { self.wouldRefuse(would, wallClock: wallClock, into: &actions) }
        if let upstream = inherited {
            self.ask(upstream, wallClock: wallClock, into: &actions)
        } else {
            actions.append(.acquireLease(upstreams))
        }
    }

    mutating func begin(
        _ id: MessageLayer.RequestID, endpoint: String, query: [String], upstreams: [GatewayConfiguration.Upstream],
        now: Instant, wallClock: Int64
    ) {
        self.attempt = Attempt(
            request: id, endpoint: endpoint, query: query, rewriter: self.makeRewriter(), remaining: upstreams,
            number: self.nextNumber, wallClock: wallClock
        )
        if self.subject.record.bootstrapPlace == .untold { self.attempt?.place = .untold }
        self.attempt?.rewriter.hasPriorities = query.contains { EnablerVersion.hasPriorities($0) == true }
        self.attempt?.rewriter.preferredFormat = PreferredFormat.number(in: query)
        if case .audit(let keepsDevice) = self.configuration.mode {
            self.attempt?.witness = Witness(keepsDevice: keepsDevice)
        }
        self.nextNumber += 1
        self.startTimer(now)
    }

    /// Ends the running bootstrap in favour of a new request, under the configuration that it began with; from here on the
    /// new one's counts. Returns the server whose lease the new one may go on with.
    mutating func supersede(
        wallClock: Int64, into actions: inout [Action]
    ) -> GatewayConfiguration.Upstream? {
        defer { self.followNext() }
        guard let old = self.endAttempt() else { return nil }
        if case .running(.some(let operation)) = old.step, operation.isAtDevice { actions.append(.cancelDeviceRequest) }
        if case .requesting = old.step { actions.append(.cancelUpstreamRequest) }
        // The message layer keeps a request until it has its answer, wanted or not.
        if !old.isAnswered { actions.append(.answerDevice(old.request, DeviceAnswer.response(to: .limit))) }
        self.conclude(old, .superseded, wallClock: wallClock, into: &actions)
        if case .leasing = old.step {
            // The lease is still being looked for: that search goes, a new one begins.
            actions.append(.releaseLease(.parked))
            return nil
        }
        return old.upstream
    }

    // MARK: - The lease

    package mutating func leaseGranted(
        _ upstream: GatewayConfiguration.Upstream, wallClock: Int64, into actions: inout [Action]
    ) {
        guard case .leasing? = self.attempt?.step else { return }
        self.ask(upstream, wallClock: wallClock, into: &actions)
    }

    /// No socket to any server was to be had.
    package mutating func leaseRefused(_ cause: FailureCause, wallClock: Int64, into actions: inout [Action]) {
        guard let attempt = self.attempt, case .leasing = attempt.step else { return }
        actions.append(.answerDevice(attempt.request, DeviceAnswer.response(to: cause)))
        self.fail(cause, releasing: nil, wallClock: wallClock, into: &actions)
    }

    /// The socket of the lease died; the lease is gone already.
    package mutating func leaseBroken(_ cause: FailureCause, wallClock: Int64, into actions: inout [Action]) {
        guard let attempt = self.attempt else { return }
        if case .requesting = attempt.step {
            self.tryNextUpstream(after: cause, releasing: nil, wallClock: wallClock, into: &actions)
        } else {
            if case .running(.some(let operation)) = attempt.step, operation.isAtDevice {
                actions.append(.cancelDeviceRequest)
            }
            self.fail(cause, releasing: nil, wallClock: wallClock, into: &actions)
        }
    }

    // MARK: - The upstream's answer to POST /bs

    package mutating func upstreamAnswered(
        _ response: CoAPResponse, now: Instant, wallClock: Int64, into actions: inout [Action]
    ) {
        guard let request = self.attempt?.request, case .requesting? = self.attempt?.step else { return }
        self.attempt?.timeline.serverAnswered(response.code, bytes: response.payload.count, at: wallClock)
        guard self.attempt?.pack == nil else {
            self.packAnswered(response, now: now, wallClock: wallClock, into: &actions)
            return
        }
        // Only exactly 2.04 counts as accepted (spec 1.2). The diagnostic stays here: it may name what is behind us.
        guard response.code == .changed else {
            if response.code == .badRequest || response.code == .unsupportedContentFormat,
                self.attempt?.askWithoutFormat(into: &actions) == true
            {
                self.noteAsking(wallClock)
                self.startTimer(now)
                return
            }
            let code = response.code.isSuccess ? CoAPCode.badGateway : response.code
            actions.append(
                .answerDevice(request, DeviceAnswer.response(to: .upstreamRefused, upstreamCode: code))
            )
            self.attempt?.detail = [.init("code", .text(response.code.description))]
            self.fail(.upstreamRefused, releasing: .parked, wallClock: wallClock, into: &actions)
            return
        }
        actions.append(.answerDevice(request, CoAPResponse(.changed)))
        self.attempt?.timeline.deviceHasAnswer(.changed, at: wallClock)
        self.journal(.bootstrapForwarded, wallClock, into: &actions)
        self.startTimer(now)
        for held in self.attempt?.begin() ?? [] {
            self.upstreamRequested(held.id, held.request, now: now, wallClock: wallClock, into: &actions)
        }
    }

    /// The server has taken `POST /bs`, and will answer it later.
    package mutating func upstreamAcknowledged() { self.attempt?.isTaken = true }

    /// `POST /bs` found no answer upstream.
    package mutating func upstreamFailed(
        _ failure: MessageLayer.Failure, wallClock: Int64, into actions: inout [Action]
    ) {
        guard let attempt = self.attempt, case .requesting = attempt.step else { return }
        self.attempt?.timeline.failed(failure, at: wallClock)
        switch failure {
        case .reset, .unusableResponse:
            actions.append(.answerDevice(attempt.request, DeviceAnswer.response(to: .upstreamRefused)))
            self.fail(.upstreamRefused, releasing: .parked, wallClock: wallClock, into: &actions)
        case .unacknowledged:
            self.tryNextUpstream(after: .upstreamSilent, releasing: .parked, wallClock: wallClock, into: &actions)
        case .noResponse:
            // The server has it, and may act on it yet.
            self.attempt?.isTaken = true
            self.tryNextUpstream(after: .upstreamSilent, releasing: .parked, wallClock: wallClock, into: &actions)
        case .overloaded:
            self.tryNextUpstream(after: .limit, releasing: .parked, wallClock: wallClock, into: &actions)
        }
    }

    /// Nothing of this bootstrap has reached the device yet, so another server may be asked; unless this one has shown that
    /// it has the request: what may have been done is not asked for a second time.
    private mutating func tryNextUpstream(
        after cause: FailureCause, releasing end: LeaseEnd?, wallClock: Int64, into actions: inout [Action]
    ) {
        guard var attempt = self.attempt else { return }
        guard !attempt.remaining.isEmpty, !attempt.isTaken, attempt.held.isEmpty else {
            actions.append(.answerDevice(attempt.request, DeviceAnswer.response(to: cause)))
            self.fail(cause, releasing: end, wallClock: wallClock, into: &actions)
            return
        }
        if let end { actions.append(.releaseLease(end)) }
        attempt.step = .leasing
        attempt.upstream = nil
        // They were that server's, and so are their numbers.
        attempt.held = []
        actions.append(.acquireLease(attempt.remaining))
        self.attempt = attempt
    }

    // MARK: - Ends

    /// The device's session is over: close_notify, a new handshake, silence (T4). What runs upstream gets no more
    /// answers; the socket stays reserved for this device's next request.
    package mutating func deviceGone(_ cause: FailureCause, wallClock: Int64, into actions: inout [Action]) {
        guard let attempt = self.attempt else { return }
        if case .requesting = attempt.step { actions.append(.cancelUpstreamRequest) }
        if case .running(.some(let operation)) = attempt.step {
            actions.append(.answerUpstream(operation.request, CoAPResponse(.gatewayTimeout)))
        }
        // A device that leaves because an account of it was refused has not failed by itself.
        let root = cause == .deviceUnreachable ? attempt.refusal ?? cause : cause
        self.fail(root, releasing: .parked, wallClock: wallClock, into: &actions)
    }

    /// The time in which the next command of the server had to come is over: the device has given up as well (spec 1.7).
    package mutating func handleDeadline(
        now: Instant, wallClock: Int64, into actions: inout [Action]
    ) {
        guard let attempt = self.attempt, let deadline = self.deadline, deadline <= now else { return }
        var cause = FailureCause.upstreamSilent
        // Where a device is given more time than this, the server waits for it.
        if case .running(.some(let operation)) = attempt.step, operation.isAtDevice { cause = .deviceUnreachable }
        self.deviceGone(attempt.refusal ?? cause, wallClock: wallClock, into: &actions)
    }

    /// Ends the attempt as failed. `end` nil: there is no lease to give back.
    mutating func fail(
        _ cause: FailureCause, releasing end: LeaseEnd?, wallClock: Int64, into actions: inout [Action]
    ) {
        guard let attempt = self.endAttempt() else { return }
        if let end { actions.append(.releaseLease(end)) }
        self.conclude(attempt, cause, wallClock: wallClock, into: &actions)
    }

    private mutating func conclude(
        _ attempt: Attempt, _ cause: FailureCause, wallClock: Int64, into actions: inout [Action]
    ) {
        if attempt.hasMinted && !attempt.finishReachedDevice {
            self.mayHoldDiscarded = true
            actions.append(.discard(attempt.minted.map(\.identity), grants: attempt.granted.map(\.id)))
        }
        self.restore(attempt, into: &actions)
        self.forgetPlace(of: attempt, after: cause, wallClock: wallClock, into: &actions)
        var ended = attempt
        self.tellTimeline(of: &ended, wallClock, after: actions)
        actions.append(.journal(self.event(.bootstrapFailed, wallClock, of: ended, cause: cause)))
        actions.append(.ended(cause))
    }

    private func makeRewriter() -> AccountRewriter {
        let record = self.subject.record
        var rewriter = AccountRewriter(
            servers: self.configuration.servers,
            unmatched: self.configuration.unmatched,
            account: self.configuration.bootstrap.account,
            arrival: record.profile == .plain ? .plain : self.subject.arrival,
            bootstrapIdentity: record.identity,
            bootstrapKey: record.key
        )
        if case .instance(let instance) = record.bootstrapPlace { rewriter.bootstrapInstanceID = instance }
        return rewriter
    }
}
