package import CoAP
internal import LwM2M
internal import Timing

/// The registration leg of one device: its Register, Update and De-register go to the LwM2M server behind the gateway,
/// the server's requests come back, and observations run on. Events in, actions out; no sockets, clocks or tasks.
///
/// Its owner is the actor of the device sessions; it feeds events on the event loop of the shard. Order is kept: while
/// the device waits for an answer, requests of the server wait behind it, because a client that gets them first may
/// drop them.
package struct RegistrationRelay: Sendable {
    package enum Action: Sendable, Equatable {
        case acquireLease(GatewayConfiguration.Upstream)
        case releaseLease(LeaseEnd)
        /// Send on the lease, and tell the exchange's number with ``forwarded(_:asUpstream:)``.
        case requestUpstream(CoAPRequest, answering: MessageLayer.RequestID)
        case answerUpstream(MessageLayer.RequestID, CoAPResponse)
        case notifyUpstream(MessageLayer.RequestID, CoAPResponse)
        /// Send to the device, and tell the exchange's number with ``forwarded(_:asDevice:)``.
        case requestDevice(CoAPRequest, answering: MessageLayer.RequestID)
        case answerDevice(MessageLayer.RequestID, CoAPResponse)
        /// Forget an observation: the device's next notification is rejected, which ends it there too.
        case cancelDevice(MessageLayer.ExchangeID)
        case journal(AuditEvent)
    }

    /// How many requests wait, on either side, before more are turned away.
    private static let maximumWaiting = 16

    private var record: SIMRecord
    private(set) var credential: OneTimeCredential
    let relay: GatewayConfiguration.Upstream
    var peer: String
    let session: UInt64

    private enum Lease: Sendable { case none, wanted, held }
    private var lease = Lease.none
    /// Requests of the device that wait for the lease.
    private var waiting: [(MessageLayer.RequestID, CoAPRequest)] = []
    /// Requests of the device that are upstream.
    private var upstream: [MessageLayer.ExchangeID: Pending] = [:]
    /// Requests of the server that are at the device; observations stay in it.
    private var device: [MessageLayer.ExchangeID: MessageLayer.RequestID] = [:]
    /// Requests of the server that wait until the device has its own answer.
    private var held: [(MessageLayer.RequestID, CoAPRequest)] = []
    private var kinds: [MessageLayer.RequestID: Kind] = [:]
    package private(set) var isRegistered = false

    private enum Kind: Sendable { case register, update, deregister, other }

    private struct Pending: Sendable {
        let request: MessageLayer.RequestID
        let kind: Kind
    }

    package init(
        record: SIMRecord, credential: OneTimeCredential, relay: GatewayConfiguration.Upstream, peer: String,
        session: UInt64
    ) {
        self.record = record
        self.credential = credential
        self.relay = relay
        self.peer = peer
        self.session = session
    }

    /// The record has changed; what comes from now on is judged by the new one.
    package mutating func update(_ record: SIMRecord) { self.record = record }

    /// The credential has another state than it was thought to have.
    mutating func update(_ credential: OneTimeCredential) { self.credential = credential }

    // MARK: - The device's requests

    package mutating func deviceRequested(
        _ id: MessageLayer.RequestID, _ request: CoAPRequest, wallClock: Int64, into actions: inout [Action]
    ) {
        let kind = Self.kind(of: request)
        if let cause = self.obstacle() {
            let response =
                cause == .unauthorized ? CoAPResponse(.forbidden) : DeviceAnswer.response(to: cause)
            actions.append(.answerDevice(id, response))
            if kind == .register { actions.append(.journal(self.event(.registrationRefused, wallClock, cause: cause))) }
            return
        }
        if let refusal = request.blockRefusal {
            actions.append(.answerDevice(id, refusal))
            return
        }
        var passed = Self.passed(request)
        if kind == .register {
            let names = (request.uriQuery ?? []).filter { $0.hasPrefix("ep=") }
            if self.record.endpointPolicy == .match, let name = names.first,
                names.count > 1 || name.dropFirst(3) != self.credential.endpoint
            {
                actions.append(.answerDevice(id, CoAPResponse(.badRequest)))
                actions.append(.journal(self.event(.registrationRefused, wallClock, cause: .endpointMismatch)))
                return
            }
            passed = self.withEndpoint(passed)
        }
        self.kinds[id] = kind
        switch self.lease {
        case .held: actions.append(.requestUpstream(passed, answering: id))
        case .none, .wanted:
            guard self.waiting.count < Self.maximumWaiting else {
                self.kinds[id] = nil
                actions.append(.answerDevice(id, DeviceAnswer.response(to: .limit)))
                return
            }
            self.waiting.append((id, passed))
            if case .none = self.lease {
                self.lease = .wanted
                actions.append(.acquireLease(self.relay))
            }
        }
    }

    /// Why this device may not register at all: a key that was replaced or expired completes its handshake and is told
    /// 4.03, so that the device bootstraps again at once.
    private func obstacle() -> FailureCause? {
        switch self.record.status {
        case .active: break
        case .suspended: return .suspended
        case .retired: return .retired
        }
        switch self.credential.state {
        case .pending, .active: return nil
        case .replaced, .expired, .revoked: return .unauthorized
        }
    }

    package mutating func forwarded(
        _ request: MessageLayer.RequestID, asUpstream exchange: MessageLayer.ExchangeID
    ) {
        self.upstream[exchange] = Pending(request: request, kind: self.kinds.removeValue(forKey: request) ?? .other)
    }

    package mutating func upstreamAnswered(
        _ exchange: MessageLayer.ExchangeID, _ response: CoAPResponse, wallClock: Int64, into actions: inout [Action]
    ) {
        guard let pending = self.upstream.removeValue(forKey: exchange) else { return }
        // A body in blocks cannot be carried yet; a part of it must not pass for the whole.
        let answer = response.isPartial ? CoAPResponse(.notImplemented) : Self.passed(response)
        actions.append(.answerDevice(pending.request, answer))
        switch pending.kind {
        case .register where response.code == .created:
            self.isRegistered = true
            actions.append(.journal(self.event(.registrationOpened, wallClock)))
        case .register:
            var event = self.event(.registrationRefused, wallClock, cause: .upstreamRefused)
            event.detail = [.init("code", .text(response.code.description))]
            actions.append(.journal(event))
        case .deregister where response.code.isSuccess:
            self.close(cause: nil, wallClock: wallClock, into: &actions)
        case .deregister, .update, .other: break
        }
        self.continueWithHeld(into: &actions)
    }

    package mutating func upstreamFailed(
        _ exchange: MessageLayer.ExchangeID, _ failure: MessageLayer.Failure, wallClock: Int64,
        into actions: inout [Action]
    ) {
        guard let pending = self.upstream.removeValue(forKey: exchange) else { return }
        let cause: FailureCause =
            switch failure {
            case .reset, .unusableResponse: .upstreamRefused
            case .unacknowledged, .noResponse: .upstreamSilent
            case .overloaded: .limit
            }
        actions.append(.answerDevice(pending.request, DeviceAnswer.response(to: cause)))
        if pending.kind == .register {
            actions.append(.journal(self.event(.registrationRefused, wallClock, cause: cause)))
        }
        self.continueWithHeld(into: &actions)
    }

    // MARK: - The server's requests

    package mutating func upstreamRequested(
        _ id: MessageLayer.RequestID, _ request: CoAPRequest, into actions: inout [Action]
    ) {
        if let refusal = request.blockRefusal {
            actions.append(.answerUpstream(id, refusal))
            return
        }
        guard self.upstream.isEmpty else {
            if self.held.count < Self.maximumWaiting {
                self.held.append((id, request))
            } else {
                actions.append(.answerUpstream(id, CoAPResponse(.serviceUnavailable, maxAge: 1)))
            }
            return
        }
        actions.append(.requestDevice(Self.passed(request), answering: id))
    }

    private mutating func continueWithHeld(into actions: inout [Action]) {
        guard self.upstream.isEmpty else { return }
        for (id, request) in self.held { actions.append(.requestDevice(Self.passed(request), answering: id)) }
        self.held = []
    }

    package mutating func forwarded(
        _ request: MessageLayer.RequestID, asDevice exchange: MessageLayer.ExchangeID
    ) {
        self.device[exchange] = request
    }

    /// `isObservation`: more responses follow on this exchange.
    package mutating func deviceAnswered(
        _ exchange: MessageLayer.ExchangeID, _ response: CoAPResponse, isObservation: Bool,
        into actions: inout [Action]
    ) {
        guard let request = self.device[exchange] else { return }
        if !isObservation { self.device[exchange] = nil }
        let answer = response.isPartial ? CoAPResponse(.notImplemented) : Self.passed(response)
        actions.append(.answerUpstream(request, answer))
    }

    package mutating func deviceNotified(
        _ exchange: MessageLayer.ExchangeID, _ response: CoAPResponse, into actions: inout [Action]
    ) {
        guard let request = self.device[exchange] else { return }
        actions.append(.notifyUpstream(request, Self.passed(response)))
    }

    package mutating func deviceFailed(
        _ exchange: MessageLayer.ExchangeID, _ failure: MessageLayer.Failure, into actions: inout [Action]
    ) {
        guard let request = self.device.removeValue(forKey: exchange) else { return }
        actions.append(.answerUpstream(request, UpstreamAnswer.response(to: failure)))
    }

    /// The server does not want this observation any more: it answered a notification with RST.
    package mutating func upstreamCancelled(_ request: MessageLayer.RequestID, into actions: inout [Action]) {
        guard let exchange = self.device.first(where: { $0.value == request })?.key else { return }
        self.device[exchange] = nil
        actions.append(.cancelDevice(exchange))
    }

    // MARK: - The lease

    package mutating func leaseGranted(into actions: inout [Action]) {
        guard case .wanted = self.lease else { return }
        self.lease = .held
        for (id, request) in self.waiting { actions.append(.requestUpstream(request, answering: id)) }
        self.waiting = []
    }

    package mutating func leaseRefused(_ cause: FailureCause, into actions: inout [Action]) {
        self.lease = .none
        for (id, _) in self.waiting {
            self.kinds[id] = nil
            actions.append(.answerDevice(id, DeviceAnswer.response(to: cause)))
        }
        self.waiting = []
    }

    /// The socket died: what was under way there is lost, and with it the address that the server knows.
    package mutating func leaseBroken(_ cause: FailureCause, wallClock: Int64, into actions: inout [Action]) {
        guard case .held = self.lease else { return }
        for pending in self.upstream.values {
            actions.append(.answerDevice(pending.request, DeviceAnswer.response(to: cause)))
        }
        self.forgetExchanges(into: &actions)
        self.lease = .none
        if self.isRegistered {
            self.isRegistered = false
            actions.append(.journal(self.event(.registrationClosed, wallClock, cause: cause)))
        }
    }

    // MARK: - Ends

    /// The device's session is over. `reserving`: the socket waits for the same device (a new handshake).
    package mutating func deviceGone(
        _ cause: FailureCause?, reserving: Bool, wallClock: Int64, into actions: inout [Action]
    ) {
        for request in self.device.values { actions.append(.answerUpstream(request, CoAPResponse(.gatewayTimeout))) }
        self.forgetExchanges(into: &actions)
        if case .none = self.lease {} else { actions.append(.releaseLease(reserving ? .parked : .unclean)) }
        self.lease = .none
        if self.isRegistered && !reserving {
            self.isRegistered = false
            actions.append(.journal(self.event(.registrationClosed, wallClock, cause: cause)))
        }
    }

    private mutating func close(cause: FailureCause?, wallClock: Int64, into actions: inout [Action]) {
        guard self.isRegistered else { return }
        self.isRegistered = false
        actions.append(.journal(self.event(.registrationClosed, wallClock, cause: cause)))
        self.forgetExchanges(into: &actions)
        actions.append(.releaseLease(.unclean))
        self.lease = .none
    }

    private mutating func forgetExchanges(into actions: inout [Action]) {
        for exchange in self.device.keys { actions.append(.cancelDevice(exchange)) }
        self.device = [:]
        self.upstream = [:]
        self.held = []
        self.waiting = []
        self.kinds = [:]
    }

    // MARK: - What passes

    private static func kind(of request: CoAPRequest) -> Kind {
        guard let path = request.uriPath, path.first == "rd" else { return .other }
        switch (request.code, path.count) {
        case (.post, 1): return .register
        case (.post, _): return .update
        case (.delete, 2...): return .deregister
        default: return .other
        }
    }

    /// The same request for the other leg: without the options that name this gateway as the server (spec 4.4).
    private static func passed(_ request: CoAPRequest) -> CoAPRequest {
        var passed = request
        passed.options.removeAll(.uriHost)
        passed.options.removeAll(.uriPort)
        return passed
    }

    private static func passed(_ response: CoAPResponse) -> CoAPResponse { response }

    /// The endpoint is the one that the credential was minted for, whatever the device calls itself.
    private func withEndpoint(_ request: CoAPRequest) -> CoAPRequest {
        let others = (request.uriQuery ?? []).filter { !$0.hasPrefix("ep=") }
        var passed = request
        passed.options.removeAll(.uriQuery)
        passed.options.append(.uriQuery, string: "ep=\(self.credential.endpoint)")
        for parameter in others { passed.options.append(.uriQuery, string: parameter) }
        return passed
    }

    private func event(_ name: AuditEvent.Name, _ time: Int64, cause: FailureCause? = nil) -> AuditEvent {
        AuditEvent(
            name, time: time, cause: cause, iccid: self.credential.iccid, endpoint: self.credential.endpoint,
            peer: self.peer, upstream: self.relay.uri.description, session: self.session,
            detail: [.init("server", .text(self.credential.server))]
        )
    }
}
