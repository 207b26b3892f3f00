internal import CCoAPStack

/// A LwM2M device: bootstraps, registers at the server that it was given, answers that server, and leaves.
///
/// ``advance(_:now:)`` makes the steps; what libcoap hands over only changes what the next step is.
final class Device: CoAPRole {
    /// Who it is, where it goes, and how it misbehaves.
    struct Behaviour {
        var endpoint: String
        /// The bootstrap server, or with `skipsBootstrap` the LwM2M server.
        var server: Account
        var skipsBootstrap = false
        var local: (host: String, port: UInt16)?
        var version = "1.1"
        /// Ends with the bootstrap.
        var isBootstrapOnly = false
        /// How long after the last message, to repeat an answer that was lost.
        var linger: Duration = .zero
        /// Leaves again when the server has been quiet for `stay`; else it stays registered.
        var isOnce = false
        var stay: Duration = .seconds(1)
        /// How long it waits for one answer, or for the next command of the bootstrap server.
        var patience: Duration = .seconds(30)
        /// Repeats an unanswered message after this time, and so often.
        var retransmission: (milliseconds: Int, limit: UInt16)?
        /// Registers from the port that it bootstrapped from.
        var reusesPort = false
        var notifications = 3
        /// Every notification waits for its acknowledgement; otherwise only the last one.
        var confirmsNotifications = false
        /// After so many notifications it goes on, observations and all, with a new handshake from a new port.
        var reconnectsAfter: Int?
        /// Bytes of a file that it holds at `/19/0/0`; nil: no such object.
        var dataBytes: Int?
        /// What it asks for in its Register beyond the rest, `Q` for example.
        var registerQueries: [String] = []
        var sendsEndpoint = true
        /// After so many answered requests of the bootstrap server it falls silent.
        var vanishesAfter: Int?
        var refusesFinish = false
        /// The answer to every write.
        var writeRefusal: Code?
        /// Sends its bootstrap request a second time, as a new one, after so many requests of the server.
        var repeatsRequestAfter: Int?
        /// How often it bootstraps before it registers, each time over the same association.
        var bootstraps = 1
    }

    /// How it ended.
    enum Outcome: Equatable {
        case success, failure
    }

    enum Phase: Equatable {
        case idle
        /// The request is on its way.
        case requestingBootstrap
        case receivingAccounts
        /// Finish has been answered.
        case bootstrapped
        case registering
        case registered
        case updating
        case deregistering
        case vanished
        case ended(Outcome)
    }

    let behaviour: Behaviour
    let events: EventStream
    private(set) var phase: Phase = .idle
    var objects = ObjectTree()
    var observations: [[UInt8]: Observation] = [:]
    /// Notifications sent so far.
    var notified = 0
    /// Requests of the bootstrap server answered so far.
    var served = 0
    var lastActivity: ContinuousClock.Instant = .now
    /// The server has executed `/1/x/8` or `/1/x/9`.
    var mustUpdate = false
    var mustBootstrap = false
    /// Whoever started it wants a new handshake, as after the address has changed.
    var mustReconnect = false

    private var bootstrapAccount: Account
    private(set) var peer: Peer?
    private var isConnected = false
    private var token: [UInt8]?
    private var location = ""
    private var hasReconnected = false
    private var hasRepeated = false
    private var hasUpdated = false
    /// The server does not know the registration any more.
    private var isForgotten = false
    private var bootstraps = 0

