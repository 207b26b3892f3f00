import CoAP
import Testing
import Timing

/// Requests of ours and the peer's responses to them.
@Suite("Requests of ours")
struct ClientRoleTests {
    private let write = CoAPRequest(.put, path: ["0", "1"], contentFormat: 11542, payload: [1, 2, 3])

    private func acknowledgement(_ request: CoAPMessage, _ code: CoAPCode = .changed) -> CoAPMessage {
        CoAPMessage(type: .acknowledgement, code: code, messageID: request.messageID, token: request.token)
    }

    @Test("A request goes out as CON with a token of eight bytes")
    func firstTransmission() throws {
        var script = Script()
        let (_, events) = script.send(self.write)
        let message = try #require(transmitted(events).first)
        #expect(message.type == .confirmable && message.code == .put && message.token.count == 8)
        #expect(message.options == self.write.options && message.payload == [1, 2, 3])
    }

    @Test("Message IDs count up from a random start, tokens are random")
    func identifiers() throws {
        var starts: Set<UInt16> = []
        var tokens: Set<CoAPToken> = []
        for seed in UInt64(0)..<50 {
            var script = Script(seed: seed)
            var last: UInt16?
            for _ in 0..<4 {
                let (_, events) = script.send(CoAPRequest(.get, isConfirmable: false))
                let message = try #require(transmitted(events).first)
                if let last {
                    #expect(message.messageID == last &+ 1)
                } else {
                    starts.insert(message.messageID)
                }
                last = message.messageID
                tokens.insert(message.token)
            }
        }
        #expect(starts.count > 45 && tokens.count == 200)
    }

    @Test("A piggybacked response ends the exchange")
    func piggybacked() throws {
        var script = Script()
        let (id, events) = script.send(self.write)
        let request = try #require(transmitted(events).first)
        #expect(script.receive(self.acknowledgement(request)) == [.response(id, CoAPResponse(.changed))])
        #expect(script.layer.isIdle && script.layer.deadline == nil)
        // The same ACK once more belongs to nothing.
        #expect(script.receive(self.acknowledgement(request)) == [.dropped(.unexpectedResponse)])
    }

    @Test("A piggybacked response needs the message ID and the token of the request")
    func mismatchedResponse() throws {
        var script = Script()
        let (_, events) = script.send(self.write)
        let request = try #require(transmitted(events).first)
        var other = self.acknowledgement(request)
        other.messageID &+= 1
        #expect(script.receive(other) == [.dropped(.unexpectedResponse)])
        other = self.acknowledgement(request)
        other.token = token(1)
        #expect(script.receive(other) == [.dropped(.unexpectedResponse)])
        #expect(script.layer.statistics.unacknowledgedMessages == 1)
    }

    @Test("T9: a separate response is acknowledged and repeated ACKs go to its duplicates")
    func separate() throws {
        var script = Script()
        let (id, events) = script.send(self.write)
        let request = try #require(transmitted(events).first)
        #expect(script.receive(empty(.acknowledgement, request.messageID)) == [.acknowledged(id)])
        #expect(script.advance(by: 30) == [])
        let response = CoAPMessage(type: .confirmable, code: .changed, messageID: 7, token: request.token)
        let ack = Event.transmit([0x60, 0, 0, 7])
        #expect(script.receive(response) == [ack, .response(id, CoAPResponse(.changed))])
        #expect(script.receive(response) == [ack, .dropped(.duplicate)])
        #expect(script.layer.isIdle)
    }

