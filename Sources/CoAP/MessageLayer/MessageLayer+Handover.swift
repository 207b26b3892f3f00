package import Timing

/// What of a message layer outlives a restart of the gateway, so that the peer, which notices nothing of it, is served
/// on: message IDs go on counting, and a repeated message is answered as it was before.
///
/// Times are ages in milliseconds, because clocks do not outlive a restart. They are rounded down: what is taken for
/// younger than it is stays remembered for longer.
extension MessageLayer {
    /// Open exchanges are no part of it: their requests count as if they had never arrived.
    package struct Memento: Sendable, Hashable {
        /// Blocks of message IDs whose last use is known.
        package static let blocks = MessageIDs.blocks

        package var nextMessageID: UInt16
        /// When an ID of each block was issued last; nil: never. There are ``blocks`` of them.
        package var blockAges: [UInt32?]
        /// Oldest first.
        package var messages: [RememberedMessage]

        package init(nextMessageID: UInt16, blockAges: [UInt32?], messages: [RememberedMessage]) {
            self.nextMessageID = nextMessageID
            self.blockAges = blockAges
            self.messages = messages
        }
    }

    /// A message of the peer, and what a repetition of it gets.
    package struct RememberedMessage: Sendable, Hashable {
        package enum Answer: Sendable, Hashable {
            case acknowledged
            case reset
            case nothing
            case message([UInt8])
        }

        /// The most that a layer remembers of one peer.
        package static let maximumCount = MessageMemory.maximumMessages
        package static let maximumAnswerBytes = MessageMemory.maximumAnswerBytes

        /// Of code and token.
        package var fingerprint: UInt32
        package var messageID: UInt16
        package var isConfirmable: Bool
        package var age: UInt32
        package var answer: Answer

        package init(fingerprint: UInt32, messageID: UInt16, isConfirmable: Bool, age: UInt32, answer: Answer) {
            self.fingerprint = fingerprint
            self.messageID = messageID
            self.isConfirmable = isConfirmable
            self.age = age
            self.answer = answer
        }
    }

    /// An observation that the peer holds with us.
    package struct SavedObserver: Sendable, Hashable {
        package var token: CoAPToken
        package var lastNonConfirmable: UInt16?

        package init(token: CoAPToken, lastNonConfirmable: UInt16?) {
            self.token = token
            self.lastNonConfirmable = lastNonConfirmable
        }
    }

    /// An observation that we hold with the peer.
    package struct SavedObservation: Sendable, Hashable {
        package var token: CoAPToken
        /// Observe option of the newest notification, and how long ago it came.
        package var sequence: UInt32
        package var age: UInt32

        package init(token: CoAPToken, sequence: UInt32, age: UInt32) {
            self.token = token
            self.sequence = sequence
            self.age = age
        }
    }

    // MARK: - Before

    package func memento(now: Instant) -> Memento {
        let tick = self.clock.existingTick(at: now) ?? 1
        func age(of past: UInt32) -> UInt32 { past >= tick ? 0 : CoarseClock.milliseconds(tick - past) }
        var messages: [RememberedMessage] = []
        messages.reserveCapacity(self.memory.count)
        for entry in self.memory.entries {
            let age = age(of: entry.tick)
            // Whoever is as old as that is looked for no more.
            guard tick <= entry.tick &+ self.exchangeLifetime else { continue }
            let answer: RememberedMessage.Answer
            switch entry.answer {
            case .pending: continue
            case .acknowledged: answer = .acknowledged
            case .reset: answer = .reset
            case .nothing: answer = .nothing
            case .message(let bytes): answer = .message(bytes)
            }
            messages.append(
                RememberedMessage(
                    fingerprint: entry.key.fingerprint, messageID: entry.key.messageID,
                    isConfirmable: entry.key.isConfirmable, age: age, answer: answer
                )
            )
        }
        return Memento(
            nextMessageID: self.messageIDs.next,
            blockAges: (0..<Memento.blocks).map { block in
                let last = self.messageIDs.lastUse[block]
                return last == 0 ? nil : age(of: last)
            },
            messages: messages
        )
    }

    /// Nil when the request holds no observation (any more).
    package func savedObserver(_ request: RequestID) -> SavedObserver? {
        self.observers.first { $0.id == request }.map {
            SavedObserver(token: $0.token, lastNonConfirmable: $0.lastNonConfirmable)
        }
    }

    // MARK: - After

    /// The layer of the same peer in another run of the gateway.
    ///
    /// - Parameters:
    ///   - elapsed: since the memento was made; negative counts as none.
    ///   - seed: as for a new layer, and another one than before.
    package init(
        _ memento: Memento, parameters: TransmissionParameters, options: OptionPolicy, seed: UInt64,
        elapsed: Duration, now: Instant
    ) {
        self.init(parameters: parameters, options: options, seed: seed)
        // So early that whatever is older than the clock has outlived its lifetime.
        self.clock = CoarseClock(origin: now - (parameters.exchangeLifetime + .seconds(2)))
        let elapsed = max(.zero, elapsed)
        var clock = self.clock
        func tick(ofAge age: UInt32) -> UInt32 { clock.tick(at: now - (elapsed + .milliseconds(Int64(age)))) }
        self.messageIDs = MessageIDs(
            first: memento.nextMessageID, lastUse: memento.blockAges.map { $0.map(tick(ofAge:)) ?? 0 }
        )
        for message in memento.messages {
            let answer: MessageMemory.Answer =
                switch message.answer {
                case .acknowledged: .acknowledged
                case .reset: .reset
                case .nothing: .nothing
                case .message(let bytes): .message(bytes)
                }
            let key = MessageMemory.Key(
                fingerprint: message.fingerprint, messageID: message.messageID, isConfirmable: message.isConfirmable
            )
            self.memory.remember(key, answer, tick: tick(ofAge: message.age), lifetime: self.exchangeLifetime)
        }
        if self.memory.count > 0 { self.memoryExpiry = now + parameters.exchangeLifetime + .seconds(1) }
    }

    /// Nil when there are as many as a peer may hold.
    package mutating func restore(_ observer: SavedObserver) -> RequestID? {
        guard self.observers.count < Limit.observations else { return nil }
        let id = RequestID(serial: self.nextSerial())
        self.observers.append(
            Observer(id: id, token: observer.token, lastNonConfirmable: observer.lastNonConfirmable)
        )
        return id
    }
}

extension MessageLayer.Observations {
    /// Nil when it is not among them.
    package func saved(_ exchange: MessageLayer.ExchangeID, now: Instant) -> MessageLayer.SavedObservation? {
        self.entries.first { $0.id == exchange }.map { entry in
            let age = max(0, entry.arrival.nanoseconds(to: now)) / 1_000_000
            return MessageLayer.SavedObservation(
                token: entry.token, sequence: entry.sequence, age: UInt32(clamping: age)
            )
        }
    }

    /// Adds one of another run of the gateway, and names it; the name counts among these only.
    package mutating func restore(
        _ saved: MessageLayer.SavedObservation, elapsed: Duration, now: Instant
    ) -> MessageLayer.ExchangeID {
        let id = MessageLayer.ExchangeID(serial: UInt64(self.entries.count) &+ 1)
        self.entries.append(
            MessageLayer.Observation(
                id: id, token: saved.token, sequence: saved.sequence,
                arrival: now - (max(.zero, elapsed) + .milliseconds(Int64(saved.age)))
            )
        )
        return id
    }
}
