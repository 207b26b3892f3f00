import Gateway
import LwM2M
import Secrets
import Testing

@Suite("Rewriting: writes, object 1 and refusals")
struct RewritingWriteTests {
    private static func refusal(
        _ path: [String],
        _ contentFormat: UInt16?,
        _ payload: [UInt8] = []
    ) -> RewriteRefusal? {
        var rewriter = Rewriting.rewriter(unmatched: .keep)
        do {
            _ = try rewriter.rewrite(path: path, contentFormat: contentFormat, payload: payload, mint: Rewriting.mint)
            return nil
        } catch { return error }
    }

    @Test(
        "T28: accounts in a format that cannot be read, or in none, get 4.15",
        arguments: [nil, 40, 41, 50, 320, 322, 11545, 65_535]
    )
    func contentFormats(contentFormat: UInt16?) {
        for path in [["0"], ["0", "0"], ["1"], ["1", "0"], ["21"], ["21", "0"], ["21", "0", "0"]] {
            let refusal = Self.refusal(path, contentFormat)
            #expect(refusal?.code == 0x8F && refusal?.cause == .unsupported, "\(path)")
            #expect(refusal?.isAccount == (path[0] != "21"))
        }
    }

    @Test("T28: formats of single values are none for objects and instances", arguments: [0, 42, 60, 1541])
    func singleValues(contentFormat: UInt16) {
        for path in [["0"], ["0", "0"], ["1"], ["1", "0"]] {
            let refusal = Self.refusal(path, contentFormat, [0x30])
            #expect(refusal?.code == 0x8F && refusal?.isAccount == true, "\(path)")
        }
    }

    @Test("T28: the old number of TLV is taken, and stays")
    func oldNumber() throws {
        var rewriter = Rewriting.rewriter()
        let payload = try TLV.encode(.instance(Rewriting.server()))
        let written = try rewriter.rewrite(
            path: ["0", "0"],
            contentFormat: 1542,
            payload: payload,
            mint: Rewriting.mint
        )
        #expect(written.contentFormat == 1542 && written.accounts.count == 1)
    }

    @Test(
        "T26: a path in any other spelling gets 4.00",
        arguments: [["00", "1"], ["", "0"], ["0", ""], ["65536"], ["bs"], ["+0", "0"], ["0", "0", "0", "0", "0"]]
    )
    func paths(path: [String]) {
        let refusal = Self.refusal(path, 11542)
        #expect(refusal?.code == 0x80 && refusal?.cause == .upstreamMalformed)
    }

    @Test("T27: a write to the root gets 4.00")
    func root() {
        #expect(Self.refusal([], 11542)?.code == 0x80)
        #expect(Self.refusal([""], 112)?.code == 0x80)
    }

    @Test(
        "T16: a single resource is rewritten with its instance only, and a resource instance of anything gets 4.05",
        arguments: [["0", "0", "5"], ["1", "0", "7"], ["0", "0", "16", "0"], ["3", "0", "15", "0"]]
    )
    func levels(path: [String]) {
        let refusal = Self.refusal(path, 0, [0x55])
        #expect(refusal?.code == 0x85 && refusal?.isAccount == (path[0] != "3"))
    }

