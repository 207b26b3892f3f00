import CoAP
import LwM2M
import Timing

@testable import Gateway

/// A bootstrap server that tells its devices apart by the port that they seem to come from, and writes what its script
/// says, wise or not.
final class SimulatedServer {
    enum Manner: CaseIterable {
        case good
        /// Says no to every request.
        case refuses
        /// Takes every request and never answers it.
        case silent
        /// Writes an account that no rule is for, and finishes all the same.
        case wrongAccount
        /// The same, but writes the right one when it hears of it.
        case corrects
        /// Finishes before it has written all, and goes on when it hears that this is refused.
        case finishesEarly
        /// Goes on whatever it hears, or does not.
        case goesOn
        /// Does not wait for answers, but for those before Finish.
        case impatient
        /// Writes before it has answered the request.
        case eager
    }

    /// A command of a script. `mark` says for whom it is.
    enum Command: Equatable {
        case delete, discover, finish
        case security(isRight: Bool), server
    }

    struct Exchange {
        let id: MessageLayer.ExchangeID
        let command: Command
        var blocks: BlockSender
    }

    /// One bootstrap, as the server sees it.
    final class Session {
        let number: Int
        let device: Int
        let manner: Manner
        var script: [Command]
        var isOver = false
        /// Commands that went out.
        var sent: [Command] = []
        /// Of the writes, the paths that the other side took.
        var accepted: Set<String> = []
        /// An account without a rule was sent, and nothing has healed it.
        var isWrong = false
        /// Commands under way, with their blocks.
        var exchanges: [Exchange] = []

        init(number: Int, device: Int, manner: Manner, script: [Command]) {
            self.number = number
            self.device = device
            self.manner = manner
            self.script = script
        }
    }

    /// Whom a datagram is meant for.
    struct Address: Equatable { let device: Int, session: Int }

    /// What stays with a port.
    final class Peer {
        let port: UInt16
        var layer: MessageLayer
        var session: Session?
        var alarm: SimulatedAlarm?
        /// Whom each request was meant for, by its token: a request outlives the session that it was made in.
        var meant: [CoAPToken: Address] = [:]

        init(port: UInt16, layer: MessageLayer) {
            self.port = port
            self.layer = layer
        }
    }

    let index: Int
    private unowned let world: SimulatedWorld
    private let link: SimulatedLink
    private let manners: [Manner]
    private let blockSize: Int
    weak var gateway: SimulatedGateway?
    private(set) var peers: [UInt16: Peer] = [:]
    private var sessions = 0
    /// Neither hears nor says anything in this time.
    private let outage: Range<Instant>

    init(_ world: SimulatedWorld, index: Int) {
        self.world = world
        self.index = index
        self.link = SimulatedLink(world)
        self.manners = (0..<3).map { _ in world.chance(50) ? .good : Manner.allCases[world.pick(0...8)] }
        self.blockSize = world.chance(30) ? 32 : 1024
        let begin = world.now + world.milliseconds(0...200_000)
        self.outage = begin..<(world.chance(20) ? begin + world.milliseconds(1...300_000) : begin)
    }

    var isQuiet: Bool { self.peers.values.allSatisfy(\.layer.isIdle) }

    // What a write bears, so that whoever gets it can say whose it is.
    private func mark(_ session: Session) -> Int64 { Int64(1000 * session.number + session.device + 1) }
    static func device(ofMark mark: Int64) -> Int { Int(mark % 1000) - 1 }
    static func session(ofMark mark: Int64) -> Int { Int(mark / 1000) }

    // MARK: - Datagrams

    func carry(_ bytes: [UInt8], from port: UInt16) {
        self.link.carry(in: self.world) { [self] in self.receive(bytes, from: port) }
    }

    private func receive(_ bytes: [UInt8], from port: UInt16) {
        guard !self.outage.contains(self.world.now) else { return }
        let peer = self.peer(port)
        var events: [MessageLayer.Event] = []
        bytes.withUnsafeBytes { peer.layer.receive($0, now: self.world.now, into: &events) }
        self.handle(events, of: peer)
    }

