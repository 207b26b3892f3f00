/// What a peer has sent lately and what it got for it, so that a repeated message is answered alike and handed up once
/// (RFC 7252, section 4.5).
///
/// At most 64 messages of 24 bytes, and at most 8 KiB of answers to replay; beyond either bound the oldest message is
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

    /// Oldest first.
    private(set) var entries: [Entry] = []
    private(set) var answerBytes = 0

    var count: Int { self.entries.count }

    /// The answer to a message that was seen less than a lifetime ago, nil for a new message.
    func answer(for key: Key, tick: UInt32, lifetime: UInt32) -> Answer? {
        guard let index = self.entries.lastIndex(where: { $0.key == key }) else { return nil }
        return tick > self.entries[index].tick &+ lifetime ? nil : self.entries[index].answer
    }

    /// Adds a new message, in the place of an older one with the same ID.
    mutating func remember(_ key: Key, _ answer: Answer, tick: UInt32, lifetime: UInt32) {
        if let index = self.entries.lastIndex(where: { $0.key.sharesID(with: key) }) {
            self.remove(at: index)
        }
        while let oldest = self.entries.first,
            self.entries.count >= Self.maximumMessages || tick > oldest.tick &+ lifetime
        {
            self.remove(at: 0)
        }
        self.entries.append(Entry(answer: .pending, key: key, tick: tick))
        self.set(answer, at: self.entries.count - 1)
    }

    /// Replaces the answer of a message that may have been forgotten meanwhile.
    mutating func update(_ key: Key, _ answer: Answer) {
        guard let index = self.entries.lastIndex(where: { $0.key == key }) else { return }
        self.set(answer, at: index)
    }

    /// The message never came, as far as duplicates of it are concerned.
    mutating func forget(_ key: Key) {
        guard let index = self.entries.lastIndex(where: { $0.key == key }) else { return }
        self.remove(at: index)
    }

    /// Requests that nobody works on any more get a reset when they are repeated.
    mutating func resetPending() {
        for index in self.entries.indices {
            if case .pending = self.entries[index].answer {
                self.entries[index].answer = .reset
            }
        }
    }

    mutating func removeAll() {
        self.entries = []
        self.answerBytes = 0
    }

    private mutating func set(_ answer: Answer, at index: Int) {
        self.answerBytes += Self.size(answer) - Self.size(self.entries[index].answer)
        self.entries[index].answer = answer
        while self.answerBytes > Self.maximumAnswerBytes, self.entries.count > 1 {
            self.remove(at: 0)
        }
    }

    private mutating func remove(at index: Int) {
        self.answerBytes -= Self.size(self.entries[index].answer)
        self.entries.remove(at: index)
    }

    private static func size(_ answer: Answer) -> Int {
        if case .message(let bytes) = answer { bytes.count } else { 0 }
    }
}
