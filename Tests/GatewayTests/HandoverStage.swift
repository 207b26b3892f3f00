import CoAP
import DTLS
import Glibc
import Logging
import LwM2M
import NIOCore
import NIOPosix
import Secrets
import Synchronization
import Testing
import Timing

@testable import Gateway

/// A gateway that stops and starts again, with the same servers behind it.
final class HandoverStage {
    let records = ChangingRecords()
    let audit = AuditNotes()
    let bootstrap: ServerScript
    let management: ServerScript
    private let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
    /// Chosen by the system at the first start.
    private(set) var port: UInt16 = 0
    /// Of this stage alone: elsewhere another test may take a port between two runs.
    let ip: IPAddress

    private static let count = Atomic<UInt32>(0)

    init() throws {
        let number = Self.count.add(1, ordering: .relaxed).newValue % 250
        self.ip = IPAddress(ipv4: 0x7FC8_0001 + ((UInt32(truncatingIfNeeded: getpid()) & 0xFF) << 8) + number)
        self.bootstrap = ServerScript(try TestSocket())
        self.management = ServerScript(try TestSocket())
    }

    /// One run of the gateway.
    struct Run {
        let gateway: RunningGateway
        let address: PeerAddress
        fileprivate let stopped: AsyncStream<Void>.Continuation
        fileprivate let end: Task<Handover?, any Error>

        /// What it leaves, as it comes out of the file.
        func stop() async throws -> Handover {
            self.stopped.finish()
            let left = try #require(try await self.end.value)
            return try left.encoded().withUnsafeBytes { try Handover(decoding: $0) }
        }
    }

    func start(
        restoring handover: Handover? = nil, adjust: (inout GatewayConfiguration) -> Void = { _ in }
    ) async throws -> Run {
        let device = GatewayConfiguration.DeviceURIs(secure: Rewriting.uri("coaps://edge.example.net"))
        var configuration = GatewayConfiguration(
            listeners: [.init(security: .dtls, address: self.ip, port: self.port)],
            bootstrap: .init(upstreams: [PoolFixture.upstream(self.bootstrap.socket.address)], account: device),
            servers: [
                .init(
                    name: "meters", matchURI: nil, matchShortServerID: 1111, device: device,
                    relay: PoolFixture.upstream(self.management.socket.address)
                )
            ]
        )
        configuration.deviceTransmission.acknowledgementTimeout = .seconds(20)
        configuration.deviceTransmission.piggybackWait = .seconds(20)
        configuration.upstreamTransmission.acknowledgementTimeout = .seconds(20)
        configuration.pool.minimumIdle = 1
        configuration.pool.from = [self.ip]
        configuration.drain = .milliseconds(1)
        adjust(&configuration)
        let service = GatewayService(
            configuration: configuration, records: self.records, credentials: self.records, audit: self.audit,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, loop: self.group.next()
        )
        let (stops, stopped) = AsyncStream.makeStream(of: Void.self)
        let (starts, started) = AsyncStream.makeStream(of: RunningGateway.self)
        let end = Task {
            defer { started.finish() }
            return try await service.run(
                restoring: handover, handsOver: true, ready: { started.yield($0) },
                until: { for await _ in stops {} }
            )
        }
        for await gateway in starts {
            let address = try #require(gateway.listeners.first?.address)
            self.port = address.port
            return Run(gateway: gateway, address: address, stopped: stopped, end: end)
        }
        _ = try await end.value
        throw HandoverStageError()
    }

    func end() async throws { try await self.group.shutdownGracefully() }

    /// A registered device at `/rd/7`.
    func register(at run: Run) async throws -> MovingDevice {
        let device = try MovingDevice(
            StagedRecords.registered(1), offer: .serversOnly, at: run.address, socket: nil
        )
        try await device.connect()
        try device.request(.post, ["rd"], query: ["ep=\(StagedRecords.meter(1))", "lt=300"])
        try self.management.answer(.created, to: try await self.management.next(), location: ["rd", "7"])
        #expect(try await device.next().code == .created)
        return device
    }

    func closed() -> [AuditEvent] { self.audit.events.filter { $0.name == .registrationClosed } }
}

struct HandoverStageError: Error {}

/// The SIMs of ``StagedRecords``, whose standing can be changed between two runs.
final class ChangingRecords: RecordStore, CredentialStore {
    private let staged = StagedRecords()
    private let state = Mutex<(status: SIMRecord.Status, isRevoked: Bool)>((.active, false))
    private let isAway = Mutex(false)

    func set(_ status: SIMRecord.Status) { self.state.withLock { $0.status = status } }
    func revoke() { self.state.withLock { $0.isRevoked = true } }
    /// No question is answered from now on.
    func leave() { self.isAway.withLock { $0 = true } }

    func resolve(identities: [PSKIdentity]) async throws -> [IdentityResolution] {
        if self.isAway.withLock({ $0 }) { throw HandoverStageError() }
        let (status, isRevoked) = self.state.withLock { $0 }
        return try await self.staged.resolve(identities: identities).map { resolution in
            switch resolution {
            case .unknown: return .unknown
            case .bootstrap(var record):
                record.status = status
                return .bootstrap(record)
            case .registration(let credential, var record):
                record.status = status
                return isRevoked ? .unknown : .registration(credential, record)
            }
        }
    }

    func resolve(addresses: [IPAddress]) async throws -> [SIMRecord?] { addresses.map { _ in nil } }
    func record(iccid: String) async throws -> SIMRecord? {
        for number in 1...9 {
            guard let identity = PSKIdentity(StagedRecords.meter(number)) else { continue }
            guard case .bootstrap(let record)? = try await self.resolve(identities: [identity]).first else { continue }
            if record.iccid == iccid { return record }
        }
        return nil
    }
    func remember(_ places: [String: SIMRecord.BootstrapPlace]) async throws {}
    func changes() -> AsyncStream<RecordChange> { AsyncStream { $0.finish() } }
    func store(_ credentials: [OneTimeCredential], grants: [PlainGrant]) async throws -> [OneTimeCredential] { [] }
    func prove(_ identity: PSKIdentity) async throws -> [OneTimeCredential] { [] }
    func discard(_ identities: [PSKIdentity], grants: [Int64]) async throws {}
    func grants(for keys: [PlainGrant.Key]) async throws -> [PlainGrant?] { keys.map { _ in nil } }
    func prove(grant id: Int64) async throws -> [PlainGrant] { [] }
}
