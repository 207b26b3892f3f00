import Testing
import Timing

@testable import CoAP

/// A client that writes and reads large bodies, several at a time, through a message layer on each side and a link that
/// loses, repeats and reorders datagrams.
///
/// All randomness comes from one seed, and the seed is in every failure message.
private struct BlockSimulation {
    enum Step {
        case deliver([UInt8], toServer: Bool)
        case begin(Operation)
        case respond(MessageLayer.RequestID, CoAPRequest)
    }

    /// A write of a body that answers with another, or a read.
    struct Operation {
        let name: Int
        let request: CoAPRequest
        let answer: [UInt8]
    }

    var random: Seeded
    let loss: Int
    let duplication: Int
    let delay: Int
    var now = Instant.now
    var client: MessageLayer
    var server: MessageLayer
    var receiver: BlockReceiver
    let clientBlock: Int
    var senders: [MessageLayer.ExchangeID: (operation: Operation, sender: BlockSender)] = [:]
    /// What the server will answer, by path.
    var answers: [String: [UInt8]] = [:]
    var bodies: [String: [UInt8]] = [:]
    var executed: [String: Int] = [:]
    var agenda: [(time: Instant, step: Step)] = []
    var finished = 0
    var failed = 0
    var messages = 0
    var problems: [String] = []

    init(seed: UInt64, loss: Int, duplication: Int, delay: Int) {
        var random = Seeded(state: seed)
        self.loss = loss
        self.duplication = duplication
        self.delay = delay
        self.client = MessageLayer(parameters: .init(), options: .endpoint, seed: random.next())
        self.server = MessageLayer(parameters: .init(), options: .endpoint, seed: random.next())
        var limits = BlockLimits()
        limits.acceptedBlock = 16 << Int.random(in: 0...6, using: &random)
        self.receiver = BlockReceiver(blockSize: 16 << Int.random(in: 0...6, using: &random), limits: limits)
        self.clientBlock = 16 << Int.random(in: 0...6, using: &random)
        self.random = random
    }

    mutating func plan(_ step: Step, within milliseconds: ClosedRange<Int>) {
        let time = self.now + Duration.milliseconds(Int.random(in: milliseconds, using: &self.random))
        self.agenda.append((time, step))
    }

    mutating func run(operations: Int) {
        for name in 0..<operations {
            let path = "\(name)"
            let code: CoAPCode = Bool.random(using: &self.random) ? .get : .put
            let sent = code == .get ? [] : self.random.bytes(0...700)
            self.answers[path] = self.random.bytes(0...700)
            self.bodies[path] = sent
            let request = CoAPRequest(code, path: [path], payload: sent)
            let operation = Operation(name: name, request: request, answer: self.answers[path] ?? [])
            self.plan(.begin(operation), within: 0...20_000)
        }
        for _ in 0..<50_000 {
            guard self.step() else { return }
        }
        self.problems.append("the transfers do not end")
    }

    private mutating func step() -> Bool {
        let planned = self.agenda.indices.min { self.agenda[$0].time < self.agenda[$1].time }
        let next = planned.map { self.agenda[$0].time }
        let due = [self.client.deadline, self.server.deadline].compactMap { $0 }.min()
        var events: [Event] = []
        if let due, next.map({ due <= $0 }) ?? true {
            self.now = max(self.now, due)
            self.client.handleDeadline(now: self.now, into: &events)
            self.handleAtClient(events)
            events = []
            self.server.handleDeadline(now: self.now, into: &events)
            self.handleAtServer(events)
        } else if let planned {
            let (time, step) = self.agenda.remove(at: planned)
            self.now = max(self.now, time)
            self.perform(step)
        } else {
            return false
        }
        return true
    }

    private mutating func perform(_ step: Step) {
        var events: [Event] = []
        let now = self.now
        switch step {
        case .deliver(let datagram, toServer: true):
            datagram.withUnsafeBytes { self.server.receive($0, now: now, into: &events) }
            self.handleAtServer(events)
        case .deliver(let datagram, toServer: false):
            datagram.withUnsafeBytes { self.client.receive($0, now: now, into: &events) }
            self.handleAtClient(events)
        case .begin(let operation):
            var sender = BlockSender(operation.request, blockSize: self.clientBlock)
            let first = sender.start()
            self.send(first, operation, sender)
        case .respond(let id, let request):
            let path = request.uriPath?.first ?? ""
            let response = CoAPResponse(request.code == .get ? .content : .changed, payload: self.answers[path] ?? [])
            let answer = self.receiver.respond(to: id, response, now: now)
            self.server.respond(to: id, answer, now: now, into: &events)
            self.handleAtServer(events)
        }
    }