    private func peer(_ port: UInt16) -> Peer {
        if let peer = self.peers[port] { return peer }
        var parameters = TransmissionParameters()
        parameters.piggybackWait = self.world.milliseconds(100...1500)
        let peer = Peer(
            port: port, layer: MessageLayer(parameters: parameters, options: .endpoint, seed: self.world.random.next())
        )
        peer.alarm = SimulatedAlarm(self.world) { [unowned self, unowned peer] in
            var events: [MessageLayer.Event] = []
            if let due = peer.layer.deadline, due <= self.world.now {
                peer.layer.handleDeadline(now: self.world.now, into: &events)
            }
            self.handle(events, of: peer)
        }
        self.peers[port] = peer
        return peer
    }

    private func handle(_ events: [MessageLayer.Event], of peer: Peer) {
        for event in events {
            switch event {
            case .transmit(let bytes):
                // Whom the server means; the gateway does not see it, the checks do.
                let meant = self.meant(bytes, of: peer)
                guard !self.outage.contains(self.world.now) else { continue }
                self.link.carry(in: self.world) { [self] in
                    self.gateway?.receive(bytes, fromServer: self.index, at: peer.port, meant: meant)
                }
            case .request(let id, let request): self.request(id, request, of: peer)
            case .response(let exchange, let response): self.answered(exchange, response, of: peer)
            case .failed(let exchange, _): self.answered(exchange, nil, of: peer)
            default: break
            }
        }
        peer.alarm?.set(peer.layer.deadline)
    }

    private func meant(_ bytes: [UInt8], of peer: Peer) -> Address? {
        guard let session = peer.session, let message = bytes.withUnsafeBytes({ try? CoAPCodec.decode($0) }),
            message.code.isRequest
        else { return nil }
        let address = peer.meant[message.token] ?? Address(device: session.device, session: session.number)
        peer.meant[message.token] = address
        return address
    }

    // MARK: - A bootstrap begins

    private func request(_ id: MessageLayer.RequestID, _ request: CoAPRequest, of peer: Peer) {
        guard request.code == .post, request.uriPath == ["bs"],
            let name = request.uriQuery?.first(where: { $0.hasPrefix("ep=meter-") }),
            let device = Int(name.dropFirst(9))
        else {
            self.respond(id, .badRequest, of: peer)
            return
        }
        let manner = self.manners[self.world.pick(0...2)]
        self.sessions += 1
        let number = 2 * self.sessions + self.index
        self.world.note("server \(self.index) begins session \(number), \(manner), for device \(device)")
        let session = Session(number: number, device: device, manner: manner, script: self.script(manner))
        if let old = peer.session, old.manner != .goesOn {
            for exchange in old.exchanges { peer.layer.cancel(exchange.id) }
        }
        peer.session = session
        let delay = self.world.chance(20) ? self.world.milliseconds(100...5000) : self.world.milliseconds(1...50)
        switch manner {
        case .silent: self.world.after(.seconds(300)) { [self] in self.respond(id, .serviceUnavailable, of: peer) }
        case .refuses: self.world.after(delay) { [self] in self.respond(id, .forbidden, of: peer) }
        default:
            if manner == .eager { self.goOn(session, of: peer) }
            self.world.after(delay) { [self] in
                self.respond(id, .changed, of: peer)
                if manner != .eager { self.goOn(session, of: peer) }
            }
        }
    }

    private func respond(_ id: MessageLayer.RequestID, _ code: CoAPCode, of peer: Peer) {
        var events: [MessageLayer.Event] = []
        peer.layer.respond(to: id, CoAPResponse(code), now: self.world.now, into: &events)
        self.handle(events, of: peer)
    }

    private func script(_ manner: Manner) -> [Command] {
        var script: [Command] = self.world.chance(30) ? [.discover] : []
        if self.world.chance(60) { script.append(.delete) }
        switch manner {
        case .wrongAccount, .corrects: script += [.security(isRight: false), .server, .finish]
        case .finishesEarly: script += [.security(isRight: true), .finish, .server, .finish]
        default: script += [.security(isRight: true), .server, .finish]
        }
        return script
    }

    // MARK: - Commands

