import CoAP
import Testing
import Timing

/// Requests of the peer and our responses to them.
@Suite("Requests of the peer")
struct ServerRoleTests {
    private let changed = CoAPResponse(.changed)

    @Test("An answer in time is piggybacked on the ACK")
    func piggybacked() throws {
        var script = Script()
        let (id, request) = try #require(requested(script.receive(bootstrapRequest())))
        #expect(request == CoAPRequest(.post, path: ["bs"], query: ["ep=meter"]))
        let events = script.respond(id, self.changed)
        let answer = CoAPMessage(type: .acknowledgement, code: .changed, messageID: 100, token: token(1, 2))
        #expect(events == [.transmit(CoAPCodec.encode(answer)), .settled(id, .sent)])
        #expect(script.layer.isIdle)
    }

    @Test("A duplicate gets the piggybacked answer again and is not handed up")
    func replayedAnswer() throws {
        var script = Script()
        let (id, _) = try #require(requested(script.receive(bootstrapRequest())))
        let answer = script.respond(id, self.changed)[0]
        for _ in 0..<4 {
            _ = script.advance(by: 60)
            #expect(script.receive(bootstrapRequest()) == [answer, .dropped(.duplicate)])
        }
    }

    @Test("A duplicate of a request that is being worked on is absorbed before the empty ACK and gets it afterwards")
    func duplicateInProgress() throws {
        var script = Script()
        let (id, _) = try #require(requested(script.receive(bootstrapRequest())))
        #expect(script.receive(bootstrapRequest()) == [.dropped(.duplicate)])
        let acknowledgement = Event.transmit([0x60, 0, 0, 100])
        #expect(script.advance(by: 1) == [acknowledgement])
        #expect(script.receive(bootstrapRequest()) == [acknowledgement, .dropped(.duplicate)])

        let events = script.respond(id, self.changed)
        let separate = try #require(transmitted(events).first)
        #expect(separate.type == .confirmable && separate.code == .changed && separate.token == token(1, 2))
        // Never a piggybacked response after the empty ACK.
        #expect(script.receive(bootstrapRequest()) == [acknowledgement, .dropped(.duplicate)])
        #expect(script.receive(empty(.acknowledgement, separate.messageID)) == [.settled(id, .delivered)])
        #expect(script.receive(bootstrapRequest()) == [acknowledgement, .dropped(.duplicate)])
        #expect(script.layer.isIdle)
    }

    @Test("T8: the empty ACK goes out once, after the piggyback wait and not before")
    func emptyAcknowledgement() {
        var parameters = TransmissionParameters()
        parameters.piggybackWait = .milliseconds(500)
        var script = Script(parameters: parameters)
        _ = script.receive(bootstrapRequest())
        #expect(script.layer.deadline == script.now + .milliseconds(500))
        #expect(script.advance(by: 0.499) == [])
        #expect(script.advance(by: 0.002) == [.transmit([0x60, 0, 0, 100])])
        #expect(script.advance(by: 200) == [])
    }

    @Test("A separate response that is not acknowledged is repeated four times and given up")
    func unacknowledgedResponse() throws {
        var script = Script()
        let (id, _) = try #require(requested(script.receive(bootstrapRequest())))
        _ = script.advance(by: 1)
        let first = try #require(transmitted(script.respond(id, self.changed)).first)
        let events = script.advance(by: 100)
        #expect(transmitted(events) == [CoAPMessage](repeating: first, count: 4))
        #expect(reported(events) == [.settled(id, .unacknowledged)])
        #expect(script.layer.isIdle)
    }

    @Test("A separate response can be reset by the peer")
    func resetResponse() throws {
        var script = Script()
        let (id, _) = try #require(requested(script.receive(bootstrapRequest())))
        _ = script.advance(by: 1)
        let separate = try #require(transmitted(script.respond(id, self.changed)).first)
        #expect(script.receive(empty(.reset, separate.messageID)) == [.settled(id, .reset)])
        #expect(script.layer.isIdle)
    }

    @Test("A NON request gets a NON response with a message ID of ours, and a duplicate of it nothing")
    func nonConfirmable() throws {
        var script = Script()
        let message = bootstrapRequest(.nonConfirmable)
        let (id, request) = try #require(requested(script.receive(message)))
        #expect(!request.isConfirmable)
        #expect(script.advance(by: 10) == [])
        let events = script.respond(id, self.changed)
        let answer = try #require(transmitted(events).first)
        #expect(answer.type == .nonConfirmable && answer.token == token(1, 2))
        #expect(reported(events) == [.settled(id, .sent)])
        #expect(script.receive(message) == [.dropped(.duplicate)])
        #expect(script.advance(by: 150) == [])
        #expect(requested(script.receive(message)) != nil)
    }

