import Gateway
import LwM2M
import Secrets
import Testing

@Suite("Rewriting: every format of whole objects and instances")
struct RewritingFormatTests {
    /// With the numbers from before LwM2M 1.0.
    static let formats: [UInt16] = [11542, 1542, 110, 112, 11543, 1543, 11544]

    /// Writes as upstream would and reads what the device gets.
    static func write(
        _ content: PathContent, _ number: UInt16, at path: LwM2MPath, with rewriter: inout AccountRewriter
    ) throws -> (content: PathContent, write: RewrittenWrite) {
        let format = ContentFormat(rawValue: number)
        let written = try rewriter.rewrite(
            path: path.segments, contentFormat: number, payload: try PayloadCodec.encode(content, format, at: path),
            mint: Rewriting.mint
        )
        return (try PayloadCodec.decode(written.payload, format, at: written.path), written)
    }

    @Test(
        "T17, T18, T19: an instance comes out the same in every format, under the number that upstream used",
        arguments: formats)
    func instance(format: UInt16) throws {
        for seed: UInt64 in 0..<40 {
            var generator = FormatGenerator(seed: seed)
            let account = generator.account()
            let arrival: GatewayConfiguration.Security = seed % 2 == 0 ? .dtls : .plain
            var plain = Rewriting.rewriter(arrival)
            var other = plain
            let path = LwM2MPath(0, account.id)
            let expected = try Self.write(.instance(account), 11542, at: path, with: &plain)
            let result = try Self.write(.instance(account), format, at: path, with: &other)
            #expect(result.content == expected.content, "seed \(seed)")
            #expect(result.write.contentFormat == format && result.write.path == path, "seed \(seed)")
            #expect(result.write.accounts == expected.write.accounts, "seed \(seed)")
        }
    }

