import DTLS
import Secrets
import Timing

/// SplitMix64: the same numbers for the same seed, everywhere.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { self.state = seed }

    mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var value = self.state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}

/// A client and a server in memory, with a network between them that loses, repeats and reorders datagrams as its seed
/// says, and a clock that jumps to the next thing that is due. No sockets, no waiting. The client may change its address;
/// the server's end then does what the rules for connection IDs say.
final class LossyLink {
    struct Conditions {
        /// Each from 0 to 1: how likely a datagram is lost, delivered twice, or held back behind later ones.
        var loss = 0.0
        var duplication = 0.0
        var reordering = 0.0
        var latency: Duration = .milliseconds(20)
    }

    enum Direction { case toServer, toClient }

    /// A datagram that was sent, whether or not it arrived.
    struct Sent {
        let time: Duration
        let direction: Direction
        let bytes: [UInt8]
    }

    private enum Event {
        /// At the server it comes from the client's address of then; at the client it was sent to that address.
        case arrival(Direction, [UInt8], address: UInt16)
        case key(PSKIdentity, session: ObjectIdentifier)
    }

    static let identity = PSKIdentity("8988303000001234567").unsafelyUnwrapped
    static let key = Secret((0..<16).map { UInt8($0 &* 7 &+ 0x31) })

    static let peer = LossyLink.peer(at: 0)

    static func peer(at address: UInt16) -> DTLSPeer {
        DTLSPeer(high: 0, low: 0xFFFF_0A01_0203, port: 40_000 + address)
    }

    // What a test may change before or between runs.
    var store: [PSKIdentity: Secret] = [LossyLink.identity: LossyLink.key]
    /// How long the store takes; nil: it never answers.
    var lookUpTime: Duration? = .milliseconds(5)
    /// Sees every datagram on its way; what it returns travels on.
    var onWire: (Direction, [UInt8]) -> [[UInt8]] = { _, bytes in [bytes] }
    /// Where the client is: what it sends comes from there, and what is sent elsewhere does not reach it.
    var clientAddress: UInt16 = 0

    // What a test looks at.
    private(set) var sent: [Sent] = []
    private(set) var lookUps: [PSKIdentity] = []
    private(set) var drops: [DTLSDropReason] = []
    private(set) var clientOutcomes: [DTLSOutcome] = []
    private(set) var serverOutcomes: [DTLSOutcome] = []
    private(set) var atServer: [[UInt8]] = []
    private(set) var atClient: [[UInt8]] = []
    private(set) var client: DTLSSession
    private(set) var server: DTLSSession?
    /// Where the server believes its client to be.
    private(set) var addressAtServer: UInt16 = 0
    /// Each change of that which a record has proved.
    private(set) var moves: [UInt16] = []
    private(set) var now: Instant

    private(set) var serverContext: DTLSContext
    let clientContext: DTLSContext
    private let connectionID: ConnectionID?
    private let offer: ConnectionIDOffer
    private let start: Instant
    private let conditions: Conditions
    private var gate: CookieGate
    private var generator: SeededGenerator
    private var events: [(due: Instant, order: Int, event: Event)] = []
    private var order = 0
    private var reply: [UInt8] = []

    init(
        _ conditions: Conditions = Conditions(),
        seed: UInt64 = 1,
        server: DTLSConfiguration = DTLSConfiguration(),
        client: DTLSConfiguration = DTLSConfiguration(),
        identity: PSKIdentity = LossyLink.identity,
        key: Secret = LossyLink.key,
        connectionID: ConnectionID? = nil,
        offer: ConnectionIDOffer = .none
    ) throws {
        self.conditions = conditions
        self.connectionID = connectionID
        self.offer = offer
        self.generator = SeededGenerator(seed: seed)
        self.start = Instant.now
        self.now = self.start
        self.gate = CookieGate(now: self.start)
        self.serverContext = try DTLSContext(role: .server, configuration: server)
        self.clientContext = try DTLSContext(role: .client, configuration: client)
        self.client = try DTLSSession(
            connectingAs: identity,
            key: key,
            context: self.clientContext,
            connectionIDs: offer,
            now: self.start
        )
    }

    // MARK: Acts of the two ends

    /// A new client at the same address and port, as after a restart of the device.
    func restartClient(as identity: PSKIdentity = LossyLink.identity, key: Secret = LossyLink.key) throws {
        self.client = try DTLSSession(
            connectingAs: identity,
            key: key,
            context: self.clientContext,
            connectionIDs: self.offer,
            now: self.now
        )
    }

    func sendFromClient(_ bytes: [UInt8]) throws {
        try bytes.withUnsafeBytes { try self.client.send($0) }
        self.flush()
    }

    func sendFromServer(_ bytes: [UInt8]) throws {
        if let server = self.server { try bytes.withUnsafeBytes { try server.send($0) } }
        self.flush()
    }

    /// The gateway stops and starts again: the server's session goes on in a new context, as the bytes say that it left.
    /// What is on its way meanwhile arrives at the new one.
    ///
    /// - Parameter change: What a test does to the bytes.
    /// - Returns: the session as it was left behind.
    @discardableResult
    func restartServer(_ change: (inout [UInt8]) -> Void = { _ in }) throws -> DTLSSession? {
        guard let old = self.server, let state = try old.exportState() else { return nil }
        self.flush()
        var bytes: [UInt8] = []
        state.encode(into: &bytes)
        change(&bytes)
        let context = try DTLSContext(role: .server, configuration: self.serverContext.configuration)
        self.server = try DTLSSession(
            restoring: bytes.withUnsafeBytes { try DTLSSessionState(decoding: $0) },
            from: Self.peer(at: self.addressAtServer),
            context: context,
            now: self.now
        )
        self.serverContext = context
        return old
    }