    @Test("A message is remembered for the exchange lifetime and new after it")
    func exchangeLifetime() throws {
        var script = Script()
        let (id, _) = try #require(requested(script.receive(bootstrapRequest())))
        _ = script.respond(id, self.changed)
        _ = script.advance(by: 247)
        #expect(reported(script.receive(bootstrapRequest())) == [.dropped(.duplicate)])
        _ = script.advance(by: 3)
        #expect(script.layer.statistics.rememberedMessages == 0)
        #expect(script.layer.deadline == nil)
        #expect(requested(script.receive(bootstrapRequest())) != nil)
    }

    @Test("CON and NON with the same message ID are two messages")
    func typesApart() {
        var script = Script()
        #expect(requested(script.receive(bootstrapRequest())) != nil)
        #expect(requested(script.receive(bootstrapRequest(.nonConfirmable))) != nil)
    }

    @Test("Another request that takes up a remembered message ID is new and gets its own answer")
    func reusedMessageID() throws {
        var script = Script()
        let (first, _) = try #require(requested(script.receive(bootstrapRequest())))
        _ = script.respond(first, self.changed)
        let other = bootstrapRequest(token: token(3))
        let (second, _) = try #require(requested(script.receive(other)))
        let answer = script.respond(second, CoAPResponse(.badRequest))[0]
        #expect(script.receive(other) == [answer, .dropped(.duplicate)])
    }

    @Test("An open request whose message ID is taken up by another one is answered separately")
    func reusedMessageIDOfOpenRequest() throws {
        var script = Script()
        let (first, _) = try #require(requested(script.receive(bootstrapRequest())))
        let (second, _) = try #require(requested(script.receive(bootstrapRequest(token: token(3)))))
        #expect(transmitted(script.respond(first, self.changed)).map(\.type) == [.confirmable])
        #expect(transmitted(script.respond(second, self.changed)).map(\.type) == [.acknowledgement])
    }

    @Test("The memory holds 64 messages; the 65th pushes out the oldest")
    func boundedMemory() throws {
        var script = Script()
        for messageID in UInt16(0)..<65 {
            let (id, _) = try #require(requested(script.receive(bootstrapRequest(messageID: messageID))))
            _ = script.respond(id, self.changed)
        }
        #expect(script.layer.statistics.rememberedMessages == 64)
        #expect(reported(script.receive(bootstrapRequest(messageID: 1))) == [.dropped(.duplicate)])
        #expect(requested(script.receive(bootstrapRequest(messageID: 0))) != nil)
    }

    @Test("The answers in memory stay below 8 KiB")
    func boundedAnswers() throws {
        var script = Script()
        for messageID in UInt16(0)..<30 {
            let (id, _) = try #require(requested(script.receive(bootstrapRequest(messageID: messageID))))
            _ = script.respond(id, CoAPResponse(.content, payload: [UInt8](repeating: 7, count: 1000)))
            #expect(script.layer.statistics.rememberedAnswerBytes <= 8192)
        }
        #expect(reported(script.receive(bootstrapRequest(messageID: 29))) == [.dropped(.duplicate)])
        #expect(script.layer.statistics.rememberedMessages == 8)
    }

    @Test("Beyond 32 open requests a CON gets 5.03 with Max-Age and a NON nothing")
    func overload() {
        var script = Script()
        for messageID in UInt16(0)..<32 {
            _ = script.receive(bootstrapRequest(messageID: messageID))
        }
        let refused = script.receive(bootstrapRequest(messageID: 32))
        #expect(transmitted(refused).first?.code == .serviceUnavailable)
        #expect(transmitted(refused).first?.options.uint(.maxAge) == 5)
        #expect(reported(refused) == [.dropped(.overloaded)])
        #expect(script.receive(bootstrapRequest(.nonConfirmable, messageID: 33)) == [.dropped(.overloaded)])
        #expect(script.layer.statistics.openRequests == 32)
    }

    @Test("A request can be refused by RST, again and again")
    func resetRequest() throws {
        var script = Script()
        let (id, _) = try #require(requested(script.receive(bootstrapRequest())))
        let reset = Event.transmit([0x70, 0, 0, 100])
        #expect(script.reset(id) == [reset])
        #expect(script.receive(bootstrapRequest()) == [reset, .dropped(.duplicate)])
        #expect(script.respond(id, self.changed) == [])
        #expect(script.layer.isIdle)
    }

    @Test("A request whose empty ACK is out is forgotten by a reset, without a datagram")
    func resetAcknowledgedRequest() throws {
        var script = Script()
        let (id, _) = try #require(requested(script.receive(bootstrapRequest())))
        _ = script.advance(by: 1)
        #expect(script.reset(id) == [])
        #expect(script.layer.isIdle)
    }

