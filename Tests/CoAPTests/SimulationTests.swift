import CoAP
import Testing
import Timing

/// Two parties, both client and server, over a link that loses, repeats and reorders datagrams.
///
/// All randomness comes from one seed, and the seed is in every failure message.
private struct Simulation {
    struct Link {
        /// Percent of the datagrams.
        var loss: Int
        var duplication: Int
        /// Longest delay in milliseconds; more than the distance of two datagrams reorders them.
        var delay: Int
    }

    enum Step {
        case deliver([UInt8])
        case send
        case cancel
        case respond(MessageLayer.RequestID, payload: [UInt8])
    }

    struct Party {
        var layer: MessageLayer
        /// Requests that wait for their end, with what they carried.
        var open: [MessageLayer.ExchangeID: [UInt8]] = [:]
        var served: [[UInt8]: Int] = [:]
        var unsettled: Set<MessageLayer.RequestID> = []
        var responses = 0
        var failures = 0
        var cancellations = 0
    }

    let link: Link
    let start: Instant
    var random: Seeded
    var now: Instant
    var parties: [Party]
    var agenda: [(time: Instant, party: Int, step: Step)] = []
    var sent = 0
    var problems: [String] = []

    init(seed: UInt64, link: Link) {
        var random = Seeded(state: seed)
        self.link = link
        self.start = Instant.now
        self.now = self.start
        self.parties = (0..<2).map { _ in
            let layer = MessageLayer(parameters: .init(), options: .endpoint, seed: random.next())
            return Party(layer: layer)
        }
        self.random = random
    }

    mutating func plan(_ step: Step, for party: Int, within milliseconds: ClosedRange<Int>) {
        let delay = Duration.milliseconds(Int.random(in: milliseconds, using: &self.random))
        self.agenda.append((self.now + delay, party, step))
    }

    /// Requests of both parties over a minute, some of them given up, and then as long as anything is left to do.
    mutating func run(requests: Int, cancellations: Int) {
        for party in 0..<2 {
            for _ in 0..<requests {
                self.plan(.send, for: party, within: 0...60_000)
            }
            for _ in 0..<cancellations {
                self.plan(.cancel, for: party, within: 0...60_000)
            }
        }
        for _ in 0..<20_000 {
            guard self.step() else { return }
        }
        self.problems.append("the conversation does not end")
    }

    /// The next thing that happens, be it planned or due; false if there is none.
    private mutating func step() -> Bool {
        let planned = self.agenda.indices.min { self.agenda[$0].time < self.agenda[$1].time }
        let due = (0..<2).compactMap { party in self.parties[party].layer.deadline.map { (party, $0) } }
            .min { $0.1 < $1.1 }
        if let due, planned.map({ due.1 <= self.agenda[$0].time }) ?? true {
            self.now = max(self.now, due.1)
            var events: [Event] = []
            self.parties[due.0].layer.handleDeadline(now: self.now, into: &events)
            self.handle(events, of: due.0)
        } else if let planned {
            let (time, party, step) = self.agenda.remove(at: planned)
            self.now = max(self.now, time)
            self.perform(step, by: party)
        } else {
            return false
        }
        return true
    }

    private mutating func perform(_ step: Step, by party: Int) {
        var events: [Event] = []
        let now = self.now
        switch step {
        case .deliver(let datagram):
            datagram.withUnsafeBytes { self.parties[party].layer.receive($0, now: now, into: &events) }
        case .send:
            self.sent += 1
            let payload = [UInt8(party), UInt8(self.sent >> 8), UInt8(self.sent & 0xff)]
            let isConfirmable = Int.random(in: 0..<4, using: &self.random) > 0
            let request = CoAPRequest(.post, path: ["x"], payload: payload, isConfirmable: isConfirmable)
            let id = self.parties[party].layer.send(request, now: now, into: &events)
            self.parties[party].open[id] = payload
        case .cancel:
            let oldest = self.parties[party].open.min { $0.value.lexicographicallyPrecedes($1.value) }
            if let id = oldest?.key {
                self.parties[party].layer.cancel(id)
                self.parties[party].open[id] = nil
                self.parties[party].cancellations += 1
            }
        case .respond(let id, let payload):
            self.parties[party].unsettled.insert(id)
            let response = CoAPResponse(.changed, payload: payload)
            self.parties[party].layer.respond(to: id, response, now: now, into: &events)
        }
        self.handle(events, of: party)
    }