    @Test("T31: OSCORE keys get 4.05", arguments: [["21"], ["21", "0"], ["21", "0", "0"]])
    func oscore(path: [String]) { #expect(Self.refusal(path, 11542)?.code == 0x85) }

    @Test(
        "T28: other objects pass as they are, in any format",
        arguments: [["2"], ["2", "0"], ["3", "0", "14"], ["5", "0"], ["65535", "65535", "65535"]]
    )
    func otherObjects(path: [String]) throws {
        for contentFormat: UInt16? in [nil, 0, 112, 11542] {
            var rewriter = Rewriting.rewriter()
            let payload: [UInt8] = [0xDE, 0xAD]
            let written = try rewriter.rewrite(
                path: path,
                contentFormat: contentFormat,
                payload: payload,
                mint: Rewriting.mint
            )
            #expect(written.path.segments == path && written.contentFormat == contentFormat)
            #expect(written.payload == payload && written.accounts.isEmpty)
        }
    }

    @Test("T42: a payload that is no TLV gets 4.00 and names the byte")
    func malformed() {
        let refusal = Self.refusal(["0", "0"], 11542, [0xC1, 0x00])
        #expect(refusal?.code == 0x80 && refusal?.cause == .upstreamMalformed && refusal?.isAccount == true)
        #expect(refusal?.message.contains("byte 0") == true)
        #expect(Self.refusal(["1", "0"], 11542, [0xC1])?.cause == .upstreamMalformed)
    }

    @Test(
        "T18: binding and preferred transport are made to fit UDP",
        arguments: [
            ("U", "U"), ("UQ", "UQ"), ("UQS", "UQ"), ("US", "U"), ("S", "U"), ("SQ", "UQ"), ("TU", "U"), ("N", "U"),
            ("", "U"), ("UTMH", "U"),
        ]
    )
    func binding(written: String, expected: String) throws {
        let instance = ObjectInstance(
            id: 0,
            resources: [
                Rewriting.number(0, 1111), Rewriting.number(1, 86_400), Rewriting.text(7, written),
                Rewriting.text(22, "T"), Rewriting.text(3000, "kept"), Rewriting.opaque(4, []),
            ]
        )
        var rewriter = Rewriting.rewriter()
        let (account, changes) = try rewriter.write(instance, object: 1)
        #expect(account.ids == instance.ids && changes.isEmpty)
        #expect(account.text(7) == expected && account.text(22) == "U")
        #expect(account.number(0) == 1111 && account.number(1) == 86_400 && account.text(3000) == "kept")
    }

    @Test("T18: a Server object that fits stays byte for byte, at both levels")
    func serverObjectUnchanged() throws {
        let instances = [
            ObjectInstance(id: 0, resources: [Rewriting.number(0, 1111), Rewriting.opaque(1, [0, 1, 0x51, 0x80])]),
            ObjectInstance(id: 1, resources: [Rewriting.number(0, 2000), Rewriting.text(7, "U")]),
        ]
        var rewriter = Rewriting.rewriter()
        #expect(try rewriter.write(instances, object: 1).instances == instances)
        #expect(try rewriter.write(instances[1], object: 1).instance == instances[1])
    }

    @Test("T18: the binding of a server that is kept, or can only be, is its own")
    func keptBinding() throws {
        func server(_ ssid: Int64) -> ObjectInstance {
            ObjectInstance(id: 0, resources: [Rewriting.number(0, ssid), Rewriting.text(7, "T")])
        }
        var rewriter = Rewriting.rewriter(unmatched: .keep)
        #expect(try rewriter.write(server(3), object: 1).instance.text(7) == "T", "no rule can be for it")
        #expect(try rewriter.write(server(1111), object: 1).instance.text(7) == "U", "a rule may be for it")
        _ = try rewriter.write(Rewriting.server(uri: "coap+tcp://10.9.9.9", ssid: 1111))
        #expect(try rewriter.write(server(1111), object: 1).instance.text(7) == "T", "it was kept")
        let byURI = Rewriting.rule("by-uri", uri: "coap://10.1.0.20", secure: "coaps://e")
        var other = Rewriting.rewriter(servers: [byURI], unmatched: .keep)
        #expect(try other.write(server(3), object: 1).instance.text(7) == "U")
    }

    @Test("T23: a Server object without a short server ID from 1 to 65534 is refused", arguments: [nil, 0, 65_535])
    func serverWithoutID(ssid: Int64?) {
        var rewriter = Rewriting.rewriter(unmatched: .keep)
        let resources = ssid.map { [Rewriting.number(0, $0)] } ?? [Rewriting.number(1, 60)]
        let refusal = rewriter.refusal(of: ObjectInstance(id: 0, resources: resources), object: 1)
        #expect(refusal?.cause == .upstreamMalformed && refusal?.isAccount == true)
    }

    @Test("T42: after a refused account write no Finish goes on, until the write succeeds or is deleted")
    func finishIsHeld() throws {
        var rewriter = Rewriting.rewriter()
        #expect(rewriter.mayFinish)
        #expect(rewriter.refusal(of: Rewriting.server(ssid: 3)) != nil)
        #expect(!rewriter.mayFinish)
        _ = try rewriter.write(Rewriting.server(1))
        #expect(!rewriter.mayFinish, "another account does not make up for it")
        _ = try rewriter.write(Rewriting.server(0))
        #expect(rewriter.mayFinish)

        #expect(throws: RewriteRefusal.self) {
            try rewriter.rewrite(path: ["0", "0", "5"], contentFormat: 42, payload: [1], mint: Rewriting.mint)
        }
        #expect(!rewriter.mayFinish)
        _ = try rewriter.write([Rewriting.server(0)])
        #expect(rewriter.mayFinish, "the whole object includes the resource")

        #expect(rewriter.refusal(of: Rewriting.server(ssid: 3)) != nil)
        rewriter.reset()
        #expect(rewriter.mayFinish)
        #expect(rewriter.refusal(of: Rewriting.server(ssid: 3)) != nil)
        try rewriter.permitDelete(LwM2MPath(0))
        #expect(rewriter.mayFinish)
        #expect(throws: RewriteRefusal.self) {
            try rewriter.rewrite(path: ["21", "0"], contentFormat: 11542, payload: [], mint: Rewriting.mint)
        }
        #expect(rewriter.mayFinish, "no account hangs on object 21")
    }

    @Test("T42: when too many writes were refused to tell them apart, only the whole object makes up for them")
    func manyRefusals() throws {
        var rewriter = Rewriting.rewriter()
        for id: UInt16 in 0..<100 { #expect(rewriter.refusal(of: Rewriting.server(id, ssid: 3)) != nil) }
        for id: UInt16 in 0..<64 {
            _ = try rewriter.write(Rewriting.server(id))
            #expect(!rewriter.mayFinish)
        }
        _ = try rewriter.write([Rewriting.server(0)])
        #expect(rewriter.mayFinish)
    }

    @Test("T44: neither keys nor whole identities are in any description")
    func silence() throws {
        let upstreamKey = "known-key-bytes!"
        var rewriter = Rewriting.rewriter()
        let account = Rewriting.server(
            uri: "coaps://h",
            mode: 0,
            ssid: 2000,
            with: [Rewriting.text(3, "legacy-identity"), Rewriting.text(5, upstreamKey)]
        )
        let payload = try TLV.encode(.instances([account, Rewriting.bootstrap(1)]))
        let written = try rewriter.rewrite(path: ["0"], contentFormat: 11542, payload: payload, mint: Rewriting.mint)
        var dumped = ""
        dump(written, to: &dumped)
        dump(rewriter, to: &dumped)
        dump(written.accounts, to: &dumped)
        let prints = [dumped, "\(written)", "\(rewriter)", "\(written.accounts)", String(reflecting: written.accounts)]
        let keys: [[UInt8]] = [
            Array(upstreamKey.utf8), [UInt8](repeating: 0xB0, count: 16), Rewriting.oneTimeKey(2000),
        ]
        let forbidden = keys.flatMap { key in
            let start = key.prefix(4)
            return [
                start.map { String($0, radix: 16) }.joined(), start.map { "\($0)" }.joined(separator: ", "),
                String(decoding: start, as: UTF8.self), "- \(key[0])\n",
            ]
        }
        let identities = ["legacy-identity", "one-time-trackers-2000", "8988228066602306770"]
        for print in prints {
            for text in forbidden + identities { #expect(!print.contains(text), "\(text)") }
        }
        #expect(dumped.contains("lega…tity"))
    }

    @Test("T44: a refusal holds no values but addresses, names and numbers", arguments: [0, 2, 3])
    func silentRefusals(mode: Int64) {
        var rewriter = Rewriting.rewriter(.plain)
        let keys = [Rewriting.text(3, "legacy-identity"), Rewriting.text(5, "legacy-key-bytes")]
        let scheme = mode == 3 ? "coap" : "coaps"
        let refusal = rewriter.refusal(of: Rewriting.server(uri: "\(scheme)://h", mode: mode, ssid: 3, with: keys))
        #expect(refusal?.cause == .noRouteForServer)
        #expect(refusal.map { "\($0)" }?.contains("legacy") == false)
    }

    @Test("T18: whatever upstream writes beside it, a rewritten account leads nowhere else", arguments: 0..<300)
    func anyAccount(seed: UInt64) throws {
        var generator = RewritingGenerator(seed: seed)
        let instance = RewritingGenerator.account(using: &generator)
        let arrival: GatewayConfiguration.Security = Bool.random(using: &generator) ? .dtls : .plain
        var rewriter = Rewriting.rewriter(
            arrival,
            servers: [Rewriting.rule("any", ssid: 1111, secure: "coaps://edge.example", plain: "coap://edge.example")]
        )
        let mode = try #require(instance.number(2))
        let result: ObjectInstance
        do { result = try rewriter.write(instance).instance } catch let refusal as RewriteRefusal {
            // The only refusals there can be: keys or OSCORE on the plain port.
            #expect(arrival == .plain && refusal.code == 0x80, "seed \(seed): \(refusal)")
            return
        }
        let uri = try ServerURI(try #require(result.text(0)))
        let writtenMode = try #require(result.number(2).flatMap { SecurityMode(rawValue: UInt8($0)) })
        #expect(uri.host == "edge.example" && writtenMode.fits(uri.scheme), "seed \(seed)")
        #expect([1, 2, 4].contains(mode) == [1, 2, 4].contains(Int64(writtenMode.rawValue)), "seed \(seed)")
        let bytes = try TLV.encode(.instance(result))
        #expect(!String(decoding: bytes, as: UTF8.self).contains("legacy"), "seed \(seed)")
        if arrival == .plain {
            #expect((result[5] ?? []).isEmpty && (result[8] ?? []).isEmpty, "seed \(seed)")
        }
        #expect(result.number(10) == 1111 && Set(result.ids).count == result.ids.count, "seed \(seed)")
        let touched: Set<UInt16> = Set(2...8).union([0]).union(13...25)
        #expect(
            result.resources.filter { !touched.contains($0.id) }
                == instance.resources.filter { !touched.contains($0.id) },
            "seed \(seed)"
        )
    }
}

/// Accounts of a server with short server ID 1111, with any other resources in any order. Everything that could lead back
/// to upstream holds the word "legacy".
private struct RewritingGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { self.state = seed }

    mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = self.state
        mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }

    static func account(using generator: inout Self) -> ObjectInstance {
        let mode = Int64.random(in: 0...4, using: &generator)
        let uri = mode == 3 ? "coap://legacy.example:5683/x" : "coaps://legacy.example"
        let optional: [Resource] = [
            Rewriting.text(3, "id"), Rewriting.text(4, "public"), Rewriting.text(5, "private"),
            Rewriting.number(6, 1), Rewriting.text(7, "params"), Rewriting.text(8, "sms"), Rewriting.text(9, "1"),
            Rewriting.number(11, 1), Rewriting.number(12, 2), Rewriting.number(13, 0),
            Rewriting.text(14, "legacy.example"), Rewriting.number(15, 1),
            Rewriting.several(16, [[0xC0, 0xA8], [0xAE]]),
            Rewriting.opaque(17, [0, 21, 0, 1]), Rewriting.several(18, []), Rewriting.number(22, 1),
            Rewriting.several(25, [ResourceValue.bytes("coaps://legacy.example")]),
            Rewriting.opaque(26, [0, 24, 0, 0]),
            Rewriting.text(400, "unknown"), Rewriting.several(65_535, [[1], []]),
        ]
        let chosen = optional.filter { _ in Bool.random(using: &generator) }
        let account = Rewriting.server(uri: uri, mode: mode, ssid: 1111, with: chosen)
        return ObjectInstance(
            id: .random(in: .min ... .max, using: &generator),
            resources: account.resources.shuffled(using: &generator)
        )
    }
}
