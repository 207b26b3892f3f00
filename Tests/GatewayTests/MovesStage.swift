import CoAP
import DTLS
import Logging
import LwM2M
import NIOCore
import NIOPosix
import Secrets
import Synchronization
import Testing
import Timing

@testable import Gateway

/// A gateway of one shard on loopback, its servers played by plain sockets.
final class MovesStage {
    static let node: UInt8 = 5
    static let shard: UInt8 = 2
    /// Of the seeds of its sessions.
    static let seed: UInt64 = 1

    let sessions: DeviceSessions
    let listeners: [Listener]
    let audit = AuditNotes()
    let bootstrap: ServerScript
    let management: ServerScript
    private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    let pool: UpstreamPool

    /// - Parameters:
    ///   - listeners: Their addresses, and what each says of connection IDs.
    ///   - repeating: After what time a message to a device is repeated; by default later than anything takes here.
    ///   - records: What the stores say.
    ///   - adjust: Changes what the test needs otherwise.
    ///   - now: The clock of the sessions.
    init(
        _ listeners: [(ip: String, connectionIDs: Bool?)] = [("127.0.0.1", nil)], repeating: Duration = .seconds(20),
        records: some RecordStore & CredentialStore = StagedRecords(),
        adjust: (inout GatewayConfiguration) -> Void = { _ in }, now: @escaping @Sendable () -> Instant = { .now }
    ) async throws {
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        // Addresses that nobody else uses: what another program sends to a port's last owner does not come here.
        self.bootstrap = ServerScript(try TestSocket("127.79.0.1"))
        self.management = ServerScript(try TestSocket("127.79.0.1"))
        let device = GatewayConfiguration.DeviceURIs(secure: Rewriting.uri("coaps://edge.example.net"))
        let relay = PoolFixture.upstream(self.management.socket.address)
        var configuration = GatewayConfiguration(
            listeners: try listeners.map { entry in
                var listener = GatewayConfiguration.Listener(
                    security: .dtls, address: try #require(IPAddress(entry.ip)), port: 0
                )
                listener.connectionIDs = entry.connectionIDs
                return listener
            },
            bootstrap: .init(upstreams: [PoolFixture.upstream(self.bootstrap.socket.address)], account: device),
            servers: [
                .init(name: "meters", matchURI: nil, matchShortServerID: 1111, device: device, relay: relay)
            ]
        )
        configuration.deviceTransmission.acknowledgementTimeout = repeating
        configuration.deviceTransmission.piggybackWait = .seconds(20)
        configuration.upstreamTransmission.acknowledgementTimeout = .seconds(20)
        configuration.pool.minimumIdle = 1
        // The scripted servers know no pings.
        configuration.pool.probe = nil
        configuration.pool.from = [IPAddress(ipv4: 0x7F4F_0002)]
        adjust(&configuration)
        var environment = DeviceSessions.Environment(
            configuration: configuration, records: records, credentials: records, audit: self.audit, logger: logger,
            now: now, wallClock: WallClock.microseconds, seeds: TestSeeds(Self.seed).next
        )
        environment.node = Self.node
        environment.shard = Self.shard
        let loop = self.group.next()
        self.pool = UpstreamPool(
            loop: loop, policy: configuration.pool, transmission: configuration.upstreamTransmission, logger: logger,
            seeds: TestSeeds(2).next
        )
        self.sessions = try DeviceSessions(loop: loop, pool: self.pool, environment: environment)
        await self.pool.attach(self.sessions)
        await self.pool.start(configuration.bootstrap.upstreams, relays: [relay])
        self.listeners = try await Listener.bindAll(
            configuration.listeners, receiver: self.sessions, loop: loop, logger: logger
        )
    }

    func stop() async throws {
        await self.sessions.stop()
        for listener in self.listeners { await listener.close() }
        await self.pool.stop()
        try await self.group.shutdownGracefully()
    }

    /// A device that has shaken hands with the first listener.
    func device(
        _ identity: String = StagedRecords.meter(1), offer: ConnectionIDOffer = .serversOnly, socket: TestSocket? = nil
    ) async throws -> MovingDevice {
        let device = try MovingDevice(identity, offer: offer, at: self.listeners[0].address, socket: socket)
        try await device.connect()
        return device
    }

    var counters: GatewayCounters { get async { await self.sessions.counters } }
}

/// The SIMs 1 to 9: `meter-N` bootstraps, `registered-N` registers; all have one key.
struct StagedRecords: RecordStore, CredentialStore {
    static let key = Secret([UInt8](repeating: 0x5A, count: 16))
    /// Every address is SIM 1's, and it has leave to register over the plain port.
    var hasGrants = false

