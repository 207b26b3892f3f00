import CoAP
import Testing
import Timing

/// What a relay needs of a message layer beyond the two roles.
@Suite("Relaying")
struct RelayingTests {
    private let read = CoAPRequest(.get, path: ["3", "0"])

    private func sendOnce(
        _ script: inout Script, _ request: CoAPRequest
    ) -> (id: MessageLayer.ExchangeID, datagram: Event?) {
        var events: [Event] = []
        let id = script.layer.sendOnce(request, now: script.now, into: &events)
        return (id, events.first)
    }

    private func repeated(_ script: inout Script, _ id: MessageLayer.ExchangeID) -> [Event] {
        var events: [Event] = []
        script.layer.repeatRequest(id, into: &events)
        return events
    }

    @Test("A request that is sent once is repeated on command only, and always as the same message")
    func repeatedOnCommand() throws {
        var script = Script()
        let (id, datagram) = self.sendOnce(&script, self.read)
        #expect(script.advance(by: 60) == [])
        #expect(self.repeated(&script, id) == [datagram])
        #expect(script.advance(by: 32) == [])
        #expect(script.advance(by: 2) == [.failed(id, .noResponse)])
        #expect(self.repeated(&script, id) == [])
    }

    @Test("An answer, an ACK and a RST end the repetitions")
    func endsOfRepetition() throws {
        for type in [CoAPMessageType.acknowledgement, .reset] {
            var script = Script()
            let (id, datagram) = self.sendOnce(&script, self.read)
            let request = try #require(transmitted([datagram].compactMap(\.self)).first)
            let events = script.receive(empty(type, request.messageID))
            #expect(events == [type == .reset ? .failed(id, .reset) : .acknowledged(id)])
            #expect(self.repeated(&script, id) == [])
        }
        var script = Script()
        let (id, datagram) = self.sendOnce(&script, self.read)
        let request = try #require(transmitted([datagram].compactMap(\.self)).first)
        let answer = CoAPMessage(
            type: .acknowledgement, code: .content, messageID: request.messageID, token: request.token
        )
        #expect(script.receive(answer) == [.response(id, CoAPResponse(.content))])
        #expect(script.layer.isIdle)
    }

    @Test("It does not hold up other messages, and does not overtake an answer that waits for its ACK")
    func order() throws {
        var script = Script()
        _ = self.sendOnce(&script, self.read)
        let (_, other) = script.send(self.read)
        #expect(transmitted(other).count == 1)

        script = Script()
        let (peer, _) = try #require(requested(script.receive(bootstrapRequest())))
        _ = script.advance(by: 2)
        let answer = try #require(transmitted(script.respond(peer, CoAPResponse(.changed))).first)
        let (_, early) = self.sendOnce(&script, self.read)
        #expect(early == nil)
        let after = script.receive(empty(.acknowledgement, answer.messageID))
        #expect(transmitted(after).first?.code == .get)
    }

    @Test("A postponed ACK leaves the peer repeating, tells each repetition, and goes out on command")
    func postponed() throws {
        var script = Script()
        let (id, _) = try #require(requested(script.receive(bootstrapRequest())))
        script.layer.postponeAcknowledgement(of: id, until: script.now + .seconds(247))
        #expect(script.advance(by: 40) == [])
        #expect(script.receive(bootstrapRequest()) == [.repeated(id), .dropped(.duplicate)])
        var events: [Event] = []
        script.layer.acknowledge(id, into: &events)
        #expect(events == [.transmit([0x60, 0, 0, 100])])
        #expect(script.receive(bootstrapRequest()) == events + [.dropped(.duplicate)])
    }

    @Test("A disowned request counts as new when it is repeated; once acknowledged it is answered instead")
    func disowned() throws {
        var script = Script()
        let (id, _) = try #require(requested(script.receive(bootstrapRequest())))
        var events: [Event] = []
        script.layer.disown(id, otherwise: CoAPResponse(.gatewayTimeout), now: script.now, into: &events)
        #expect(events == [])
        let (again, _) = try #require(requested(script.receive(bootstrapRequest())))
        #expect(again != id)
        _ = script.advance(by: 2)
        script.layer.disown(again, otherwise: CoAPResponse(.gatewayTimeout), now: script.now, into: &events)
        #expect(transmitted(events).first?.code == .gatewayTimeout)
    }

