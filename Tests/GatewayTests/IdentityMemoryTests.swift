import Secrets
import Testing

@testable import Gateway

@Suite("The memory of identities")
struct IdentityMemoryTests {
    private static func identity(_ text: String) throws -> PSKIdentity { try #require(PSKIdentity(text.utf8)) }

    @Test("Strangers and one-time identities never push out a SIM's own identity")
    func apart() throws {
        var memory = IdentityMemory(capacity: 4)
        let own = try Self.identity("meter-1")
        let record = try BootstrapScript.record()
        memory.insert(.bootstrap(record), for: own)
        for number in 0..<100 { memory.insert(.unknown, for: try Self.identity("stranger-\(number)")) }
        #expect(memory.value(for: own) == .bootstrap(record))
        #expect(memory.value(for: try Self.identity("stranger-0")) == nil)
        #expect(memory.value(for: try Self.identity("stranger-99")) == .unknown)
    }

    @Test("An identity stands for what was remembered last, and for nothing once removed")
    func latest() throws {
        var memory = IdentityMemory(capacity: 4)
        let own = try Self.identity("meter-1")
        let record = try BootstrapScript.record()
        memory.insert(.unknown, for: own)
        memory.insert(.bootstrap(record), for: own)
        #expect(memory.value(for: own) == .bootstrap(record))
        memory.insert(.unknown, for: own)
        #expect(memory.value(for: own) == .unknown)
        memory.insert(.bootstrap(record), for: own)
        memory.removeAll { $0.iccid == record.iccid }
        #expect(memory.value(for: own) == nil)
        memory.insert(.bootstrap(record), for: own)
        memory.remove(own)
        #expect(memory.value(for: own) == nil)
    }
}
