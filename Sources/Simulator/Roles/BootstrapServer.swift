internal import CCoAPStack

/// A bootstrap server of the old kind: each write goes only after the answer to the one before.
///
/// It tells devices apart by address and port, and speaks to each from the socket that it listens on.
final class BootstrapServer: CoAPRole {
    /// What it writes, and how it misbehaves.
    struct Behaviour {
        var server: (uri: String, shortServerID: Int64)
        /// What devices show to that server; without it the account has no security. `{endpoint}` in the identity is the
        /// device's name.
        var serverCredentials: (identity: String, key: [UInt8])?
        var bootstrap: (uri: String, shortServerID: Int64)?
        var extraServers: [(uri: String, shortServerID: Int64)] = []
        var lifetime: Int64 = 86400
        var format = WriteFormat.tlv
        /// One write for all instances of an object, instead of one each.
        var writesObjects = false
        /// Asks for a list of what the device holds before the end.
        var discovers = false
        /// Reads this before the end.
        var reads: [String] = []
        /// Bodies above this go out in blocks of it, and answers are asked for in them.
        var blockSize: Int?
        /// Answers every request with this code.
        var refusal: Code?
        /// Hears requests and never answers.
        var isSilent = false
        /// The first account ends in the middle of a record.
        var breaksTLV = false
        /// Goes on with the next step when one has failed.
        var continuesAfterFailure = false
        /// Endpoint client names that it knows; empty means all.
        var endpoints: [String] = []
        /// How many steps it makes before it falls silent.
        var lastStep: Int?
        var pause: Duration = .zero
        /// Repeats an unanswered message after this time, and so often.
        var retransmission: (milliseconds: Int, limit: UInt16)?
    }

    private struct Step {
        var code: Code
        var path: String
        var payload: [UInt8] = []
        /// What it wants to get.
        var format: UInt16?
    }

    /// One device in the middle of its bootstrap.
    private struct Run {
        var endpoint: String
        let steps: [Step]
        /// Of the request that began it: the same again is a repetition.
        var messageID: Int32
        var next = 0
        /// The token of the step that waits for its answer.
        var outstanding: [UInt8]?
        var notBefore: ContinuousClock.Instant
        var hasFailed = false
    }

    private let behaviour: Behaviour
    private let events: EventStream
    private var runs: [Peer: Run] = [:]

    init(_ behaviour: Behaviour, events: EventStream) {
        self.behaviour = behaviour
        self.events = events
    }

    private static func steps(_ behaviour: Behaviour, for endpoint: String) -> [Step] {
        var first = Account(
            uri: behaviour.server.uri,
            isBootstrapServer: false,
            shortServerID: behaviour.server.shortServerID
        )
        if let (identity, key) = behaviour.serverCredentials {
            first.securityMode = Account.preSharedKey
            first.identity = Array(identity.replacing("{endpoint}", with: endpoint).utf8)
            first.key = key
        }
        // The bootstrap account is instance 1, so further servers come after it.
        var accounts: [(instance: UInt16, account: Account)] = [(0, first)]
        var servers: [(instance: UInt16, settings: ServerSettings)] = [
            (0, ServerSettings(shortServerID: behaviour.server.shortServerID, lifetime: behaviour.lifetime))
        ]
        for (index, extra) in behaviour.extraServers.enumerated() {
            let account = Account(uri: extra.uri, isBootstrapServer: false, shortServerID: extra.shortServerID)
            accounts.append((UInt16(index + 2), account))
            servers.append(
                (UInt16(index + 1), ServerSettings(shortServerID: extra.shortServerID, lifetime: behaviour.lifetime))
            )
        }
        if let bootstrap = behaviour.bootstrap {
            let account = Account(uri: bootstrap.uri, isBootstrapServer: true, shortServerID: bootstrap.shortServerID)
            accounts.append((1, account))
        }
        let format = behaviour.format
        var steps = [Step(code: .delete, path: "/")]
        if behaviour.writesObjects {
            let security = format.object(0, accounts.map { ($0, $1.resources) })
            let server = format.object(1, servers.map { ($0, $1.resources) })
            steps += [Step(code: .put, path: "/0", payload: security), Step(code: .put, path: "/1", payload: server)]
        } else {
            func write(_ object: UInt16, _ instance: UInt16, _ resources: [Resource]) -> Step {
                Step(
                    code: .put, path: "/\(object)/\(instance)", payload: format.instance(object, instance, resources))
            }
            let isServer = { (entry: (instance: UInt16, account: Account)) in !entry.account.isBootstrapServer }
            steps += accounts.filter(isServer).map { write(0, $0.instance, $0.account.resources) }
            steps += servers.map { write(1, $0.instance, $0.settings.resources) }
            steps += accounts.filter { !isServer($0) }.map { write(0, $0.instance, $0.account.resources) }
        }
        if behaviour.discovers { steps.append(Step(code: .get, path: "/", format: ContentFormat.linkFormat)) }
        steps += behaviour.reads.map { Step(code: .get, path: $0, format: ContentFormat.tlv) }
        steps.append(Step(code: .post, path: "/bs"))
        if behaviour.breaksTLV { steps[1].payload.removeLast() }
        return steps
    }

