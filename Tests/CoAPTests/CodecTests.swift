import CoAP
import Testing

@Suite("Codec")
struct CodecTests {
    @Test("A message has the bytes that RFC 7252 gives it")
    func bytesOfAMessage() {
        let message = bootstrapRequest(messageID: 0x1234, token: token(0xaa, 0xbb))
        let bytes: [UInt8] =
            [0x42, 0x02, 0x12, 0x34, 0xaa, 0xbb, 0xb2, 0x62, 0x73, 0x48] + Array("ep=meter".utf8)
        #expect(CoAPCodec.encode(message) == bytes)
        #expect(decoded(bytes) == message)
    }

    @Test("A payload follows the marker 0xFF, and a 0xFF inside an option value is no marker")
    func payloadMarker() {
        let message = CoAPMessage(
            type: .nonConfirmable,
            code: .content,
            messageID: 7,
            options: options(adding: [(4, [0xff, 0xff])]),
            payload: [0xff, 1]
        )
        let bytes: [UInt8] = [0x50, 0x45, 0, 7, 0x42, 0xff, 0xff, 0xff, 0xff, 1]
        #expect(CoAPCodec.encode(message) == bytes)
        #expect(decoded(bytes) == message)
    }

    @Test(
        "Deltas and lengths take one, two or three bytes at their limits",
        arguments: [0, 12, 13, 268, 269, 1034],
        [1, 12, 13, 268, 269, 65_535] as [UInt16]
    )
    func extendedHeaders(length: Int, number: UInt16) {
        var message = CoAPMessage(type: .confirmable, code: .get, messageID: 1)
        message.options.append(CoAPOptionNumber(rawValue: number), [UInt8](repeating: 0x61, count: length))
        let bytes = CoAPCodec.encode(message)
        func extra(_ value: Int) -> Int { value < 13 ? 0 : value < 269 ? 1 : 2 }
        #expect(bytes.count == 4 + 1 + extra(Int(number)) + extra(length) + length)
        #expect(decoded(bytes) == message)
    }

    @Test("A number of 65,535 is accepted, a sum beyond it and a delta beyond it are not")
    func numberLimit() {
        #expect(decoded([0x40, 1, 0, 1, 0xe0, 0xfe, 0xf2])?.options.contains(.init(rawValue: 65_535)) == true)
        #expect(reason([0x40, 1, 0, 1, 0xe0, 0xfe, 0xf2, 0x10]) == .option)
        // The two-byte delta that would come out as 0, and the largest of all.
        #expect(reason([0x40, 1, 0, 1, 0xe0, 0xfe, 0xf3]) == .option)
        #expect(reason([0x40, 1, 0, 1, 0xe0, 0xff, 0xff]) == .option)
    }

    @Test(
        "What RFC 7252 calls a message format error is refused with its reason, type and message ID",
        arguments: [
            ([0x49, 1, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9], .token),
            ([0x4d, 1, 0, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14], .token),
            ([0x4e, 1, 0, 9] + [UInt8](repeating: 0, count: 300), .token),
            ([0x4f, 1, 0, 9] + [UInt8](repeating: 0, count: 20), .token),
            ([0x42, 1, 0, 9, 1], .token),
            ([0x40, 1, 0, 9, 0xf0], .option),
            ([0x40, 1, 0, 9, 0xf1, 0], .option),
            ([0x40, 1, 0, 9, 0x0f, 0, 0], .option),
            ([0x40, 1, 0, 9, 0xd0], .option),
            ([0x40, 1, 0, 9, 0xe0, 0], .option),
            ([0x40, 1, 0, 9, 0x0d], .option),
            ([0x40, 1, 0, 9, 0x0e, 0], .option),
            ([0x40, 1, 0, 9, 0xb3, 0x61, 0x62], .option),
            ([0x40, 1, 0, 9, 0x0e, 0xff, 0xff, 0], .option),
            ([0x40, 1, 0, 9, 0xff], .emptyPayload),
            ([0x40, 1, 0, 9, 0xb1, 0x61, 0xff], .emptyPayload),
            ([0x41, 0, 0, 9, 1], .emptyWithContent),
            ([0x40, 0, 0, 9, 0xff, 1], .emptyWithContent),
            ([0x40, 0, 0, 9, 0xb1, 0x61], .emptyWithContent),
        ] as [([UInt8], CoAPFormatError.Reason)]
    )
    func formatErrors(bytes: [UInt8], expected: CoAPFormatError.Reason) {
        #expect(self.error(bytes) == CoAPFormatError(reason: expected, type: .confirmable, messageID: 9))
    }