    @Test("T22: a whole object comes out the same in every format", arguments: formats)
    func object(format: UInt16) throws {
        let accounts = [Rewriting.server(3), Rewriting.bootstrap(1), Rewriting.server(2, uri: "coap://h", ssid: 2000)]
        let settings = [3, 2].map { (id: UInt16) in
            ObjectInstance(
                id: id,
                resources: [
                    Rewriting.number(0, id == 3 ? 1111 : 2000), Rewriting.number(1, 86_400),
                    Rewriting.boolean(6, true), Rewriting.text(7, "UQS"),
                ]
            )
        }
        for (object, instances): (UInt16, [ObjectInstance]) in [(0, accounts), (1, settings)] {
            var plain = Rewriting.rewriter()
            var other = plain
            let path = LwM2MPath(object)
            let expected = try Self.write(.instances(instances), 11542, at: path, with: &plain)
            let result = try Self.write(.instances(instances), format, at: path, with: &other)
            #expect(result.content == expected.content && result.write.accounts == expected.write.accounts)
            #expect(result.write.contentFormat == format)
            #expect(
                result.write.payload
                    != (try PayloadCodec.encode(
                        .instances(instances), ContentFormat(rawValue: format), at: path)))
        }
    }

    @Test("T20: accounts are told apart by resource 1, whatever their numbers, in every format", arguments: formats)
    func anyInstance(format: UInt16) throws {
        for ids: (bootstrap: UInt16, server: UInt16) in [(0, 1), (1, 0), (65_535, 7)] {
            var rewriter = Rewriting.rewriter()
            let bootstrap = try Self.write(
                .instance(Rewriting.bootstrap(ids.bootstrap)), format, at: LwM2MPath(0, ids.bootstrap), with: &rewriter)
            let server = try Self.write(
                .instance(Rewriting.server(ids.server)), format, at: LwM2MPath(0, ids.server), with: &rewriter)
            #expect(bootstrap.write.accounts.map(\.isBootstrapServer) == [true])
            #expect(server.write.accounts.map(\.server) == ["meters"])
            #expect(rewriter.bootstrapInstanceID == ids.bootstrap)
        }
    }

    @Test("T24, T25: an address that nobody can follow is refused in every format", arguments: formats)
    func addresses(format: UInt16) throws {
        for uri in ["coap://10.1.0.20:99999", "tel:123", "coap+tcp://10.1.0.20", "", "coap://[fe80::1%eth0]", "a b"] {
            let payload = try PayloadCodec.encode(
                .instance(Rewriting.server(uri: uri, ssid: 3)), ContentFormat(rawValue: format), at: LwM2MPath(0, 0))
            var rewriter = Rewriting.rewriter()
            #expect(throws: RewriteRefusal.self, "\(uri)") {
                try rewriter.rewrite(
                    path: ["0", "0"], contentFormat: format, payload: payload, mint: Rewriting.mint)
            }
            #expect(!rewriter.mayFinish)
        }
    }

    @Test("T46: a document with more values than a device can have is refused in every format", arguments: formats)
    func tooMany(format: UInt16) throws {
        // 1,200 resources.
        let instances = (0..<300).map { Rewriting.server(UInt16($0), ssid: Int64($0) + 1) }
        let payload = try PayloadCodec.encode(.instances(instances), ContentFormat(rawValue: format), at: LwM2MPath(0))
        let refusal = Self.refusal(["0"], format, payload)
        #expect(refusal?.code == 0x80 && refusal?.cause == .upstreamMalformed)
    }

    @Test("T21: numbers that were dealt anew are the same in every format", arguments: formats)
    func numbers(format: UInt16) throws {
        let kept = Rewriting.server(0, uri: "coap://192.0.2.99:5683", ssid: 3000)
        var rewriter = Rewriting.rewriter(unmatched: .keep)
        let all = try Self.write(
            .instances([kept, Rewriting.server(1)]), format, at: LwM2MPath(0), with: &rewriter
        ).content
        guard case .instances(let instances) = all else { return #expect(Bool(false)) }
        #expect(instances.map(\.id) == [0, 1] && instances.map { $0.number(10) } == [1111, 3000])
        let single = try Self.write(.instance(kept), format, at: LwM2MPath(0, 0), with: &rewriter)
        #expect(single.write.path == LwM2MPath(0, 1))
        guard case .instance(let placed) = single.content else { return #expect(Bool(false)) }
        #expect(placed.id == 1 && placed.resources == kept.resources)
    }

    @Test("T30: a repeated write has the same bytes in every format", arguments: formats)
    func repeated(format: UInt16) throws {
        var rewriter = Rewriting.rewriter()
        var minted = 0
        let payload = try PayloadCodec.encode(
            .instance(Rewriting.server()), ContentFormat(rawValue: format), at: LwM2MPath(0, 0))
        let writes = try (0..<2).map { _ in
            try rewriter.rewrite(path: ["0", "0"], contentFormat: format, payload: payload) { server, ssid in
                minted += 1
                return Rewriting.mint(server: server, shortServerID: ssid)
            }
        }
        #expect(writes[0] == writes[1] && minted == 1)
    }

    @Test("T31: OSCORE keys get 4.05 in every format", arguments: formats)
    func oscore(format: UInt16) {
        #expect(Self.refusal(["21", "0"], format, [])?.code == 0x85)
        #expect(Self.refusal(["21"], format, [])?.code == 0x85)
    }

    @Test(
        "T26, T27: what names another place, twice the same, or one place in two spellings, is refused as a whole",
        arguments: [
            (110, #"[{"bn":"/1/0/","n":"0","v":1111}]"#), (110, #"[{"bn":"/0/1/","n":"1","vb":false}]"#),
            (110, #"[{"bn":"/","n":"0/0/1","vb":false},{"n":"3/0/0","vs":"x"}]"#),
            (110, #"[{"bn":"/0/0/","n":"1","vb":false},{"n":"1","vb":false}]"#),
            (110, #"[{"bn":"/00/0/","n":"1","vb":false}]"#), (110, #"[{"bn":"/0/0/","n":"../1/1","vb":false}]"#),
            (11543, #"{"bn":"/1/0/","e":[{"n":"0","v":1111}]}"#),
            (11543, #"{"bn":"/0/0/","e":[{"n":"1","bv":false},{"n":"1","bv":true}]}"#),
            (11543, #"{"bn":"/0/0/","e":[{"n":"01","bv":false}]}"#),
        ] as [(UInt16, String)]
    )
    func elsewhere(format: UInt16, document: String) {
        let refusal = Self.refusal(["0", "0"], format, Array(document.utf8))
        #expect(refusal?.code == 0x80 && refusal?.cause == .upstreamMalformed && refusal?.isAccount == true)
    }

    @Test("T27: binary documents with another object or instance are refused", arguments: [112, 11544] as [UInt16])
    func elsewhereInBinary(format: UInt16) throws {
        for (object, id): (UInt16, UInt16) in [(0, 1), (1, 0)] {
            let payload = try PayloadCodec.encode(
                .instance(ObjectInstance(id: id, resources: [Rewriting.boolean(object == 0 ? 1 : 6, false)])),
                ContentFormat(rawValue: format), at: LwM2MPath(object, id)
            )
            #expect(Self.refusal(["0", "0"], format, payload)?.code == 0x80)
        }
    }

    @Test("What the gateway does not know is kept in the spelling of its document")
    func unknown() throws {
        let document =
            #"[{"bn":"/0/0/","n":"0","vs":"coap://10.1.0.20:5683"},{"n":"1","vb":false},{"n":"2","v":3},"#
            + #"{"n":"10","v":1111},{"n":"400","v":1.50},{"n":"401/3","vs":"kept"}]"#
        var rewriter = Rewriting.rewriter()
        let written = try rewriter.rewrite(
            path: ["0", "0"], contentFormat: 110, payload: Array(document.utf8), mint: Rewriting.mint
        )
        let text = String(decoding: written.payload, as: UTF8.self)
        #expect(text.contains("1.50") && text.contains("401/3") && text.contains("kept"))
        #expect(text.contains("coaps://edge.example.net:5684") && !text.contains("10.1.0.20"))
    }

    @Test("T21: access control follows the numbers of Server objects, in every format", arguments: formats)
    func accessControl(format: UInt16) throws {
        var rewriter = try Self.rewriterWithMovedServers()
        let control = ObjectInstance(
            id: 5, resources: [Rewriting.number(0, 1), Rewriting.number(1, 0), Rewriting.number(3, 3000)])
        let other = ObjectInstance(
            id: 6, resources: [Rewriting.number(0, 3), Rewriting.number(1, 0), Rewriting.number(3, 3000)])
        let all = try Self.write(.instances([control, other]), format, at: LwM2MPath(2), with: &rewriter).content
        guard case .instances(let placed) = all else { return #expect(Bool(false)) }
        #expect(placed.map { $0.number(1) } == [1, 0] && placed.map { $0.number(3) } == [3000, 3000])
        let one = try Self.write(.instance(control), format, at: LwM2MPath(2, 5), with: &rewriter).content
        guard case .instance(let single) = one else { return #expect(Bool(false)) }
        #expect(single.number(1) == 1)
    }

    @Test("T21: where numbers differ, access control that cannot be read or is written in parts is refused")
    func accessControlInParts() throws {
        var rewriter = try Self.rewriterWithMovedServers()
        for (path, format, code): ([String], UInt16?, UInt8) in [
            (["2", "0", "1"], 0, 0x85), (["2", "0"], nil, 0x8F), (["2", "0"], 60, 0x8F), (["2", "0"], 110, 0x80),
        ] {
            #expect {
                try rewriter.rewrite(path: path, contentFormat: format, payload: [0x30], mint: Rewriting.mint)
            } throws: { ($0 as? RewriteRefusal)?.code == code && ($0 as? RewriteRefusal)?.isAccount == false }
        }
        let owner = try rewriter.rewrite(
            path: ["2", "0", "3"], contentFormat: 0, payload: [0x31], mint: Rewriting.mint)
        #expect(owner.payload == [0x31])
    }

    @Test("T21: numbers that access control refers to do not change any more")
    func referredTo() throws {
        var rewriter = Rewriting.rewriter(unmatched: .keep)
        _ = try rewriter.write([Rewriting.server(0, uri: "coap://192.0.2.99:5683", ssid: 3000), Rewriting.server(1)])
        let payload = [UInt8]([0xC1, 0x00, 0x01, 0xC1, 0x01, 0x00])
        let early = try rewriter.rewrite(path: ["2", "0"], contentFormat: nil, payload: payload, mint: Rewriting.mint)
        #expect(early.payload == payload)
        let settings = Self.settings
        #expect(try rewriter.write(settings, object: 1).instances == settings)
        try rewriter.permitDelete(.root)
        _ = try rewriter.write([Rewriting.server(0, uri: "coap://192.0.2.99:5683", ssid: 3000), Rewriting.server(1)])
        #expect(try rewriter.write(settings, object: 1).instances.map { $0.number(0) } == [1111, 3000])
    }

    private static let settings = [(0, 3000), (1, 1111)].map { (id: UInt16, ssid: Int64) in
        ObjectInstance(id: id, resources: [Rewriting.number(0, ssid), Rewriting.number(1, 60)])
    }

    /// Upstream's /1/0 is the device's /1/1.
    private static func rewriterWithMovedServers() throws -> AccountRewriter {
        var rewriter = Rewriting.rewriter(unmatched: .keep)
        _ = try rewriter.write([Rewriting.server(0, uri: "coap://192.0.2.99:5683", ssid: 3000), Rewriting.server(1)])
        _ = try rewriter.write(Self.settings, object: 1)
        #expect(rewriter.place(LwM2MPath(1, 0)) == LwM2MPath(1, 1))
        return rewriter
    }

    private static func refusal(_ path: [String], _ contentFormat: UInt16?, _ payload: [UInt8]) -> RewriteRefusal? {
        var rewriter = Rewriting.rewriter(unmatched: .keep)
        do {
            _ = try rewriter.rewrite(path: path, contentFormat: contentFormat, payload: payload, mint: Rewriting.mint)
            return nil
        } catch { return error }
    }
}

/// Accounts of all modes, bootstrap and server ones, of resources that every format has a form for.
private struct FormatGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { self.state = seed }

    mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = self.state
        mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }

    mutating func account() -> ObjectInstance {
        let optional: [Resource] = [
            Rewriting.opaque(4, [9, 8]), Rewriting.number(11, -1), Rewriting.number(12, 86_400),
            Rewriting.number(13, 2), Rewriting.text(14, "upstream.example"),
            Rewriting.several(16, [[0xC0, 0xA8], [0xAE]]), Rewriting.number(22, 70_000),
            Rewriting.several(25, [ResourceValue.bytes("coaps://upstream.example")]), Rewriting.text(30, "ü"),
        ]
        let chosen = optional.filter { _ in Bool.random(using: &self) }
        let id = UInt16.random(in: .min ... .max, using: &self)
        let account =
            Bool.random(using: &self) ? Rewriting.server(id, with: chosen) : Rewriting.bootstrap(id, with: chosen)
        return ObjectInstance(id: id, resources: account.resources.shuffled(using: &self))
    }
}