    @Test("A disowned observation of the peer gets no more notifications")
    func disownedObservation() throws {
        var script = Script()
        let request = bootstrapRequest(adding: [(6, [])])
        let (id, _) = try #require(requested(script.receive(request)))
        _ = script.respond(id, CoAPResponse(.content, observe: 1))
        #expect(script.layer.statistics.observers == 1)
        var events: [Event] = []
        script.layer.disown(id, otherwise: CoAPResponse(.gatewayTimeout), now: script.now, into: &events)
        #expect(events == [] && script.layer.statistics.observers == 0)
        #expect(script.notify(id, CoAPResponse(.content, observe: 2), confirmable: false) == [])
    }

    @Test("Observations go on in another layer, with their tokens and under new names")
    func adopted() throws {
        var old = Script(seed: 1)
        let (id, sent) = old.send(CoAPRequest(.get, path: ["3", "0"], observe: 0))
        let request = try #require(transmitted(sent).first)
        _ = old.receive(
            CoAPMessage(
                type: .acknowledgement, code: .content, messageID: request.messageID, token: request.token,
                options: options(adding: [(6, [10])])
            )
        )
        var new = Script(seed: 2)
        _ = new.send(self.read)
        let names = new.layer.adopt(old.layer.takeObservations())
        let name = try #require(names.first)
        #expect(names.count == 1 && name.old == id && old.layer.statistics.observations == 0)
        let next = CoAPMessage(
            type: .nonConfirmable, code: .content, messageID: 9, token: request.token,
            options: options(adding: [(6, [11])])
        )
        let fresh = CoAPResponse(.content, observe: 11)
        #expect(new.receive(next) == [.notification(name.new, fresh, isConfirmable: false)])
        #expect(old.receive(next).contains(.dropped(.unexpectedResponse)))
    }

    @Test("No request gets the token of an observation that began in another layer", arguments: [true, false])
    func adoptedToken(isSentOnce: Bool) throws {
        var old = Script(seed: 1)
        let (_, sent) = old.send(CoAPRequest(.get, path: ["3", "0"], observe: 0))
        let request = try #require(transmitted(sent).first)
        _ = old.receive(
            CoAPMessage(
                type: .acknowledgement, code: .content, messageID: request.messageID, token: request.token,
                options: options(adding: [(6, [10])])
            )
        )
        // The same seed: it would draw the same tokens.
        var new = Script(seed: 1)
        _ = new.layer.adopt(old.layer.takeObservations())
        let next = isSentOnce ? [self.sendOnce(&new, self.read).datagram].compactMap { $0 } : new.send(self.read).1
        let message = try #require(transmitted(next).first)
        #expect(message.code == .get && message.token != request.token)
    }

    @Test("While the path has not decided, only what neither kind of endpoint takes is refused")
    func undecided() throws {
        // Elective and unsafe; critical and safe; critical and unsafe.
        for (number, isRefused) in [(UInt16(2050), false), (2053, false), (2051, true)] {
            var script = Script(.undecided)
            let events = script.receive(bootstrapRequest(adding: [(number, [1])]))
            #expect((transmitted(events).first?.code == .badOption) == isRefused)
            guard let request = requested(events)?.request else { continue }
            #expect((OptionPolicy.endpoint.screen(request) == nil) == (number == 2053))
            #expect((OptionPolicy.proxy.screen(request) == nil) == (number == 2050))
        }
    }

    @Test("The size of options on the wire is what the codec writes")
    func encodedSize() {
        var options = CoAPOptions()
        for (number, length) in [(1, 0), (4, 8), (11, 13), (11, 12), (60, 4), (292, 8), (2053, 269), (65_000, 300)] {
            options.append(CoAPOptionNumber(rawValue: UInt16(number)), [UInt8](repeating: 7, count: length))
        }
        let message = CoAPMessage(type: .confirmable, code: .get, messageID: 1, options: options)
        #expect(options.encodedBytes + 4 == CoAPCodec.encode(message).count)
    }
}