    @Test("A separate response that overtakes its empty ACK acknowledges the request", arguments: [true, false])
    func overtakingResponse(confirmable: Bool) throws {
        var script = Script()
        let (id, events) = script.send(self.write)
        let request = try #require(transmitted(events).first)
        let response = CoAPMessage(
            type: confirmable ? .confirmable : .nonConfirmable,
            code: .changed,
            messageID: 7,
            token: request.token
        )
        #expect(reported(script.receive(response)) == [.response(id, CoAPResponse(.changed))])
        #expect(script.layer.isIdle)
        #expect(
            script.receive(empty(.acknowledgement, request.messageID)) == [.dropped(.unexpectedAcknowledgement)]
        )
        #expect(script.advance(by: 100) == [])
    }

    @Test("Without an ACK the request is repeated four times after growing timeouts, then it fails", arguments: 0..<20)
    func retransmission(seed: UInt64) throws {
        var script = Script(seed: seed)
        let (id, sent) = script.send(self.write)
        let start = script.now
        var times: [Duration] = []
        var events: [Event] = []
        while let deadline = script.layer.deadline {
            script.now = deadline
            // A call that comes early does nothing.
            script.layer.handleDeadline(now: deadline - .milliseconds(1), into: &events)
            script.layer.handleDeadline(now: deadline, into: &events)
            times.append(start.duration(to: deadline))
        }
        #expect(transmitted(events) == [CoAPMessage](repeating: transmitted(sent)[0], count: 4))
        #expect(reported(events) == [.failed(id, .unacknowledged)])
        #expect(events.count { $0 == .retransmitted } == 4)
        #expect(times.count == 5)
        #expect(times[0] >= .seconds(2) && times[0] <= .seconds(3), "seed \(seed)")
        for (index, time) in times.enumerated() {
            // Sums of a doubling timeout: 1, 3, 7, 15 and 31 times the first one.
            let expected = times[0] * ((2 << index) - 1)
            #expect(abs((time - expected) / .milliseconds(1)) < 1, "seed \(seed)")
        }
        #expect(script.layer.isIdle)
    }

    @Test("The first timeout varies with the seed")
    func randomFactor() {
        let timeouts = (UInt64(0)..<20).map { seed in
            var script = Script(seed: seed)
            _ = script.send(self.write)
            return script.layer.deadline.map { script.now.duration(to: $0) }
        }
        #expect(Set(timeouts).count == 20)
    }

    @Test("A timer that fires after its message was acknowledged does nothing")
    func lateTimer() throws {
        var script = Script()
        let (_, events) = script.send(self.write)
        let deadline = try #require(script.layer.deadline)
        _ = script.receive(self.acknowledgement(try #require(transmitted(events).first)))
        var late: [Event] = []
        script.layer.handleDeadline(now: deadline, into: &late)
        #expect(late == [])
    }

    @Test("A request that was acknowledged fails when no response follows within the response timeout")
    func noResponse() throws {
        var script = Script()
        let (id, events) = script.send(self.write)
        let request = try #require(transmitted(events).first)
        _ = script.receive(empty(.acknowledgement, request.messageID))
        #expect(script.advance(by: 92.9) == [])
        #expect(script.advance(by: 0.2) == [.failed(id, .noResponse)])
        // A response that comes too late gets RST.
        let response = CoAPMessage(type: .confirmable, code: .changed, messageID: 7, token: request.token)
        #expect(script.receive(response) == [.transmit([0x70, 0, 0, 7]), .dropped(.unexpectedResponse)])
    }

    @Test("RST fails the request")
    func reset() throws {
        var script = Script()
        let (id, events) = script.send(self.write)
        let request = try #require(transmitted(events).first)
        #expect(script.receive(empty(.reset, request.messageID)) == [.failed(id, .reset)])
        #expect(script.layer.isIdle)
    }

    @Test("A NON request goes out at once and fails without a response, or by RST")
    func nonConfirmable() throws {
        var script = Script()
        _ = script.send(self.write)
        let request = CoAPRequest(.get, path: ["1"], isConfirmable: false)
        let (first, events) = script.send(request)
        let message = try #require(transmitted(events).first)
        #expect(message.type == .nonConfirmable)
        #expect(script.receive(empty(.reset, message.messageID)) == [.failed(first, .reset)])

        let (second, _) = script.send(request)
        #expect(reported(script.advance(by: 93)).contains(.failed(second, .noResponse)))

        let (third, again) = script.send(request)
        let response = CoAPMessage(
            type: .nonConfirmable,
            code: .content,
            messageID: 7,
            token: try #require(transmitted(again).first).token
        )
        #expect(script.receive(response) == [.response(third, CoAPResponse(.content))])
    }

    @Test("A second CON waits until the first one is acknowledged")
    func oneOutstanding() throws {
        var script = Script()
        let (first, events) = script.send(self.write)
        let (second, none) = script.send(self.write)
        #expect(none == [])
        let request = try #require(transmitted(events).first)
        let next = script.receive(empty(.acknowledgement, request.messageID))
        #expect(next.first == .acknowledged(first))
        let message = try #require(transmitted(next).first)
        #expect(message.messageID == request.messageID &+ 1 && message.token != request.token)
        #expect(script.receive(self.acknowledgement(message)) == [.response(second, CoAPResponse(.changed))])
        #expect(script.layer.statistics.openExchanges == 1)
    }

    @Test("A separate response waits for the outstanding request and goes before the requests that wait")
    func answersFirst() throws {
        var script = Script()
        let (incoming, _) = try #require(requested(script.receive(bootstrapRequest())))
        _ = script.advance(by: 1)
        let (_, events) = script.send(self.write)
        _ = script.send(self.write)
        #expect(script.respond(incoming, CoAPResponse(.changed)) == [])
        let request = try #require(transmitted(events).first)
        let next = try #require(transmitted(script.receive(self.acknowledgement(request))).first)
        #expect(next.code == .changed && next.token == token(1, 2))
        let last = try #require(transmitted(script.receive(empty(.acknowledgement, next.messageID))).first)
        #expect(last.code == .put)
    }

    @Test("A request that waits cannot be answered yet: the token was never sent")
    func responseToWaitingRequest() {
        var script = Script()
        _ = script.send(self.write)
        let (waiting, _) = script.send(self.write)
        script.layer.cancel(waiting)
        #expect(script.layer.statistics.openExchanges == 1 && script.layer.statistics.unacknowledgedMessages == 1)
    }

    @Test("A cancelled request is not repeated; a late response to it gets RST or nothing")
    func cancelled() throws {
        var script = Script()
        let (id, events) = script.send(self.write)
        let request = try #require(transmitted(events).first)
        script.layer.cancel(id)
        #expect(script.layer.isIdle && script.layer.deadline == nil)
        #expect(script.receive(self.acknowledgement(request)) == [.dropped(.unexpectedResponse)])
        let response = CoAPMessage(type: .confirmable, code: .changed, messageID: 7, token: request.token)
        #expect(script.receive(response) == [.transmit([0x70, 0, 0, 7]), .dropped(.unexpectedResponse)])
    }

    @Test("Cancelling the outstanding request lets the next one go with the deadline")
    func cancelFreesTheWay() throws {
        var script = Script()
        let (first, _) = script.send(self.write)
        _ = script.send(CoAPRequest(.delete, path: ["0"]))
        script.layer.cancel(first)
        #expect(try #require(script.layer.deadline) <= script.now)
        #expect(transmitted(script.advance(by: 0)).map(\.code) == [.delete])
    }

    @Test("Beyond 32 waiting requests the next one fails at once")
    func boundedQueue() {
        var script = Script()
        for _ in 0..<33 {
            _ = script.send(self.write)
        }
        let (id, events) = script.send(self.write)
        #expect(events == [.failed(id, .overloaded)])
        let (ping, none) = script.ping()
        #expect(none == [.failed(ping, .overloaded)])
        #expect(script.layer.statistics.unacknowledgedMessages == 33)
    }

    @Test("Beyond 64 open exchanges the next one fails at once")
    func boundedExchanges() {
        var script = Script()
        for _ in 0..<64 {
            _ = script.send(CoAPRequest(.get, isConfirmable: false))
        }
        let (id, events) = script.send(CoAPRequest(.get, isConfirmable: false))
        #expect(events == [.failed(id, .overloaded)])
    }

    @Test("With a full queue a separate response goes out as NON")
    func responseBesideFullQueue() throws {
        var script = Script()
        let (incoming, _) = try #require(requested(script.receive(bootstrapRequest())))
        _ = script.advance(by: 1)
        for _ in 0..<33 {
            _ = script.send(self.write)
        }
        let events = script.respond(incoming, CoAPResponse(.changed))
        #expect(transmitted(events).map(\.type) == [.nonConfirmable])
        #expect(reported(events) == [.settled(incoming, .sent)])
    }

    @Test("A ping is an empty CON; RST is its answer, and an ACK is none")
    func ping() throws {
        var script = Script()
        let (id, events) = script.ping()
        let message = try #require(transmitted(events).first)
        #expect(message == empty(.confirmable, message.messageID))
        #expect(script.receive(empty(.acknowledgement, message.messageID)) == [.dropped(.unexpectedAcknowledgement)])
        #expect(script.receive(empty(.reset, message.messageID)) == [.pong(id)])
        let (second, _) = script.ping()
        #expect(reported(script.advance(by: 100)) == [.failed(second, .unacknowledged)])
        #expect(script.layer.isIdle)
    }
}

/// RFC 7641, client side.
@Suite("Observations that we hold")
struct ObservationTests {
    private let register = CoAPRequest(.get, path: ["3", "0"], observe: 0)

    private func observing(_ script: inout Script) throws -> (MessageLayer.ExchangeID, CoAPToken) {
        let (id, events) = script.send(self.register)
        let request = try #require(transmitted(events).first)
        let response = CoAPMessage(
            type: .acknowledgement,
            code: .content,
            messageID: request.messageID,
            token: request.token,
            options: options(adding: [(6, [10])])
        )
        #expect(script.receive(response) == [.response(id, CoAPResponse(.content, observe: 10))])
        return (id, request.token)
    }

    private func notification(
        _ token: CoAPToken,
        _ sequence: UInt8?,
        messageID: UInt16,
        _ type: CoAPMessageType = .nonConfirmable
    ) -> CoAPMessage {
        CoAPMessage(
            type: type,
            code: .content,
            messageID: messageID,
            token: token,
            options: options(adding: sequence.map { [(6, [$0])] } ?? [])
        )
    }

    @Test("Notifications follow the first response; a CON gets its ACK")
    func notifications() throws {
        var script = Script()
        let (id, token) = try self.observing(&script)
        #expect(script.layer.isIdle && script.layer.deadline == nil && script.layer.statistics.observations == 1)
        let first = self.notification(token, 11, messageID: 1)
        #expect(script.receive(first) == [.notification(id, CoAPResponse(.content, observe: 11), isConfirmable: false)])
        #expect(script.receive(first) == [.dropped(.duplicate)])
        let second = self.notification(token, 12, messageID: 2, .confirmable)
        #expect(
            script.receive(second) == [
                .transmit([0x60, 0, 0, 2]), .notification(id, CoAPResponse(.content, observe: 12), isConfirmable: true),
            ]
        )
    }

    @Test("A notification that was overtaken is acknowledged and dropped, until 128 seconds have passed")
    func staleNotification() throws {
        var script = Script()
        let (id, token) = try self.observing(&script)
        let stale = self.notification(token, 9, messageID: 1, .confirmable)
        #expect(script.receive(stale) == [.transmit([0x60, 0, 0, 1]), .dropped(.staleNotification)])
        _ = script.advance(by: 129)
        let restarted = self.notification(token, 3, messageID: 2)
        let fresh = CoAPResponse(.content, observe: 3)
        #expect(script.receive(restarted) == [.notification(id, fresh, isConfirmable: false)])
    }

    @Test("A response without Observe ends the observation")
    func lastNotification() throws {
        var script = Script()
        let (id, token) = try self.observing(&script)
        let last = self.notification(token, nil, messageID: 1)
        #expect(script.receive(last) == [.notification(id, CoAPResponse(.content), isConfirmable: false)])
        #expect(script.layer.statistics.observations == 0)
    }

    @Test("A response without Observe to the registration is final")
    func refusedRegistration() throws {
        var script = Script()
        let (id, events) = script.send(self.register)
        let request = try #require(transmitted(events).first)
        let response = CoAPMessage(
            type: .acknowledgement,
            code: .content,
            messageID: request.messageID,
            token: request.token
        )
        #expect(script.receive(response) == [.response(id, CoAPResponse(.content))])
        #expect(script.layer.statistics.observations == 0)
    }

    @Test("Notifications of a cancelled observation get RST")
    func cancelled() throws {
        var script = Script()
        let (id, token) = try self.observing(&script)
        script.layer.cancel(id)
        let late = self.notification(token, 11, messageID: 1)
        #expect(script.receive(late) == [.transmit([0x70, 0, 0, 1]), .dropped(.unexpectedResponse)])
    }

    @Test("The end of an observation is asked for with its token; a notification that crosses it is no answer")
    func deregistration() throws {
        var script = Script()
        let (id, token) = try self.observing(&script)
        let (second, events) = script.send(CoAPRequest(.get, path: ["3", "0"], observe: 1), replacing: id)
        let request = try #require(transmitted(events).first)
        #expect(request.token == token)
        #expect(script.receive(self.notification(token, 11, messageID: 1)) == [.dropped(.staleNotification)])
        #expect(script.layer.statistics.unacknowledgedMessages == 1)
        let response = CoAPMessage(
            type: .acknowledgement,
            code: .content,
            messageID: request.messageID,
            token: token
        )
        #expect(script.receive(response) == [.response(second, CoAPResponse(.content))])
        #expect(script.layer.statistics.observations == 0 && script.layer.isIdle)
    }
}
