import CoAP
import LwM2M
import Secrets
import Timing

@testable import Gateway

/// A device: asks for bootstraps, carries out what it is told, registers with what it got, and does not always behave.
final class SimulatedDevice {
    enum Manner: CaseIterable {
        case good
        /// Its record says suspended from the start.
        case suspended
        /// Calls itself by another device's name.
        case foreignEndpoint
        /// Has a key that is not its record's.
        case wrongKey
    }

    /// What it does in the middle of a bootstrap.
    enum Interruption: CaseIterable { case none, repeats, reboots, leaves, asksTwice }

    /// An account of a server, as it was written.
    struct Account { var identity: PSKIdentity, key: Secret }

    let index: Int
    let record: SIMRecord
    let manner: Manner
    let arrival: GatewayConfiguration.Security
    private unowned let world: SimulatedWorld
    private let link: SimulatedLink
    weak var gateway: SimulatedGateway?
    private let transmission: TransmissionParameters
    private lazy var alarm = SimulatedAlarm(self.world) { [unowned self] in self.wake() }

    // The association.
    private(set) var association = 0
    private var isEstablished = false
    private var hellos = 0
    private var sent = 0
    private var received: Set<Int> = []
    private var layer: MessageLayer
    private var blocks = BlockReceiver(blockSize: 64)
    private var request: MessageLayer.ExchangeID?

    // The plan.
    private var attemptsLeft: Int
    private var attempt = 0
    private var isOver = true

    // What it holds, and what it remembers for the checks.
    private var accounts: [UInt16: Account] = [:]
    /// Tokens of the requests that have its answer.
    private(set) var answered: Set<UInt64> = []
    /// Paths that were written, by the server's session that they bear the mark of.
    private(set) var written: [Int: Set<String>] = [:]
    /// Associations in which it has accepted Finish.
    private(set) var finished: Set<Int> = []
    /// Identities that it got in bootstraps that it has accepted the Finish of.
    private(set) var owned: Set<PSKIdentity> = []
    /// Writes that it did not carry out, and that no later one has made up for.
    private var refused: Set<[String]> = []
    /// Credentials that it may hold were discarded, and it has not finished a bootstrap since. Noted by the checks.
    var mayHoldDiscarded = false
    /// It asked anew while a command was on its way to it. What comes late it takes for new, and nobody can tell.
    var mayBeOvertaken = false
    private var registering: (number: Int, account: Account)?

    init(
        _ world: SimulatedWorld, index: Int, record: SIMRecord, manner: Manner,
        arrival: GatewayConfiguration.Security, transmission: TransmissionParameters
    ) {
        self.world = world
        self.index = index
        self.record = record
        self.manner = manner
        self.arrival = arrival
        self.link = SimulatedLink(world)
        self.transmission = transmission
        self.layer = MessageLayer(parameters: transmission, options: .endpoint, seed: world.random.next())
        self.attemptsLeft = manner == .good ? world.pick(1...3) : 1
    }

    /// Whether the agenda may end with the device as it is.
    var isQuiet: Bool { self.attemptsLeft == 0 && self.layer.isIdle }

    // MARK: - The plan

    func begin() { self.world.after(self.world.milliseconds(0...30_000)) { [self] in self.connect() } }

    private func connect() {
        guard self.attemptsLeft > 0 else { return }
        self.attemptsLeft -= 1
        self.attempt += 1
        self.isOver = false
        self.associate()
        let (attempt, interruption) = (self.attempt, Interruption.allCases[self.world.pick(0...4)])
        if interruption != .none, self.world.chance(70) {
            self.world.after(self.world.milliseconds(500...40_000)) { [self] in
                guard self.attempt == attempt, !self.isOver else { return }
                self.interrupt(interruption)
            }
        }
        // Whoever hears nothing for so long gives up by itself.
        self.world.after(.seconds(400)) { [self] in
            if self.attempt == attempt { self.end() }
        }
    }

    private func end() {
        guard !self.isOver else { return }
        self.isOver = true
        self.world.after(self.world.milliseconds(1000...400_000)) { [self] in self.connect() }
    }

