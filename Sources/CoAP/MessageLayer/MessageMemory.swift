/// What a peer has sent lately and what it got for it, so that a repeated message is answered alike and handed up once
/// (RFC 7252, section 4.5).
///
/// At most 64 messages of 26 bytes, and at most 8 KiB of answers to replay; beyond either bound the oldest message is
/// forgotten, and a duplicate of it would count as new. Ordinary answers to writes have some ten bytes; the large ones
/// belong to reads, which may be served twice. Nothing is held once the lifetime of the newest message is over.
struct MessageMemory: Sendable {
    static let maximumMessages = 64
    static let maximumAnswerBytes = 8 * 1024

    /// What a duplicate gets.
    enum Answer: Sendable {
        /// Silence: the request is being worked on, and its empty ACK is not out yet.
        case pending
        /// The empty ACK, also when a separate response has followed.
        case acknowledged
        case reset
        /// Silence for good: NON messages.
        case nothing
        /// The ACK with the response.
        case message([UInt8])
    }

    /// What makes two messages the same.
    ///
    /// Code and token are compared too: a peer that took up an ID too early, after a restart for instance, sent another
    /// message, and the answer to the old one would be of no use to it.
    struct Key: Sendable, Equatable {
        let fingerprint: UInt32
        let messageID: UInt16
        let isConfirmable: Bool

        init(_ message: CoAPMessage) {
            var hash = message.token.bits ^ UInt64(message.token.count) << 8 ^ UInt64(message.code.rawValue)
            hash = (hash ^ hash >> 32) &* 0x9e37_79b9_7f4a_7c15
            self.fingerprint = UInt32(truncatingIfNeeded: hash >> 32)
            self.messageID = message.messageID
            self.isConfirmable = message.type == .confirmable
        }

        init(fingerprint: UInt32, messageID: UInt16, isConfirmable: Bool) {
            self.fingerprint = fingerprint
            self.messageID = messageID
            self.isConfirmable = isConfirmable
        }

        func sharesID(with other: Key) -> Bool {
            self.messageID == other.messageID && self.isConfirmable == other.isConfirmable
        }
    }

    struct Entry: Sendable {
        var answer: Answer
        let key: Key
        let tick: UInt32
    }

    // A ring: `count` of the places, from `first` on, are in use. Nearly every message is new, which the IDs alone show: they
    // lie in two lines of the processor's cache, and whole entries in 24.
    private var places: [Entry] = []
    private var messageIDs: [UInt16] = []
    private var first = 0
    private(set) var count = 0
    private var pendingCount = 0
    private(set) var answerBytes = 0

    /// Oldest first.
    var entries: [Entry] { (0..<self.count).map { self.places[(self.first + $0) % self.places.count] } }

    /// The answer to a message that was seen less than a lifetime ago, nil for a new message.
    func answer(for key: Key, tick: UInt32, lifetime: UInt32) -> Answer? {
        guard let place = self.place(key.messageID, where: { $0 == key }) else { return nil }
        return tick > self.places[place].tick &+ lifetime ? nil : self.places[place].answer
    }

    /// Adds a new message, in the place of an older one with the same ID.
    mutating func remember(_ key: Key, _ answer: Answer, tick: UInt32, lifetime: UInt32) {
        if let place = self.place(key.messageID, where: { $0.sharesID(with: key) }) { self.remove(at: place) }
        while self.count > 0, self.count >= Self.maximumMessages || tick > self.places[self.first].tick &+ lifetime {
            self.removeFirst()
        }
        self.set(answer, at: self.append(Entry(answer: .nothing, key: key, tick: tick)))
    }

    /// Replaces the answer of a message that may have been forgotten meanwhile.
    mutating func update(_ key: Key, _ answer: Answer) {
        guard let place = self.place(key.messageID, where: { $0 == key }) else { return }
        self.set(answer, at: place)
    }

    /// The message never came, as far as duplicates of it are concerned.
    mutating func forget(_ key: Key) {
        guard let place = self.place(key.messageID, where: { $0 == key }) else { return }
        self.remove(at: place)
    }

    /// Requests that nobody works on any more get a reset when they are repeated.
    mutating func resetPending() {
        guard self.pendingCount > 0 else { return }
        for place in self.places.indices where self.places[place].answer.isPending { self.set(.reset, at: place) }
    }

    mutating func removeAll() { self = MessageMemory() }

    /// Where the message is. No two have one ID and one type.
    private func place(_ messageID: UInt16, where isWanted: (Key) -> Bool) -> Int? {
        for place in self.messageIDs.indices where self.messageIDs[place] == messageID {
            if self.isInUse(place), isWanted(self.places[place].key) { return place }
        }
        return nil
    }

    private func isInUse(_ place: Int) -> Bool {
        (place - self.first + self.places.count) % self.places.count < self.count
    }

    private mutating func append(_ entry: Entry) -> Int {
        if self.count == self.places.count {
            if self.first != 0 { self.straighten(self.entries) }
            self.places.append(entry)
            self.messageIDs.append(entry.key.messageID)
            self.count += 1
            return self.count - 1
        }
        let place = (self.first + self.count) % self.places.count
        self.places[place] = entry
        self.messageIDs[place] = entry.key.messageID
        self.count += 1
        return place
    }

    private mutating func set(_ answer: Answer, at place: Int) {
        self.note(self.places[place].answer, isThere: false)
        self.places[place].answer = answer
        self.note(answer, isThere: true)
        while self.answerBytes > Self.maximumAnswerBytes, self.count > 1 { self.removeFirst() }
    }

    private mutating func note(_ answer: Answer, isThere: Bool) {
        let sign = isThere ? 1 : -1
        self.answerBytes += sign * answer.size
        if answer.isPending { self.pendingCount += sign }
    }

    private mutating func removeFirst() {
        self.note(self.places[self.first].answer, isThere: false)
        self.places[self.first].answer = .nothing
        self.first = (self.first + 1) % self.places.count
        self.count -= 1
    }

    private mutating func remove(at place: Int) {
        guard place != self.first else {
            self.removeFirst()
            return
        }
        self.note(self.places[place].answer, isThere: false)
        var entries = self.entries
        entries.remove(at: (place - self.first + self.places.count) % self.places.count)
        self.straighten(entries)
    }

    /// Puts these in the first places, and nothing else.
    private mutating func straighten(_ entries: [Entry]) {
        self.places = entries
        self.messageIDs = entries.map(\.key.messageID)
        self.first = 0
        self.count = entries.count
    }
}

extension MessageMemory.Answer {
    fileprivate var isPending: Bool { if case .pending = self { true } else { false } }

    /// Bytes that are kept for it.
    fileprivate var size: Int { if case .message(let bytes) = self { bytes.count } else { 0 } }
}
