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
        let values = values(of: content, at: path)
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

    private func values(of content: PathContent, at path: LwM2MPath) -> [(path: String, bytes: [UInt8])] {
        switch content {
        case .instances(let instances):
            instances.flatMap { instance in
                instance.resources.flatMap { values(of: $0, below: "\(path)/\(instance.id)") }
            }
        case .instance(let instance): instance.resources.flatMap { values(of: $0, below: "\(path)") }
        case .resource(let resource):
            values(of: resource, below: "\(path)".split(separator: "/").dropLast().reduce("") { "\($0)/\($1)" })
        }
    }

    private func values(of resource: Resource, below path: String) -> [(path: String, bytes: [UInt8])] {
        switch resource.value {
        case .single(let bytes): [("\(path)/\(resource.id)", bytes)]
        case .multiple(let instances): instances.map { ("\(path)/\(resource.id)/\($0.id)", $0.bytes) }
        }
    }

    private func scalar(_ bytes: [UInt8], as type: String) -> Vector.Scalar? {
        switch type {
        case "string": ResourceValue.string(bytes).map { .text($0) }
        case "integer": ResourceValue.integer(bytes).map { .number($0) }
        case "unsigned": ResourceValue.unsigned(bytes).map { .number(Int64($0)) }
        case "boolean": ResourceValue.boolean(bytes).map { .boolean($0) }
        case "objlnk": ResourceValue.objectLink(bytes).map { .text($0.description) }
        case "opaque": .text(hex(bytes))
        default: nil
        }
    }
}