    private mutating func handle(_ events: [Event], of party: Int) {
        for event in events {
            switch event {
            case .transmit(let datagram):
                self.transmit(datagram, to: 1 - party)
            case .retransmitted:
                break
            case .request(let id, let request):
                self.parties[party].served[request.payload, default: 0] += 1
                self.plan(.respond(id, payload: request.payload), for: party, within: 0...4_000)
            case .response(let id, let response):
                let payload = self.parties[party].open.removeValue(forKey: id)
                if payload != response.payload {
                    self.problems.append("a response without its request: \(response.payload)")
                }
                self.parties[party].responses += 1
            case .failed(let id, let failure):
                if self.parties[party].open.removeValue(forKey: id) == nil {
                    self.problems.append("a second end: \(failure)")
                }
                self.parties[party].failures += 1
            case .settled(let id, _):
                if self.parties[party].unsettled.remove(id) == nil {
                    self.problems.append("a response settled twice")
                }
            case .acknowledged(let id):
                if self.parties[party].open[id] == nil {
                    self.problems.append("an ACK for a request that has ended")
                }
            case .notification, .pong, .repeated:
                self.problems.append("unexpected \(event)")
            case .dropped(let reason):
                if reason == .malformed || reason == .version || reason == .unexpectedCode {
                    self.problems.append("a party sent something that is \(reason)")
                }
            }
        }
    }

    private mutating func transmit(_ datagram: [UInt8], to party: Int) {
        let copies = Int.random(in: 0..<100, using: &self.random) < self.link.duplication ? 2 : 1
        for _ in 0..<copies where Int.random(in: 0..<100, using: &self.random) >= self.link.loss {
            self.plan(.deliver(datagram), for: party, within: 1...max(1, self.link.delay))
        }
    }
}

@Suite("Two parties over a bad link")
struct SimulationTests {
    private static let links: [(loss: Int, duplication: Int, delay: Int)] = [
        (0, 0, 100), (0, 30, 3_000), (10, 10, 500), (30, 30, 5_000), (60, 10, 1_000), (100, 0, 1),
    ]

    @Test("Every request is served at most once and ends exactly once, and nothing is left", arguments: links)
    func everyRequestEnds(loss: Int, duplication: Int, delay: Int) {
        var responses = 0
        for seed in UInt64(0)..<60 {
            var simulation = Simulation(seed: seed, link: .init(loss: loss, duplication: duplication, delay: delay))
            simulation.run(requests: 20, cancellations: 0)
            let note = Comment(rawValue: "seed \(seed), loss \(loss), duplication \(duplication), delay \(delay)")
            #expect(simulation.problems == [], note)
            for party in simulation.parties {
                #expect(party.open.isEmpty && party.unsettled.isEmpty, note)
                #expect(party.responses + party.failures == 20, note)
                #expect(party.served.values.allSatisfy { $0 == 1 }, note)
                #expect(loss > 0 || party.failures == 0, note)
                let statistics = party.layer.statistics
                #expect(party.layer.isIdle && party.layer.deadline == nil, note)
                #expect(statistics.rememberedMessages == 0 && statistics.rememberedAnswerBytes == 0, note)
                responses += party.responses
            }
        }
        #expect((responses > 0) == (loss < 100))
    }

    @Test("Requests that are given up midway leave nothing behind either", arguments: links)
    func cancellation(loss: Int, duplication: Int, delay: Int) {
        var cancellations = 0
        for seed in UInt64(1_000)..<1_030 {
            var simulation = Simulation(seed: seed, link: .init(loss: loss, duplication: duplication, delay: delay))
            simulation.run(requests: 20, cancellations: 10)
            let note = Comment(rawValue: "seed \(seed), loss \(loss), duplication \(duplication), delay \(delay)")
            #expect(simulation.problems == [], note)
            for party in simulation.parties {
                #expect(party.open.isEmpty && party.layer.isIdle && party.layer.deadline == nil, note)
                #expect(party.responses + party.failures + party.cancellations == 20, note)
                #expect(party.served.values.allSatisfy { $0 == 1 }, note)
                cancellations += party.cancellations
            }
        }
        #expect(cancellations > 0)
    }
}
