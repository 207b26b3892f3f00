package import Timing

extension MessageLayer {
    /// A request of ours that has no response yet.
    struct Exchange: Sendable {
        let id: ExchangeID
        let token: CoAPToken
        let isConfirmable: Bool
        /// The Observe option of the request.
        let observe: UInt32?
        /// Nil while the request waits for its turn; a response cannot match before.
        var messageID: UInt16?
        /// Set when the peer has acknowledged the request, and for NON when it went out.
        var responseDue: Instant?
        /// A CON whose repetitions its owner commands (`sendOnce`): what to send again.
        var datagram: [UInt8]?

        /// It never waits for its turn, nor do others wait for it.
        var isOutsideQueue: Bool { !self.isConfirmable || self.datagram != nil }
    }

    /// An observation that we hold with the peer.
    struct Observation: Sendable {
        let id: ExchangeID
        let token: CoAPToken
        /// Observe option and arrival of the newest notification.
        var sequence: UInt32
        var arrival: Instant

        /// RFC 7641, section 3.4: counting in 24 bits, and anything goes after 128 seconds.
        func isFresh(_ other: UInt32, at now: Instant) -> Bool {
            let distance = (other &- self.sequence) & 0xff_ffff
            return distance > 0 && distance < 1 << 23 || self.arrival.duration(to: now) > .seconds(128)
        }
    }

    // MARK: - To the peer

    /// Sends a request. A CON waits while another CON of ours is outstanding; a NON goes out at once.
    ///
    /// - Parameter observation: a request with the same token ends or renews this observation, as Observe 1 has to
    ///   (RFC 7641, section 3.6). No event will name the old exchange again.
    package mutating func send(
        _ request: CoAPRequest,
        replacing observation: ExchangeID? = nil,
        now: Instant,
        into events: inout [Event]
    ) -> ExchangeID {
        let id = ExchangeID(serial: self.nextSerial())
        let token = self.token(replacing: observation)
        guard self.exchanges.count < Limit.openExchanges else {
            events.append(.failed(id, .overloaded))
            return id
        }
        var exchange = Exchange(
            id: id,
            token: token,
            isConfirmable: request.isConfirmable,
            observe: request.observe
        )
        if request.isConfirmable {
            guard self.queue.count < Limit.queuedMessages else {
                events.append(.failed(id, .overloaded))
                return id
            }
            self.exchanges.append(exchange)
            let datagram = CoAPCodec.encode(
                .confirmable,
                request.code,
                messageID: 0,
                token: token,
                options: request.options,
                payload: request.payload
            )
            self.enqueue(Outgoing(datagram: datagram, purpose: .request(id)), now: now, into: &events)
        } else {
            guard let messageID = self.issueMessageID(now: now) else {
                events.append(.failed(id, .overloaded))
                return id
            }
            exchange.messageID = messageID
            exchange.responseDue = now + self.parameters.responseTimeout
            self.exchanges.append(exchange)
            let datagram = CoAPCodec.encode(
                .nonConfirmable,
                request.code,
                messageID: messageID,
                token: token,
                options: request.options,
                payload: request.payload
            )
            events.append(.transmit(datagram))
        }
        return id
    }

    /// The token of this observation, which ends with that; without one a token that nothing else has, observations
    /// included that were made in another layer.
    mutating func token(replacing observation: ExchangeID?) -> CoAPToken {
        if let observation, let index = self.observations.firstIndex(where: { $0.id == observation }) {
            return self.observations.remove(at: index).token
        }
        while true {
            let token = CoAPToken(self.generator.next())
            if !self.observations.contains(where: { $0.token == token })
                && !self.exchanges.contains(where: { $0.token == token })
            {
                return token
            }
        }
    }

    /// Sends an empty CON. Ends with `.pong` or `.failed`.
    package mutating func ping(now: Instant, into events: inout [Event]) -> ExchangeID {
        let id = ExchangeID(serial: self.nextSerial())
        guard self.queue.count < Limit.queuedMessages else {
            events.append(.failed(id, .overloaded))
            return id
        }
        let datagram = CoAPCodec.encodeEmpty(.confirmable, messageID: 0)
        self.enqueue(Outgoing(datagram: datagram, purpose: .ping(id)), now: now, into: &events)
        return id
    }

