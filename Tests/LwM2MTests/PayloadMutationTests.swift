import LwM2M
import Testing

@Suite("Content formats: damaged payloads")
struct PayloadMutationTests {
    @Test(
        "A damaged payload is refused, or is content that survives encoding",
        arguments: PayloadVectorTests.formats, 0..<10
    )
    func mutations(format: UInt16, seed: UInt64) throws {
        let vectors = try Vector.all(format).filter(\.valid)
        var generator = SeededGenerator(seed: seed << 16 | UInt64(format))
        for round in 0..<1000 {
            let vector = try #require(vectors.randomElement(using: &generator))
            let payload = Self.damaged(vector.payload, using: &generator)
            let comment: Comment = "\(vector.name), seed \(seed), round \(round): \(hex(payload))"
            let path = try vector.lwm2mPath
            if path == .root {
                guard let objects = try? PayloadCodec.decodePack(payload, vector.format) else { continue }
                let encoded = try PayloadCodec.encodePack(objects, vector.format)
                #expect(try PayloadCodec.decodePack(encoded, vector.format) == objects, comment)
            } else {
                guard let content = try? PayloadCodec.decode(payload, vector.format, at: path) else { continue }
                let encoded = try PayloadCodec.encode(content, vector.format, at: path)
                #expect(try PayloadCodec.decode(encoded, vector.format, at: path) == content, comment)
                #expect(try PayloadCodec.encode(content, vector.format, at: path) == encoded, comment)
            }
        }
    }

    @Test("Random bytes are refused, or are content that survives encoding", arguments: PayloadVectorTests.formats)
    func noise(format: UInt16) throws {
        var generator = SeededGenerator(seed: UInt64(format))
        let format = ContentFormat(rawValue: format)
        for round in 0..<2000 {
            let length = Int.random(in: 0..<40, using: &generator)
            let payload = (0..<length).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
            for path in [LwM2MPath(0), LwM2MPath(42, 0), LwM2MPath(0, 0, 3), LwM2MPath(42, 0, 0)] {
                guard let content = try? PayloadCodec.decode(payload, format, at: path) else { continue }
                let encoded = try PayloadCodec.encode(content, format, at: path)
                #expect(
                    try PayloadCodec.decode(encoded, format, at: path) == content, "round \(round): \(hex(payload))")
            }
        }
    }

    /// One to four small damages, among them those that hit structure: known bytes in new places, pieces twice or gone.
    private static func damaged(_ payload: [UInt8], using generator: inout SeededGenerator) -> [UInt8] {
        var payload = payload
        for _ in 0..<Int.random(in: 1...4, using: &generator) {
            guard let index = payload.indices.randomElement(using: &generator) else { break }
            let end = min(payload.count, index + Int.random(in: 1...12, using: &generator))
            switch Int.random(in: 0..<8, using: &generator) {
            case 0: payload[index] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
            case 1: payload.remove(at: index)
            case 2: payload.insert(.random(in: .min ... .max, using: &generator), at: index)
            case 3: payload.removeSubrange(index...)
            case 4: payload.insert(contentsOf: payload[index..<end], at: index)
            case 5: payload.removeSubrange(index..<end)
            case 6: payload[index] = payload.randomElement(using: &generator) ?? 0
            default: payload[index] &+= Bool.random(using: &generator) ? 1 : 0xFF
            }
        }
        return payload
    }
}