    func closeClient() {
        self.client.close()
        self.flush()
    }

    func closeServer() {
        self.server?.close()
        self.flush()
    }

    /// Puts a datagram of anyone's on the wire to the server, or to the client. It arrives in any case. `address`: where it
    /// seems to come from; nil: from the client's.
    func inject(_ bytes: [UInt8], _ direction: Direction = .toServer, from address: UInt16? = nil) {
        let address = address ?? self.clientAddress
        self.schedule(.arrival(direction, bytes, address: address), after: self.conditions.latency)
    }

    // MARK: Running

    /// Whether both ends are established.
    var isEstablished: Bool { self.client.phase == .established && self.server?.phase == .established }

    /// Lets time pass until `condition` holds or nothing is left to happen within `limit`. Returns whether it holds.
    @discardableResult
    func run(for limit: Duration, until condition: (LossyLink) -> Bool = { _ in false }) -> Bool {
        let end = self.now + limit
        self.flush()
        while !condition(self) {
            let deadlines = [self.client.deadline, self.server?.deadline, self.events.first?.due].compactMap(\.self)
            guard let next = deadlines.min(), next <= end else {
                self.now = end
                return condition(self)
            }
            self.now = max(self.now, next)
            self.step()
            self.flush()
        }
        return true
    }

    private var liveServer: DTLSSession? {
        if case .closed = self.server?.phase { return nil }
        return self.server
    }

    private func step() {
        if let deadline = self.client.deadline, deadline <= self.now {
            self.note(self.client.handleDeadline(now: self.now), ofServer: false)
        }
        if let server = self.server, let deadline = server.deadline, deadline <= self.now {
            self.note(server.handleDeadline(now: self.now), ofServer: true)
        }
        guard let first = self.events.first, first.due <= self.now else { return }
        self.events.removeFirst()
        switch first.event {
        case .arrival(.toClient, let bytes, let address):
            guard address == self.clientAddress else { return }
            let outcome = bytes.withUnsafeBytes { self.client.receive($0, now: self.now) }
            self.note(outcome, ofServer: false)
        case .arrival(.toServer, let bytes, let address):
            bytes.withUnsafeBytes { self.receiveAtServer($0, from: address) }
        case .key(let identity, let session):
            guard let server = self.server, ObjectIdentifier(server) == session else { return }
            self.note(server.provide(key: self.store[identity], now: self.now), ofServer: true)
        }
        self.readAll()
    }

    private func receiveAtServer(_ datagram: UnsafeRawBufferPointer, from address: UInt16) {
        if let server = self.liveServer, address == self.addressAtServer,
            !DTLSSession.isClientHello(datagram) || server.isOwnHello(datagram)
        {
            self.note(server.receive(datagram, now: self.now), ofServer: true)
            return
        }
        if let server = self.liveServer, let id = ConnectionID(of: datagram), id == server.connectionID {
            self.note(server.receiveFromElsewhere(datagram, now: self.now), ofServer: true)
            if server.hasHeardNewer {
                self.addressAtServer = address
                self.moves.append(address)
            }
            return
        }
        let peer = Self.peer(at: address)
        switch self.gate.examine(datagram, from: peer, now: self.now, reply: &self.reply) {
        case .drop(let reason): self.drops.append(reason)
        case .reply: self.transmit(self.reply, .toClient, address: address)
        case .accept:
            // A restarted device; a gateway would keep the old session until the new one is proved.
            let session = try? DTLSSession(
                accepting: datagram,
                from: peer,
                cookies: self.gate,
                context: self.serverContext,
                connectionID: self.connectionID,
                now: self.now
            )
            if let session {
                self.server = session
                self.addressAtServer = address
            }
        }
    }

    private func note(_ outcome: DTLSOutcome, ofServer: Bool) {
        guard outcome != .nothing else { return }
        if ofServer { self.serverOutcomes.append(outcome) } else { self.clientOutcomes.append(outcome) }
        if case .keyNeeded(let identity) = outcome, let server = self.server {
            self.lookUps.append(identity)
            if let time = self.lookUpTime {
                self.schedule(.key(identity, session: ObjectIdentifier(server)), after: time)
            }
        }
    }

    private func readAll() {
        while self.client.read({ self.atClient.append(Array($0)) }) {}
        while self.server?.read({ self.atServer.append(Array($0)) }) ?? false {}
    }

    private func flush() {
        self.client.drainOutput { self.transmit(Array($0), .toServer, address: self.clientAddress) }
        self.server?.drainOutput { self.transmit(Array($0), .toClient, address: self.addressAtServer) }
    }

    private func transmit(_ bytes: [UInt8], _ direction: Direction, address: UInt16) {
        self.sent.append(Sent(time: self.start.duration(to: self.now), direction: direction, bytes: bytes))
        for bytes in self.onWire(direction, bytes) {
            if self.happens(self.conditions.loss) { continue }
            let copies = self.happens(self.conditions.duplication) ? 2 : 1
            for _ in 0..<copies {
                let isLate = self.happens(self.conditions.reordering)
                let latency = self.conditions.latency * (isLate ? 4 : 1)
                self.schedule(.arrival(direction, bytes, address: address), after: latency)
            }
        }
    }

    private func happens(_ probability: Double) -> Bool {
        probability > 0 && Double.random(in: 0..<1, using: &self.generator) < probability
    }

    private func schedule(_ event: Event, after delay: Duration) {
        self.order += 1
        self.events.append((self.now + delay, self.order, event))
        self.events.sort { ($0.due, $0.order) < ($1.due, $1.order) }
    }
}