    /// Forgets an exchange or an observation: no event will name it again, and a late response to it gets RST.
    package mutating func cancel(_ exchange: ExchangeID) {
        self.exchanges.removeAll { $0.id == exchange }
        self.observations.removeAll { $0.id == exchange }
        self.queue.removeAll { $0.purpose == .request(exchange) || $0.purpose == .ping(exchange) }
        if let inFlight = self.inFlight,
            inFlight.purpose == .request(exchange) || inFlight.purpose == .ping(exchange)
        {
            self.inFlight = nil
            // There is no `now` here: the next message goes out with the deadline, which is over already.
            self.overdue = self.queue.isEmpty ? nil : inFlight.sent
        }
    }

    // MARK: - From the peer

    /// An ACK: empty, or with the response to the message that it acknowledges.
    mutating func receiveAcknowledgement(
        _ message: CoAPMessage,
        now: Instant,
        into events: inout [Event]
    ) {
        if message.code.isEmpty {
            guard let inFlight = self.inFlight, inFlight.messageID == message.messageID else {
                self.acknowledgeSentOnce(message.messageID, now: now, into: &events)
                return
            }
            switch inFlight.purpose {
            case .request(let id):
                self.inFlight = nil
                if let index = self.exchanges.firstIndex(where: { $0.id == id }) {
                    self.exchanges[index].responseDue = now + self.parameters.responseTimeout
                }
                events.append(.acknowledged(id))
            case .response(let id), .notification(let id):
                self.inFlight = nil
                events.append(.settled(id, .delivered))
            case .ping:
                // Only RST answers a ping.
                events.append(.dropped(.unexpectedAcknowledgement))
            }
            return
        }
        guard message.code.isResponse else {
            events.append(.dropped(.unexpectedCode))
            return
        }
        // A piggybacked response has the message ID and the token of its request (RFC 7252, section 5.3.2).
        guard
            let index = self.exchanges.firstIndex(where: {
                $0.isConfirmable && $0.messageID == message.messageID && $0.token == message.token
            })
        else {
            events.append(.dropped(.unexpectedResponse))
            return
        }
        self.finish(exchangeAt: index, with: self.usableResponse(message), now: now, into: &events)
    }

    /// A separate response, or a notification, that is not a duplicate.
    mutating func receiveResponse(_ arrival: Arrival, into events: inout [Event]) {
        let message = arrival.message
        if let index = self.exchanges.firstIndex(where: { $0.token == message.token && $0.messageID != nil }) {
            let response = self.usableResponse(message)
            if response == nil {
                self.rejectResponse(arrival, into: &events)
            } else {
                self.acceptResponse(arrival, into: &events)
            }
            if self.exchanges[index].observe == 1, message.options.contains(.observe) {
                // A notification that crossed the end of its observation: the response proper is still to come.
                events.append(.dropped(.staleNotification))
                return
            }
            self.finish(exchangeAt: index, with: response, now: arrival.now, into: &events)
        } else if let index = self.observations.firstIndex(where: { $0.token == message.token }) {
            self.receiveNotification(arrival, at: index, into: &events)
        } else {
            // RST for a NON notification ends an observation that only the peer still knows (RFC 7641, section 3.6).
            if arrival.key.isConfirmable || message.options.contains(.observe) {
                self.rejectResponse(arrival, into: &events, always: true)
            }
            events.append(.dropped(.unexpectedResponse))
        }
    }

