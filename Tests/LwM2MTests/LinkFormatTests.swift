import Testing

@testable import LwM2M

@Suite("Lists of links")
struct LinkFormatTests {
    private static func list(_ text: String) throws -> LinkFormat { try LinkFormat(Array(text.utf8)) }

    private static func reason(_ bytes: [UInt8]) -> LinkFormatError.Reason? {
        do {
            _ = try LinkFormat(bytes)
            return nil
        } catch { return error.reason }
    }

    @Test(
        "T33: what nobody changes is kept byte for byte, in every form that was seen",
        arguments: [
            "",
            "lwm2m=\"1.0\",</0/0>;ssid=101,</0/1>,</1/0>;ssid=101,</3/0>,</5>",
            "lwm2m=\"1.1\",</0/0>",
            "lwm2m=1.0",
            "</>;lwm2m=1.1,</0/0>;ssid=101;uri=\"coaps://host:5684\",</0/1>,</1/0>;ssid=101,</3/0>,</5>,</4>",
            "</>;lwm2m=\"1.2\";rt=\"oma.lwm2m\";ct=\"112 11544\",</0>,</0/1/>, </3>;ver=1.1,  </3/0>",
            "</0/1>;uri=\"coap://h/a,b;c=\\\"<d>\\\\\",</5/0/1>;dim=8;pmin=10;st",
            "<coap://other/0/1>;ssid=1,</bs>,</00/1>,</0/65536>,<>,</1/0/1/2/3>",
            "</0/0>;title=\"Zähler\";title*=UTF-8''Z%C3%A4hler",
        ]
    )
    func roundTrip(text: String) throws {
        let list = try Self.list(text)
        #expect(String(decoding: list.bytes, as: UTF8.self) == text)
        #expect(try LinkFormat(list.bytes) == list)
    }

    @Test("Paths and attributes are read in all their forms")
    func reading() throws {
        let list = try Self.list(
            "lwm2m=\"1.0\",</>;lwm2m=1.1, </0/1/>;ssid=\"101\";uri=\"coap://h/\\\"\",</0/65535>;x,</00/1>,</bs>")
        #expect(
            list.links.map(\.path) == [nil, .root, LwM2MPath(0, 1), LwM2MPath(0, 65_535), nil, nil])
        #expect(list.links[0]["lwm2m"] == "1.0" && list.links[1]["lwm2m"] == "1.1")
        #expect(list.links[2]["ssid"] == "101" && list.links[2]["uri"] == "coap://h/\"")
        #expect(list.links[3]["x"] == "" && list.links[3]["ssid"] == nil)
    }

    @Test("What is changed keeps its place and its form, and the rest is as it was")
    func changing() throws {
        var list = try Self.list(
            "</>;lwm2m=1.1, </0/1/>;a;uri=\"coaps://e\";ssid=101,</0/2>;uri=\"x\",</0/3>;uri=\"y\"")
        list.links[1].move(to: LwM2MPath(0, 7))
        list.links[1].replace("uri", with: "coap://h/\"\\")
        list.links[1].replace("pct", with: "never there")
        list.links[2].remove("uri")
        list.links[3].replace("uri", with: "with\u{7}bell")
        #expect(
            String(decoding: list.bytes, as: UTF8.self)
                == "</>;lwm2m=1.1, </0/7/>;a;uri=\"coap://h/\\\"\\\\\";ssid=101,</0/2>,</0/3>")
        #expect(list.links[1]["uri"] == "coap://h/\"\\")
    }

    @Test("Attributes alone of which none is left leave no comma behind")
    func vacant() throws {
        var list = try Self.list("uri=\"x\", </0/1>")
        list.links[0].remove("uri")
        #expect(String(decoding: list.bytes, as: UTF8.self) == " </0/1>")
        #expect(try LinkFormat(list.bytes).links.map(\.path) == [LwM2MPath(0, 1)])
    }

    @Test(
        "T26: what two readers could take differently is refused",
        arguments: [
            ("</0/0>,</0/0>;ssid=1", LinkFormatError.Reason.duplicate), ("</0/0>,</0/0/>", .duplicate),
            ("</0/0>;ssid=1;ssid=2", .duplicate), ("</0/0>;uri=\"a\";uri=\"b\"", .duplicate),
            (",</0/0>", .malformed), ("</0/0>,", .malformed), ("</0/0", .malformed), ("</0/0>;", .malformed),
            ("</0/0>;=1", .malformed), ("</0/0>;ssid=", .malformed), ("</0/0>;uri=\"a", .malformed),
            ("</0/0>;uri=\"a\\", .malformed), ("</0/0>;uri=\"a\"b", .malformed), ("</0/0> ;ssid=1", .malformed),
            ("</0/0>; ssid=1", .malformed), ("</0/0>x", .malformed), ("</0/ 0>", .malformed), ("<</0/0>", .malformed),
            ("</0/0>,lwm2m=1.0", .malformed), ("</0/0>;uri=\"a\u{0}\"", .malformed), ("</0/0>\n", .malformed),
            (" ", .malformed),
            ("</0/0>;uri=\"\\\u{1F}\"", .malformed),
        ]
    )
    func refused(text: String, reason: LinkFormatError.Reason) {
        #expect(Self.reason(Array(text.utf8)) == reason)
    }

    @Test("T46: size, links and attributes have limits, and what is no UTF-8 is refused")
    func limits() throws {
        let links = (0..<1_000).map { "</3/\($0)>" }.joined(separator: ",")
        #expect(try Self.list(links).links.count == 1_000)
        #expect(Self.reason(Array((links + ",</4>").utf8)) == .tooMany)
        let attributes = (0..<16).map { ";a\($0)" }.joined()
        #expect(try Self.list("</3>" + attributes).bytes.count == attributes.utf8.count + 4)
        #expect(Self.reason(Array(("</3>" + attributes + ";b").utf8)) == .tooMany)
        #expect(Self.reason([UInt8](repeating: 0x20, count: LinkFormat.maximumSize + 1)) == .tooLarge)
        #expect(Self.reason(Array("</0>;a=\"".utf8) + [0xFF, 0x22]) == .malformed)
    }

    @Test("Any bytes are either refused or kept", arguments: [1, 2, 3, 4] as [UInt64])
    func mutations(seed: UInt64) throws {
        var state = seed &* 0x9E37_79B9_7F4A_7C15 | 1
        func random(_ bound: Int) -> Int {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return Int(state % UInt64(bound))
        }
        let valid = Array("</>;lwm2m=\"1.1\", </0/0>;ssid=101;uri=\"coaps://h\\\"\",</0/1>,</3>;ver=1.1".utf8)
        let signs = Array("<>/,;=\"\\ 01a\u{7F}".utf8) + [0xFF, 0]
        for _ in 0..<5_000 {
            var bytes = valid
            for _ in 0...random(4) {
                switch random(3) {
                case 0: bytes[random(bytes.count)] = signs[random(signs.count)]
                case 1: bytes.insert(signs[random(signs.count)], at: random(bytes.count))
                default: bytes.remove(at: random(bytes.count))
                }
            }
            guard let list = try? LinkFormat(bytes) else { continue }
            #expect(list.bytes == bytes, "seed \(seed)")
        }
    }
}
