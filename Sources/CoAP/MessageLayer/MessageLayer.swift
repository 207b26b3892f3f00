package import Timing

/// The message layer towards one peer, in both roles at once (RFC 7252, sections 4 and 5; RFC 7641).
///
/// A value without sockets, clocks or tasks: datagrams, requests and deadlines go in with the time, events come out in the
/// order in which they are to be carried out. The peer is one address and port, or one DTLS association: a new association
/// needs a new layer. Whoever owns the layer calls `handleDeadline` when `deadline` is reached; early or late calls are
/// harmless.
///
/// Outgoing CON messages of all kinds go out one at a time (NSTART 1); responses and notifications wait before requests, so
/// that an answer is never overtaken by a request that it leads to. NON messages go out at once.
///
/// Everything is bounded: see `Limit` and `MessageMemory`. The value itself has 384 bytes, and a peer that has sent nothing for
/// an exchange lifetime costs no more than that and its observations.
///
/// A request of the peer stays open until its owner ends it: there is no timeout of the layer's own for it, and an owner
/// that forgets requests soon meets the bound.
package struct MessageLayer: Sendable {
    /// Bounds per peer.
    package enum Limit {
        /// Requests of the peer that wait for a response; further ones get 5.03.
        package static let openRequests = 32
        /// Requests of ours that wait for a response; further ones fail.
        package static let openExchanges = 64
        /// Observations in each direction. Beyond it the peer's request is answered without Observe, and a registration of
        /// our own is forgotten after its first response.
        package static let observations = 128
        /// CON messages that wait for their turn. Further requests fail, further responses go out as NON.
        package static let queuedMessages = 32
    }

    private(set) var parameters: TransmissionParameters
    let optionPolicy: OptionPolicy
    private(set) var exchangeLifetime: UInt32
    private(set) var nonLifetime: UInt32

    var generator: SeededGenerator
    var clock = CoarseClock()
    var messageIDs: MessageIDs
    var memory = MessageMemory()
    /// When the newest remembered message has outlived its lifetime.
    var memoryExpiry: Instant?
    var lastSerial: UInt64 = 0

    /// Requests of the peer without a response.
    var requests: [PeerRequest] = []
    /// Requests of the peer whose response registered an observation.
    var observers: [Observer] = []
    /// Requests of ours without a response.
    var exchanges: [Exchange] = []
    /// Requests of ours whose response registered an observation.
    var observations: [Observation] = []
    /// The CON message that waits for its ACK.
    var inFlight: InFlight?
    /// CON messages that wait for their turn: responses and notifications before requests and pings.
    var queue: [Outgoing] = []
    /// Set when `cancel` has freed the way for a waiting message: a moment in the past.
    var overdue: Instant?

    /// Quarantine: every new request gets RST (CON) or nothing (NON). Duplicates still get what they got before.
    package var rejectsRequests = false

    /// - Parameters:
    ///   - options: what happens to options that are not understood.
    ///   - seed: from the system's generator, for this layer alone: see ``SeededGenerator``. In tests any number.
    package init(parameters: TransmissionParameters, options: OptionPolicy, seed: UInt64) {
        self.parameters = parameters
        self.optionPolicy = options
        self.exchangeLifetime = CoarseClock.span(parameters.exchangeLifetime)
        self.nonLifetime = CoarseClock.span(parameters.nonLifetime)
        self.generator = SeededGenerator(seed: seed)
        self.messageIDs = MessageIDs(first: UInt16.random(in: .min ... .max, using: &self.generator))
    }

    /// Other timers for what is sent from now on. What is under way keeps the times that it was given; how long messages
    /// are remembered counts for those of before, too.
    package mutating func adopt(_ parameters: TransmissionParameters) {
        self.parameters = parameters
        self.exchangeLifetime = CoarseClock.span(parameters.exchangeLifetime)
        self.nonLifetime = CoarseClock.span(parameters.nonLifetime)
    }

    // MARK: - State

    /// When `handleDeadline` is due next. The end of the deduplication memory counts too, so that it gets freed.
    package var deadline: Instant? {
        var copy = self
        return copy.currentDeadline()
    }

    /// The same. `mutating` although nothing changes: read through a property of a class, the whole layer would be copied
    /// first, and this is asked for after every message.
    package mutating func currentDeadline() -> Instant? {
        var earliest = self.memoryExpiry
        func consider(_ candidate: Instant?) {
            guard let candidate else { return }
            earliest = earliest.map { min($0, candidate) } ?? candidate
        }
        consider(self.overdue)
        consider(self.inFlight?.due)
        for request in self.requests {
            consider(request.acknowledgeBy)
        }
        for exchange in self.exchanges {
            consider(exchange.responseDue)
        }
        return earliest
    }

    /// Nothing waits for an answer or an ACK, in either direction. Observations and the memory do not count.
    package var isIdle: Bool {
        self.requests.isEmpty && self.exchanges.isEmpty && self.inFlight == nil && self.queue.isEmpty
    }

    /// Whether the peer has not acknowledged all messages yet. `mutating` for the reason of ``currentDeadline()``.
    package mutating func hasUnacknowledged() -> Bool { self.inFlight != nil || !self.queue.isEmpty }

    package var statistics: Statistics {
        Statistics(
            openRequests: self.requests.count,
            observers: self.observers.count,
            openExchanges: self.exchanges.count,
            observations: self.observations.count,
            unacknowledgedMessages: self.queue.count + (self.inFlight == nil ? 0 : 1),
            rememberedMessages: self.memory.count,
            rememberedAnswerBytes: self.memory.answerBytes
        )
    }

    /// Message IDs that were issued since the layer was made.
    package var messageIDsUsed: Int { self.messageIDs.issued }

    /// How many messages of our own can go out now before an ID would come back within the exchange lifetime. `mutating`
    /// for the reason of ``currentDeadline()``.
    package mutating func availableMessageIDs(now: Instant) -> Int {
        self.messageIDs.available(tick: self.clock.existingTick(at: now) ?? 1, lifetime: self.exchangeLifetime)
    }

    /// Whether at least one message of our own can go out. A pool asks `availableMessageIDs` for a whole conversation.
    package mutating func canIssueMessageID(now: Instant) -> Bool {
        self.availableMessageIDs(now: now) > 0
    }

    /// End of a lease: forgets all exchanges and observations of both roles, without a word to the peer.
    ///
    /// Message IDs go on counting, and what the peer has sent stays remembered, so that the next conversation on the same
    /// socket neither repeats an ID nor mistakes an old message for a new one. A request that was still open gets RST when
    /// the peer repeats it.
    package mutating func abandonExchanges() {
        self.requests = []
        self.observers = []
        self.exchanges = []
        self.observations = []
        self.queue = []
        self.inFlight = nil
        self.overdue = nil
        self.memory.resetPending()
    }

    // MARK: - Time

    /// Does what has become due by `now`: retransmissions, empty ACKs, failures.
    package mutating func handleDeadline(now: Instant, into events: inout [Event]) {
        for index in self.requests.indices {
            guard let due = self.requests[index].acknowledgeBy, due <= now else { continue }
            self.acknowledge(requestAt: index, into: &events)
        }
        var index = 0
        while index < self.exchanges.count {
            guard let due = self.exchanges[index].responseDue, due <= now else {
                index += 1
                continue
            }
            events.append(.failed(self.exchanges.remove(at: index).id, .noResponse))
        }
        if let inFlight = self.inFlight, inFlight.due <= now {
            self.retransmit(inFlight, now: now, into: &events)
        }
        if let expiry = self.memoryExpiry, expiry <= now {
            self.memory.removeAll()
            self.memoryExpiry = nil
            self.releaseEmptyStorage()
        }
        self.transmitNext(now: now, into: &events)
    }

    /// Lists that ran empty keep their room for the next exchange, but not while the peer sleeps.
    private mutating func releaseEmptyStorage() {
        if self.isIdle {
            self.requests = []
            self.exchanges = []
            self.queue = []
        }
    }

    // MARK: - Datagrams

    /// Takes one datagram of the peer. Nothing in it can do more than add to `events`.
    package mutating func receive(
        _ datagram: UnsafeRawBufferPointer,
        now: Instant,
        into events: inout [Event]
    ) {
        let message: CoAPMessage
        do throws(CoAPFormatError) {
            message = try CoAPCodec.decode(datagram)
        } catch {
            self.reject(error, into: &events)
            return
        }
        switch message.type {
        case .confirmable, .nonConfirmable:
            self.receiveMessage(message, now: now, into: &events)
        case .acknowledgement:
            self.receiveAcknowledgement(message, now: now, into: &events)
        case .reset:
            self.receiveReset(message, into: &events)
        }
        self.transmitNext(now: now, into: &events)
    }

    /// A malformed CON gets RST; everything else that is malformed gets nothing (RFC 7252, sections 4.2 and 4.3).
    private func reject(_ error: CoAPFormatError, into events: inout [Event]) {
        if error.type == .confirmable, let messageID = error.messageID {
            events.append(.transmit(CoAPCodec.encodeEmpty(.reset, messageID: messageID)))
        }
        events.append(.dropped(error.reason == .version ? .version : .malformed))
    }

    /// A CON or NON message.
    private mutating func receiveMessage(
        _ message: CoAPMessage,
        now: Instant,
        into events: inout [Event]
    ) {
        let isConfirmable = message.type == .confirmable
        guard message.code.isRequest || message.code.isResponse else {
            if isConfirmable {
                events.append(.transmit(CoAPCodec.encodeEmpty(.reset, messageID: message.messageID)))
            }
            events.append(.dropped(isConfirmable && message.code.isEmpty ? .ping : .unexpectedCode))
            return
        }
        let arrival = Arrival(message, now: now, tick: self.clock.tick(at: now))
        let lifetime = isConfirmable ? self.exchangeLifetime : self.nonLifetime
        if let answer = self.memory.answer(for: arrival.key, tick: arrival.tick, lifetime: lifetime) {
            switch answer {
            case .pending: self.noteRepetition(of: arrival.key, into: &events)
            case .nothing: break
            case .acknowledged:
                events.append(.transmit(CoAPCodec.encodeEmpty(.acknowledgement, messageID: message.messageID)))
            case .reset:
                events.append(.transmit(CoAPCodec.encodeEmpty(.reset, messageID: message.messageID)))
            case .message(let datagram):
                events.append(.transmit(datagram))
            }
            events.append(.dropped(.duplicate))
        } else if message.code.isRequest {
            self.receiveRequest(arrival, into: &events)
        } else {
            self.receiveResponse(arrival, into: &events)
        }
    }

    /// A new CON or NON message with what its handling needs.
    struct Arrival {
        let message: CoAPMessage
        let key: MessageMemory.Key
        let now: Instant
        let tick: UInt32

        init(_ message: CoAPMessage, now: Instant, tick: UInt32) {
            self.message = message
            self.key = MessageMemory.Key(message)
            self.now = now
            self.tick = tick
        }
    }

    mutating func remember(_ arrival: Arrival, _ answer: MessageMemory.Answer) {
        self.memory.remember(arrival.key, answer, tick: arrival.tick, lifetime: self.exchangeLifetime)
        // One second more than the lifetime covers the rounding of ticks.
        self.memoryExpiry = arrival.now + self.parameters.exchangeLifetime + .seconds(1)
    }

    mutating func nextSerial() -> UInt64 {
        self.lastSerial &+= 1
        return self.lastSerial
    }
}
