import CoAP
import Gateway
import Logging
import NIOConcurrencyHelpers
import Testing

@Suite("The messages of one SIM in the log")
struct MessageTraceTests {
    private let kept = KeptLog()
    private let time = NIOLockedValueBox<Int64>(1_000)

    private func trace() -> MessageTrace {
        MessageTrace(logger: self.kept.logger) { [time] in time.withLockedValue { $0 } }
    }

    private func note(_ trace: MessageTrace, _ bytes: [UInt8], iccid: String = "1") {
        bytes.withUnsafeBytes { trace.note($0, .fromDevice, iccid: iccid, far: "192.0.2.1:4000") }
    }

    private static let message = CoAPCodec.encode(
        .confirmable, .put, messageID: 513, token: CoAPToken(0x1122_3344_5566_7788),
        options: CoAPRequest(.put, path: ["0", "1"], query: ["ep=hidden"]).options, payload: Array("secret".utf8)
    )

    @Test("An entry tells what kind of message it was, and nothing of what is in it")
    func entry() throws {
        var trace = self.trace()
        trace.follow("1", until: 2_000)
        self.note(trace, Self.message)
        let entry = try #require(self.kept.entries.first)
        let expected: Logger.Metadata = [
            "iccid": "1", "direction": "from device", "peer": "192.0.2.1:4000", "type": "CON", "code": "0.03",
            "mid": "513", "token-length": "8", "path": "/0/1", "payload": "6", "size": "\(Self.message.count)",
        ]
        #expect(entry == expected)
    }

    @Test("Other SIMs, and the same one after its time or its withdrawal, are not logged")
    func bounds() {
        var trace = self.trace()
        #expect(trace.isEmpty)
        trace.follow("1", until: 2_000)
        trace.follow("2", until: 1_000)
        self.note(trace, Self.message, iccid: "2")
        self.note(trace, Self.message, iccid: "3")
        self.time.withLockedValue { $0 = 2_000 }
        self.note(trace, Self.message)
        #expect(self.kept.entries.isEmpty)
        trace.prune()
        #expect(trace.isEmpty && trace.firstEnd == nil)
        trace.follow("1", until: 9_000)
        trace.follow("1", until: nil)
        #expect(trace.isEmpty)
    }

    @Test("What is no message is told by its size and what is wrong with it")
    func malformed() throws {
        var trace = self.trace()
        trace.follow("1", until: 2_000)
        self.note(trace, [0x40, 1])
        let entry = try #require(self.kept.entries.first)
        #expect(entry["size"] == "2" && entry["malformed"] == "truncatedHeader" && entry["code"] == nil)
    }
}