    private mutating func receiveNotification(_ arrival: Arrival, at index: Int, into events: inout [Event]) {
        let id = self.observations[index].id
        guard let response = self.usableResponse(arrival.message) else {
            self.rejectResponse(arrival, into: &events, always: true)
            self.observations.remove(at: index)
            events.append(.failed(id, .unusableResponse))
            return
        }
        self.acceptResponse(arrival, into: &events)
        if response.code.isSuccess, let sequence = response.observe {
            guard self.observations[index].isFresh(sequence, at: arrival.now) else {
                events.append(.dropped(.staleNotification))
                return
            }
            self.observations[index].sequence = sequence
            self.observations[index].arrival = arrival.now
        } else {
            self.observations.remove(at: index)
        }
        events.append(.notification(id, response, isConfirmable: arrival.key.isConfirmable))
    }

    /// Hands the response up and ends the exchange, or turns it into an observation. Nil for one that cannot be used.
    private mutating func finish(
        exchangeAt index: Int,
        with response: CoAPResponse?,
        now: Instant,
        into events: inout [Event]
    ) {
        let exchange = self.exchanges.remove(at: index)
        // A response acknowledges its request, also one that overtook the empty ACK.
        if let inFlight = self.inFlight, inFlight.purpose == .request(exchange.id) {
            self.inFlight = nil
        }
        guard let response else {
            events.append(.failed(exchange.id, .unusableResponse))
            return
        }
        if exchange.observe == 0, response.code.isSuccess, let sequence = response.observe,
            self.observations.count < Limit.observations
        {
            self.observations.append(
                Observation(id: exchange.id, token: exchange.token, sequence: sequence, arrival: now)
            )
        }
        events.append(.response(exchange.id, response))
    }

    /// The response with the options that count, nil if one of them must be understood and is not.
    private func usableResponse(_ message: CoAPMessage) -> CoAPResponse? {
        switch self.optionPolicy.verdict(on: message.options, inRequest: false) {
        case .accepted:
            CoAPResponse(message.code, options: message.options, payload: message.payload)
        case .acceptedWithoutIgnored:
            CoAPResponse(
                message.code,
                options: self.optionPolicy.withoutIgnored(message.options, inRequest: false),
                payload: message.payload
            )
        case .rejected:
            nil
        }
    }

    private mutating func acceptResponse(_ arrival: Arrival, into events: inout [Event]) {
        self.remember(arrival, arrival.key.isConfirmable ? .acknowledged : .nothing)
        if arrival.key.isConfirmable {
            let messageID = arrival.message.messageID
            events.append(.transmit(CoAPCodec.encodeEmpty(.acknowledgement, messageID: messageID)))
        }
    }

    /// RST for a CON; a NON is dropped unless the RST has a purpose of its own.
    private mutating func rejectResponse(_ arrival: Arrival, into events: inout [Event], always: Bool = false) {
        let resets = arrival.key.isConfirmable || always
        self.remember(arrival, resets ? .reset : .nothing)
        if resets {
            events.append(.transmit(CoAPCodec.encodeEmpty(.reset, messageID: arrival.message.messageID)))
        }
    }

    /// A RST: the peer refuses a message of ours, or answers a ping.
    mutating func receiveReset(_ message: CoAPMessage, into events: inout [Event]) {
        guard message.code.isEmpty else {
            events.append(.dropped(.unexpectedCode))
            return
        }
        let messageID = message.messageID
        if let inFlight = self.inFlight, inFlight.messageID == messageID {
            self.inFlight = nil
            switch inFlight.purpose {
            case .request(let id):
                self.exchanges.removeAll { $0.id == id }
                events.append(.failed(id, .reset))
            case .response(let id), .notification(let id):
                self.endObservation(id)
                events.append(.settled(id, .reset))
            case .ping(let id):
                events.append(.pong(id))
            }
        } else if let index = self.exchanges.firstIndex(where: { $0.isOutsideQueue && $0.messageID == messageID }) {
            events.append(.failed(self.exchanges.remove(at: index).id, .reset))
        } else if let index = self.observers.firstIndex(where: { $0.lastNonConfirmable == messageID }) {
            let id = self.observers[index].id
            self.endObservation(id)
            events.append(.settled(id, .reset))
        } else {
            events.append(.dropped(.unexpectedReset))
        }
    }
}
