import CoAP
import Testing
import Timing

/// What of a message layer outlives a restart of the gateway.
@Suite("Mementos")
struct MementoTests {
    /// The same layer in another run, some time later. The clocks of two runs have nothing in common.
    private func restart(_ script: Script, after elapsed: Duration) -> Script {
        var next = Script(parameters: script.parameters, seed: 99)
        next.now = Instant(nanoseconds: 5_000_000_000)
        next.layer = MessageLayer(
            script.layer.memento(now: script.now), parameters: script.parameters, options: .endpoint, seed: 7,
            elapsed: elapsed, now: next.now
        )
        return next
    }

    @Test("A message of before gets the answer of before, until its lifetime is over", arguments: [true, false])
    func duplicates(isOver: Bool) throws {
        var script = Script()
        let (id, _) = try #require(requested(script.receive(bootstrapRequest())))
        let answer = script.respond(id, CoAPResponse(.changed))[0]
        _ = script.advance(by: 100)
        var next = self.restart(script, after: .seconds(isOver ? 150 : 140))
        if isOver {
            #expect(requested(next.receive(bootstrapRequest())) != nil)
        } else {
            #expect(next.receive(bootstrapRequest()) == [answer, .dropped(.duplicate)])
        }
    }

    @Test("A request that was still open counts as never heard")
    func open() throws {
        var script = Script()
        _ = script.receive(bootstrapRequest())
        var next = self.restart(script, after: .seconds(1))
        #expect(requested(next.receive(bootstrapRequest())) != nil)
    }

    @Test("Refusals, empty ACKs and NON messages are remembered as what they were")
    func answers() throws {
        var script = Script()
        script.layer.rejectsRequests = true
        _ = script.receive(bootstrapRequest(messageID: 1))
        _ = script.receive(bootstrapRequest(.nonConfirmable, messageID: 2))
        script.layer.rejectsRequests = false
        _ = script.receive(bootstrapRequest(messageID: 3))
        _ = script.advance(by: 10)
        var next = self.restart(script, after: .seconds(1))
        #expect(next.receive(bootstrapRequest(messageID: 1)) == [.transmit([0x70, 0, 0, 1]), .dropped(.duplicate)])
        #expect(next.receive(bootstrapRequest(.nonConfirmable, messageID: 2)) == [.dropped(.duplicate)])
        #expect(next.receive(bootstrapRequest(messageID: 3)) == [.transmit([0x60, 0, 0, 3]), .dropped(.duplicate)])
        let memento = script.layer.memento(now: script.now)
        #expect(memento.messages.map(\.answer) == [.reset, .nothing, .acknowledged])
    }

    @Test("Message IDs go on, and none comes back before its lifetime is over")
    func messageIDs() throws {
        var script = Script()
        for _ in 0..<20_000 {
            let (id, _) = script.send(CoAPRequest(.get, isConfirmable: false))
            script.layer.cancel(id)
        }
        let (_, last) = script.send(CoAPRequest(.get, isConfirmable: false))
        let before = try #require(transmitted(last).first).messageID
        var next = self.restart(script, after: .seconds(30))
        // Two or three blocks of 8,192 are used up.
        #expect(next.layer.availableMessageIDs(now: next.now) < 65_536 - 20_000)
        let (_, first) = next.send(CoAPRequest(.get, isConfirmable: false))
        #expect(transmitted(first).first?.messageID == before &+ 1)
        var later = self.restart(script, after: .seconds(250))
        #expect(later.layer.availableMessageIDs(now: later.now) > 65_536 - 8_192)
    }

    @Test("A clock that was set back makes nothing older than it is")
    func clockSetBack() throws {
        var script = Script()
        let (id, _) = try #require(requested(script.receive(bootstrapRequest())))
        let answer = script.respond(id, CoAPResponse(.changed))[0]
        var next = self.restart(script, after: .seconds(-86_400))
        #expect(next.receive(bootstrapRequest()) == [answer, .dropped(.duplicate)])
    }

    @Test("An observer is notified under its token, and may still refuse a NON notification of before")
    func observers() throws {
        var script = Script()
        let observe = bootstrapRequest(token: token(5), adding: [(6, [])])
        let (id, _) = try #require(requested(script.receive(observe)))
        var response = CoAPResponse(.content)
        response.observe = 1
        _ = script.respond(id, response)
        response.observe = 2
        let sent = transmitted(script.notify(id, response, confirmable: false))
        let saved = try #require(script.layer.savedObserver(id))
        var next = self.restart(script, after: .seconds(1))
        let name = next.layer.restore(saved)
        let restored = try #require(name)
        response.observe = 3
        let notification = try #require(transmitted(next.notify(restored, response, confirmable: false)).first)
        #expect(notification.token == token(5))
        #expect(notification.messageID == sent[0].messageID &+ 1)

        var refused = self.restart(script, after: .seconds(1))
        let nameAgain = refused.layer.restore(saved)
        let again = try #require(nameAgain)
        #expect(refused.receive(empty(.reset, sent[0].messageID)) == [.settled(again, .reset)])
    }

    @Test("An observation goes on under its token, and older notifications stay older")
    func observations() throws {
        var script = Script()
        var request = CoAPRequest(.get)
        request.observe = 0
        let (_, events) = script.send(request)
        let sent = try #require(transmitted(events).first)
        func notification(_ type: CoAPMessageType, _ id: UInt16, _ observe: UInt32) -> CoAPMessage {
            var options = CoAPOptions()
            options.set(.observe, uint: observe)
            return CoAPMessage(type: type, code: .content, messageID: id, token: sent.token, options: options)
        }
        let answered = script.receive(notification(.acknowledgement, sent.messageID, 10))
        guard case .response(let name, _)? = reported(answered).first else {
            Issue.record("no response in \(answered)")
            return
        }
        let resting = script.layer.takeObservations()
        let saved = try #require(resting.saved(name, now: script.now))
        var next = self.restart(script, after: .seconds(1))
        var restored = MessageLayer.Observations()
        let inBetween = restored.restore(saved, elapsed: .seconds(1), now: next.now)
        let names = next.layer.adopt(restored)
        #expect(names.map(\.old) == [inBetween])
        let new = try #require(names.first?.new)
        #expect(next.receive(notification(.nonConfirmable, 900, 9)) == [.dropped(.staleNotification)])
        let fresh = reported(next.receive(notification(.nonConfirmable, 901, 11)))
        guard case .notification(let told, _, false)? = fresh.first else {
            Issue.record("no notification in \(fresh)")
            return
        }
        #expect(told == new)
    }
}
