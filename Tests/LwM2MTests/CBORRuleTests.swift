import LwM2M
import Testing

@Suite("Content formats: CBOR and limits")
struct CBORRuleTests {
    @Test(
        "T26: CBOR that is not well formed, or has no meaning, is refused",
        arguments: [
            ("", .truncated), ("18", .truncated), ("1900", .truncated), ("1c", .malformed), ("1f", .malformed),
            ("ff", .malformed), ("0000", .trailingBytes), ("80", .wrongShape), ("a0", .wrongShape),
            ("4200", .truncated), ("5bffffffffffffffff00", .truncated), ("61ff", .malformed), ("5f6161ff", .malformed),
            ("5f5f4100ffff", .malformed), ("5f4100", .truncated), ("7f61c361a9ff", .malformed),
            ("f6", .wrongField), ("f7", .wrongField), ("f818", .wrongField), ("f0", .wrongField),
            // More than 64 bits.
            ("3bffffffffffffffff", .unsupportedNumber), ("c249010000000000000000", .unsupportedNumber),
            ("c1c101", .unsupportedNumber), ("c16131", .unsupportedNumber), ("c401", .unsupportedNumber),
            ("c48101", .unsupportedNumber), ("c49f0101ff", .unsupportedNumber), ("c482016131", .wrongField),
        ] as [(String, PayloadError.Reason)]
    )
    func refusesItems(payload: String, reason: PayloadError.Reason) throws {
        let payload = bytes(hex: payload.replacing("", with: ""))
        let path = LwM2MPath(42, 0, 1)
        let error = #expect(throws: PayloadError.self) { try PayloadCodec.decode(payload, .cbor, at: path) }
        #expect(error?.reason == reason)
    }

    @Test(
        "Integers are the same in every spelling",
        arguments: [
            ("00", 0), ("1800", 0), ("1b0000000000000003", 3), ("20", -1), ("3b7fffffffffffffff", Int64.min),
            ("1b7fffffffffffffff", Int64.max), ("f94200", 3), ("fa40400000", 3), ("fb4008000000000000", 3),
            ("f98000", 0), ("fbc3e0000000000000", Int64.min), ("c103", 3), ("c1fb4008000000000000", 3),
            ("c4820103", 30),
            ("c482021a0000000a", 1000), ("c4822033", -2), ("c48220181e", 3), ("c4820000", 0),
        ] as [(String, Int64)]
    )
    func integers(payload: String, number: Int64) throws {
        let content = try PayloadCodec.decode(bytes(hex: payload), .cbor, at: LwM2MPath(0, 0, 11))
        #expect(content == .resource(Resource(id: 11, value: .single(ResourceValue.bytes(number)))))
    }

    @Test(
        "Numbers that a known resource cannot hold are refused",
        arguments: [
            "f93e00", "f97c00", "f97e00", "fb43e0000000000000", "1b8000000000000000", "c482200f", "c4821401",
            "c4821b000000010000000001", "c4823b000000010000000001", "c4820a1b7fffffffffffffff", "f90001",
        ]
    )
    func noIntegers(payload: String) throws {
        let payload = bytes(hex: payload.replacing("", with: ""))
        let path = LwM2MPath(0, 0, 11)
        let error = #expect(throws: PayloadError.self) { try PayloadCodec.decode(payload, .cbor, at: path) }
        #expect(error?.reason == .wrongType(path, expected: .integer))
    }

    @Test("Unsigned integers have all their 64 bits")
    func unsigned() throws {
        let path = LwM2MPath(0, 0, 13)
        let payload = bytes(hex: "1bffffffffffffffff")
        let content = try PayloadCodec.decode(payload, .cbor, at: path)
        #expect(content == .resource(Resource(id: 13, value: .single([UInt8](repeating: 0xFF, count: 8)))))
        #expect(try PayloadCodec.encode(content, .cbor, at: path) == payload)
        #expect(try PayloadCodec.encode(content, .text, at: path) == Array("18446744073709551615".utf8))
    }