    private func interrupt(_ interruption: Interruption) {
        self.world.note("device \(self.index) \(interruption)")
        switch interruption {
        case .none: break
        case .repeats: if self.isEstablished { self.ask() }
        case .asksTwice:
            if self.isEstablished {
                self.ask()
                self.world.after(self.world.milliseconds(1...300)) { [self] in if self.isEstablished { self.ask() } }
            }
        case .reboots:
            if self.world.chance(50) { self.transmit(.close(association: self.association)) }
            self.associate()
        case .leaves:
            if self.world.chance(50) { self.transmit(.close(association: self.association)) }
            self.isEstablished = false
            self.layer.abandonExchanges()
            self.end()
        }
    }

    // MARK: - The association

    private func associate() {
        self.association += 1
        self.world.note("device \(self.index) begins association \(self.association)")
        self.isEstablished = self.arrival == .plain
        self.received = []
        self.hellos = 0
        self.layer = MessageLayer(parameters: self.transmission, options: .endpoint, seed: self.world.random.next())
        self.blocks = BlockReceiver(blockSize: 64)
        if self.isEstablished { self.ask() } else { self.greet(self.association) }
    }

    private func greet(_ association: Int) {
        guard association == self.association, !self.isEstablished, self.hellos < 7, !self.isOver else { return }
        self.hellos += 1
        let key = self.manner == .wrongKey ? Secret([UInt8](repeating: 1, count: 16)) : self.record.key
        guard let key else { return }
        self.transmit(.hello(association: association, identity: self.record.identity, key: key))
        self.world.after(.seconds(1 << min(self.hellos, 5))) { [self] in self.greet(association) }
    }

    private func ask() {
        let name = self.manner == .foreignEndpoint ? "meter-\(self.index + 1)" : self.record.endpoint
        var events: [MessageLayer.Event] = []
        self.request = self.layer.send(
            CoAPRequest(.post, path: ["bs"], query: ["ep=\(name)"]), now: self.world.now, into: &events
        )
        self.handle(events)
    }

    func receive(_ datagram: SimulatedDatagram) {
        switch datagram {
        case .established(let association): self.established(association)
        case .record(let association, let sequence, let bytes):
            guard association == self.association, self.isEstablished, self.received.insert(sequence).inserted else {
                return
            }
            self.read(bytes)
        case .plain(let bytes): self.read(bytes)
        case .hello, .close: break
        }
    }

    private func read(_ bytes: [UInt8]) {
        var events: [MessageLayer.Event] = []
        bytes.withUnsafeBytes { self.layer.receive($0, now: self.world.now, into: &events) }
        self.handle(events)
    }

    private func established(_ association: Int) {
        if let registering = self.registering, registering.number == association {
            self.registering = nil
            self.world.note("device \(self.index) has registered")
            return
        }
        guard association == self.association, !self.isEstablished, !self.isOver else { return }
        self.isEstablished = true
        self.ask()
    }

    private func transmit(_ datagram: SimulatedDatagram, registers: Bool = false) {
        self.link.carry(in: self.world) { [self] in
            self.gateway?.receive(datagram, from: SimulatedAddress(device: self.index, registers: registers))
        }
    }

    /// From the gateway, over the same bad link.
    func carry(_ datagram: SimulatedDatagram) {
        self.link.carry(in: self.world) { [self] in self.receive(datagram) }
    }

    private func wake() {
        var events: [MessageLayer.Event] = []
        if let due = self.layer.deadline, due <= self.world.now {
            self.layer.handleDeadline(now: self.world.now, into: &events)
        }
        self.handle(events)
    }

    private func handle(_ events: [MessageLayer.Event]) {
        for event in events {
            switch event {
            case .transmit(let bytes):
                self.noteAnswer(bytes)
                if self.arrival == .plain {
                    self.transmit(.plain(bytes))
                } else {
                    self.sent += 1
                    self.transmit(.record(association: self.association, sequence: self.sent, bytes))
                }
            case .request(let id, let request): self.carryOut(id, request)
            case .response(let exchange, let response) where exchange == self.request:
                self.world.note("device \(self.index) hears \(response.code)")
                if response.code != .changed { self.end() }
            case .failed(let exchange, _) where exchange == self.request: self.end()
            default: break
            }
        }
        self.alarm.set(self.layer.deadline)
    }

