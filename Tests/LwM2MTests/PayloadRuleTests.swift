import LwM2M
import Testing

@Suite("Content formats: rules")
struct PayloadRuleTests {
    static func path(_ text: String) throws -> LwM2MPath {
        try LwM2MPath(segments: text.split(separator: "/").map(String.init))
    }

    static func refusal(_ payload: [UInt8], _ format: ContentFormat, _ path: String) throws -> PayloadError.Reason? {
        let path = try Self.path(path)
        return #expect(throws: PayloadError.self) { try PayloadCodec.decode(payload, format, at: path) }?.reason
    }

    // MARK: - SenML JSON

    @Test(
        "T26, T27: SenML JSON that two readers could take differently is refused",
        arguments: [
            // The document.
            ("", .truncated), (" ", .truncated), ("{}", .wrongShape), ("[", .truncated), ("[]]", .trailingBytes),
            ("[{}", .notOneValue), ("[{", .truncated), ("[{},]", .notOneValue), ("[1]", .wrongShape),
            ("[,]", .wrongShape),
            ("\u{FEFF}[]", .wrongShape), ("[{\"n\":\"/42/0/1\",\"v\":1,}]", .wrongField),
            ("[{\"n\":\"/42/0/1\" \"v\":1}]", .malformed), ("[{\"n\" \"/42/0/1\"}]", .malformed),
            ("[{n:1}]", .wrongField), ("[{\"n\":\"/42/0/1\",\"v\":1}{}]", .malformed),
            // Names.
            ("[{\"v\":1}]", .badName), ("[{\"n\":\"/42/0\",\"v\":1}]", .badName),
            ("[{\"n\":\"42/0/1\",\"v\":1}]", .badName), ("[{\"n\":\"/42/0/1/\",\"v\":1}]", .badName),
            ("[{\"n\":\"/42//1\",\"v\":1}]", .badName), ("[{\"n\":\"/42/00/1\",\"v\":1}]", .badName),
            ("[{\"n\":\"/42/0/../1\",\"v\":1}]", .badName), ("[{\"n\":\"/42/0/65536\",\"v\":1}]", .badName),
            ("[{\"n\":\"/42/0/1/2/3\",\"v\":1}]", .badName), ("[{\"n\":\"/42/0/+1\",\"v\":1}]", .badName),
            ("[{\"n\":\"/43/0/1\",\"v\":1}]", .outsidePath),
            ("[{\"bn\":\"/42/1/\",\"n\":\"1\",\"v\":1}]", .outsidePath),
            // The base name stays in force.
            ("[{\"bn\":\"/42/0/\",\"n\":\"1\",\"v\":1},{\"n\":\"/42/0/2\",\"v\":1}]", .badName),
            ("[{\"bn\":1,\"n\":\"/42/0/1\",\"v\":1}]", .wrongField),
            // Values.
            ("[{\"n\":\"/42/0/1\"}]", .notOneValue), ("[{\"n\":\"/42/0/1\",\"v\":1,\"vs\":\"a\"}]", .notOneValue),
            ("[{\"n\":\"/42/0/1\",\"v\":1,\"v\":2}]", .duplicateField),
            ("[{\"n\":\"/42/0/1\",\"n\":\"/42/0/2\",\"v\":2}]", .duplicateField),
            ("[{\"n\":\"/42/0/1\",\"v\":\"1\"}]", .wrongField), ("[{\"n\":\"/42/0/1\",\"vs\":1}]", .wrongField),
            ("[{\"n\":\"/42/0/1\",\"vb\":1}]", .wrongField), ("[{\"n\":\"/42/0/1\",\"v\":null}]", .wrongField),
            ("[{\"n\":\"/42/0/1\",\"vb\":truth}]", .malformed), ("[{\"n\":\"/42/0/1\",\"vb\":tru", .truncated),
            ("[{\"n\":\"/42/0/1\",\"vd\":\"A\"}]", .wrongField), ("[{\"n\":\"/42/0/1\",\"vd\":\"AB=\"}]", .wrongField),
            ("[{\"n\":\"/42/0/1\",\"vd\":\"AB\"}]", .wrongField),
            ("[{\"n\":\"/42/0/1\",\"vd\":\"A A=\"}]", .wrongField),
            ("[{\"n\":\"/42/0/1\",\"vlo\":\"1\"}]", .wrongField),
            ("[{\"n\":\"/42/0/1\",\"vlo\":\"1:02\"}]", .wrongField),
            // Fields that change the meaning.
            ("[{\"n\":\"/42/0/1\",\"v\":1,\"bv\":0}]", .unsupportedField),
            ("[{\"n\":\"/42/0/1\",\"v\":1,\"bs\":0}]", .unsupportedField),
            ("[{\"n\":\"/42/0/1\",\"v\":1,\"s\":0}]", .unsupportedField),
            ("[{\"n\":\"/42/0/1\",\"v\":1,\"x_\":0}]", .unsupportedField),
            ("[{\"bver\":11,\"n\":\"/42/0/1\",\"v\":1}]", .unsupportedField),
            ("[{\"bver\":-1,\"n\":\"/42/0/1\",\"v\":1}]", .unsupportedField),
            // Strings.
            ("[{\"n\":\"/42/0/1\",\"vs\":\"\\x\"}]", .malformed),
            ("[{\"n\":\"/42/0/1\",\"vs\":\"\\u12g4\"}]", .malformed),
            ("[{\"n\":\"/42/0/1\",\"vs\":\"\\ud800\"}]", .malformed),
            ("[{\"n\":\"/42/0/1\",\"vs\":\"\n\"}]", .malformed),
            ("[{\"n\":\"/42/0/1\",\"vs\":\"\\udc00\"}]", .malformed), ("[{\"n\":\"/42/0/1\",\"vs\":\"a", .truncated),
            ("[{\"n\":\"/42/0/1\",\"vs\":\"\\ud800\\u0041\"}]", .malformed),
            // Numbers.
            ("[{\"n\":\"/42/0/1\",\"v\":01}]", .malformed), ("[{\"n\":\"/42/0/1\",\"v\":1.}]", .malformed),
            ("[{\"n\":\"/42/0/1\",\"v\":-}]", .malformed), ("[{\"n\":\"/42/0/1\",\"v\":1e}]", .malformed),
            ("[{\"n\":\"/42/0/1\",\"v\":+1}]", .wrongField), ("[{\"n\":\"/42/0/1\",\"v\":.5}]", .wrongField),
            ("[{\"n\":\"/42/0/1\",\"v\":NaN}]", .wrongField),
            ("[{\"n\":\"/42/0/1\",\"v\":18446744073709551616}]", .unsupportedNumber),
            ("[{\"n\":\"/42/0/1\",\"v\":-9223372036854775809}]", .unsupportedNumber),
        ] as [(String, PayloadError.Reason)]
    )
    func refusesSenMLJSON(payload: String, reason: PayloadError.Reason) throws {
        #expect(try Self.refusal(Array(payload.utf8), .senMLJSON, "/42/0") == reason)
    }

