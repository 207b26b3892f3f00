import LwM2M
import Testing

@Suite("TLV: rules and limits")
struct TLVTests {
    @Test(
        "T26: what two readers could take differently is refused, with the place",
        arguments: [
            // Level rules.
            ("/", "", .unsupportedLevel, 0),
            ("/3/0/1/0", "c101", .unsupportedLevel, 0),
            ("/3", "c10001", .misplacedRecord, 0),
            ("/3", "080000c10001", .misplacedRecord, 3),
            ("/3/0", "4100", .overrun, 0),
            ("/3/0", "410001", .misplacedRecord, 0),
            ("/3/0", "c100010800", .truncated, 3),
            ("/3/0", "c10001080000", .misplacedRecord, 3),
            ("/3/0", "0003c10001", .conflictingInstance, 0),
            ("/3/0", "0300c10001c10101", .conflictingInstance, 5),
            ("/3/0", "0000" + "0000", .conflictingInstance, 2),
            ("/3/0", "8303c10001", .misplacedRecord, 2),
            ("/3/0", "0500" + "83038101ff", .misplacedRecord, 4),
            ("/3/0/1", "c10201", .conflictingResource, 0),
            ("/3/0/1", "c10101c10201", .conflictingResource, 0),
            ("/3/0/1", "", .conflictingResource, 0),
            ("/3/0/1", "0300c10101", .misplacedRecord, 0),
            // Lengths.
            ("/3/0", "c1", .truncated, 0),
            ("/3/0", "e100", .truncated, 0),
            ("/3/0", "c800", .truncated, 0),
            ("/3/0", "d00001", .truncated, 0),
            ("/3/0", "d8000000", .truncated, 0),
            ("/3/0", "d800ffffff00", .overrun, 0),
            ("/3/0", "c100", .overrun, 0),
            ("/3/0", "c10001ff", .truncated, 3),
            ("/3", "0200c10001", .overrun, 2),
            // Nothing twice.
            ("/3/0", "c10001c10101c10002", .duplicateIdentifier(0), 6),
            ("/3/0", "c10001e1000002", .duplicateIdentifier(0), 3),
            ("/3/0", "810001", .truncated, 2),
            ("/3/0", "86004105014105ff", .duplicateIdentifier(5), 5),
            ("/3", "000000010000", .duplicateIdentifier(0), 4),
            // Types of objects 0, 1, 2 and 21.
            ("/0/0", "c002", .wrongType(id: 2, expected: .integer), 0),
            ("/0/0", "c3020000ff", .wrongType(id: 2, expected: .integer), 0),
            ("/0/0", "c501ffffffffff", .wrongType(id: 1, expected: .boolean), 0),
            ("/0/0", "c001", .wrongType(id: 1, expected: .boolean), 0),
            ("/0/0", "c20dffff" + "c3110000ff", .wrongType(id: 17, expected: .objectLink), 4),
            ("/0/0", "c200c328", .wrongType(id: 0, expected: .string), 0),
            ("/0/0", "c110ae", .wrongMultiplicity(id: 16), 0),
            ("/0/0", "83024100c0", .wrongMultiplicity(id: 2), 0),
            ("/0/0", "851043000000ae", .wrongType(id: 16, expected: .unsigned), 2),
            ("/1/0", "c307ff5553", .wrongType(id: 7, expected: .string), 0),
            ("/1", "0400c20600" + "01", .wrongType(id: 6, expected: .boolean), 2),
            ("/2/0", "84024200" + "0001" + "c30300007f", .wrongType(id: 3, expected: .integer), 6),
            ("/21/0", "c003", .wrongType(id: 3, expected: .integer), 0),
        ] as [(String, String, TLVError.Reason, Int)]
    )
    func refuses(path: String, payload: String, reason: TLVError.Reason, offset: Int) throws {
        let path = try LwM2MPath(segments: path.split(separator: "/").map(String.init))
        let error = #expect(throws: TLVError.self) { try TLV.decode(bytes(hex: payload), at: path) }
        #expect(error?.reason == reason)
        #expect(error?.offset == offset)
    }