    static func meter(_ number: Int) -> String { "meter-\(number)" }
    static func registered(_ number: Int) -> String { "registered-\(number)" }

    func resolve(identities: [PSKIdentity]) async throws -> [IdentityResolution] {
        identities.map { identity in
            for number in 1...9 {
                guard let record = Self.record(number) else { continue }
                if identity == record.identity { return .bootstrap(record) }
                guard identity == PSKIdentity(Self.registered(number)) else { continue }
                let credential = OneTimeCredential(
                    identity: identity, key: Self.key, iccid: record.iccid, endpoint: record.endpoint,
                    server: "meters", shortServerID: 1111, state: .active, mintedAt: 0
                )
                return .registration(credential, record)
            }
            return .unknown
        }
    }

    static func record(_ number: Int) -> SIMRecord? {
        PSKIdentity(Self.meter(number)).map {
            SIMRecord(
                iccid: "iccid-\(number)", endpoint: Self.meter(number), identity: $0, key: Self.key,
                bootstrapPlace: .instance(1)
            )
        }
    }

    /// The address from which SIM 1 may come without DTLS.
    static let plainAddress = "127.79.0.9"

    func resolve(addresses: [IPAddress]) async throws -> [SIMRecord?] {
        addresses.map { self.hasGrants || $0 == IPAddress(Self.plainAddress) ? Self.record(1) : nil }
    }

    func record(iccid: String) async throws -> SIMRecord? { nil }
    func remember(_ places: [String: SIMRecord.BootstrapPlace]) async throws {}
    func changes() -> AsyncStream<RecordChange> { AsyncStream { $0.finish() } }
    func store(_ credentials: [OneTimeCredential], grants: [PlainGrant]) async throws -> [OneTimeCredential] { [] }
    func prove(_ identity: PSKIdentity) async throws -> [OneTimeCredential] { [] }
    func discard(_ identities: [PSKIdentity], grants: [Int64]) async throws {}
    func grants(for keys: [PlainGrant.Key]) async throws -> [PlainGrant?] {
        keys.map { key in
            self.hasGrants
                ? PlainGrant(
                    id: 1, key: key, endpoint: Self.meter(1), shortServerID: 1111, state: .active, mintedAt: 0
                ) : nil
        }
    }
    func prove(grant id: Int64) async throws -> [PlainGrant] { [] }
}

final class AuditNotes: AuditSink {
    private let notes = Mutex<[AuditEvent]>([])
    var events: [AuditEvent] { self.notes.withLock { $0 } }
    func record(_ events: [AuditEvent]) { self.notes.withLock { $0 += events } }
}

/// Message IDs of one end of a script, and what the other end has said.
struct Dialogue {
    private var lastID: UInt16 = 0
    private var seen: Set<UInt16> = []

    mutating func message(_ code: CoAPCode, _ path: [String], query: [String] = [], _ payload: [UInt8] = [])
        -> CoAPMessage
    {
        self.lastID += 1
        let request = CoAPRequest(
            code, path: path, query: query, contentFormat: payload.isEmpty ? nil : 11542, payload: payload
        )
        return CoAPMessage(
            type: .confirmable, code: code, messageID: self.lastID, token: CoAPToken(UInt64(self.lastID)),
            options: request.options, payload: payload
        )
    }

    /// False for a repetition.
    mutating func isNew(_ message: CoAPMessage) -> Bool {
        message.type != .confirmable || self.seen.insert(message.messageID).inserted
    }

    static func answer(_ code: CoAPCode, to request: CoAPMessage, location: [String] = []) -> CoAPMessage {
        var options = CoAPOptions()
        for segment in location { options.append(.locationPath, string: segment) }
        return CoAPMessage(
            type: .acknowledgement, code: code, messageID: request.messageID, token: request.token, options: options
        )
    }
}

/// A server behind the gateway: the test says what it does.
final class ServerScript {
    let socket: TestSocket
    /// Where the gateway speaks from for the one device of the test. It must not change.
    private(set) var client: PeerAddress?
    private var dialogue = Dialogue()

    init(_ socket: TestSocket) { self.socket = socket }

    func next(sourceLocation: SourceLocation = #_sourceLocation) async throws -> CoAPMessage {
        while true {
            let (message, peer) = try await self.socket.receiveMessage()
            #expect(self.client == nil || self.client == peer, "another port upstream", sourceLocation: sourceLocation)
            self.client = peer
            if self.dialogue.isNew(message) { return message }
        }
    }