    @Test("A request is answered once")
    func secondAnswer() throws {
        var script = Script()
        let (id, _) = try #require(requested(script.receive(bootstrapRequest())))
        _ = script.respond(id, self.changed)
        #expect(script.respond(id, self.changed) == [])
    }
}

/// RFC 7641, server side.
@Suite("Observations that the peer holds")
struct ObserverTests {
    private func observed(_ script: inout Script, messageID: UInt16 = 50) throws -> MessageLayer.RequestID {
        let get = CoAPMessage(
            type: .confirmable,
            code: .get,
            messageID: messageID,
            token: token(9),
            options: options(adding: [(6, []), (11, [0x33])])
        )
        let (id, request) = try #require(requested(script.receive(get)))
        #expect(request.observe == 0)
        _ = script.respond(id, CoAPResponse(.content, observe: 1, payload: [1]))
        return id
    }

    @Test("Notifications carry the token of the request, as NON or CON")
    func notifications() throws {
        var script = Script()
        let id = try self.observed(&script)
        #expect(script.layer.statistics.observers == 1 && script.layer.isIdle)
        let first = script.notify(id, CoAPResponse(.content, observe: 2, payload: [2]), confirmable: false)
        #expect(transmitted(first).map(\.token) == [token(9)] && transmitted(first).map(\.type) == [.nonConfirmable])
        #expect(reported(first) == [.settled(id, .sent)])
        let second = script.notify(id, CoAPResponse(.content, observe: 3, payload: [3]), confirmable: true)
        let message = try #require(transmitted(second).first)
        #expect(message.type == .confirmable && message.options.uint(.observe) == 3)
        #expect(script.receive(empty(.acknowledgement, message.messageID)) == [.settled(id, .delivered)])
        #expect(script.layer.statistics.observers == 1)
    }

    @Test("RST to a notification ends the observation, be it CON or NON", arguments: [true, false])
    func refusedNotification(confirmable: Bool) throws {
        var script = Script()
        let id = try self.observed(&script)
        let events = script.notify(id, CoAPResponse(.content, observe: 2), confirmable: confirmable)
        let message = try #require(transmitted(events).first)
        #expect(script.receive(empty(.reset, message.messageID)) == [.settled(id, .reset)])
        #expect(script.layer.statistics.observers == 0)
        #expect(script.notify(id, CoAPResponse(.content, observe: 3), confirmable: false) == [])
    }

    @Test("A notification that is not acknowledged ends the observation")
    func unacknowledgedNotification() throws {
        var script = Script()
        let id = try self.observed(&script)
        _ = script.notify(id, CoAPResponse(.content, observe: 2), confirmable: true)
        #expect(reported(script.advance(by: 100)) == [.settled(id, .unacknowledged)])
        #expect(script.layer.statistics.observers == 0)
    }

    @Test("A notification with an error, or without Observe, is the last one")
    func lastNotification() throws {
        for last in [CoAPResponse(.notFound, observe: 7), CoAPResponse(.content)] {
            var script = Script()
            let id = try self.observed(&script)
            #expect(reported(script.notify(id, last, confirmable: false)) == [.settled(id, .sent)])
            #expect(script.layer.statistics.observers == 0)
        }
    }

    @Test("A new request with the token of an observation replaces it")
    func superseded() throws {
        var script = Script()
        let id = try self.observed(&script)
        let cancellation = CoAPMessage(
            type: .confirmable,
            code: .get,
            messageID: 51,
            token: token(9),
            options: options(adding: [(6, [1])])
        )
        let events = script.receive(cancellation)
        #expect(events.first == .settled(id, .superseded))
        #expect(requested(events)?.request.observe == 1)
        #expect(script.layer.statistics.observers == 0)
    }

    @Test("Observe in an answer to a request that did not ask for it is left out")
    func unaskedObserve() throws {
        var script = Script()
        let (id, _) = try #require(requested(script.receive(bootstrapRequest())))
        let events = script.respond(id, CoAPResponse(.content, observe: 1))
        #expect(transmitted(events).first?.options.contains(.observe) == false)
        #expect(script.layer.statistics.observers == 0)
    }

    @Test("Beyond 128 observations a request is answered without Observe")
    func boundedObservers() throws {
        var script = Script()
        for index in UInt16(0)..<129 {
            let get = CoAPMessage(
                type: .confirmable,
                code: .get,
                messageID: index,
                token: token(UInt8(index)),
                options: options(adding: [(6, [])])
            )
            let (id, _) = try #require(requested(script.receive(get)))
            let events = script.respond(id, CoAPResponse(.content, observe: 1))
            #expect(transmitted(events).first?.options.contains(.observe) == (index < 128))
        }
        #expect(script.layer.statistics.observers == 128)
    }
}