    private func noteAnswer(_ bytes: [UInt8]) {
        if let message = bytes.withUnsafeBytes({ try? CoAPCodec.decode($0) }), message.code.isResponse {
            self.answered.insert(SimulatedGateway.number(message.token))
        }
    }

    // MARK: - Commands

    private func carryOut(_ id: MessageLayer.RequestID, _ request: CoAPRequest) {
        let answer: CoAPResponse
        switch self.blocks.receive(id, request, now: self.world.now) {
        case .whole(let whole): answer = self.answer(to: whole)
        case .answer(let verdict): answer = verdict
        }
        let association = self.association
        let delay = self.world.chance(20) ? self.world.milliseconds(500...5000) : self.world.milliseconds(1...50)
        self.world.after(delay) { [self] in
            guard association == self.association else { return }
            let part = self.blocks.respond(to: id, answer, now: self.world.now)
            var events: [MessageLayer.Event] = []
            self.layer.respond(to: id, part, now: self.world.now, into: &events)
            self.handle(events)
        }
    }

    private func answer(to request: CoAPRequest) -> CoAPResponse {
        let path = request.uriPath ?? []
        self.world.note("device \(self.index) is told \(request.code) /\(path.joined(separator: "/"))")
        switch request.code {
        case .delete:
            self.accounts = [:]
            self.refused = []
            return CoAPResponse(.deleted)
        case .put:
            guard !self.world.chance(3) else {
                self.refused.insert(path)
                return CoAPResponse(.internalServerError)
            }
            self.refused.remove(path)
            self.take(request.payload, path)
            return CoAPResponse(.changed)
        case .get:
            let links = "lwm2m=1.0,</1>,</3/0>,</10250/\(self.index)>,</10260/0>,</10270/0>,</10280/0>"
            return CoAPResponse(.content, contentFormat: 40, payload: Array(links.utf8))
        case .post where path == ["bs"]: return self.finish()
        default: return CoAPResponse(.methodNotAllowed)
        }
    }

    private func finish() -> CoAPResponse {
        guard self.refused.isEmpty else { return CoAPResponse(.notAcceptable) }
        switch self.world.pick(0...19) {
        case 0: return CoAPResponse(.notAcceptable)
        case 1: return CoAPResponse(.internalServerError)
        default: break
        }
        self.finished.insert(self.arrival == .plain ? 0 : self.association)
        for account in self.accounts.values { self.owned.insert(account.identity) }
        self.end()
        let account = self.accounts.min { $0.key < $1.key }?.value
        if self.arrival == .dtls, let account, self.world.chance(80) { self.register(account) }
        return CoAPResponse(.changed)
    }

    private func take(_ payload: [UInt8], _ path: [String]) {
        guard let target = try? LwM2MPath(segments: path), let object = target.objectID,
            case .instances(let instances) = Self.content(payload, target)
        else {
            self.world.fail("device \(self.index) cannot read what it was written at \(path)")
            return
        }
        for instance in instances {
            let resource: UInt16 = object == 0 ? 11 : 1
            guard let mark = instance.number(resource) else { continue }
            if SimulatedServer.device(ofMark: mark) != self.index {
                self.world.fail("device \(self.index) is written what is another's")
            }
            self.written[SimulatedServer.session(ofMark: mark), default: []].insert("\(object)/\(instance.id)")
            guard object == 0, instance.number(1) == 0 else { continue }
            if instance.number(2) == 3 {
                if instance[5]?.isEmpty == false { self.world.fail("a key goes out over the plain port") }
            } else if let name = instance[3], let identity = PSKIdentity(name), let key = instance[5] {
                self.accounts[instance.id] = Account(identity: identity, key: Secret(key))
            }
        }
    }

    private static func content(_ payload: [UInt8], _ path: LwM2MPath) -> PathContent? {
        switch try? TLV.decode(payload, at: path) {
        case .instance(let instance): .instances([instance])
        case let content: content
        }
    }

    // MARK: - Registration

    private func register(_ account: Account) {
        let number = 1_000_000 + self.association
        self.registering = (number, account)
        for pause in [1, 3, 9, 27] {
            self.world.after(.seconds(pause)) { [self] in
                guard let registering = self.registering, registering.number == number else { return }
                self.transmit(
                    .hello(association: number, identity: account.identity, key: account.key), registers: true
                )
            }
        }
    }
}
