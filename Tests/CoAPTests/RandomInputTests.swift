import CoAP
import Testing
import Timing

@Suite("Random input")
struct RandomInputTests {
    @Test("100,000 random and mutated datagrams never trap, and nothing grows beyond its bound")
    func randomDatagrams() {
        for seed in UInt64(0)..<20 {
            var random = Seeded(state: seed)
            var script = Script(seed.isMultiple(of: 2) ? .endpoint : .proxy, seed: seed)
            // Datagrams of our own, so that mutations of answers to them come close to something that is open.
            var material: [CoAPMessage] = []
            for _ in 0..<5_000 {
                self.act(&script, &random, &material)
                let datagram = self.datagram(&random, material)
                let events = script.receive(datagram)
                self.check(events, received: datagram, seed: seed)
                self.answer(events, &script, &random)
                if Int.random(in: 0..<10, using: &random) == 0 {
                    material += transmitted(
                        script.advance(by: .milliseconds(Int.random(in: 0..<2_000, using: &random)))
                    )
                }
                self.check(script.layer.statistics, seed: seed)
            }
            script.layer.abandonExchanges()
            #expect(script.layer.isIdle, "seed \(seed)")
            _ = script.advance(by: 300)
            #expect(script.layer.deadline == nil && script.layer.statistics.rememberedMessages == 0, "seed \(seed)")
        }
    }

    /// Keeps some exchanges and observations of ours open.
    private func act(_ script: inout Script, _ random: inout Seeded, _ material: inout [CoAPMessage]) {
        switch Int.random(in: 0..<40, using: &random) {
        case 0: material += transmitted(script.send(CoAPRequest(.put, path: ["0"], payload: [1])).1)
        case 1: material += transmitted(script.send(CoAPRequest(.get, path: ["3"], observe: 0)).1)
        case 2: material += transmitted(script.send(CoAPRequest(.get, isConfirmable: false)).1)
        case 3: material += transmitted(script.ping().1)
        default: break
        }
        if material.count > 20 {
            material.removeFirst(10)
        }
    }

    private func datagram(_ random: inout Seeded, _ material: [CoAPMessage]) -> [UInt8] {
        switch Int.random(in: 0..<4, using: &random) {
        case 0:
            return random.bytes(0...60)
        case 1:
            var message = CoAPMessage.random(using: &random)
            if let own = material.randomElement(using: &random) {
                message.messageID = own.messageID
                message.token = own.token
            }
            return CoAPCodec.encode(message)
        case 2:
            let type = CoAPMessageType.allCases.randomElement(using: &random) ?? .reset
            let messageID = material.randomElement(using: &random)?.messageID ?? 0
            return CoAPCodec.encodeEmpty(type, messageID: messageID)
        default:
            var bytes = CoAPCodec.encode(CoAPMessage.random(using: &random))
            mutate(&bytes, using: &random)
            return bytes
        }
    }

    /// Answers some of the requests in one way or another, and leaves the others open.
    private func answer(_ events: [Event], _ script: inout Script, _ random: inout Seeded) {
        for case .request(let id, let request) in events {
            _ = (request.uriPath, request.uriQuery, request.contentFormat, request.accept)
            switch Int.random(in: 0..<6, using: &random) {
            case 0: _ = script.reset(id)
            case 1: _ = script.respond(id, CoAPResponse(.content, observe: 1, payload: random.bytes(0...200)))
            case 2...4: _ = script.respond(id, CoAPResponse(.changed))
            default: break
            }
            _ = script.notify(id, CoAPResponse(.content, observe: 2), confirmable: Bool.random(using: &random))
        }
        if Int.random(in: 0..<1_000, using: &random) == 0 {
            script.layer.abandonExchanges()
        }
    }

    private func check(_ events: [Event], received datagram: [UInt8], seed: UInt64) {
        for message in transmitted(events) where datagram.count >= 4 {
            // What answers a datagram at once never answers an ACK or RST by an ACK or RST of the same message ID.
            let isAnswer = message.type == .acknowledgement || message.type == .reset
            let isToAnswer = datagram[0] >> 4 & 3 >= 2
            #expect(!(isAnswer && isToAnswer), "seed \(seed)")
        }
        for case .transmit(let bytes) in events {
            #expect(decoded(bytes) != nil, "seed \(seed)")
        }
    }

    private func check(_ statistics: MessageLayer.Statistics, seed: UInt64) {
        #expect(
            statistics.openRequests <= MessageLayer.Limit.openRequests
                && statistics.openExchanges <= MessageLayer.Limit.openExchanges
                && statistics.observers <= MessageLayer.Limit.observations
                && statistics.observations <= MessageLayer.Limit.observations
                && statistics.unacknowledgedMessages <= MessageLayer.Limit.queuedMessages + 1
                && statistics.rememberedMessages <= 64
                && statistics.rememberedAnswerBytes <= 8192,
            "seed \(seed)"
        )
    }
}
