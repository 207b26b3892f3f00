import CoAP
import Timing

@testable import Gateway

/// The sockets of the pool in a simulated world: ``PoolStateMachine`` decides, this carries out, as `UpstreamPool` does.
final class SimulatedPool {
    typealias SocketID = PoolStateMachine.SocketID

    final class Connection {
        let id: SocketID
        let port: UInt16
        let server: Int
        var layer: MessageLayer
        var lease: LeaseID?
        var probe: MessageLayer.ExchangeID?
        var settling: Bool?
        var alarm: SimulatedAlarm?

        init(id: SocketID, port: UInt16, server: Int, layer: MessageLayer) {
            self.id = id
            self.port = port
            self.server = server
            self.layer = layer
        }
    }

    struct News {
        enum Kind {
            case granted(PoolStateMachine.UpstreamID)
            case refused(FailureCause)
            case broken(FailureCause)
            case event(MessageLayer.Event, meant: SimulatedServer.Address?)
        }
        let lease: LeaseID
        let kind: Kind
    }

    private unowned let world: SimulatedWorld
    private let transmission: TransmissionParameters
    let upstreams: [GatewayConfiguration.Upstream]
    private let servers: [SimulatedServer]
    private(set) var machine: PoolStateMachine
    private(set) var connections: [SocketID: Connection] = [:]
    private var ports: [UInt16: SocketID] = [:]
    /// Ports that were given back: the system hands them out again at will.
    private var usedPorts: [UInt16] = []
    private var nextPort: UInt16 = 30_000
    private var news: [News] = []
    private var events: [MessageLayer.Event] = []
    private lazy var alarm = SimulatedAlarm(self.world) { [unowned self] in self.due() }

    init(_ world: SimulatedWorld, configuration: GatewayConfiguration, servers: [SimulatedServer]) {
        self.world = world
        self.transmission = configuration.upstreamTransmission
        self.upstreams = configuration.bootstrap.upstreams
        self.servers = servers
        var settings = PoolStateMachine.Settings()
        settings.minimumIdle = 1
        settings.maximumSockets = world.chance(70) ? 4 * servers.count : world.pick(servers.count...servers.count + 1)
        settings.bootstrapReserve = 1
        settings.wait = .seconds(world.pick(1...20))
        self.machine = PoolStateMachine(settings: settings, seed: world.random.next())
        for server in servers.indices {
            let id = self.machine.add()
            self.machine.resolved(id, to: PoolHarness.address(server), now: world.now)
        }
        self.carryOut()
    }

    func takeNews() -> News? { self.news.isEmpty ? nil : self.news.removeFirst() }

    var isQuiet: Bool {
        self.news.isEmpty && self.connections.values.allSatisfy(\.layer.isIdle) && self.machine.leases.isEmpty
            && self.machine.parked.isEmpty && self.machine.deadline == nil && self.machine.waitingCount == 0
    }

    func connection(of lease: LeaseID) -> Connection? {
        self.machine.socket(of: lease).flatMap { self.connections[$0] }
    }

    /// The far end of a socket.
    func server(of connection: Connection) -> SimulatedServer.Peer? {
        self.servers[connection.server].peers[connection.port]
    }

    // MARK: - Leases

    func acquire(for owner: LeaseOwner, _ wanted: [GatewayConfiguration.Upstream]) -> PoolStateMachine.Acquisition {
        let candidates = wanted.compactMap { self.upstreams.firstIndex(of: $0) }
        let result = self.machine.acquire(owner, from: candidates, now: self.world.now)
        self.carryOut()
        if case .granted(let lease, let socket, _) = result { self.begin(lease, on: socket) }
        return result
    }

    func release(_ lease: LeaseID, _ end: LeaseEnd) {
        guard let connection = self.connection(of: lease) else {
            self.machine.cancelWaiting(lease, now: self.world.now)
            self.carryOut()
            return
        }
        let isSettled = end != .clean || connection.layer.statistics.unacknowledgedMessages == 0
        connection.lease = nil
        connection.layer.rejectsRequests = true
        if isSettled { connection.layer.abandonExchanges() } else { connection.settling = true }
        self.machine.release(lease, end, isSettled: isSettled, hasMessageIDs: true, now: self.world.now)
        self.carryOut()
        connection.alarm?.set(connection.layer.deadline)
    }

    private func begin(_ lease: LeaseID, on socket: SocketID) {
        guard let connection = self.connections[socket] else {
            self.world.fail("a lease of a socket that is not there")
            return
        }
        if connection.lease != nil { self.world.fail("a socket has two leases") }
        connection.lease = lease
        connection.layer.rejectsRequests = false
    }

    // MARK: - Messages

    func send(_ request: CoAPRequest, on lease: LeaseID) -> MessageLayer.ExchangeID? {
        guard let connection = self.connection(of: lease) else { return nil }
        self.machine.requested(connection.id)
        let id = connection.layer.send(request, now: self.world.now, into: &self.events)
        self.dispatch(connection)
        return id
    }

    func respond(to request: MessageLayer.RequestID, _ response: CoAPResponse, on lease: LeaseID) {
        guard let connection = self.connection(of: lease) else { return }
        connection.layer.respond(to: request, response, now: self.world.now, into: &self.events)
        self.dispatch(connection)
    }

    func cancel(_ exchange: MessageLayer.ExchangeID, on lease: LeaseID) {
        guard let connection = self.connection(of: lease) else { return }
        connection.layer.cancel(exchange)
        connection.alarm?.set(connection.layer.deadline)
    }

