package import Timing

/// What a relay needs beyond the two roles: requests whose repetitions the far end decides on, and observations that
/// outlive the conversation in which they began.
extension MessageLayer {
    // MARK: - Requests of the peer

    /// Sends no empty ACK for this request before `due`, so that the peer goes on repeating it; each repetition is told
    /// as `.repeated`. Without effect once the ACK is out, and for NON.
    package mutating func postponeAcknowledgement(of request: RequestID, until due: Instant) {
        guard let index = self.requests.firstIndex(where: { $0.id == request }),
            self.requests[index].acknowledgeBy != nil
        else { return }
        self.requests[index].acknowledgeBy = due
        self.requests[index].tellsRepetitions = true
    }

    /// Sends the empty ACK now: a separate response will follow. Without effect once it is out, and for NON.
    package mutating func acknowledge(_ request: RequestID, into events: inout [Event]) {
        guard let index = self.requests.firstIndex(where: { $0.id == request }),
            self.requests[index].acknowledgeBy != nil
        else { return }
        self.acknowledge(requestAt: index, into: &events)
    }

    /// Treats a request as if it had never arrived: a repetition counts as new. That is too late once the peer knows
    /// that it arrived; then `response` answers it. An observation of the peer is forgotten without a word.
    package mutating func disown(
        _ request: RequestID, otherwise response: CoAPResponse, now: Instant,
        into events: inout [Event]
    ) {
        guard let index = self.requests.firstIndex(where: { $0.id == request }) else {
            self.endObservation(request)
            return
        }
        let open = self.requests[index]
        guard !open.key.isConfirmable || open.acknowledgeBy != nil else {
            self.respond(to: request, response, now: now, into: &events)
            return
        }
        self.requests.remove(at: index)
        self.memory.forget(open.key)
    }

    /// Treats an open request that was not acknowledged yet as if it had never arrived; too late, it stays unanswered.
    package mutating func forget(_ request: RequestID) {
        guard let index = self.requests.firstIndex(where: { $0.id == request }) else { return }
        let open = self.requests.remove(at: index)
        if !open.key.isConfirmable || open.acknowledgeBy != nil { self.memory.forget(open.key) }
    }

    /// A duplicate of a request that was neither acknowledged nor answered.
    func noteRepetition(of key: MessageMemory.Key, into events: inout [Event]) {
        guard let request = self.requests.last(where: { $0.key == key }), request.tellsRepetitions else { return }
        events.append(.repeated(request.id))
    }

    // MARK: - Requests of ours

    /// Sends a CON request and leaves its repetition to `repeatRequest`: for a device that may sleep, towards which the
    /// far server's own repetitions are all that should go out.
    ///
    /// While an answer to the peer waits for its ACK the request is an ordinary one instead, because it must not overtake
    /// that answer; a peer that waits for one is awake.
    package mutating func sendOnce(
        _ request: CoAPRequest,
        replacing observation: ExchangeID? = nil,
        now: Instant,
        into events: inout [Event]
    ) -> ExchangeID {
        guard request.isConfirmable, self.inFlight == nil, self.queue.isEmpty,
            self.exchanges.count < Limit.openExchanges, let messageID = self.issueMessageID(now: now)
        else { return self.send(request, replacing: observation, now: now, into: &events) }
        let id = ExchangeID(serial: self.nextSerial())
        let token = self.token(replacing: observation)
        let datagram = CoAPCodec.encode(
            .confirmable,
            request.code,
            messageID: messageID,
            token: token,
            options: request.options,
            payload: request.payload
        )
        self.exchanges.append(
            Exchange(
                id: id,
                token: token,
                isConfirmable: true,
                observe: request.observe,
                messageID: messageID,
                responseDue: now + self.parameters.responseTimeout,
                datagram: datagram
            )
        )
        events.append(.transmit(datagram))
        return id
    }

    /// Sends a request of `sendOnce` again, with the same message ID, unless the peer has acknowledged it.
    package mutating func repeatRequest(_ exchange: ExchangeID, into events: inout [Event]) {
        guard let open = self.exchanges.first(where: { $0.id == exchange }), let datagram = open.datagram,
            !datagram.isEmpty
        else { return }
        events.append(.transmit(datagram))
    }

    /// An empty ACK that is not for the message in flight.
    mutating func acknowledgeSentOnce(
        _ messageID: UInt16, now: Instant, into events: inout [Event]
    ) {
        guard
            let index = self.exchanges.firstIndex(where: { $0.datagram != nil && $0.messageID == messageID })
        else {
            events.append(.dropped(.unexpectedAcknowledgement))
            return
        }
        // No longer to be repeated, but a RST still matches it by its ID.
        self.exchanges[index].datagram = []
        self.exchanges[index].responseDue = now + self.parameters.responseTimeout
        events.append(.acknowledged(self.exchanges[index].id))
    }

    // MARK: - Observations

    /// Observations without the layer in which they were made.
    package struct Observations: Sendable {
        var entries: [Observation]

        package init() { self.entries = [] }

        init(_ entries: [Observation]) { self.entries = entries }

        package mutating func remove(_ exchange: ExchangeID) { self.entries.removeAll { $0.id == exchange } }

        package var isEmpty: Bool { self.entries.isEmpty }
    }

    /// Takes the observations that we hold with the peer out of the layer.
    package mutating func takeObservations() -> Observations {
        let taken = Observations(self.observations)
        self.observations = []
        return taken
    }

    /// Goes on with observations that were made with the same peer in another layer, before it shook hands again or
    /// changed its address. Their tokens stay; the answer says which name has become which.
    package mutating func adopt(_ taken: Observations) -> [(old: ExchangeID, new: ExchangeID)] {
        var names: [(old: ExchangeID, new: ExchangeID)] = []
        for entry in taken.entries.prefix(Limit.observations - self.observations.count) {
            let id = ExchangeID(serial: self.nextSerial())
            names.append((entry.id, id))
            self.observations.append(
                Observation(id: id, token: entry.token, sequence: entry.sequence, arrival: entry.arrival)
            )
        }
        return names
    }
}