    init(_ behaviour: Behaviour, events: EventStream) {
        self.behaviour = behaviour
        self.events = events
        self.bootstrapAccount = behaviour.server
        self.objects.set(
            3, 0,
            [
                0: Array("Bootgate".utf8), 1: Array("simulator".utf8), 9: [100], 13: [0], 14: Array("+00:00".utf8),
            ])
        if behaviour.skipsBootstrap, let shortServerID = behaviour.server.shortServerID {
            self.objects.set(1, 0, [0: TLV.integer(shortServerID)])
        }
        if let count = behaviour.dataBytes {
            self.objects.set(19, 0, [0: (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7) }])
        }
    }

    /// The account of the LwM2M server to register at: a secure one first.
    var serverAccount: Account? {
        if self.behaviour.skipsBootstrap { return self.behaviour.server }
        let accounts = self.serverAccounts
        return accounts.first { $0.securityMode == Account.preSharedKey } ?? accounts.first
    }

    /// Those of all LwM2M servers that it was given, by instance.
    var serverAccounts: [Account] {
        self.objects[0].sorted { $0.key < $1.key }.compactMap { Account(resources: $0.value) }
            .filter { !$0.isBootstrapServer }
    }

    /// It has done all bootstraps that it was to do.
    var hasBootstrapped: Bool { self.phase == .bootstrapped && self.bootstraps >= self.behaviour.bootstraps }

    // MARK: - The steps

    /// Makes the step that is due; true when the device has come to its end.
    func advance(_ stack: CoAPStack, now: ContinuousClock.Instant) -> Bool {
        self.sendNotifications(stack, now: now)
        switch self.phase {
        case .idle:
            if self.behaviour.skipsBootstrap { self.register(stack) } else { self.bootstrap(stack) }
        case .requestingBootstrap: self.giveUp(after: self.behaviour.patience, now: now, reason: "no answer")
        case .receivingAccounts:
            if let limit = self.behaviour.vanishesAfter, self.served >= limit {
                stack.fallSilent()
                self.events.report("vanished", ["served": .integer(Int64(self.served))])
                self.phase = .vanished
            } else if let limit = self.behaviour.repeatsRequestAfter, self.served >= limit, !self.hasRepeated {
                self.hasRepeated = true
                self.requestBootstrap(stack)
            } else {
                self.giveUp(after: self.behaviour.patience, now: now, reason: "no finish")
            }
        case .bootstrapped:
            if !self.hasBootstrapped {
                self.served = 0
                self.requestBootstrap(stack)
            } else if !self.behaviour.isBootstrapOnly {
                self.register(stack)
            } else if self.lastActivity + self.behaviour.linger <= now {
                self.end(stack, .success)
            }
        // It does not wait for an answer that its old address would get.
        case .updating where self.mustReconnect:
            self.mustReconnect = false
            self.reconnect(stack)
        case .registering, .updating, .deregistering:
            self.giveUp(after: self.behaviour.patience, now: now, reason: "no answer")
        case .registered:
            if self.mustBootstrap {
                self.mustBootstrap = false
                self.bootstrap(stack)
            } else if self.isForgotten {
                self.isForgotten = false
                self.observations = [:]
                self.requestRegistration(stack)
            } else if self.mustReconnect {
                self.mustReconnect = false
                self.reconnect(stack)
            } else if let limit = self.behaviour.reconnectsAfter, self.notified >= limit, !self.hasReconnected {
                self.hasReconnected = true
                self.reconnect(stack)
            } else if self.mustUpdate {
                self.mustUpdate = false
                self.send(self.update, as: .updating, stack)
            } else if self.behaviour.isOnce, self.observations.isEmpty, self.lastActivity + self.behaviour.stay <= now {
                if self.hasUpdated {
                    self.send(Message(.delete, path: self.location), as: .deregistering, stack)
                } else {
                    self.hasUpdated = true
                    self.send(self.update, as: .updating, stack)
                }
            }
        case .vanished: break
        case .ended(let outcome):
            self.end(stack, outcome)
            return true
        }
        return false
    }

    private func bootstrap(_ stack: CoAPStack) {
        // The server may have written another bootstrap account.
        let written = self.objects[0].values.compactMap { Account(resources: $0) }.first { $0.isBootstrapServer }
        if let written { self.bootstrapAccount = written }
        self.served = 0
        self.hasRepeated = false
        guard self.connect(stack, to: self.bootstrapAccount) else { return }
        self.requestBootstrap(stack)
    }

    private func requestBootstrap(_ stack: CoAPStack) {
        var request = Message(.post, path: "/bs")
        if self.behaviour.sendsEndpoint { request.add(COAP_OPTION_URI_QUERY, "ep=\(self.behaviour.endpoint)") }
        self.send(request, as: .requestingBootstrap, stack)
    }

    private func register(_ stack: CoAPStack) {
        guard let account = self.serverAccount else { return self.fail("no account for a LwM2M server") }
        guard self.connect(stack, to: account) else { return }
        self.requestRegistration(stack)
    }

    private func requestRegistration(_ stack: CoAPStack) {
        guard let account = self.serverAccount else { return self.fail("no account for a LwM2M server") }
        var request = Message(.post, path: "/rd")
        request.add(COAP_OPTION_URI_QUERY, "ep=\(self.behaviour.endpoint)")
        request.add(COAP_OPTION_URI_QUERY, "lt=\(self.lifetime(account))")
        request.add(COAP_OPTION_URI_QUERY, "lwm2m=\(self.behaviour.version)")
        request.add(COAP_OPTION_URI_QUERY, "b=U")
        for parameter in self.behaviour.registerQueries { request.add(COAP_OPTION_URI_QUERY, parameter) }
        request.setPayload(Array(self.objects.links.utf8), format: ContentFormat.linkFormat)
        self.send(request, as: .registering, stack)
    }

    private func reconnect(_ stack: CoAPStack) {
        guard let account = self.serverAccount else { return }
        let observations = self.observations
        guard self.connect(stack, to: account) else { return }
        self.observations = observations
        self.send(self.update, as: .updating, stack)
    }

    private var update: Message {
        var request = Message(.post, path: self.location)
        if let account = self.serverAccount { request.add(COAP_OPTION_URI_QUERY, "lt=\(self.lifetime(account))") }
        return request
    }

    private func lifetime(_ account: Account) -> Int64 {
        self.objects[1].values.compactMap { ServerSettings(resources: $0) }
            .first { $0.shortServerID == account.shortServerID }?.lifetime ?? 86400
    }

    private func connect(_ stack: CoAPStack, to account: Account) -> Bool {
        var local = self.behaviour.local
        if let peer {
            if self.behaviour.reusesPort { local = (local?.host ?? "127.0.0.1", peer.localPort) }
            self.disconnect(stack)
        }
        do {
            let server = try ServerAddress(parsing: account.uri)
            guard server.isSecure == (account.securityMode == Account.preSharedKey) else {
                throw ArgumentProblem(description: "security mode \(account.securityMode) does not suit \(account.uri)")
            }
            let peer = try stack.connect(
                to: try SocketAddress(host: server.host, port: server.port),
                from: try local.map { try SocketAddress(host: $0.host, port: $0.port) },
                credentials: server.isSecure ? (account.identity, account.key) : nil
            )
            if let (milliseconds, limit) = self.behaviour.retransmission {
                stack.setRetransmission(milliseconds: milliseconds, limit: limit, for: peer)
            }
            self.peer = peer
            self.isConnected = !server.isSecure
            self.events.report(
                "connecting",
                [
                    "uri": .text(account.uri), "localPort": .integer(Int64(peer.localPort)),
                    "identity": server.isSecure ? .text(readable(account.identity)) : nil,
                ]
            )
            return true
        } catch {
            self.fail("\(error)")
            return false
        }
    }

    private func disconnect(_ stack: CoAPStack) {
        guard let peer else { return }
        self.peer = nil
        self.token = nil
        self.observations = [:]
        stack.close(peer)
    }

    private func send(_ request: Message, as phase: Phase, _ stack: CoAPStack) {
        guard let peer, let token = stack.send(request, to: peer) else { return self.fail("cannot send") }
        self.token = token
        self.phase = phase
        self.lastActivity = .now
        self.events.report(
            "requested",
            [
                "method": .text(request.code.description), "path": .text(request.path),
                "queries": .list(request.queries),
            ]
        )
    }

    private func giveUp(after limit: Duration, now: ContinuousClock.Instant, reason: String) {
        if self.lastActivity + limit <= now { self.fail(self.isConnected ? reason : "handshake without an end") }
    }

    private func end(_ stack: CoAPStack, _ outcome: Outcome) {
        self.disconnect(stack)
        self.phase = .ended(outcome)
    }

    private func fail(_ reason: String, code: Code? = nil) {
        if case .ended = self.phase { return }
        self.events.report(
            "failed",
            [
                "step": .text(self.step), "reason": .text(reason), "code": code.map { .text($0.description) },
            ]
        )
        self.phase = .ended(.failure)
    }

    /// What the device was about when it failed.
    private var step: String {
        switch self.phase {
        case .idle, .requestingBootstrap: "bootstrap request"
        case .receivingAccounts: "bootstrap"
        case .bootstrapped, .registering: "registration"
        case .registered: "registered"
        case .updating: "update"
        case .deregistering: "de-registration"
        case .vanished, .ended: "end"
        }
    }

    // MARK: - What the server says

    /// Finish has been answered with 2.04: the accounts count.
    func finishBootstrap() {
        self.phase = .bootstrapped
        self.bootstraps += 1
        self.events.report("finished", ["served": .integer(Int64(self.served))])
    }

    func received(_ response: Message, from peer: Peer) -> Bool {
        guard peer == self.peer, response.token == self.token else { return false }
        self.token = nil
        self.lastActivity = .now
        let code: EventValue = .text(response.code.description)
        if self.phase == .updating, response.code == .notFound {
            self.phase = .registered
            self.isForgotten = true
            self.events.report("forgotten", ["code": code])
            return true
        }
        guard response.code.isSuccess else {
            self.fail("refused", code: response.code)
            return true
        }
        switch self.phase {
        case .requestingBootstrap:
            self.phase = .receivingAccounts
            self.events.report("accepted", ["code": code])
        case .registering:
            self.location = response.location
            self.phase = .registered
            self.events.report("registered", ["code": code, "location": .text(self.location)])
        case .updating:
            self.phase = .registered
            self.events.report("updated", ["code": code])
        case .deregistering:
            self.phase = .ended(.success)
            self.events.report("deregistered", ["code": code])
        default: break
        }
        return true
    }

    func failed(token: [UInt8]?, to peer: Peer, _ failure: DeliveryFailure) {
        if let token, peer == self.peer { self.endObservation(token, reason: failure.rawValue) }
        guard peer == self.peer, token == nil || token == self.token else { return }
        // Nothing was asked of a server that closes the connection to a device at rest.
        let reason = token == nil && !self.isConnected ? DeliveryFailure.handshake : failure
        self.fail(reason.rawValue)
    }

    func connected(to peer: Peer) {
        guard peer == self.peer else { return }
        self.isConnected = true
        self.lastActivity = .now
        self.events.report("connected", ["peer": .text(peer.description)])
    }
}
