internal import Timing

extension MessageLayer {
    /// What a CON message of ours carries.
    enum Purpose: Sendable, Equatable {
        case request(ExchangeID)
        case ping(ExchangeID)
        case response(RequestID)
        case notification(RequestID)

        /// Goes before requests and pings that wait.
        var isAnswer: Bool {
            switch self {
            case .response, .notification: true
            case .request, .ping: false
            }
        }
    }

    /// A CON message that waits for its turn. It gets its message ID when it goes out.
    struct Outgoing: Sendable {
        var datagram: [UInt8]
        let purpose: Purpose

        mutating func setMessageID(_ messageID: UInt16) {
            self.datagram[2] = UInt8(messageID >> 8)
            self.datagram[3] = UInt8(messageID & 0xff)
        }
    }

    /// The CON message that went out and is neither acknowledged nor given up.
    struct InFlight: Sendable {
        let datagram: [UInt8]
        let purpose: Purpose
        let messageID: UInt16
        var retransmissions = 0
        /// Doubles with each retransmission.
        var timeout: Duration
        /// When it last went out.
        var sent: Instant

        var due: Instant { self.sent + self.timeout }
    }

    mutating func enqueue(
        _ response: CoAPResponse,
        token: CoAPToken,
        purpose: Purpose,
        now: Instant,
        into events: inout [Event]
    ) {
        let datagram = CoAPCodec.encode(
            .confirmable,
            response.code,
            messageID: 0,
            token: token,
            options: response.options,
            payload: response.payload
        )
        self.enqueue(Outgoing(datagram: datagram, purpose: purpose), now: now, into: &events)
    }

    /// Adds a CON message, answers before requests, and sends it if nothing is outstanding.
    mutating func enqueue(_ outgoing: Outgoing, now: Instant, into events: inout [Event]) {
        let firstOther = outgoing.purpose.isAnswer ? self.queue.firstIndex { !$0.purpose.isAnswer } : nil
        self.queue.insert(outgoing, at: firstOther ?? self.queue.endIndex)
        self.transmitNext(now: now, into: &events)
    }

    /// Sends the next waiting CON message if none is outstanding (NSTART 1).
    mutating func transmitNext(now: Instant, into events: inout [Event]) {
        self.overdue = nil
        while self.inFlight == nil, !self.queue.isEmpty {
            var outgoing = self.queue.removeFirst()
            guard let messageID = self.issueMessageID(now: now) else {
                self.fail(outgoing.purpose, .overloaded, .overloaded, into: &events)
                continue
            }
            outgoing.setMessageID(messageID)
            if case .request(let id) = outgoing.purpose,
                let index = self.exchanges.firstIndex(where: { $0.id == id })
            {
                self.exchanges[index].messageID = messageID
            }
            // ACK_TIMEOUT to ACK_TIMEOUT times ACK_RANDOM_FACTOR.
            let spread = max(0, self.parameters.randomFactor - 1)
            let factor = 1 + Double.random(in: 0...spread, using: &self.generator)
            let shortest = Double(self.parameters.acknowledgementTimeout.wholeNanoseconds)
            self.inFlight = InFlight(
                datagram: outgoing.datagram,
                purpose: outgoing.purpose,
                messageID: messageID,
                // In nanoseconds: `Duration` multiplies with 128 bits.
                timeout: .nanoseconds(Int64(min(shortest * factor, 9e18))),
                sent: now
            )
            events.append(.transmit(outgoing.datagram))
        }
    }

    /// The timeout of the outstanding message is over: send it again or give it up.
    mutating func retransmit(_ inFlight: InFlight, now: Instant, into events: inout [Event]) {
        guard inFlight.retransmissions < self.parameters.maximumRetransmissions else {
            self.inFlight = nil
            self.fail(inFlight.purpose, .unacknowledged, .unacknowledged, into: &events)
            return
        }
        var next = inFlight
        next.retransmissions += 1
        next.timeout = inFlight.timeout * 2
        next.sent = now
        self.inFlight = next
        events.append(.transmit(next.datagram))
        events.append(.retransmitted)
    }

    private mutating func fail(
        _ purpose: Purpose,
        _ failure: Failure,
        _ settlement: Settlement,
        into events: inout [Event]
    ) {
        switch purpose {
        case .request(let id), .ping(let id):
            self.exchanges.removeAll { $0.id == id }
            events.append(.failed(id, failure))
        case .response(let id), .notification(let id):
            self.endObservation(id)
            events.append(.settled(id, settlement))
        }
    }

    mutating func issueMessageID(now: Instant) -> UInt16? {
        self.messageIDs.issue(tick: self.clock.tick(at: now), lifetime: self.exchangeLifetime)
    }
}
