import Testing

@testable import CoAP

/// The memory of one peer's messages against the plainest one that does the same.
@Suite("Memory of messages")
struct MessageMemoryTests {
    private typealias Key = MessageMemory.Key

    /// What the memory promises, by a list.
    private struct Model {
        var entries: [(key: Key, answer: String, size: Int, tick: UInt32)] = []

        mutating func remember(_ key: Key, _ answer: MessageMemory.Answer, tick: UInt32, lifetime: UInt32) {
            self.entries.removeAll { $0.key.sharesID(with: key) }
            while let oldest = self.entries.first, self.entries.count >= 64 || tick > oldest.tick &+ lifetime {
                self.entries.removeFirst()
            }
            self.entries.append((key, "\(answer)", Self.size(answer), tick))
            self.trim()
        }

        mutating func update(_ key: Key, _ answer: MessageMemory.Answer) {
            guard let index = self.entries.lastIndex(where: { $0.key == key }) else { return }
            self.entries[index].answer = "\(answer)"
            self.entries[index].size = Self.size(answer)
            self.trim()
        }

        private mutating func trim() {
            while self.entries.reduce(0, { $0 + $1.size }) > 8192, self.entries.count > 1 { self.entries.removeFirst() }
        }

        private static func size(_ answer: MessageMemory.Answer) -> Int {
            if case .message(let bytes) = answer { bytes.count } else { 0 }
        }
    }

    private static func answer(_ random: inout some RandomNumberGenerator) -> MessageMemory.Answer {
        switch Int.random(in: 0..<6, using: &random) {
        case 0, 1: .pending
        case 2: .acknowledged
        case 3: .nothing
        case 4: .message([UInt8](repeating: 1, count: Int.random(in: 0..<40, using: &random)))
        default: .message([UInt8](repeating: 2, count: Int.random(in: 0..<1200, using: &random)))
        }
    }

    @Test("It keeps, replaces, forgets and gives up what a plain list would, oldest first", arguments: UInt64(1)...20)
    func model(seed: UInt64) {
        var random = Seeded(state: seed)
        var memory = MessageMemory()
        var model = Model()
        var tick: UInt32 = 1
        let lifetime: UInt32 = 200
        for _ in 0..<400 {
            let key = Key(
                fingerprint: UInt32.random(in: 0..<3, using: &random), messageID: .random(in: 0..<90, using: &random),
                isConfirmable: Bool.random(using: &random)
            )
            let answer = Self.answer(&random)
            switch Int.random(in: 0..<20, using: &random) {
            case 0..<12:
                memory.remember(key, answer, tick: tick, lifetime: lifetime)
                model.remember(key, answer, tick: tick, lifetime: lifetime)
            case 12..<15:
                memory.update(key, answer)
                model.update(key, answer)
            case 15:
                memory.forget(key)
                model.entries.removeAll { $0.key == key }
            case 16:
                memory.resetPending()
                for index in model.entries.indices where model.entries[index].answer == "pending" {
                    model.entries[index].answer = "reset"
                }
            case 17: tick += UInt32.random(in: 0..<60, using: &random)
            default:
                let expected = model.entries.last { $0.key == key && tick <= $0.tick &+ lifetime }?.answer
                #expect(memory.answer(for: key, tick: tick, lifetime: lifetime).map { "\($0)" } == expected)
            }
            #expect(memory.entries.map(\.key) == model.entries.map(\.key))
            #expect(memory.answerBytes == model.entries.reduce(0) { $0 + $1.size })
        }
        #expect(memory.entries.map { "\($0.answer)" } == model.entries.map(\.answer))
        memory.removeAll()
        #expect(memory.count == 0 && memory.entries.isEmpty && memory.answerBytes == 0)
    }
}
