internal import CCoAPStack

/// A LwM2M server of the old kind: devices are told apart by address and port.
///
/// After a registration it does what its script says, one thing after another, from the socket it listens on.
final class ManagementServer: CoAPRole {
    private struct Registration {
        var endpoint: String
        var peer: Peer
        /// Of the request that made it: the same again is a repetition.
        var messageID: Int32
        var remaining: [Step]
        var outstanding: (token: [UInt8], operation: Operation)?
        /// An observation whose notifications are counted, and how many are still to come.
        var counted: (token: [UInt8], path: String, left: Int)?
    }

    /// What to do at the first registration of a device, at the second, and so on; the last part is for all others.
    private let script: [[Step]]
    private let refusal: Code?
    private let isSilent: Bool
    private let bindsIdentities: Bool
    private let events: EventStream
    private var registrations: [String: Registration] = [:]
    private var observations: [[UInt8]: (peer: Peer, path: String)] = [:]
    private var count = 0
    /// How often each endpoint has registered.
    private var visits: [String: Int] = [:]

    /// - Parameters:
    ///   - script: its parts, for one registration each, end with ``Step/awaitRegistration``.
    ///   - refusal: the answer to every Register, if it is to be refused.
    ///   - bindsIdentities: over DTLS, a device registers under the name that its identity is, or not at all.
    init(script: [Step], refusal: Code?, isSilent: Bool, bindsIdentities: Bool, events: EventStream) {
        self.script = script.split(separator: .awaitRegistration, omittingEmptySubsequences: false).map(Array.init)
        self.refusal = refusal
        self.isSilent = isSilent
        self.bindsIdentities = bindsIdentities
        self.events = events
    }

    // MARK: - Requests of devices

    func answer(_ request: Message, from peer: Peer) -> Message? {
        if self.isSilent { return nil }
        let isRegistered = self.registrations[request.path] != nil
        switch (request.code, request.path) {
        case (.post, "/rd"): return self.register(request, from: peer)
        case (.post, let location) where isRegistered:
            // A device may come back from another address with its update.
            self.registrations[location]?.peer = peer
            if self.registrations[location]?.remaining.first == .awaitUpdate {
                self.registrations[location]?.remaining.removeFirst()
            }
            self.report("updated", location, peer, request)
            return Message(.changed)
        case (.delete, let location) where isRegistered:
            self.report("deregistered", location, peer, request)
            self.registrations[location] = nil
            return Message(.deleted)
        default:
            self.events.report(
                "refused",
                [
                    "peer": .text(peer.description), "method": .text(request.code.description),
                    "path": .text(request.path), "code": .text(Code.notFound.description),
                ]
            )
            return Message(.notFound)
        }
    }

    private func register(_ request: Message, from peer: Peer) -> Message {
        if let refusal {
            self.events.report("refused", ["peer": .text(peer.description), "code": .text(refusal.description)])
            return Message(refusal)
        }
        guard let endpoint = request.query("ep") else { return Message(.badRequest) }
        if self.bindsIdentities, peer.identity != endpoint {
            self.events.report("refused", ["peer": .text(peer.description), "code": .text(Code.forbidden.description)])
            return Message(.forbidden)
        }
        var location = "/rd/\(self.count + 1)"
        if let known = self.registrations.first(where: {
            $0.value.peer == peer && $0.value.messageID == request.messageID
        }) {
            location = known.key
        } else {
            self.count += 1
            // A new registration of the same device replaces the one before.
            self.registrations = self.registrations.filter { $0.value.endpoint != endpoint }
            let visit = self.visits[endpoint, default: 0]
            self.visits[endpoint] = visit + 1
            self.registrations[location] = Registration(
                endpoint: endpoint,
                peer: peer,
                messageID: request.messageID,
                remaining: self.script[min(visit, self.script.count - 1)]
            )
            self.report("registered", location, peer, request)
        }
        var answer = Message(.created)
        for segment in location.split(separator: "/") { answer.add(COAP_OPTION_LOCATION_PATH, String(segment)) }
        return answer
    }

