import LwM2M
import Testing

@Suite("Server URIs")
struct ServerURITests {
    @Test(
        "T24: a URI is parsed by component, and written with its port",
        arguments: [
            ("coap://192.0.2.10:5683", "coap://192.0.2.10:5683"),
            ("coap://192.0.2.10", "coap://192.0.2.10:5683"),
            ("coaps://lwm2m.example.com", "coaps://lwm2m.example.com:5684"),
            ("COAPS://LwM2M.Example.COM:5684", "coaps://lwm2m.example.com:5684"),
            ("coaps://[2001:DB8:0:0::0010]", "coaps://[2001:db8::10]:5684"),
            ("coap://[::ffff:192.0.2.1]:1", "coap://[::ffff:192.0.2.1]:1"),
            ("coap://h:65535", "coap://h:65535"),
            ("coap://h:", "coap://h:5683"),
            ("coap://h/", "coap://h:5683"),
            ("coap://h/rd", "coap://h:5683/rd"),
            ("coap://h/a/b/?x=1&y", "coap://h:5683/a/b/?x=1&y"),
            ("coap://h?q", "coap://h:5683?q"),
            ("coap://h/%7euser/%e2%82%ac", "coap://h:5683/~user/%E2%82%AC"),
            ("coap://host_1.a-b.example.", "coap://host_1.a-b.example.:5683"),
        ]
    )
    func parses(text: String, written: String) throws {
        let uri = try ServerURI(text)
        #expect(uri.description == written)
        #expect(try ServerURI(written) == uri, "what is written reads back as the same value")
    }

    @Test(
        "T24: two spellings of one address are equal",
        arguments: [
            ("coap://h", "COAP://H:5683/"), ("coaps://h", "coaps://h:5684"),
            ("coap://[2001:db8::1]", "coap://[2001:0DB8:0::1]:5683"), ("coap://h/a%62", "coap://h/ab"),
        ]
    )
    func equal(left: String, right: String) throws { #expect(try ServerURI(left) == ServerURI(right)) }

    @Test(
        "T24, T25: a difference in any component makes two addresses",
        arguments: [
            ("coap://h", "coaps://h"), ("coap://h:5683", "coaps://h:5683"), ("coap://h", "coap://i"),
            ("coap://h:1", "coap://h:2"), ("coap://h/a", "coap://h/b"), ("coap://h/a", "coap://h/a/"),
            ("coap://h/a", "coap://h/A"), ("coap://h?a", "coap://h"),
        ]
    )
    func different(left: String, right: String) throws { #expect(try ServerURI(left) != ServerURI(right)) }

    @Test(
        "T24: what does not parse is refused, and the error names the fault",
        arguments: [
            ("", .empty), ("coap://h\0.example", .forbiddenByte(0, at: 8)), ("coap://h\n", .forbiddenByte(10, at: 8)),
            (" coap://h", .forbiddenByte(0x20, at: 0)), ("coap://bücher", .forbiddenByte(0xC3, at: 8)),
            ("coap://h/a|b", .forbiddenByte(0x7C, at: 10)), ("192.0.2.1:5683", .missingScheme),
            ("//h:5683", .missingScheme), (":h", .missingScheme), ("coap:h", .missingAuthority),
            ("coap:/h", .missingAuthority), ("coap://", .missingHost), ("coap:///x", .missingHost),
            ("coap://:5683", .missingHost), ("coap://user@h", .userInfo), ("coap://user:x@h:1", .userInfo),
            ("coap://h#f", .fragment), ("coap://h:0", .invalidPort), ("coap://h:65536", .invalidPort),
            ("coap://h:05683", .invalidPort), ("coap://h:+1", .invalidPort), ("coap://h:1:2", .invalidPort),
            ("coap://h:x", .invalidPort), ("coap://2001:db8::1", .invalidHost), ("coap://[2001:db8::1", .invalidHost),
            ("coap://[2001:db8::1]x", .invalidHost), ("coap://[192.0.2.1]", .invalidHost),
            ("coap://[]", .invalidHost), ("coap://[fe80::1%25eth0]", .zone), ("coap://[fe80::1%eth0]", .zone),
            ("coap://a..b", .invalidHost), ("coap://.", .invalidHost), ("coap://a%62", .invalidHost),
            ("coap://192.0.2", .invalidHost), ("coap://192.0.2.256", .invalidHost), ("coap://0x7f000001", .invalidHost),
            ("coap://3221226000", .invalidHost), ("coap://192.0.2.1.", .invalidHost), ("coap://h,i", .invalidHost),
            ("coap://h/%", .invalidPercentEncoding), ("coap://h/%4", .invalidPercentEncoding),
            ("coap://h/%zz", .invalidPercentEncoding), ("coap://h/%00", .invalidPercentEncoding),
            ("coap://h/a%2Fb", .invalidPercentEncoding), ("coap://h/%2e%2e", .invalidPercentEncoding),
            ("coap://h?x=%0a", .invalidPercentEncoding), ("coap://h/../x", .dotSegment), ("coap://h/.", .dotSegment),
            ("coap://h/[x]", .forbiddenByte(0x5B, at: 9)),
        ] as [(String, ServerURI.ParseError)]
    )
    func refuses(text: String, error: ServerURI.ParseError) {
        #expect(throws: error) { try ServerURI(text) }
        #expect(!error.description.isEmpty)
    }

    @Test(
        "T25: schemes that UDP does not carry are recognised by name",
        arguments: [
            ("coap+tcp://h", "coap+tcp"), ("COAPS+TCP://h", "coaps+tcp"), ("tel:+15105550123", "tel"),
            ("mqtt://h", "mqtt"), ("http://h/", "http"), ("sms:1", "sms"),
        ]
    )
    func unsupported(text: String, scheme: String) {
        #expect(throws: ServerURI.ParseError.unsupportedScheme(scheme)) { try ServerURI(text) }
    }

    @Test("A URI holds at most 255 bytes, its written-out port included")
    func lengthLimit() throws {
        let fits = "coap://h/" + String(repeating: "a", count: 255 - 14)
        #expect(try ServerURI(fits).description.utf8.count == 255)
        #expect(throws: ServerURI.ParseError.tooLong) { try ServerURI(fits + "a") }
        #expect(throws: ServerURI.ParseError.tooLong) { try ServerURI(fits + "aaaaaa") }
        let scheme = String(repeating: "x", count: 100)
        #expect(throws: ServerURI.ParseError.unsupportedScheme(String(scheme.prefix(32)))) {
            try ServerURI(scheme + "://h")
        }
    }

    @Test("Bytes that are no UTF-8 are refused")
    func notUTF8() {
        #expect(throws: ServerURI.ParseError.forbiddenByte(0xFF, at: 7)) {
            try ServerURI(utf8: Array("coap://".utf8) + [0xFF])
        }
    }

    @Test("The scheme decides about security")
    func security() throws {
        #expect(try ServerURI("coaps://h").isSecure)
        #expect(try !ServerURI("coap://h").isSecure)
        #expect(ServerURI(scheme: .coaps, host: "Edge.Example", port: 5684) == (try ServerURI("coaps://edge.example")))
    }
}
