import CoAP
import LwM2M
import NIOCore
import Secrets
import Timing

@testable import Gateway

/// A socket of a device.
struct SimulatedAddress: Hashable {
    let device: Int
    /// The one that it registers from.
    var registers = false
}

/// What `DeviceSessions` and `UpstreamPool` are between the pure types, without sockets and tasks: the same events reach
/// the same calls in the same order.
final class SimulatedGateway {
    /// A device's session at the gateway, with what the checks have to remember of it.
    final class Association {
        let address: SimulatedAddress
        let number: Int
        let session: DeviceSession
        var alarm: SimulatedAlarm?
        var sent = 0
        var received: Set<Int> = []
        var record = Record()
        var isEnding = false

        init(address: SimulatedAddress, number: Int, session: DeviceSession) {
            self.address = address
            self.number = number
            self.session = session
        }
    }

    /// A hello that waits for its look-up.
    struct Greeting { let association: Int, identity: PSKIdentity, key: Secret }

    struct StoreOrder {
        let association: Association
        let bootstrap: Int?
        let credentials: [OneTimeCredential]
        let grants: [PlainGrant]
    }

    unowned let world: SimulatedWorld
    let configuration: GatewayConfiguration
    private let shared: Shared<GatewayConfiguration>
    let store: SimulatedStore
    let devices: [SimulatedDevice]
    let pool: SimulatedPool
    var associations: [SimulatedAddress: Association] = [:]
    var byLease: [LeaseID: Association] = [:]
    private var greetings: [SimulatedAddress: Greeting] = [:]
    /// The newest handshake of each address; an older one cannot be completed any more.
    private var newest: [SimulatedAddress: Int] = [:]
    private(set) var fresh: [PSKIdentity: IdentityResolution] = [:]
    /// SIMs whose devices may hold accounts of a bootstrap that came to nothing.
    var discarded: Set<String> = []
    private var storeQueue: [StoreOrder] = []
    private var sessions: UInt64 = 0
    var outcomes = SimulatedOutcomes()
    /// Credentials of bootstraps whose Finish went to the device, unless it said no.
    var finishing: Set<PSKIdentity> = []

    init(
        _ world: SimulatedWorld, configuration: GatewayConfiguration, store: SimulatedStore,
        devices: [SimulatedDevice], servers: [SimulatedServer]
    ) {
        self.world = world
        self.configuration = configuration
        self.shared = Shared(configuration)
        self.store = store
        self.devices = devices
        self.pool = SimulatedPool(world, configuration: configuration, servers: servers)
    }

    // MARK: - Datagrams

    func receive(_ datagram: SimulatedDatagram, from address: SimulatedAddress) {
        switch datagram {
        case .hello(let number, let identity, let key):
            self.greet(Greeting(association: number, identity: identity, key: key), from: address)
        case .record(let number, let sequence, let bytes):
            guard let association = self.associations[address], association.number == number,
                association.received.insert(sequence).inserted
            else { return }
            self.read(bytes, of: association)
        case .plain(let bytes):
            let record = self.store.records[address.device]
            if self.associations[address] == nil { self.open(address, number: 0, record) }
            if let association = self.associations[address] { self.read(bytes, of: association) }
        case .close(let number):
            guard let association = self.associations[address], association.number == number else { return }
            self.end(association, .deviceUnreachable)
        case .established: break
        }
    }

    func receive(_ bytes: [UInt8], fromServer server: Int, at port: UInt16, meant: SimulatedServer.Address?) {
        self.pool.receive(bytes, fromServer: server, at: port, meant: meant)
    }

    private func read(_ bytes: [UInt8], of association: Association) {
        association.session.lastHeard = self.world.now
        self.work(for: association) { work in
            bytes.withUnsafeBytes { association.session.layer.receive($0, now: work.now, into: &work.events) }
        }
    }

    // MARK: - Handshakes

    private func greet(_ greeting: Greeting, from address: SimulatedAddress) {
        if let present = self.newest[address], greeting.association <= present {
            // Its answer was lost.
            if greeting.association == present { self.welcome(greeting, at: address) }
            return
        }
        if let waiting = self.greetings[address], waiting.association >= greeting.association { return }
        self.greetings[address] = greeting
        if let known = self.fresh[greeting.identity] {
            self.provide(known, at: address)
            return
        }
        self.store.resolve(greeting.identity) { [self] resolution in
            guard let waiting = self.greetings[address], waiting.association == greeting.association else { return }
            guard let resolution else {
                // The device hears nothing, and tries again.
                self.greetings[address] = nil
                return
            }
            self.provide(resolution, at: address)
        }
    }

    private func welcome(_ greeting: Greeting, at address: SimulatedAddress) {
        self.devices[address.device].carry(.established(association: greeting.association))
    }

    private func provide(_ resolution: IdentityResolution, at address: SimulatedAddress) {
        guard let greeting = self.greetings.removeValue(forKey: address) else { return }
        if resolution == .unknown { self.checkStranger(greeting.identity, at: address) }
        guard resolution.key == greeting.key else { return }
        self.newest[address] = greeting.association
        switch resolution {
        case .unknown: return
        case .bootstrap(let record):
            if address.registers { self.world.fail("a bootstrap identity registers") }
            if let old = self.associations[address] { self.end(old, .superseded) }
            self.open(address, number: greeting.association, record)
        case .registration(let credential, let record):
            self.checkRegistration(credential, record, of: address)
            self.store.shaken.insert(credential.identity)
            if credential.state == .pending { self.store.prove(credential.identity) }
        }
        self.welcome(greeting, at: address)
    }

