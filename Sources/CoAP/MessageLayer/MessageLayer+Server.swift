package import Timing

extension MessageLayer {
    /// A request of the peer that has no response yet.
    ///
    /// A CON starts unacknowledged, with `acknowledgeBy` set. It becomes acknowledged by the empty ACK; then only a separate
    /// response can end it. A NON has neither.
    struct PeerRequest: Sendable {
        let id: RequestID
        let token: CoAPToken
        let key: MessageMemory.Key
        /// It asks for notifications (Observe 0).
        let wantsObservation: Bool
        /// When the empty ACK is due; nil once it is out, and for NON.
        var acknowledgeBy: Instant?
        /// Whoever works on it wants to know when the peer repeats it.
        var tellsRepetitions = false
    }

    /// An observation that the peer holds with us.
    struct Observer: Sendable {
        let id: RequestID
        let token: CoAPToken
        /// The last NON notification: the peer may refuse it by RST.
        var lastNonConfirmable: UInt16?
    }

    // MARK: - From the peer

    /// A request that is not a duplicate.
    mutating func receiveRequest(_ arrival: Arrival, into events: inout [Event]) {
        let message = arrival.message
        if self.rejectsRequests {
            if arrival.key.isConfirmable {
                events.append(.transmit(CoAPCodec.encodeEmpty(.reset, messageID: message.messageID)))
            }
            // Remembered, so that a repetition does not count as new once requests are taken again.
            self.remember(arrival, arrival.key.isConfirmable ? .reset : .nothing)
            events.append(.dropped(.requestRejected))
            return
        }
        var options = message.options
        switch self.optionPolicy.verdict(on: options, inRequest: true) {
        case .accepted:
            break
        case .acceptedWithoutIgnored:
            options = self.optionPolicy.withoutIgnored(options, inRequest: true)
        case .rejected(let number):
            let refusal = CoAPResponse(.badOption, diagnostic: "option \(number) not supported")
            self.refuse(arrival, with: refusal, because: .optionNotUnderstood, into: &events)
            return
        }
        if options.contains(.proxyURI) || options.contains(.proxyScheme) {
            self.refuse(arrival, with: CoAPResponse(.proxyingNotSupported), because: .proxyRequest, into: &events)
            return
        }
        if self.requests.count >= Limit.openRequests {
            let refusal = CoAPResponse(.serviceUnavailable, maxAge: 5)
            self.refuse(arrival, with: refusal, because: .overloaded, into: &events)
            return
        }

        self.supersede(by: arrival, into: &events)
        let isConfirmable = arrival.key.isConfirmable
        self.remember(arrival, isConfirmable ? .pending : .nothing)
        let id = RequestID(serial: self.nextSerial())
        self.requests.append(
            PeerRequest(
                id: id,
                token: message.token,
                key: arrival.key,
                wantsObservation: options.uint(.observe) == 0,
                acknowledgeBy: isConfirmable ? arrival.now + self.parameters.piggybackWait : nil
            )
        )
        let request = CoAPRequest(
            message.code,
            options: options,
            payload: message.payload,
            isConfirmable: isConfirmable
        )
        events.append(.request(id, request))
    }

    /// Answers a CON request without handing it up; a NON request gets nothing.
    private mutating func refuse(
        _ arrival: Arrival,
        with response: CoAPResponse,
        because reason: DropReason,
        into events: inout [Event]
    ) {
        if arrival.key.isConfirmable {
            let datagram = CoAPCodec.encode(
                .acknowledgement,
                response.code,
                messageID: arrival.message.messageID,
                token: arrival.message.token,
                options: response.options,
                payload: response.payload
            )
            self.remember(arrival, .message(datagram))
            events.append(.transmit(datagram))
        } else {
            self.remember(arrival, .nothing)
        }
        events.append(.dropped(reason))
    }

    /// A new request takes the place of an observation with its token; and where the peer has taken up a message ID too
    /// early, the response to the older request cannot be an ACK any more.
    private mutating func supersede(by arrival: Arrival, into events: inout [Event]) {
        if let index = self.observers.firstIndex(where: { $0.token == arrival.message.token }) {
            let id = self.observers.remove(at: index).id
            self.queue.removeAll { $0.purpose == .notification(id) }
            events.append(.settled(id, .superseded))
        }
        for index in self.requests.indices where self.requests[index].key.sharesID(with: arrival.key) {
            self.requests[index].acknowledgeBy = nil
        }
    }