    private func goOn(_ session: Session, of peer: Peer) {
        guard peer.session === session, !session.isOver, !session.script.isEmpty else { return }
        if session.script[0] == .finish, !session.exchanges.isEmpty {
            // Finish says that nothing more comes for this device, so that its port may go to the next one.
            self.world.after(.seconds(1)) { [self] in self.goOn(session, of: peer) }
            return
        }
        let command = session.script.removeFirst()
        session.sent.append(command)
        if case .security(let isRight) = command { session.isWrong = !isRight }
        if command == .delete { session.accepted = [] }
        var blocks = BlockSender(self.message(command, session), blockSize: self.blockSize)
        let request = blocks.start()
        self.send(request, of: peer) { session.exchanges.append(Exchange(id: $0, command: command, blocks: blocks)) }
        if session.manner == .impatient {
            self.world.after(self.world.milliseconds(1...400)) { [self] in self.goOn(session, of: peer) }
        }
    }

    private func send(_ request: CoAPRequest, of peer: Peer, _ note: (MessageLayer.ExchangeID) -> Void) {
        var events: [MessageLayer.Event] = []
        note(peer.layer.send(request, now: self.world.now, into: &events))
        self.handle(events, of: peer)
    }

    private func answered(_ exchange: MessageLayer.ExchangeID, _ response: CoAPResponse?, of peer: Peer) {
        guard let session = peer.session, let index = session.exchanges.firstIndex(where: { $0.id == exchange }) else {
            return
        }
        var open = session.exchanges.remove(at: index)
        let command = open.command
        var final: CoAPResponse?
        if let response {
            switch open.blocks.receive(response) {
            case .send(let next):
                self.send(next, of: peer) {
                    session.exchanges.append(Exchange(id: $0, command: command, blocks: open.blocks))
                }
                return
            case .finished(let whole): final = whole
            case .failed: final = nil
            }
        }
        self.world.note("server \(self.index) hears \(final?.code.description ?? "nothing") to \(command)")
        self.judge(command, final, session)
        if session.manner != .impatient, !session.isOver {
            self.world.after(self.world.milliseconds(1...300)) { [self] in self.goOn(session, of: peer) }
        }
    }

    private func judge(_ command: Command, _ answer: CoAPResponse?, _ session: Session) {
        guard let answer, answer.code.isSuccess else {
            switch (session.manner, command) {
            case (.goesOn, _), (.finishesEarly, .finish): break
            case (.wrongAccount, .security(isRight: false)) where answer != nil: break
            case (.corrects, .security(isRight: false)) where answer != nil:
                session.script.insert(.security(isRight: true), at: 0)
            default: session.isOver = true
            }
            return
        }
        switch command {
        case .security: session.accepted.formUnion(["0/0", "0/1"])
        case .server: session.accepted.insert("1/0")
        case .discover:
            let links = String(decoding: answer.payload, as: UTF8.self)
            if !links.contains("</10250/\(session.device)>") {
                self.world.fail("server \(self.index) hears of another device than \(session.device)")
            }
        case .finish: session.isOver = true
        case .delete: break
        }
    }

    private func message(_ command: Command, _ session: Session) -> CoAPRequest {
        let mark = self.mark(session)
        switch command {
        case .delete: return CoAPRequest(.delete)
        case .discover: return CoAPRequest(.get, accept: 40)
        case .finish: return CoAPRequest(.post, path: ["bs"])
        case .server:
            return Self.write(
                1, [ObjectInstance(id: 0, resources: [Rewriting.number(0, 1111), Rewriting.number(1, mark)])]
            )
        case .security(let isRight):
            let account =
                isRight
                ? Rewriting.server(0, with: [Rewriting.number(11, mark)])
                : Rewriting.server(0, uri: "coap://10.9.9.9:5683", ssid: 7, with: [Rewriting.number(11, mark)])
            return Self.write(0, [account, Rewriting.bootstrap(1, with: [Rewriting.number(11, mark)])])
        }
    }

    private static func write(_ object: UInt16, _ instances: [ObjectInstance]) -> CoAPRequest {
        let payload = (try? TLV.encode(.instances(instances))) ?? []
        return CoAPRequest(.put, path: ["\(object)"], contentFormat: 11542, payload: payload)
    }
}