    @Test("Nothing occurs twice, whatever stands between, and one value is not several")
    func duplicates() throws {
        func reason(_ names: String...) throws -> PayloadError.Reason? {
            let records = names.map { "{\"n\":\"/42/\($0)\",\"v\":1}" }.joined(separator: ",")
            return try Self.refusal(Array("[\(records)]".utf8), .senMLJSON, "/42")
        }
        #expect(try reason("0/1", "0/2", "1/1", "0/1") == .duplicatePath(LwM2MPath(42, 0, 1)))
        #expect(try reason("0/1/0", "0/2/0", "0/1/0") == .duplicatePath(LwM2MPath(42, 0, 1, 0)))
        #expect(try reason("0/7", "0/1", "0/1/0") == .duplicatePath(LwM2MPath(42, 0, 1)))
        #expect(try reason("0/7/3", "0/1/0", "0/1") == .duplicatePath(LwM2MPath(42, 0, 1)))
    }

    @Test("Records that are scattered come together where the first of them stood")
    func scattered() throws {
        let payload = """
            [{"n":"/42/5/1","v":1},{"n":"/42/2/9/4","v":2},{"n":"/42/5/0","v":3},{"n":"/42/2/9/1","v":4}]
            """
        let path = LwM2MPath(42)
        let content = try PayloadCodec.decode(Array(payload.utf8), .senMLJSON, at: path)
        let encoded = try PayloadCodec.encode(content, .senMLJSON, at: path)
        #expect(
            String(decoding: encoded, as: UTF8.self)
                == #"[{"bn":"/42/","n":"5/1","v":1},{"n":"5/0","v":3},{"n":"2/9/4","v":2},{"n":"2/9/1","v":4}]"#
        )
    }

    @Test("What SenML leaves to be ignored is ignored")
    func ignored() throws {
        let payload = """
             [ {"bver":10, "bt":1.5e9, "bu":"W", "x":{"y":[null,true,-1.5e-3,"z"]}, "vs":"\\u00e9\\ud83d\\ude00\\/\\n",
             "t":-5, "ut":10, "u":"lon", "n":"/0", "bn":"/0/0"}]\n
            """
        let content = try PayloadCodec.decode(Array(payload.utf8), .senMLJSON, at: LwM2MPath(0, 0))
        let values = valuesByPath(of: content, at: LwM2MPath(0, 0))
        #expect(values.map(\.path) == ["/0/0/0"])
        #expect(values.map { String(decoding: $0.bytes, as: UTF8.self) } == ["é😀/\n"])
        let encoded = try PayloadCodec.encode(content, .senMLJSON, at: LwM2MPath(0, 0))
        #expect(String(decoding: encoded, as: UTF8.self) == #"[{"bn":"/0/0/","n":"0","vs":"é😀/\u000a"}]"#)
    }

    @Test(
        "Integers are exact to 64 bits, in every spelling",
        arguments: [
            ("0", [0]), ("-0", [0]), ("0.0e9", [0]), ("3.0", [3]), ("3e0", [3]), ("30E-1", [3]), ("0.3e+1", [3]),
            ("-1", [0xFF]), ("1e2", [100]), ("9007199254740993", [0, 0x20, 0, 0, 0, 0, 0, 1]),
            ("9223372036854775807", [0x7F, 255, 255, 255, 255, 255, 255, 255]),
            ("-9223372036854775808", [0x80, 0, 0, 0, 0, 0, 0, 0]),
            ("-922337203685477580.8e1", [0x80, 0, 0, 0, 0, 0, 0, 0]),
        ] as [(String, [UInt8])]
    )
    func exactIntegers(number: String, bytes: [UInt8]) throws {
        let path = LwM2MPath(0, 0, 11)
        let payload = Array(#"[{"bn":"/0/0/11","v":\#(number)}]"#.utf8)
        let content = try PayloadCodec.decode(payload, .senMLJSON, at: path)
        #expect(content == .resource(Resource(id: 11, value: .single(bytes))))
    }

    @Test(
        "A number that a known resource cannot hold is refused",
        arguments: [
            "0.5", "1e-1", "1e19", "1e400", "1e-99999999999999999999", "9223372036854775808", "1e99999999999999999999",
        ]
    )
    func noIntegers(number: String) throws {
        let payload = Array(#"[{"bn":"/0/0/11","v":\#(number)}]"#.utf8)
        let expected = PayloadError.Reason.wrongType(LwM2MPath(0, 0, 11), expected: .integer)
        #expect(try Self.refusal(payload, .senMLJSON, "/0/0/11") == expected)
    }

    // MARK: - What is not known

    @Test(
        "Unknown values go through letter for letter, with their type",
        arguments: [
            #"{"bn":"/42/0/","n":"0","v":1.50e+3}"#, #"{"bn":"/42/0/","n":"0","v":1e400}"#,
            #"{"bn":"/42/0/","n":"0","v":-0}"#, #"{"bn":"/42/0/","n":"0","vs":"\u0041\/"}"#,
            #"{"bn":"/42/0/","n":"0","vb":true}"#, #"{"bn":"/42/0/","n":"0","vd":"+/+/AA=="}"#,
            #"{"bn":"/42/0/","n":"0","vlo":"65535:65535"}"#, #"{"bn":"/42/0/","n":"0/7","vs":"21:0"}"#,
        ]
    )
    func unknownJSON(record: String) throws {
        let payload = Array("[\(record)]".utf8)
        let content = try PayloadCodec.decode(payload, .senMLJSON, at: LwM2MPath(42, 0))
        #expect(try PayloadCodec.encode(content, .senMLJSON, at: LwM2MPath(42, 0)) == payload)
    }

    @Test(
        "Unknown CBOR values go through byte for byte, with their type",
        arguments: [
            // 1 in nine bytes, 1.5 as half and double, -1, a time, a decimal fraction, true, text and bytes in pieces.
            "1b0000000000000001", "f93e00", "fb3ff8000000000000", "20", "c11a514b67b0", "c48221196ab3", "f5",
            "7f61616162ff", "5f4101420203ff", "43010203", "f97e00", "6432313a30",
        ]
    )
    func unknownCBOR(value: String) throws {
        let payload = bytes(hex: "a183182a0000" + value)
        let content = try PayloadCodec.decode(payload, .lwm2mCBOR, at: LwM2MPath(42, 0))
        #expect(hex(try PayloadCodec.encode(content, .lwm2mCBOR, at: LwM2MPath(42, 0))) == hex(payload))
        let single = try PayloadCodec.decode(bytes(hex: value), .cbor, at: LwM2MPath(42, 0, 0))
        #expect(hex(try PayloadCodec.encode(single, .cbor, at: LwM2MPath(42, 0, 0))) == value)
    }

    @Test("Unknown resources of a known object go through beside the known ones")
    func unknownResource() throws {
        let payload = Array(#"[{"bn":"/0/0/","n":"2","v":3},{"n":"9999","v":2.50},{"n":"1","vb":false}]"#.utf8)
        let content = try PayloadCodec.decode(payload, .senMLJSON, at: LwM2MPath(0, 0))
        #expect(try PayloadCodec.encode(content, .senMLJSON, at: LwM2MPath(0, 0)) == payload)
    }

    @Test(
        "A value of unknown type has no form in another format",
        arguments: [ContentFormat.senMLCBOR, .json, .lwm2mCBOR])
    func unknownAcrossFormats(format: ContentFormat) throws {
        let path = LwM2MPath(42, 0)
        let json = try PayloadCodec.decode(Array(#"[{"n":"/42/0/1","v":1}]"#.utf8), .senMLJSON, at: path)
        let tlv = try PayloadCodec.decode([0xC1, 1, 1], .tlv, at: path)
        for content in [json, tlv] {
            let error = #expect(throws: PayloadError.self) { try PayloadCodec.encode(content, format, at: path) }
            #expect(error?.reason == .unknownType(LwM2MPath(42, 0, 1)))
        }
        let error = #expect(throws: PayloadError.self) { try PayloadCodec.encode(json, .tlv, at: path) }
        guard case .tlv(let inner)? = error?.reason else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(inner.reason == .foreignSpelling(id: 1))
    }

    @Test("Keys of OSCORE that are still strings stay strings")
    func oldStrings() throws {
        let payload = Array(#"[{"bn":"/21/0/","n":"0","vs":"secret"},{"n":"1","vd":"AQ"}]"#.utf8)
        let content = try PayloadCodec.decode(payload, .senMLJSON, at: LwM2MPath(21, 0))
        #expect(try PayloadCodec.encode(content, .senMLJSON, at: LwM2MPath(21, 0)) == payload)
    }

    // MARK: - Known types

    @Test(
        "A known resource of another type or multiplicity is refused in every format",
        arguments: [
            (.senMLJSON, #"[{"n":"/0/0/0","v":1}]"#, "/0/0", .wrongType(LwM2MPath(0, 0, 0), expected: .string)),
            (.senMLJSON, #"[{"n":"/0/0/1","v":1}]"#, "/0/0", .wrongType(LwM2MPath(0, 0, 1), expected: .boolean)),
            (.senMLJSON, #"[{"n":"/0/0/5","vs":"AAEC"}]"#, "/0/0", .wrongType(LwM2MPath(0, 0, 5), expected: .opaque)),
            (.senMLJSON, #"[{"n":"/0/0/13","v":-1}]"#, "/0/0", .wrongType(LwM2MPath(0, 0, 13), expected: .unsigned)),
            (
                .senMLJSON, #"[{"n":"/0/0/17","vs":"21"}]"#, "/0/0",
                .wrongType(LwM2MPath(0, 0, 17), expected: .objectLink)
            ),
            (.senMLJSON, #"[{"n":"/0/0/16","v":1}]"#, "/0/0", .wrongMultiplicity(LwM2MPath(0, 0, 16))),
            (.senMLJSON, #"[{"n":"/0/0/2/0","v":1}]"#, "/0/0", .wrongMultiplicity(LwM2MPath(0, 0, 2, 0))),
            (
                .json, #"{"bn":"/0/0/","e":[{"n":"5","sv":"AA?"}]}"#, "/0/0",
                .wrongType(LwM2MPath(0, 0, 5), expected: .opaque)
            ),
            (
                .json, #"{"bn":"/0/0/","e":[{"n":"1","v":1}]}"#, "/0/0",
                .wrongType(LwM2MPath(0, 0, 1), expected: .boolean)
            ),
            (.text, "3.0", "/0/0/2", .wrongType(LwM2MPath(0, 0, 2), expected: .integer)),
            (.text, "", "/0/0/2", .wrongType(LwM2MPath(0, 0, 2), expected: .integer)),
            (.text, "true", "/0/0/1", .wrongType(LwM2MPath(0, 0, 1), expected: .boolean)),
            (.text, "&", "/0/0/5", .wrongType(LwM2MPath(0, 0, 5), expected: .opaque)),
            (.text, "1", "/0/0/16", .wrongMultiplicity(LwM2MPath(0, 0, 16))),
            (.octetStream, "3", "/0/0/2", .wrongType(LwM2MPath(0, 0, 2), expected: .integer)),
            (.cbor, "C123", "/0/0/2", .wrongType(LwM2MPath(0, 0, 2), expected: .integer)),
        ] as [(ContentFormat, String, String, PayloadError.Reason)]
    )
    func knownTypes(format: ContentFormat, payload: String, path: String, reason: PayloadError.Reason) throws {
        #expect(try Self.refusal(Array(payload.utf8), format, path) == reason)
    }

    @Test("Object links are understood in both fields, and all of Base64 is")
    func tolerance() throws {
        let path = LwM2MPath(0, 0)
        for link in [#""vlo":"21:0""#, #""vs":"21:0""#] {
            let content = try PayloadCodec.decode(Array("[{\"n\":\"/0/0/17\",\(link)}]".utf8), .senMLJSON, at: path)
            #expect(valuesByPath(of: content, at: path).map(\.bytes) == [[0, 21, 0, 0]])
        }
        for data in ["-_8", "-_8=", "+/8", "+/8="] {
            let content = try PayloadCodec.decode(
                Array("[{\"n\":\"/0/0/5\",\"vd\":\"\(data)\"}]".utf8), .senMLJSON, at: path)
            #expect(valuesByPath(of: content, at: path).map(\.bytes) == [[0xFB, 0xFF]])
            let encoded = try PayloadCodec.encode(content, .senMLJSON, at: path)
            #expect(String(decoding: encoded, as: UTF8.self) == #"[{"bn":"/0/0/","n":"5","vd":"-_8"}]"#)
        }
    }

    // MARK: - OMA JSON

    @Test(
        "OMA JSON: names follow the base name wherever it stands, or the path of the request",
        arguments: [
            (#"{"e":[{"n":"1","bv":true}]}"#, "/0/0"), (#"{"e":[{"n":"/0/0/1","bv":true}],"bn":""}"#, "/0/0"),
            (#"{"e":[{"n":"/0/0/1","bv":true}]}"#, "/0/0"), (#"{"e":[{"n":"0/1","bv":true}],"bt":1,"x":[]}"#, "/0"),
            (#"{"e":[{"n":"1","t":0,"bv":true}],"bn":"/0/0/"}"#, "/0"), (#"{"e":[{"bv":true}]}"#, "/0/0/1"),
            (#"{"bn":"/0/0/1","e":[{"n":"","bv":true}]}"#, "/0/0/1"),
        ]
    )
    func omaNames(payload: String, path: String) throws {
        let path = try Self.path(path)
        let content = try PayloadCodec.decode(Array(payload.utf8), .oldJSON, at: path)
        let values = valuesByPath(of: content, at: path)
        #expect(values.map(\.path) == ["/0/0/1"])
        #expect(values.map(\.bytes) == [[1]])
    }

    @Test(
        "OMA JSON that two readers could take differently is refused",
        arguments: [
            ("[]", .wrongShape), ("{}", .wrongShape), (#"{"e":{}}"#, .wrongShape),
            (#"{"e":[],"e":[]}"#, .duplicateField),
            (#"{"bn":"/0/0/","bn":"/0/1/","e":[]}"#, .duplicateField), (#"{"e":[]}x"#, .trailingBytes),
            (#"{"e":[{"n":"1"}]}"#, .notOneValue), (#"{"e":[{"n":"1","bv":true,"v":1}]}"#, .notOneValue),
            (#"{"e":[{"n":"1","n":"1","bv":true}]}"#, .duplicateField), (#"{"e":[{"n":"0/0/1","bv":true}]}"#, .badName),
            (#"{"bn":"/0/","e":[{"n":"1/1","bv":true}]}"#, .outsidePath),
            (#"{"e":[{"n":"01","bv":true}]}"#, .badName), (#"{"e":[{"n":"17","ov":"1"}]}"#, .wrongField),
        ] as [(String, PayloadError.Reason)]
    )
    func refusesOMAJSON(payload: String, reason: PayloadError.Reason) throws {
        #expect(try Self.refusal(Array(payload.utf8), .json, "/0/0") == reason)
    }

    // MARK: - Levels

    @Test("Each format has its levels, and content belongs to its path")
    func levels() throws {
        for format in [ContentFormat.text, .octetStream, .cbor, .oldText] {
            #expect(try Self.refusal([0x30], format, "/0/0") == .unsupportedLevel)
        }
        for format in PayloadVectorTests.formats.map(ContentFormat.init(rawValue:)) {
            #expect(try Self.refusal([], format, "/") == .unsupportedLevel)
            #expect(try Self.refusal([], format, "/0/0/16/0") == .unsupportedLevel)
            let content = PathContent.instance(ObjectInstance(id: 1, resources: []))
            for path in [LwM2MPath.root, LwM2MPath(0), LwM2MPath(0, 0), LwM2MPath(0, 1, 0)] {
                let error = #expect(throws: PayloadError.self) { try PayloadCodec.encode(content, format, at: path) }
                #expect(error?.reason == .unsupportedLevel)
            }
        }
        #expect(try Self.refusal([], .linkFormat, "/0") == .unsupportedFormat)
        #expect(throws: PayloadError.self) { try PayloadCodec.decodePack([], .tlv) }
        #expect(!PayloadCodec.supports(.linkFormat) && PayloadCodec.supports(.oldText))
        #expect(try Self.refusal(Array("[]".utf8), .senMLJSON, "/0/0/1") == .missingResource)
    }

    @Test("What is empty goes where the format can say so, and is refused where it cannot")
    func empty() throws {
        let path = LwM2MPath(42, 0)
        for (format, payload) in [(ContentFormat.senMLJSON, "5b5d"), (.senMLCBOR, "80"), (.lwm2mCBOR, "a0")] {
            let content = try PayloadCodec.decode(bytes(hex: payload), format, at: path)
            #expect(content == .instance(ObjectInstance(id: 0, resources: [])))
            #expect(hex(try PayloadCodec.encode(content, format, at: path)) == payload)
            let error = #expect(throws: PayloadError.self) {
                try PayloadCodec.encode(.instances([ObjectInstance(id: 0, resources: [])]), format, at: LwM2MPath(42))
            }
            #expect(error?.reason == .noForm(path))
            let resource = Resource(id: 16, value: .multiple([]))
            let other = #expect(throws: PayloadError.self) {
                try PayloadCodec.encode(.resource(resource), format, at: LwM2MPath(0, 0, 16))
            }
            #expect(other?.reason == .noForm(LwM2MPath(0, 0, 16)))
        }
    }

    @Test(
        "A tree in which something occurs twice has no form",
        arguments: [ContentFormat.senMLJSON, .senMLCBOR, .lwm2mCBOR])
    func duplicatesInTree(format: ContentFormat) {
        let single = Resource(id: 25, value: .single([0x61]))
        let several = Resource(id: 25, value: .multiple([ResourceInstance(id: 0, bytes: [0x61])]))
        for resources in [[single, single], [single, several], [several, single]] {
            let instance = ObjectInstance(id: 3, resources: resources)
            let error = #expect(throws: PayloadError.self) {
                try PayloadCodec.encode(.instance(instance), format, at: LwM2MPath(0, 3))
            }
            #expect(error?.reason == .duplicatePath(LwM2MPath(0, 3, 25)))
        }
        let instance = ObjectInstance(id: 3, resources: [single])
        let error = #expect(throws: PayloadError.self) {
            try PayloadCodec.encode(.instances([instance, instance]), format, at: LwM2MPath(0))
        }
        #expect(error?.reason == .duplicatePath(LwM2MPath(0, 3)))
    }
}