    func answer(_ code: CoAPCode, to request: CoAPMessage, location: [String] = []) throws {
        self.socket.send(
            CoAPCodec.encode(Dialogue.answer(code, to: request, location: location)), to: try #require(self.client)
        )
    }

    func command(_ code: CoAPCode, _ path: [String], _ payload: [UInt8] = []) throws {
        try self.send(self.dialogue.message(code, path, payload))
    }

    /// What `command` sends, to be sent as often as the test likes.
    func message(_ code: CoAPCode, _ path: [String], observe: UInt32? = nil) -> CoAPMessage {
        var message = self.dialogue.message(code, path)
        message.options.set(.observe, uint: observe)
        return message
    }

    func send(_ message: CoAPMessage) throws {
        self.socket.send(CoAPCodec.encode(message), to: try #require(self.client))
    }
}

/// A device over DTLS whose socket can be changed for another one.
final class MovingDevice {
    /// Where it is.
    var socket: TestSocket
    /// The listener that it sends to.
    var gateway: PeerAddress
    let dtls: DTLSSession
    /// Every datagram that it has sent.
    private(set) var sent: [[UInt8]] = []
    private var inbox: [CoAPMessage] = []
    private var dialogue = Dialogue()

    init(_ identity: String, offer: ConnectionIDOffer, at gateway: PeerAddress, socket: TestSocket?) throws {
        self.socket = try socket ?? TestSocket()
        self.gateway = gateway
        var configuration = DTLSConfiguration()
        configuration.suites = [.pskAES128CCM8]
        self.dtls = try DTLSSession(
            connectingAs: try #require(PSKIdentity(identity)), key: StagedRecords.key,
            context: try DTLSContext(role: .client, configuration: configuration), connectionIDs: offer, now: .now
        )
    }

    /// `pausing`: is done when the gateway has the hello with the cookie, before the device proves itself.
    func connect(pausing: () throws -> Void = {}) async throws {
        self.flush()
        // The cookie, which the second hello carries.
        try await self.take()
        try pausing()
        while self.dtls.phase != .established { try await self.take() }
    }

    /// Another port, as after a NAT has forgotten the device.
    func move(_ ip: String = "127.0.0.1") throws { self.socket = try TestSocket(ip) }

    private func flush() {
        self.dtls.drainOutput { datagram in
            self.sent.append(Array(datagram))
            self.socket.send(Array(datagram), to: self.gateway)
        }
    }

    private func take() async throws {
        let (bytes, _) = try await self.socket.receive()
        _ = bytes.withUnsafeBytes { self.dtls.receive($0, now: .now) }
        self.flush()
        while self.dtls.read({ record in
            do { self.inbox.append(try CoAPCodec.decode(record)) } catch { Issue.record("\(error)") }
        }) {}
    }

    func send(_ message: CoAPMessage) throws {
        try CoAPCodec.encode(message).withUnsafeBytes { try self.dtls.send($0) }
        self.flush()
    }

    /// `block2`: asks for this block of 64 bytes of the answer.
    func request(_ code: CoAPCode, _ path: [String], query: [String] = [], block2: UInt32? = nil) throws {
        var message = self.dialogue.message(code, path, query: query)
        if let block2 { message.options.append(.block2, uint: block2 << 4 | 2) }
        try self.send(message)
    }

    /// The next message, repetitions left out.
    func next() async throws -> CoAPMessage {
        while true {
            while self.inbox.isEmpty { try await self.take() }
            let message = self.inbox.removeFirst()
            if self.dialogue.isNew(message) { return message }
        }
    }

    /// One datagram, whatever is in it.
    func receive() async throws { try await self.take() }

    func close() {
        self.dtls.close()
        self.flush()
    }

    /// The next message, repeated or not.
    func nextTransmission() async throws -> CoAPMessage {
        while self.inbox.isEmpty { try await self.take() }
        return self.inbox.removeFirst()
    }

    func answer(_ code: CoAPCode, to request: CoAPMessage) throws {
        try self.send(Dialogue.answer(code, to: request))
    }

    /// Something to which the gateway has an answer of its own: there and back, everything sent before is processed.
    func roundTrip(sourceLocation: SourceLocation = #_sourceLocation) async throws {
        try self.request(.get, ["nowhere"])
        let answer = try await self.next()
        #expect(answer.code == .notFound, sourceLocation: sourceLocation)
    }
}
