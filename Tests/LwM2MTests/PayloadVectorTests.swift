import LwM2M
import Testing

@Suite("Content formats: the vectors")
struct PayloadVectorTests {
    static let formats: [UInt16] = [0, 42, 60, 110, 112, 11542, 11543, 11544]

    static func vectors() throws -> [Vector] { try Self.formats.flatMap { try Vector.all($0) } }

    @Test(
        "The vectors of each format are all there",
        arguments: zip(Self.formats, [5, 2, 3, 13, 9, 33, 2, 10])
    )
    func count(format: UInt16, count: Int) throws { #expect(try Vector.all(format).count == count) }

    @Test("A valid vector decodes to what it means", arguments: try Self.vectors().filter(\.valid))
    func decodes(vector: Vector) throws {
        let values = try vector.decode().flatMap { valuesByPath(of: $0.content, at: $0.path) }
        #expect(values.map(\.path) == vector.meaning.nodes.map(\.path))
        for (value, node) in zip(values, vector.meaning.nodes) {
            #expect(scalar(value.bytes, as: node.type) == node.value, "\(node.path)")
        }
    }

    @Test(
        "A canonical vector is encoded byte for byte",
        arguments: try Self.vectors().filter { $0.valid && $0.canonical }
    )
    func encodes(vector: Vector) throws { #expect(hex(try vector.reencoded()) == vector.hex) }

    @Test(
        "A vector that is valid but not canonical comes out as the canonical one of the same meaning",
        arguments: try Self.vectors().filter { $0.valid && !$0.canonical && $0.contentFormat != 11542 }
    )
    func normalizes(vector: Vector) throws {
        let canonical = try Vector.all(vector.contentFormat).first {
            $0.canonical && $0.path == vector.path && $0.meaning.nodes == vector.meaning.nodes
        }
        let encoded = try vector.reencoded()
        if let canonical {
            #expect(hex(encoded) == canonical.hex)
        } else {
            #expect(
                try PayloadCodec.decode(encoded, vector.format, at: vector.lwm2mPath)
                    == PayloadCodec.decode(vector.payload, vector.format, at: vector.lwm2mPath))
        }
    }

    @Test("An invalid vector is refused", arguments: try Self.vectors().filter { !$0.valid })
    func refuses(vector: Vector) throws {
        #expect(throws: PayloadError.self) { try vector.decode() }
    }

    @Test(
        "The same account comes out the same in every format that it came in",
        arguments: [
            ContentFormat.tlv, .senMLJSON, .senMLCBOR, .json, .lwm2mCBOR, .oldTLV, .oldJSON,
        ]
    )
    func translates(format: ContentFormat) throws {
        let path = LwM2MPath(0, 2)
        let tlv = try #require(try Vector.all(11542).first { $0.name == "tlv-inst-psk" })
        let content = try PayloadCodec.decode(tlv.payload, .tlv, at: path)
        let written = try PayloadCodec.encode(content, format, at: path)
        #expect(try PayloadCodec.decode(written, format, at: path) == content)
        let vector = try Vector.all(format.registered.rawValue).first {
            $0.path == "/0/2" && $0.canonical && $0.meaning.nodes == tlv.meaning.nodes
        }
        #expect(hex(written) == (try #require(vector)).hex)
    }

    @Test(
        "The documents that the specification prints come out as they are",
        arguments: ["a183030000744f70656e204d6f62696c6520416c6c69616e6365", "a183030006a200010105"]
    )
    func printedDocuments(payload: String) throws {
        let path = LwM2MPath(3, 0)
        let content = try PayloadCodec.decode(bytes(hex: payload), .lwm2mCBOR, at: path)
        #expect(hex(try PayloadCodec.encode(content, .lwm2mCBOR, at: path)) == payload)
    }
}

extension Vector {
    var format: ContentFormat { ContentFormat(rawValue: self.contentFormat) }

    /// The content by the paths that it is for: a pack has one for each object.
    func decode() throws -> [(path: LwM2MPath, content: PathContent)] {
        let path = try self.lwm2mPath
        guard path == .root else { return [(path, try PayloadCodec.decode(self.payload, self.format, at: path))] }
        return try PayloadCodec.decodePack(self.payload, self.format).map {
            (LwM2MPath($0.id), .instances($0.instances))
        }
    }

    func reencoded() throws -> [UInt8] {
        let path = try self.lwm2mPath
        guard path == .root else {
            return try PayloadCodec.encode(
                PayloadCodec.decode(self.payload, self.format, at: path), self.format, at: path)
        }
        return try PayloadCodec.encodePack(PayloadCodec.decodePack(self.payload, self.format), self.format)
    }
}