    /// Sends the empty ACK. From here on duplicates get it again, and the response will be a separate one.
    mutating func acknowledge(requestAt index: Int, into events: inout [Event]) {
        let key = self.requests[index].key
        self.requests[index].acknowledgeBy = nil
        self.memory.update(key, .acknowledged)
        events.append(.transmit(CoAPCodec.encodeEmpty(.acknowledgement, messageID: key.messageID)))
    }

    // MARK: - To the peer

    /// Answers a request: piggybacked as long as the empty ACK is not out, else as a separate CON; a NON by a NON.
    ///
    /// With an Observe option, in answer to a request that carries Observe 0, the request stays known for `notify`. A request
    /// that is not open (any more) is ignored.
    package mutating func respond(
        to request: RequestID,
        _ response: CoAPResponse,
        now: Instant,
        into events: inout [Event]
    ) {
        guard let index = self.requests.firstIndex(where: { $0.id == request }) else { return }
        let open = self.requests.remove(at: index)
        var response = response
        if response.options.contains(.observe) {
            if open.wantsObservation, response.code.isSuccess, self.observers.count < Limit.observations {
                self.observers.append(Observer(id: request, token: open.token))
            } else {
                // Without the option the peer knows that no notifications will come.
                response.options.removeAll(.observe)
            }
        }
        if open.key.isConfirmable, open.acknowledgeBy != nil {
            let datagram = CoAPCodec.encode(
                .acknowledgement,
                response.code,
                messageID: open.key.messageID,
                token: open.token,
                options: response.options,
                payload: response.payload
            )
            self.memory.update(open.key, .message(datagram))
            events.append(.transmit(datagram))
            events.append(.settled(request, .sent))
        } else if open.key.isConfirmable, self.queue.count < Limit.queuedMessages {
            self.enqueue(response, token: open.token, purpose: .response(request), now: now, into: &events)
        } else {
            _ = self.transmitNonConfirmable(response, token: open.token, for: request, now: now, into: &events)
        }
    }

    /// Sends a further response to a request whose response registered an observation (RFC 7641, section 4.2).
    ///
    /// The caller sets Observe, counting up. A notification without it, or with an error code, ends the observation. A request
    /// without an observation (any more) is ignored. With too many messages waiting a CON goes out as NON.
    package mutating func notify(
        _ request: RequestID,
        _ response: CoAPResponse,
        confirmable: Bool,
        now: Instant,
        into events: inout [Event]
    ) {
        guard let index = self.observers.firstIndex(where: { $0.id == request }) else { return }
        let token = self.observers[index].token
        let isLast = !response.code.isSuccess || !response.options.contains(.observe)
        if isLast {
            self.observers.remove(at: index)
        }
        if confirmable, self.queue.count < Limit.queuedMessages {
            self.enqueue(response, token: token, purpose: .notification(request), now: now, into: &events)
        } else {
            let messageID = self.transmitNonConfirmable(
                response,
                token: token,
                for: request,
                now: now,
                into: &events
            )
            if !isLast {
                self.observers[index].lastNonConfirmable = messageID
            }
        }
    }

    /// Refuses a request by RST instead of an answer, and ends its observation.
    ///
    /// A CON whose empty ACK is out cannot be refused any more: it is forgotten, and the peer's own timeout ends it.
    package mutating func reset(
        _ request: RequestID,
        now: Instant,
        into events: inout [Event]
    ) {
        if let index = self.requests.firstIndex(where: { $0.id == request }) {
            let open = self.requests.remove(at: index)
            if !open.key.isConfirmable || open.acknowledgeBy != nil {
                self.memory.update(open.key, .reset)
                events.append(.transmit(CoAPCodec.encodeEmpty(.reset, messageID: open.key.messageID)))
            }
        }
        self.endObservation(request)
    }

    /// Forgets an observation of the peer and the notifications that wait for their turn.
    mutating func endObservation(_ request: RequestID) {
        self.observers.removeAll { $0.id == request }
        self.queue.removeAll { $0.purpose == .notification(request) }
    }

    /// Sends a response as NON and returns its message ID.
    private mutating func transmitNonConfirmable(
        _ response: CoAPResponse,
        token: CoAPToken,
        for request: RequestID,
        now: Instant,
        into events: inout [Event]
    ) -> UInt16? {
        guard let messageID = self.issueMessageID(now: now) else {
            events.append(.settled(request, .overloaded))
            return nil
        }
        let datagram = CoAPCodec.encode(
            .nonConfirmable,
            response.code,
            messageID: messageID,
            token: token,
            options: response.options,
            payload: response.payload
        )
        events.append(.transmit(datagram))
        events.append(.settled(request, .sent))
        return messageID
    }
}