    private func open(_ address: SimulatedAddress, number: Int, _ record: SIMRecord) {
        self.sessions += 1
        let arrival = self.devices[address.device].arrival
        let remote = PeerAddress(IPAddress(ipv4: 0x0A09_0000 + UInt32(address.device)), port: 40_000)
        let session = DeviceSession(
            id: self.sessions,
            peer: DevicePeer(key: PeerKey(listener: 0, address: remote), remote: remote.socketAddress),
            arrival: arrival, dtls: nil,
            layer: MessageLayer(
                parameters: self.configuration.deviceTransmission, options: .endpoint, seed: self.world.random.next()
            ),
            record: record, now: self.world.now
        )
        session.bootstrap = BootstrapSession(
            subject: .init(record: record, arrival: arrival, peer: "\(address.device)", session: session.id),
            configuration: self.shared, mayHoldDiscarded: self.discarded.contains(record.iccid)
        )
        let association = Association(address: address, number: number, session: session)
        association.alarm = SimulatedAlarm(self.world) { [unowned self, weak association] in
            if let association { self.due(association) }
        }
        self.associations[address] = association
        self.world.note("gateway opens session \(session.id) for device \(address.device)")
        self.schedule(association)
    }

    // MARK: - Time and ends

    func schedule(_ association: Association) {
        guard !association.session.isClosed else { return }
        association.alarm?.set(association.session.deadline)
        association.alarm?.set(association.session.lastHeard + DeviceSessions.bootstrapIdleLimit)
    }

    private func due(_ association: Association) {
        let session = association.session
        guard !session.isClosed else { return }
        if session.lastHeard + DeviceSessions.bootstrapIdleLimit <= self.world.now, session.bootstrap?.isRunning != true
        {
            self.end(association, .deviceUnreachable)
            return
        }
        self.work(for: association) { work in
            if let due = session.layer.deadline, due <= work.now {
                session.layer.handleDeadline(now: work.now, into: &work.events)
            }
            session.bootstrap?.handleDeadline(now: work.now, wallClock: work.wallClock, into: &work.actions)
        }
    }

    func end(_ association: Association, _ cause: FailureCause) {
        let session = association.session
        guard !session.isClosed else { return }
        association.isEnding = true
        self.work(for: association) { work in
            session.bootstrap?.deviceGone(cause, wallClock: work.wallClock, into: &work.actions)
        }
        session.isClosed = true
        if self.associations[association.address] === association { self.associations[association.address] = nil }
        self.world.note("gateway closes session \(session.id): \(cause)")
    }

    /// The operator has changed something about a SIM.
    func judgeAnew(_ iccid: String) {
        for association in self.associations.values where association.session.record.iccid == iccid {
            guard let record = self.store.record(iccid: iccid) else { continue }
            let identities = association.session.bootstrap?.mintedIdentities ?? []
            if record.status == .suspended {
                self.end(association, .suspended)
            } else if identities.contains(where: {
                self.fresh[$0] == nil && self.store.resolution(of: $0) == .unknown
            }) {
                self.end(association, .revoked)
            } else {
                association.session.record = record
                association.session.bootstrap?.update(record)
            }
        }
    }

    // MARK: - The end of a turn

    /// What one turn has collected: look-ups and commits leave, the pool's news arrive.
    func settle() {
        while let news = self.pool.takeNews() { self.take(news) }
        let orders = self.storeQueue
        self.storeQueue = []
        guard !orders.isEmpty else { return }
        self.store.store(orders.flatMap(\.credentials), grants: orders.flatMap(\.grants)) { [self] isDurable in
            for order in orders {
                for credential in order.credentials { self.fresh[credential.identity] = nil }
                let session = order.association.session
                guard !session.isClosed, session.bootstrap?.number == order.bootstrap else { continue }
                self.work(for: order.association) { work in
                    session.bootstrap?.credentialsStored(
                        isDurable ? nil : .storeUnavailable, wallClock: work.wallClock, into: &work.actions
                    )
                }
            }
        }
    }

    func queue(_ order: StoreOrder) {
        for credential in order.credentials {
            self.fresh[credential.identity] = .registration(credential, order.association.session.record)
        }
        self.storeQueue.append(order)
    }

    func discard(_ identities: [PSKIdentity], grants: [Int64]) {
        for identity in identities { self.fresh[identity] = nil }
        self.store.discard(identities, grants: grants)
    }

    var hasOrders: Bool { !self.storeQueue.isEmpty || !self.fresh.isEmpty || !self.greetings.isEmpty }
}

extension IdentityResolution {
    /// The key to shake hands with; nil where the handshake fails.
    fileprivate var key: Secret? {
        switch self {
        case .bootstrap(let record): record.status == .retired ? nil : record.key
        case .registration(let credential, let record):
            record.status == .retired || credential.state == .revoked ? nil : credential.key
        case .unknown: nil
        }
    }
}