    @Test("Without a readable header there is neither type nor message ID")
    func unreadableHeader() {
        for length in 0..<4 {
            #expect(error([UInt8](repeating: 0x40, count: length)) == CoAPFormatError(reason: .truncatedHeader))
        }
        for version: UInt8 in [0, 2, 3] {
            #expect(error([version << 6, 1, 0, 1]) == CoAPFormatError(reason: .version))
        }
    }

    @Test("Random messages survive encoding and decoding")
    func roundTrip() {
        for seed in UInt64(0)..<3_000 {
            var random = Seeded(state: seed)
            let message = CoAPMessage.random(using: &random)
            let bytes = CoAPCodec.encode(message)
            #expect(decoded(bytes) == message, "seed \(seed)")
        }
    }

    @Test("What was decoded from a mutated datagram is decoded from its own encoding again")
    func mutatedRoundTrip() {
        var accepted = 0
        for seed in UInt64(0)..<20_000 {
            var random = Seeded(state: seed)
            var bytes = CoAPCodec.encode(CoAPMessage.random(using: &random))
            mutate(&bytes, using: &random)
            guard let message = decoded(bytes) else { continue }
            accepted += 1
            #expect(decoded(CoAPCodec.encode(message)) == message, "seed \(seed)")
        }
        #expect(accepted > 1_000)
    }

    private func error(_ bytes: [UInt8]) -> CoAPFormatError? {
        #expect(throws: CoAPFormatError.self) {
            try bytes.withUnsafeBytes { try CoAPCodec.decode($0) }
        }
    }

    private func reason(_ bytes: [UInt8]) -> CoAPFormatError.Reason? {
        self.error(bytes)?.reason
    }
}

extension CoAPMessage {
    /// Any message that can be encoded, ordinary ones and odd ones.
    static func random(using random: inout Seeded) -> CoAPMessage {
        let type = CoAPMessageType.allCases.randomElement(using: &random) ?? .confirmable
        let code = CoAPCode(rawValue: UInt8.random(in: 1...255, using: &random))
        var message = CoAPMessage(
            type: type,
            code: code,
            messageID: UInt16.random(in: .min ... .max, using: &random),
            token: CoAPToken(random.bytes(0...8)) ?? .empty,
            payload: Bool.random(using: &random) ? random.bytes(1...80) : []
        )
        let usual: [UInt16] = [1, 3, 4, 5, 6, 7, 8, 11, 11, 11, 12, 14, 15, 15, 17, 23, 27, 35, 60, 258, 292, 2049]
        for _ in 0..<Int.random(in: 0...8, using: &random) {
            let number =
                Int.random(in: 0..<8, using: &random) == 0
                ? UInt16.random(in: .min ... .max, using: &random) : usual.randomElement(using: &random) ?? 11
            let isLong = Int.random(in: 0..<10, using: &random) == 0
            message.options.append(
                CoAPOptionNumber(rawValue: number),
                random.bytes(isLong ? 0...400 : 0...14)
            )
        }
        return message
    }
}

/// Flips, inserts, removes and cuts a few bytes.
func mutate(_ bytes: inout [UInt8], using random: inout Seeded) {
    for _ in 0..<Int.random(in: 1...4, using: &random) where !bytes.isEmpty {
        let index = Int.random(in: 0..<bytes.count, using: &random)
        switch Int.random(in: 0..<5, using: &random) {
        case 0: bytes[index] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        case 1: bytes[index] = [0, 0xff, 0xf0, 0x0f, 0xdd, 0xee].randomElement(using: &random) ?? 0
        case 2: bytes.insert(UInt8.random(in: .min ... .max, using: &random), at: index)
        case 3: bytes.remove(at: index)
        default: bytes.removeSubrange(index...)
        }
    }
}
