import LwM2M
import Testing

@Suite("TLV: the vectors")
struct TLVVectorTests {
    @Test("All 33 vectors with content format 11542 are there")
    func count() throws { #expect(try Vector.all(11542).count == 33) }

    @Test("A valid vector decodes to what it means", arguments: try Vector.all(11542).filter(\.valid))
    func decodes(vector: Vector) throws {
        let path = try vector.lwm2mPath
        let content = try TLV.decode(vector.payload, at: path)
        let values = valuesByPath(of: content, at: path)
        #expect(values.map(\.path) == vector.meaning.nodes.map(\.path))
        for (value, node) in zip(values, vector.meaning.nodes) {
            #expect(scalar(value.bytes, as: node.type) == node.value, "\(node.path)")
        }
    }

    @Test(
        "A canonical vector is encoded byte for byte",
        arguments: try Vector.all(11542).filter { $0.valid && $0.canonical }
    )
    func encodes(vector: Vector) throws {
        let content = try TLV.decode(vector.payload, at: vector.lwm2mPath)
        #expect(hex(try TLV.encode(content)) == vector.hex)
    }

    @Test(
        "A vector that is valid but not canonical means the same after it was encoded anew",
        arguments: try Vector.all(11542).filter { $0.valid && !$0.canonical }
    )
    func reencodes(vector: Vector) throws {
        let path = try vector.lwm2mPath
        let content = try TLV.decode(vector.payload, at: path)
        let encoded = try TLV.encode(content)
        #expect(try TLV.decode(encoded, at: path) == content)
        #expect(encoded.count <= vector.payload.count)
    }

    @Test("An invalid vector is refused", arguments: try Vector.all(11542).filter { !$0.valid })
    func refuses(vector: Vector) throws {
        let path = try vector.lwm2mPath
        #expect(throws: TLVError.self) { try TLV.decode(vector.payload, at: path) }
    }

    @Test("A redundant wrapper is left out again")
    func wrapperIsDropped() throws {
        let vectors = try Vector.all(11542)
        let wrapped = try #require(vectors.first { $0.name == "tlv-inst-nosec-wrapped" })
        let plain = try #require(vectors.first { $0.name == "tlv-inst-nosec" })
        #expect(hex(try TLV.encode(TLV.decode(wrapped.payload, at: wrapped.lwm2mPath))) == plain.hex)
    }
}