    func receive(_ bytes: [UInt8], fromServer server: Int, at port: UInt16, meant: SimulatedServer.Address?) {
        guard let socket = self.ports[port], let connection = self.connections[socket], connection.server == server
        else { return }
        self.machine.received(socket, now: self.world.now)
        bytes.withUnsafeBytes { connection.layer.receive($0, now: self.world.now, into: &self.events) }
        self.dispatch(connection, meant: meant)
    }

    private func dispatch(_ connection: Connection, meant: SimulatedServer.Address? = nil) {
        let now = self.world.now
        var index = 0
        while index < self.events.count {
            let event = self.events[index]
            index += 1
            switch event {
            case .transmit(let bytes):
                self.servers[connection.server].carry(bytes, from: connection.port)
                continue
            case .dropped(.requestRejected):
                self.machine.strayRequest(connection.id, now: now)
                continue
            case .dropped, .retransmitted: continue
            case .settled(_, let settlement):
                if let isAcknowledged = connection.settling, settlement != .sent {
                    connection.settling = isAcknowledged && settlement == .delivered
                }
                if settlement == .sent { continue }
            case .pong(let exchange), .failed(let exchange, _):
                if connection.probe == exchange {
                    connection.probe = nil
                    if case .pong = event {
                        self.machine.probeEnded(connection.id, now: now)
                    } else {
                        self.machine.probeUnanswered(connection.id, now: now)
                    }
                    continue
                }
                if case .failed(_, .unacknowledged) = event { self.machine.timedOut(connection.id, now: now) }
            case .request, .repeated, .acknowledged, .response, .notification: break
            }
            if let lease = connection.lease { self.news.append(News(lease: lease, kind: .event(event, meant: meant))) }
        }
        self.events.removeAll(keepingCapacity: true)
        if let isAcknowledged = connection.settling, connection.layer.statistics.unacknowledgedMessages == 0 {
            connection.settling = nil
            connection.layer.abandonExchanges()
            self.machine.settled(connection.id, isAcknowledged: isAcknowledged, hasMessageIDs: true, now: now)
        }
        connection.alarm?.set(connection.layer.deadline)
        self.carryOut()
    }

    // MARK: - The machine's actions

    private func carryOut() {
        while let action = self.machine.nextAction() {
            switch action {
            case .open(let socket, let remote, _):
                self.world.after(self.world.milliseconds(1...10)) { [self] in self.open(socket, remote) }
            case .close(let socket):
                guard let connection = self.connections.removeValue(forKey: socket) else { continue }
                if connection.lease != nil { self.world.fail("a leased socket is closed") }
                self.ports[connection.port] = nil
                self.usedPorts.append(connection.port)
            case .grant(let lease, let socket, let upstream):
                self.begin(lease, on: socket)
                self.news.append(News(lease: lease, kind: .granted(upstream)))
            case .refuse(let lease, let cause): self.news.append(News(lease: lease, kind: .refused(cause)))
            case .broken(let lease, let socket, let cause):
                if let connection = self.connections[socket] {
                    connection.lease = nil
                    connection.layer.rejectsRequests = true
                    connection.layer.abandonExchanges()
                }
                self.news.append(News(lease: lease, kind: .broken(cause)))
            case .probe(let socket, _):
                guard let connection = self.connections[socket] else { continue }
                var events: [MessageLayer.Event] = []
                connection.probe = connection.layer.ping(now: self.world.now, into: &events)
                self.events += events
                self.dispatch(connection)
            case .endProbe(let socket):
                guard let connection = self.connections[socket], let exchange = connection.probe else { continue }
                connection.probe = nil
                connection.layer.cancel(exchange)
            case .health: break
            case .secure, .endSession: self.world.fail("a handshake with a plain server")
            }
        }
        self.alarm.set(self.machine.deadline)
    }

    private func open(_ socket: SocketID, _ remote: PeerAddress) {
        guard self.machine.isCurrent(socket) else { return }
        defer { self.carryOut() }
        guard !self.world.chance(2) else {
            self.machine.openFailed(socket, .resources, now: self.world.now)
            return
        }
        var port = self.nextPort
        if !self.usedPorts.isEmpty, self.world.chance(50) {
            port = self.usedPorts.removeFirst()
        } else {
            self.nextPort += 1
        }
        let server = self.machine.sockets[socket.slot].upstream
        var layer = MessageLayer(parameters: self.transmission, options: .endpoint, seed: self.world.random.next())
        layer.rejectsRequests = true
        let connection = Connection(id: socket, port: port, server: server, layer: layer)
        connection.alarm = SimulatedAlarm(self.world) { [unowned self, weak connection] in
            guard let connection, self.connections[socket] === connection else { return }
            if let due = connection.layer.deadline, due <= self.world.now {
                connection.layer.handleDeadline(now: self.world.now, into: &self.events)
            }
            self.dispatch(connection)
        }
        self.connections[socket] = connection
        self.ports[port] = socket
        self.machine.opened(socket, local: PeerAddress(IPAddress(ipv4: 0x7F00_0001), port: port), now: self.world.now)
    }

    /// The network takes a socket away.
    func breakSocket() {
        let candidates = self.connections.keys.sorted { $0.slot < $1.slot }
        guard !candidates.isEmpty else { return }
        let socket = candidates[self.world.pick(0...(candidates.count - 1))]
        if let connection = self.connections.removeValue(forKey: socket) {
            self.ports[connection.port] = nil
            self.usedPorts.append(connection.port)
        }
        self.machine.closed(socket, isUnreachable: self.world.chance(50), now: self.world.now)
        self.carryOut()
    }

    private func due() {
        if let due = self.machine.deadline, due <= self.world.now { self.machine.handleDeadline(now: self.world.now) }
        self.carryOut()
    }
}