    @Test("Objects that the gateway does not know may hold any bytes")
    func unknownObjectsHaveNoTypes() throws {
        let content = try TLV.decode(bytes(hex: "c302000457"), at: LwM2MPath(42, 0))
        #expect(
            content == .instance(ObjectInstance(id: 0, resources: [Resource(id: 2, value: .single([0, 4, 0x57]))]))
        )
    }

    @Test("A multiple resource with no entry, and an instance with no resource, are kept")
    func emptyContainers() throws {
        let path = LwM2MPath(42)
        let content = try TLV.decode(bytes(hex: "000002018005"), at: path)
        #expect(
            content
                == .instances([
                    ObjectInstance(id: 0, resources: []),
                    ObjectInstance(id: 1, resources: [Resource(id: 5, value: .multiple([]))]),
                ])
        )
        #expect(hex(try TLV.encode(content)) == "000002018005")
    }

    @Test("Identifiers and lengths grow where they must", arguments: [0, 7, 8, 255, 256, 65_535, 65_536])
    func boundaries(length: Int) throws {
        for id: UInt16 in [0, 255, 256, 65_535] {
            let resource = Resource(id: id, value: .single([UInt8](repeating: 0xA5, count: length)))
            let encoded = try TLV.encode(.resource(resource))
            let lengthBytes = length < 8 ? 0 : length < 256 ? 1 : length < 65_536 ? 2 : 3
            #expect(encoded.count == 1 + (id > 255 ? 2 : 1) + lengthBytes + length)
            if encoded.count <= TLV.maximumSize {
                #expect(try TLV.decode(encoded, at: LwM2MPath(42, 0, id)) == .resource(resource))
            }
        }
    }

    @Test("A value that 24 bits cannot count has no TLV form")
    func valueTooLong() {
        let resource = Resource(id: 0, value: .single([UInt8](repeating: 0, count: TLV.maximumLength + 1)))
        #expect(throws: TLVError.self) { try TLV.encode(.resource(resource)) }
    }

    @Test("T46: more than 64 KiB is not looked at")
    func sizeLimit() throws {
        let fits = try TLV.encode(.resource(Resource(id: 1, value: .single([UInt8](repeating: 0, count: 65_536 - 4)))))
        #expect(fits.count == 65_536)
        #expect(throws: Never.self) { try TLV.decode(fits, at: LwM2MPath(42, 0, 1)) }
        let error = #expect(throws: TLVError.self) { try TLV.decode(fits + [0], at: LwM2MPath(42, 0, 1)) }
        #expect(error?.reason == .tooLarge)
    }

    @Test("T46: 1000 records are read, and the next one ends it, whatever their order")
    func recordLimit() throws {
        func payload(_ ids: some Sequence<Int>) -> [UInt8] { ids.flatMap { [0xE0, UInt8($0 >> 8), UInt8($0 & 0xFF)] } }
        #expect(throws: Never.self) { try TLV.decode(payload(0..<1000), at: LwM2MPath(42, 0)) }
        for ids in [Array(0..<21_845), (0..<21_845).reversed()] {
            let hostile = payload(ids)
            #expect(hostile.count == 65_535)
            let error = #expect(throws: TLVError.self) { try TLV.decode(hostile, at: LwM2MPath(42, 0)) }
            #expect(error?.reason == .tooManyRecords)
            #expect(error?.offset == 3000)
        }
    }

    @Test("Duplicates are found in any order", arguments: [[1, 2, 3, 2], [3, 2, 1, 3], [5, 1, 6, 6], [5, 1, 6, 1]])
    func duplicates(ids: [UInt8]) {
        let error = #expect(throws: TLVError.self) {
            try TLV.decode(ids.flatMap { [0xC0, $0] }, at: LwM2MPath(42, 0))
        }
        #expect(error?.reason == .duplicateIdentifier(UInt16(ids[3])))
    }

    @Test("A random tree survives encoding and decoding on every level", arguments: 0..<200)
    func roundTrip(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        let instances = Self.instances(using: &generator)
        let objectID: UInt16 = 42
        let encoded = try TLV.encode(.instances(instances))
        #expect(try TLV.decode(encoded, at: LwM2MPath(objectID)) == .instances(instances), "seed \(seed)")
        for instance in instances {
            let encoded = try TLV.encode(.instance(instance))
            let path = LwM2MPath(objectID, instance.id)
            #expect(try TLV.decode(encoded, at: path) == .instance(instance), "seed \(seed)")
            for resource in instance.resources {
                let encoded = try TLV.encode(.resource(resource))
                let path = LwM2MPath(objectID, instance.id, resource.id)
                #expect(try TLV.decode(encoded, at: path) == .resource(resource), "seed \(seed)")
            }
        }
    }

    @Test("A damaged payload is refused or is a tree that survives encoding", arguments: 0..<50)
    func mutations(seed: UInt64) throws {
        var generator = SeededGenerator(seed: seed)
        for vector in try Vector.all(11542) {
            var payload = vector.payload
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                guard let index = payload.indices.randomElement(using: &generator) else { break }
                switch Int.random(in: 0..<4, using: &generator) {
                case 0: payload[index] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
                case 1: payload.remove(at: index)
                case 2: payload.insert(.random(in: .min ... .max, using: &generator), at: index)
                default: payload.removeSubrange(index...)
                }
            }
            let path = try vector.lwm2mPath
            guard let content = try? TLV.decode(payload, at: path) else { continue }
            let encoded = try TLV.encode(content)
            #expect(encoded.count <= payload.count, "\(vector.name), seed \(seed)")
            #expect(try TLV.decode(encoded, at: path) == content, "\(vector.name), seed \(seed)")
        }
    }

    private static func instances(using generator: inout SeededGenerator) -> [ObjectInstance] {
        Self.identifiers(upTo: 4, using: &generator).map { id in
            ObjectInstance(
                id: id,
                resources: Self.identifiers(upTo: 12, using: &generator).map { id in
                    guard Bool.random(using: &generator) else {
                        return Resource(id: id, value: .single(Self.value(using: &generator)))
                    }
                    let values = Self.identifiers(upTo: 5, using: &generator).map { id in
                        ResourceInstance(id: id, bytes: Self.value(using: &generator))
                    }
                    return Resource(id: id, value: .multiple(values))
                }
            )
        }
    }

    /// Distinct, in any order, of either size.
    private static func identifiers(upTo count: Int, using generator: inout SeededGenerator) -> [UInt16] {
        let ids = (0..<Int.random(in: 0...count, using: &generator)).map { _ in
            Bool.random(using: &generator)
                ? UInt16.random(in: 0...300, using: &generator) : UInt16.random(in: .min ... .max, using: &generator)
        }
        return Set(ids).sorted().shuffled(using: &generator)
    }

    private static func value(using generator: inout SeededGenerator) -> [UInt8] {
        let length = [0, 1, 7, 8, 40, 255, 256, 300].randomElement(using: &generator) ?? 0
        return (0..<length).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
    }
}