    @Test(
        "T26, T27: SenML CBOR that two readers could take differently is refused",
        arguments: [
            ("a0", .wrongShape), ("81", .truncated), ("8180", .wrongShape), ("81a0", .notOneValue),
            ("8000", .trailingBytes),
            ("9f", .truncated), ("9fff00", .trailingBytes), ("81bf", .truncated), ("81a1", .truncated),
            ("9b00ffffffffffffff", .truncated), ("81bb00ffffffffffffff", .truncated),
            // A label twice, two values, no value, a wrong one, and labels of no type.
            ("81a300662f34322f302f02010202", .duplicateField), ("81a300672f34322f302f300201036161", .notOneValue),
            ("81a100672f34322f302f30", .notOneValue), ("81a200672f34322f302f30026131", .wrongField),
            ("81a1f400", .wrongShape), ("81a200672f34322f302f300501", .unsupportedField),
            ("81a300672f34322f302f3024010201", .unsupportedField),
            ("81a300672f34322f302f3025010201", .unsupportedField),
            ("81a300672f34322f302f30200b0201", .unsupportedField),
            ("81a300672f34322f302f3062785f010201", .unsupportedField),
            ("81a200672f34322f312f300201", .outsidePath), ("81a200662f34322f302f0201", .badName),
        ] as [(String, PayloadError.Reason)]
    )
    func refusesSenMLCBOR(payload: String, reason: PayloadError.Reason) throws {
        let payload = bytes(hex: payload.replacing("", with: ""))
        let path = LwM2MPath(42, 0)
        let error = #expect(throws: PayloadError.self) { try PayloadCodec.decode(payload, .senMLCBOR, at: path) }
        #expect(error?.reason == reason, "\(hex(payload))")
    }

    @Test(
        "T26, T27: LwM2M CBOR that two readers could take differently is refused",
        arguments: [
            ("80", .wrongShape), ("00", .wrongShape), ("a0a0", .trailingBytes), ("a1", .truncated),
            ("bf00", .truncated),
            // Keys that are none.
            ("a12001", .badName), ("a1613001", .badName), ("a1f401", .badName), ("a11a0001000001", .badName),
            ("a18001", .badName), ("a185000000000001", .badName), ("a1811820", .truncated), ("a181810001", .badName),
            // Too shallow, too deep, empty, twice.
            ("a18301020301", .outsidePath), ("a182182a00a0", .wrongShape), ("a184182a000000a10001", .badName),
            ("a200010002", .duplicateField), ("a20001180002", .duplicateField),
            ("a200a100018100a10101", .duplicateField),
            ("a283182a00000182182a00a10002", .duplicatePath(LwM2MPath(42, 0, 0))),
            // Some keys from the root and some from the path.
            ("a283182a0000010102", .outsidePath), ("a283182a00000183182a010002", .outsidePath),
            ("a1008101", .wrongShape),
        ] as [(String, PayloadError.Reason)]
    )
    func refusesLwM2MCBOR(payload: String, reason: PayloadError.Reason) throws {
        let payload = bytes(hex: payload.replacing("", with: ""))
        let path = LwM2MPath(42, 0)
        let error = #expect(throws: PayloadError.self) { try PayloadCodec.decode(payload, .lwm2mCBOR, at: path) }
        #expect(error?.reason == reason, "\(hex(payload))")
    }

    @Test("Keys from the root are meant where all of them can be, and go out as such")
    func keys() throws {
        let path = LwM2MPath(42)
        // {42: {0: {1: 5}}} from the root, {0: {1: 5}} and {[0, 1]: 5} from the path.
        for payload in ["a1182aa100a10105", "a100a10105", "a182000105"] {
            let content = try PayloadCodec.decode(bytes(hex: payload), .lwm2mCBOR, at: path)
            #expect(valuesByPath(of: content, at: path).map(\.path) == ["/42/0/1"])
            #expect(hex(try PayloadCodec.encode(content, .lwm2mCBOR, at: path)) == "a183182a000105")
        }
    }

    @Test("Maps that a server has split come together")
    func splitMaps() throws {
        let path = LwM2MPath(42)
        let content = try PayloadCodec.decode(bytes(hex: "a2182aa100a1010583182a000206"), .lwm2mCBOR, at: path)
        #expect(hex(try PayloadCodec.encode(content, .lwm2mCBOR, at: path)) == "a182182a00a201050206")
    }

    // MARK: - Limits

    static let documents: [ContentFormat] = [.senMLJSON, .senMLCBOR, .json, .lwm2mCBOR]

    /// A document for `/42/0` with `count` values.
    static func document(_ count: Int, _ format: ContentFormat) -> [UInt8] {
        let ids = Array(0..<count).reversed()
        switch format {
        case .senMLJSON:
            return Array(("[" + ids.map { "{\"n\":\"/42/0/\($0)\",\"v\":1}" }.joined(separator: ",") + "]").utf8)
        case .json:
            return Array(("{\"e\":[" + ids.map { "{\"n\":\"\($0)\",\"v\":1}" }.joined(separator: ",") + "]}").utf8)
        case .senMLCBOR:
            let records = ids.flatMap { id in
                let name = Array("/42/0/\(id)".utf8)
                return [0xA2, 0, 0x60 + UInt8(name.count)] + name + [2, 1]
            }
            return [0x9F] + records + [0xFF]
        default: return [0xBF] + ids.flatMap { [0x19, UInt8($0 >> 8), UInt8($0 & 0xFF), 1] } + [0xFF]
        }
    }