    private mutating func send(_ request: CoAPRequest, _ operation: Operation, _ sender: BlockSender) {
        self.messages += 1
        if request.payload.count > self.clientBlock { self.problems.append("a message above the block size") }
        var events: [Event] = []
        let id = self.client.send(request, now: self.now, into: &events)
        self.senders[id] = (operation, sender)
        self.handleAtClient(events)
    }

    private mutating func handleAtClient(_ events: [Event]) {
        for event in events {
            switch event {
            case .transmit(let datagram): self.transmit(datagram, toServer: true)
            case .response(let id, let response):
                guard case (let operation, var sender)? = self.senders.removeValue(forKey: id) else {
                    self.problems.append("a response without its request")
                    continue
                }
                switch sender.receive(response) {
                case .send(let next): self.send(next, operation, sender)
                case .finished(let whole):
                    self.finished += 1
                    if whole.payload != operation.answer { self.problems.append("a body that was not sent: \(whole)") }
                    if whole.options.contains(where: { number, _ in number.isOfTransfer }) {
                        self.problems.append("options of the transfer are left")
                    }
                case .failed(let failure): self.problems.append("operation \(operation.name): \(failure)")
                }
            case .failed(let id, _):
                self.senders[id] = nil
                self.failed += 1
            default: break
            }
        }
    }

    private mutating func handleAtServer(_ events: [Event]) {
        for event in events {
            switch event {
            case .transmit(let datagram): self.transmit(datagram, toServer: false)
            case .request(let id, let request):
                switch self.receiver.receive(id, request, now: self.now) {
                case .whole(let whole):
                    let path = whole.uriPath?.first ?? ""
                    if whole.payload != self.bodies[path] { self.problems.append("a body put together wrongly") }
                    self.executed[path, default: 0] += 1
                    self.plan(.respond(id, whole), within: 0...3_000)
                case .answer(let answer):
                    var events: [Event] = []
                    self.server.respond(to: id, answer, now: self.now, into: &events)
                    self.handleAtServer(events)
                }
            default: break
            }
        }
    }

    private mutating func transmit(_ datagram: [UInt8], toServer: Bool) {
        let copies = Int.random(in: 0..<100, using: &self.random) < self.duplication ? 2 : 1
        for _ in 0..<copies where Int.random(in: 0..<100, using: &self.random) >= self.loss {
            self.plan(.deliver(datagram, toServer: toServer), within: 1...max(1, self.delay))
        }
    }
}

@Suite("Transfers in blocks over a bad link")
struct BlockSimulationTests {
    @Test(
        "Every body arrives as it was sent, is carried out once, and every transfer ends",
        arguments: [(0, 0, 100), (0, 30, 3_000), (10, 10, 500), (30, 30, 2_000)]
    )
    func everyTransferEnds(loss: Int, duplication: Int, delay: Int) {
        var finished = 0
        var messages = 0
        for seed in UInt64(0)..<60 {
            var simulation = BlockSimulation(seed: seed, loss: loss, duplication: duplication, delay: delay)
            simulation.run(operations: 4)
            let note = Comment(rawValue: "seed \(seed), loss \(loss), duplication \(duplication), delay \(delay)")
            #expect(simulation.problems == [], note)
            #expect(simulation.finished + simulation.failed == 4, note)
            #expect(simulation.senders.isEmpty, note)
            #expect(loss > 0 || simulation.failed == 0, note)
            // A read may be done again when its body gave way to others.
            #expect(
                simulation.executed.allSatisfy { simulation.bodies[$0.key]?.isEmpty == true || $0.value == 1 }, note
            )
            simulation.receiver.expire(now: simulation.now + .seconds(247))
            #expect(simulation.receiver.heldBytes == 0 && simulation.receiver.deadline == nil, note)
            finished += simulation.finished
            messages += simulation.messages
        }
        #expect(finished > 120)
        #expect(messages > 10 * finished / 4, "most bodies take several messages")
    }
}

