package import CoAP
internal import LwM2M
package import Timing

/// The registration of one device at one LwM2M server: its Register, Update and De-register go to the server behind the
/// gateway, the server's requests come back, and observations run on. Events in, actions out; no sockets, clocks or tasks.
///
/// Its owner is the actor of the device sessions; it feeds events on the event loop of the shard. A registration outlives
/// the sessions of its device: it ends by De-register, by the end of its lifetime, or when the device may not have it any
/// more. Until then it keeps its upstream socket, so that the server sees one address and port whatever becomes of the
/// device's own.
///
/// Bodies in blocks pass block by block, each an exchange of its own (RFC 7959); nothing is put together here. Order is
/// kept: while the device waits for an answer, requests of the server wait behind it, because a client that gets them
/// first may drop them.
package struct RegistrationRelay: Sendable {
    package enum Action: Sendable, Equatable {
        case acquireLease(GatewayConfiguration.Upstream)
        case releaseLease
        /// Send on the lease, and tell the exchange's number with ``forwarded(_:asUpstream:)``.
        case requestUpstream(CoAPRequest, DeviceRequest)
        case answerUpstream(MessageLayer.RequestID, CoAPResponse)
        case notifyUpstream(MessageLayer.RequestID, CoAPResponse, isConfirmable: Bool)
        /// The server shall go on repeating this request until the device has it.
        case awaitRepetitions(MessageLayer.RequestID)
        /// The device has it: the empty ACK may go to the server.
        case acknowledgeUpstream(MessageLayer.RequestID)
        /// Treat it as if it had never arrived; too late for that, 5.04.
        case disownUpstream(MessageLayer.RequestID)
        /// Send to the device, and tell the exchange's number with ``forwarded(_:asDevice:)``.
        case requestDevice(CoAPRequest, ServerRequest)
        /// Send once more, with the same message ID.
        case repeatToDevice(MessageLayer.ExchangeID)
        case answerDevice(MessageLayer.RequestID, CoAPResponse)
        /// Forget an observation: the device's next notification is rejected, which ends it there too.
        case cancelDevice(MessageLayer.ExchangeID)
        /// The device is proven to be where its datagrams come from.
        case deviceIsProven
        /// Registered, renewed or closed: ``deadline`` and ``isRegistered`` are to be looked at.
        case lifeChanged
        /// A request of the gateway's own: send, and tell the exchange's number with ``errandSent(asDevice:)``.
        case askDevice(CoAPRequest)
        /// Nothing is left to do for this order.
        case orderSettled(RebootstrapOrder)
        case journal(AuditEvent)
        case count(Refused)
    }

    /// What was turned away because of a bound; for counters.
    package enum Refused: String, Sendable {
        case serverRequest = "relay_server_requests"
        case observation = "relay_observations"
        case deviceRequest = "relay_device_requests"
    }

    /// Bounds per registration.
    package enum Limit {
        /// Requests of the server that are at the device or wait for their turn; further ones get 5.03.
        package static let serverRequests = 16
        /// Observations of the server; beyond it a request is passed without Observe, so that the server gets the value
        /// and knows that no notifications will come.
        package static let observations = 64
        /// Registers, blocks of one included, that wait for the lease; further ones get 5.03.
        package static let waitingRegisters = 4
    }

    /// How long requests of the server wait behind an answer of its own that does not come. A server that asks the device
    /// something before it answers would otherwise wait for its own answer.
    static let patience = Duration.seconds(10)

    /// The server may count from a later moment than the gateway: an Update on its way needs up to MAX_TRANSMIT_WAIT.
    static let lifetimeGrace = Duration.seconds(93)

    /// Who registers, and by what right.
    package struct Subject: Sendable, Equatable {
        package var iccid: String
        /// Endpoint client name that the bootstrap was made for.
        package var endpoint: String
        /// Name of the entry in `servers`.
        package var server: String
        /// Of the one-time credential or, on the plain port, of the grant.
        package var standing: OneTimeCredential.State
        /// Whether the bootstrap server's own credentials for this device are at hand.
        package var hasWritten: Bool
        package var peer: String
        package var session: UInt64

        package init(
            iccid: String, endpoint: String, server: String, standing: OneTimeCredential.State,
            hasWritten: Bool = false, peer: String, session: UInt64
        ) {
            self.iccid = iccid
            self.endpoint = endpoint
            self.server = server
            self.standing = standing
            self.hasWritten = hasWritten
            self.peer = peer
            self.session = session
        }
    }

    /// A request of the device on its way upstream.
    package struct DeviceRequest: Sendable, Equatable {
        /// Nil when the device has lost the conversation in which it asked.
        package internal(set) var id: MessageLayer.RequestID?
        let kind: RegistrationRequest
        let isConfirmable: Bool
        var parameters: RegistrationParameters?
    }

    /// A request of the server on its way to the device.
    package struct ServerRequest: Sendable, Equatable {
        package let id: MessageLayer.RequestID
        let wantsObservation: Bool
        /// The observation at the device that a request with the same token ends or renews.
        package var replacing: MessageLayer.ExchangeID?
        /// The device may sleep: nothing goes to it but what the server sends, repetitions included.
        package var followsRepetitions = false
    }

    struct Held: Sendable {
        var request: CoAPRequest
        var origin: ServerRequest
    }

    struct AtDevice: Sendable {
        var exchange: MessageLayer.ExchangeID
        let request: ServerRequest
        /// The device has confirmed it: responses go on.
        var isObservation = false
    }

    enum Lease: Sendable { case none, wanted, held }

    package internal(set) var subject: Subject
    let relay: GatewayConfiguration.Upstream
    var record: SIMRecord
    var lease = Lease.none
    /// False while the device has no session: what the server sends then is lost, as it would be without a gateway.
    package internal(set) var isAttached = true

    // The registration as the server has confirmed it.
    package internal(set) var isRegistered = false
    var location: [[UInt8]] = []
    var lifetime: UInt32 = 0
    var expiry: Instant?
    var bindingQueues = false
    var hasQueueFlag = false

    /// Registers that wait for the lease.
    var waiting: [(CoAPRequest, DeviceRequest)] = []
    /// Requests of the device that are upstream.
    var upstream: [(exchange: MessageLayer.ExchangeID, request: DeviceRequest)] = []
    /// Requests and observations of the server that are at the device.
    var device: [AtDevice] = []
    /// Requests of the server that wait until the device has its own answer.
    var held: [Held] = []
    /// When they go without it.
    var heldUntil: Instant?
    /// The observation that the server's next request takes the place of.
    var superseded: MessageLayer.ExchangeID?
    /// What the gateway itself wants of the device.
    var errand: Errand?

    package init(subject: Subject, record: SIMRecord, relay: GatewayConfiguration.Upstream) {
        self.subject = subject
        self.record = record
        self.relay = relay
    }

    /// The record has changed; what comes from now on is judged by the new one.
    package mutating func update(_ record: SIMRecord) { self.record = record }

    /// A device in queue mode is reachable only for a while after it has sent something.
    var isQueueMode: Bool { self.bindingQueues || self.hasQueueFlag }

    /// Whether a request names the location of this very registration.
    package func owns(_ request: CoAPRequest) -> Bool {
        switch RegistrationRequest(request, location: self.location) {
        case .update, .deregister: true
        default: false
        }
    }

    // MARK: - The device's requests

    /// - Parameter isAnothers: the request names the location of another device's registration.
    package mutating func deviceRequested(
        _ id: MessageLayer.RequestID, _ request: CoAPRequest, isAnothers: Bool = false, wallClock: Int64,
        into actions: inout [Action]
    ) {
        let kind = RegistrationRequest(request, location: self.location)
        if let cause = self.obstacle() {
            self.refuse(id, kind, DeviceAnswer.response(to: cause), cause, wallClock, into: &actions)
            return
        }
        switch kind {
        case .register: break
        case .update, .deregister: actions.append(.deviceIsProven)
        case .other where self.isRegistered: break
        // The gateway has lost its memory of this registration, if there ever was one: the server's own answer makes the
        // device register.
        case .stray where !self.isRegistered && !isAnothers: actions.append(.deviceIsProven)
        case .other, .unknownLocation, .stray:
            actions.append(.answerDevice(id, CoAPResponse(.notFound)))
            return
        case .bootstrap:
            actions.append(.answerDevice(id, CoAPResponse(.methodNotAllowed)))
            return
        case .malformed:
            actions.append(.answerDevice(id, CoAPResponse(.badRequest)))
            return
        }
        guard let named = self.named(request, kind) else {
            self.refuse(id, kind, CoAPResponse(.badRequest), .endpointMismatch, wallClock, into: &actions)
            return
        }
        var passed: CoAPRequest
        switch Passing.request(named) {
        case .success(let request): passed = request
        case .failure(let refusal):
            actions.append(.answerDevice(id, refusal.response))
            return
        }
        // Nothing here passes notifications to a device, so nobody may confirm that they will come (RFC 7641, section 4.1).
        passed.options.removeAll(.observe)
        var origin = DeviceRequest(id: id, kind: kind, isConfirmable: request.isConfirmable)
        if kind == .register || kind == .update { origin.parameters = RegistrationParameters(request) }
        self.passUpstream(passed, origin, into: &actions)
    }

    private mutating func passUpstream(
        _ request: CoAPRequest, _ origin: DeviceRequest, into actions: inout [Action]
    ) {
        if case .held = self.lease {
            actions.append(.requestUpstream(request, origin))
            return
        }
        guard self.waiting.count < Limit.waitingRegisters else {
            if let id = origin.id { actions.append(.answerDevice(id, DeviceAnswer.response(to: .limit))) }
            actions.append(.count(.deviceRequest))
            return
        }
        self.waiting.append((request, origin))
        if case .none = self.lease {
            self.lease = .wanted
            actions.append(.acquireLease(self.relay))
        }
    }

    private func refuse(
        _ id: MessageLayer.RequestID, _ kind: RegistrationRequest, _ response: CoAPResponse, _ cause: FailureCause,
        _ wallClock: Int64, into actions: inout [Action]
    ) {
        actions.append(.answerDevice(id, response))
        if kind == .register { actions.append(.journal(self.event(.registrationRefused, wallClock, cause: cause))) }
    }

    /// Why this device may not register at all: a key that was replaced or expired completes its handshake and is told
    /// 4.03, so that the device bootstraps again at once.
    private func obstacle() -> FailureCause? {
        switch self.record.status {
        case .active: break
        case .suspended: return .suspended
        case .retired: return .retired
        }
        // The rule was another one when this was minted; the next bootstrap brings what the server wants.
        if self.relay.credentials == .written && !self.subject.hasWritten { return .notBootstrapped }
        switch self.subject.standing {
        case .pending, .active: return nil
        case .replaced, .expired, .revoked: return .credentialEnded
        }
    }

    /// The request under the device's own name, nil where it claims another one.
    ///
    /// A Register always carries the name that the bootstrap was made for, in front. Nothing else has to carry one; where
    /// it does, it must be the same.
    private func named(_ request: CoAPRequest, _ kind: RegistrationRequest) -> CoAPRequest? {
        let prefix = "ep=".utf8
        var names = 0
        var isOwn = true
        for (number, parameter) in request.options {
            if number > .uriQuery { break }
            guard number == .uriQuery, parameter.starts(with: prefix) else { continue }
            names += 1
            isOwn = isOwn && parameter.dropFirst(3).elementsEqual(self.subject.endpoint.utf8)
        }
        if self.record.endpointPolicy == .match && (!isOwn || names > 1) { return nil }
        guard kind == .register || !isOwn || names > 1 else { return request }
        var named = request
        named.options.removeAll(.uriQuery)
        if kind == .register { named.options.append(.uriQuery, string: "ep=\(self.subject.endpoint)") }
        for (number, parameter) in request.options where number == .uriQuery && !parameter.starts(with: prefix) {
            named.options.append(.uriQuery, parameter)
        }
        return named
    }

    package mutating func forwarded(_ request: DeviceRequest, asUpstream exchange: MessageLayer.ExchangeID) {
        self.upstream.append((exchange, request))
    }

    package mutating func upstreamAnswered(
        _ exchange: MessageLayer.ExchangeID, _ response: CoAPResponse, now: Instant, wallClock: Int64,
        into actions: inout [Action]
    ) {
        guard let index = self.upstream.firstIndex(where: { $0.exchange == exchange }) else { return }
        let request = self.upstream.remove(at: index).request
        if let id = request.id { actions.append(.answerDevice(id, Self.answer(to: request.kind, response))) }
        switch request.kind {
        case .register where response.code == .created:
            self.open(request, response, now: now, wallClock: wallClock, into: &actions)
        case .register where !response.code.isSuccess:
            var event = self.event(.registrationRefused, wallClock, cause: .upstreamRefused)
            event.detail.append(.init("code", .text(response.code.description)))
            actions.append(.journal(event))
        case .update where response.code.isSuccess && self.isRegistered:
            self.renew(request, now: now, into: &actions)
        case .update where response.code == .notFound:
            self.close(cause: .upstreamRefused, keepsLease: true, wallClock: wallClock, into: &actions)
        case .deregister where response.code.isSuccess: self.close(cause: nil, wallClock: wallClock, into: &actions)
        default: break
        }
        self.endStray(request, into: &actions)
        self.continueWithHeld(into: &actions)
        self.continueErrand(into: &actions)
        self.endIfUnused(into: &actions)
    }

    /// A server that takes an Update for good from a port that it never heard of knows devices by their locations alone.
    /// The gateway cannot tell whose location it was: the device registers anew, under its own name.
    private static func answer(to kind: RegistrationRequest, _ response: CoAPResponse) -> CoAPResponse {
        kind == .stray && response.code == .changed ? CoAPResponse(.notFound) : response
    }

    package mutating func upstreamFailed(
        _ exchange: MessageLayer.ExchangeID, _ failure: MessageLayer.Failure, wallClock: Int64,
        into actions: inout [Action]
    ) {
        guard let index = self.upstream.firstIndex(where: { $0.exchange == exchange }) else { return }
        let request = self.upstream.remove(at: index).request
        let cause: FailureCause =
            switch failure {
            case .reset, .unusableResponse: .upstreamRefused
            case .unacknowledged, .noResponse: .upstreamSilent
            case .overloaded: .limit
            }
        if let id = request.id { actions.append(.answerDevice(id, DeviceAnswer.response(to: cause))) }
        if request.kind == .register {
            actions.append(.journal(self.event(.registrationRefused, wallClock, cause: cause)))
        }
        self.endStray(request, into: &actions)
        self.continueWithHeld(into: &actions)
        self.continueErrand(into: &actions)
        self.endIfUnused(into: &actions)
    }

    func event(_ name: AuditEvent.Name, _ time: Int64, cause: FailureCause? = nil) -> AuditEvent {
        AuditEvent(
            name, time: time, cause: cause, iccid: self.subject.iccid, endpoint: self.subject.endpoint,
            peer: self.subject.peer, upstream: self.relay.uri.description, session: self.subject.session,
            detail: [.init("server", .text(self.subject.server))]
        )
    }
}