    @Test("T46: 1000 values are read, and the next one ends it", arguments: documents)
    func recordLimit(format: ContentFormat) throws {
        let path = LwM2MPath(42, 0)
        let content = try PayloadCodec.decode(Self.document(1000, format), format, at: path)
        #expect(valuesByPath(of: content, at: path).count == 1000)
        let hostile = Self.document(format == .lwm2mCBOR ? 16_000 : 2000, format)
        let error = #expect(throws: PayloadError.self) { try PayloadCodec.decode(hostile, format, at: path) }
        #expect(error?.reason == .tooManyRecords)
    }

    @Test(
        "T46: more than 64 KiB is not looked at",
        arguments: PayloadVectorTests.formats.map(ContentFormat.init(rawValue:)))
    func sizeLimit(format: ContentFormat) throws {
        let payload = [UInt8](repeating: 0x30, count: 65_537)
        let error = #expect(throws: PayloadError.self) {
            try PayloadCodec.decode(payload, format, at: LwM2MPath(42, 0, 0))
        }
        if format == .tlv {
            #expect(error?.description.contains("65536") == true)
        } else {
            #expect(error?.reason == .tooLarge)
        }
    }

    @Test("T46: depth is bounded, in what is ignored too")
    func depthLimit() throws {
        func json(_ depth: Int) -> [UInt8] {
            let nested = String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
            return Array("[{\"n\":\"/42/0/0\",\"v\":1,\"x\":\(nested)}]".utf8)
        }
        func cbor(_ depth: Int, _ open: UInt8) -> [UInt8] {
            [0x81, 0xA3, 0, 0x67] + Array("/42/0/0".utf8) + [2, 1, 0x18, 99] + [UInt8](repeating: open, count: depth)
                + [0]
        }
        let path = LwM2MPath(42, 0)
        #expect(throws: Never.self) { try PayloadCodec.decode(json(6), .senMLJSON, at: path) }
        #expect(throws: Never.self) { try PayloadCodec.decode(cbor(6, 0x81), .senMLCBOR, at: path) }
        for payload in [json(7), json(30_000)] {
            let error = #expect(throws: PayloadError.self) { try PayloadCodec.decode(payload, .senMLJSON, at: path) }
            #expect(error?.reason == .tooDeep)
        }
        for open: UInt8 in [0x81, 0x9F, 0xC1] {
            for depth in [9, 60_000] {
                let payload = cbor(depth, open)
                let error = #expect(throws: PayloadError.self) {
                    try PayloadCodec.decode(payload, .senMLCBOR, at: path)
                }
                #expect(error?.reason == .tooDeep)
            }
        }
    }

    @Test("T46: CBOR items, and JSON values, are counted, those that are ignored too")
    func itemLimit() throws {
        let head = [0x81, 0xA3, 0, 0x67] + Array("/42/0/0".utf8) + [2, 1, 0x18, 99]
        let cbor = head + [0x9F] + [UInt8](repeating: 0, count: 20_000) + [0xFF]
        let json = "[{\"n\":\"/42/0/0\",\"v\":1,\"x\":[" + String(repeating: "1,", count: 20_000) + "1]}]"
        for (payload, format) in [(cbor, ContentFormat.senMLCBOR), (Array(json.utf8), .senMLJSON)] {
            let path = LwM2MPath(42, 0)
            let error = #expect(throws: PayloadError.self) { try PayloadCodec.decode(payload, format, at: path) }
            #expect(error?.reason == .tooManyItems)
        }
    }

    @Test("A long base name costs no more than its own length", arguments: [ContentFormat.senMLJSON, .json])
    func longBaseName(format: ContentFormat) throws {
        let name = String(repeating: "/", count: 60_000)
        let record = format == .json ? "{\"bn\":\"\(name)\",\"e\":[{\"v\":1}]}" : "[{\"bn\":\"\(name)\",\"v\":1}]"
        let path = LwM2MPath(42, 0)
        let error = #expect(throws: PayloadError.self) { try PayloadCodec.decode(Array(record.utf8), format, at: path) }
        #expect(error?.reason == .badName)
    }
}