    private func report(_ event: String, _ location: String, _ peer: Peer, _ request: Message) {
        self.events.report(
            event,
            [
                "peer": .text(peer.description), "endpoint": self.registrations[location].map { .text($0.endpoint) },
                "location": .text(location), "queries": .list(request.queries),
                "identity": peer.identity.map(EventValue.text),
                "links": request.payload.isEmpty ? nil : .text(readable(request.payload)),
            ]
        )
    }

    // MARK: - Requests to devices

    /// Sends the next request to every device that waits for none.
    func sendDueOperations(_ stack: CoAPStack) {
        for (location, registration) in self.registrations where registration.outstanding == nil {
            if let counted = registration.counted {
                guard counted.left == 0 else { continue }
                self.registrations[location]?.counted = nil
                self.send(Operation(kind: .cancel, path: counted.path), of: counted.token, to: location, stack)
            } else if case .send(let operation)? = registration.remaining.first {
                self.registrations[location]?.remaining.removeFirst()
                self.send(operation, to: location, stack)
            }
        }
    }

    private func send(_ operation: Operation, of token: [UInt8] = [], to location: String, _ stack: CoAPStack) {
        guard let registration = self.registrations[location] else { return }
        var message = operation.message
        message.token = token
        guard let token = stack.send(message, to: registration.peer) else { return }
        self.registrations[location]?.outstanding = (token, operation)
        if operation.kind == .observe {
            self.observations[token] = (registration.peer, operation.path)
            if let count = operation.notifications {
                self.registrations[location]?.counted = (token, operation.path, count)
            }
        }
        self.report("sent", registration, operation)
    }

    func received(_ response: Message, from peer: Peer) -> Bool {
        if let (location, registration, operation) = self.outstanding(response.token, peer),
            // A notification may come before the answer to its cancellation, which has the same token.
            operation.kind != .cancel || response.observe == nil
        {
            self.registrations[location]?.outstanding = nil
            if operation.kind == .cancel { self.observations[response.token] = nil }
            // A device that does not let itself be observed sends no notifications to count.
            if operation.kind == .observe, response.observe == nil { self.registrations[location]?.counted = nil }
            self.report("answered", registration, operation, response)
            return true
        }
        guard let observation = self.observations[response.token], observation.peer == peer else { return false }
        for (location, registration) in self.registrations {
            guard let counted = registration.counted, counted.token == response.token, counted.left > 0 else {
                continue
            }
            self.registrations[location]?.counted?.left -= 1
        }
        self.events.report(
            "notification",
            [
                "peer": .text(peer.description), "path": .text(observation.path),
                "code": .text(response.code.description),
                "sequence": response.observe.map { .integer(Int64($0)) },
                "confirmable": .boolean(response.isConfirmable),
                "payload": .text(readable(response.payload)),
            ]
        )
        return true
    }

    func failed(token: [UInt8]?, to peer: Peer, _ failure: DeliveryFailure) {
        guard let token, let (location, registration, operation) = self.outstanding(token, peer) else { return }
        self.registrations[location]?.outstanding = nil
        if operation.kind == .observe { self.registrations[location]?.counted = nil }
        self.report("undelivered", registration, operation, reason: failure.rawValue)
    }

    func connected(to peer: Peer) { self.events.report("connected", ["peer": .text(peer.description)]) }

    private func outstanding(_ token: [UInt8], _ peer: Peer) -> (String, Registration, Operation)? {
        for (location, registration) in self.registrations where registration.peer == peer {
            if let outstanding = registration.outstanding, outstanding.token == token {
                return (location, registration, outstanding.operation)
            }
        }
        return nil
    }

    private func report(
        _ event: String,
        _ registration: Registration,
        _ operation: Operation,
        _ response: Message? = nil,
        reason: String? = nil
    ) {
        self.events.report(
            event,
            [
                "peer": .text(registration.peer.description), "endpoint": .text(registration.endpoint),
                "operation": .text(operation.kind.rawValue), "path": .text(operation.path),
                "code": response.map { .text($0.code.description) },
                "format": response?.contentFormat.map { .integer(Int64($0)) },
                "payload": response.map { .text(readable($0.payload)) }, "reason": reason.map(EventValue.text),
            ]
        )
    }
}