@Suite("Random blocks")
struct BlockRandomInputTests {
    @Test("Whatever blocks a client sends, memory stays bounded and only whole bodies are handed up")
    func randomRequests() {
        for seed in UInt64(0)..<200 {
            var random = Seeded(state: seed)
            var limits = BlockLimits()
            limits.body = 2_048
            limits.transfers = 3
            let script = ReceiverScript(blockSize: 32, limits: limits)
            for _ in 0..<300 {
                script.now = script.now + .seconds(Int.random(in: 0...20, using: &random))
                let size = 16 << Int.random(in: 0...3, using: &random)
                var request = CoAPRequest(
                    Bool.random(using: &random) ? .put : .get, path: ["\(Int.random(in: 0...5, using: &random))"]
                )
                let more = Bool.random(using: &random)
                if Int.random(in: 0...3, using: &random) > 0 {
                    let value = UInt32.random(in: 0...4, using: &random) << 4 | (more ? 8 : 0)
                    request.options.append(.block1, uint: value | UInt32(size.trailingZeroBitCount - 4))
                    request.payload = more ? body(size) : random.bytes(0...size)
                }
                if Int.random(in: 0...2, using: &random) == 0 {
                    request.options.append(.block2, uint: UInt32.random(in: 0...0xff, using: &random))
                }
                switch script.receive(request) {
                case .answer(let answer): #expect(answer.payload.count <= 1024, "seed \(seed)")
                case .whole(let whole):
                    #expect(whole.payload.count <= 2_048, "seed \(seed)")
                    #expect(!whole.options.contains(where: { number, _ in number.isOfTransfer }), "seed \(seed)")
                    if Bool.random(using: &random) {
                        let answer = script.respond(CoAPResponse(.content, payload: random.bytes(0...200)))
                        #expect(answer.payload.count <= 1024, "seed \(seed)")
                    }
                }
                #expect(script.receiver.heldBytes <= 2 * 2 * 2_048, "seed \(seed)")
            }
        }
    }

    @Test("Whatever a server answers, a sender ends after a bounded number of messages")
    func randomResponses() {
        let codes: [CoAPCode] = [
            .continue, .changed, .content, .requestEntityTooLarge, .requestEntityIncomplete, .badOption, .notFound,
        ]
        for seed in UInt64(0)..<3_000 {
            var random = Seeded(state: seed)
            let request = CoAPRequest(
                Bool.random(using: &random) ? .put : .get, path: ["a"], payload: random.bytes(0...300)
            )
            var sender = BlockSender(
                request, blockSize: 16 << Int.random(in: 0...6, using: &random), maximumBody: 1_000
            )
            var sent = sender.start()
            var messages = 1
            conversation: while true {
                var answer = CoAPResponse(codes.randomElement(using: &random) ?? .changed)
                // Mostly what belongs there, so that transfers get far.
                if Int.random(in: 0...9, using: &random) > 0 {
                    if let block = sent.options.uint(.block1) {
                        answer.code = block & 8 != 0 ? .continue : .content
                        answer.options.append(.block1, uint: block)
                    }
                    let asked = sent.options.uint(.block2) ?? 0
                    let more = Int.random(in: 0...9, using: &random) > 0
                    if sent.options.uint(.block1).map({ $0 & 8 == 0 }) ?? true {
                        answer.code = .content
                        answer.options.append(.block2, uint: asked | (more ? 8 : 0))
                        answer.payload = more ? body(16 << Int(asked & 7)) : body(3)
                    }
                } else if Bool.random(using: &random) {
                    answer.options.append(.block1, uint: UInt32.random(in: 0...0xff, using: &random))
                    answer.options.append(.block2, uint: UInt32.random(in: 0...0xff, using: &random))
                    answer.payload = body(16)
                }
                guard case .send(let next) = sender.receive(answer) else { break conversation }
                sent = next
                messages += 1
                guard messages < 400 else {
                    Issue.record("seed \(seed) does not end")
                    break conversation
                }
            }
        }
    }
}