    // MARK: - Requests of devices

    func answer(_ request: Message, from peer: Peer) -> Message? {
        let endpoint = request.query("ep")
        self.events.report(
            "request",
            [
                "peer": .text(peer.description), "method": .text(request.code.description), "path": .text(request.path),
                "queries": .list(request.queries), "identity": peer.identity.map(EventValue.text),
            ]
        )
        if self.behaviour.isSilent { return nil }
        guard request.path == "/bs" else { return self.refuse(.notFound, peer) }
        guard request.code == .post else { return self.refuse(.methodNotAllowed, peer) }
        if let refusal = self.behaviour.refusal { return self.refuse(refusal, peer) }
        guard let endpoint, self.behaviour.endpoints.isEmpty || self.behaviour.endpoints.contains(endpoint) else {
            return self.refuse(.badRequest, peer)
        }
        if let run = self.runs[peer], run.messageID == request.messageID { return Message(.changed) }
        self.runs[peer] = Run(
            endpoint: endpoint,
            steps: Self.steps(self.behaviour, for: endpoint),
            messageID: request.messageID,
            notBefore: .now.advanced(by: self.behaviour.pause)
        )
        return Message(.changed)
    }

    private func refuse(_ code: Code, _ peer: Peer) -> Message {
        self.events.report("refused", ["peer": .text(peer.description), "code": .text(code.description)])
        return Message(code)
    }

    // MARK: - The steps

    /// Sends the steps that are due. The answer to a device's request has left before, as devices expect.
    func sendDueSteps(_ stack: CoAPStack, now: ContinuousClock.Instant) {
        for (peer, run) in self.runs where run.outstanding == nil && run.notBefore <= now {
            if let lastStep = self.behaviour.lastStep, run.next >= lastStep { continue }
            let step = run.steps[run.next]
            var message = Message(step.code, path: step.path)
            if !step.payload.isEmpty {
                message.setPayload(step.payload, format: self.behaviour.format.contentFormat)
            }
            message.blockSize = self.behaviour.blockSize
            if let format = step.format { message.add(COAP_OPTION_ACCEPT, integer: UInt32(format)) }
            if let retransmission = self.behaviour.retransmission {
                stack.setRetransmission(
                    milliseconds: retransmission.milliseconds,
                    limit: retransmission.limit,
                    for: peer
                )
            }
            guard let token = stack.send(message, to: peer) else {
                self.end(peer, "aborted", reason: "cannot send")
                continue
            }
            self.runs[peer]?.outstanding = token
            self.events.report("sent", self.fields(peer, run))
        }
    }

    func received(_ response: Message, from peer: Peer) -> Bool {
        guard let run = self.runs[peer], run.outstanding == response.token else { return false }
        self.events.report("answered", self.fields(peer, run, code: response.code, payload: response.payload))
        self.advance(peer, failure: response.code.isSuccess ? nil : "answer \(response.code)")
        return true
    }

    func failed(token: [UInt8]?, to peer: Peer, _ failure: DeliveryFailure) {
        guard let token, let run = self.runs[peer], run.outstanding == token else { return }
        self.events.report("undelivered", self.fields(peer, run, reason: failure.rawValue))
        self.advance(peer, failure: failure.rawValue)
    }

    func connected(to peer: Peer) { self.events.report("connected", ["peer": .text(peer.description)]) }

    private func advance(_ peer: Peer, failure: String?) {
        guard var run = self.runs[peer] else { return }
        run.outstanding = nil
        run.next += 1
        run.notBefore = .now.advanced(by: self.behaviour.pause)
        if failure != nil { run.hasFailed = true }
        self.runs[peer] = run
        if let failure, !self.behaviour.continuesAfterFailure {
            self.end(peer, "aborted", reason: failure)
        } else if run.next == run.steps.count {
            self.end(peer, run.hasFailed ? "aborted" : "finished", reason: run.hasFailed ? "a step failed" : nil)
        }
    }

    private func end(_ peer: Peer, _ event: String, reason: String?) {
        guard let run = self.runs.removeValue(forKey: peer) else { return }
        self.events.report(
            event,
            [
                "peer": .text(peer.description), "endpoint": .text(run.endpoint), "steps": .integer(Int64(run.next)),
                "reason": reason.map(EventValue.text),
            ]
        )
    }

    private func fields(
        _ peer: Peer,
        _ run: Run,
        code: Code? = nil,
        payload: [UInt8] = [],
        reason: String? = nil
    ) -> KeyValuePairs<String, EventValue?> {
        let step = run.steps[run.next]
        return [
            "peer": .text(peer.description), "endpoint": .text(run.endpoint), "step": .integer(Int64(run.next + 1)),
            "method": .text(step.code.description), "path": .text(step.path),
            "bytes": step.payload.isEmpty ? nil : .integer(Int64(step.payload.count)),
            "code": code.map { .text($0.description) }, "payload": payload.isEmpty ? nil : .text(readable(payload)),
            "reason": reason.map(EventValue.text),
        ]
    }
}
