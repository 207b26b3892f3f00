import Gateway
import LwM2M
import Secrets
import Testing

@Suite("Rewriting: accounts that are written resource by resource")
struct RewritingHeldTests {
    private static let uri = Array("coap://10.1.0.20:5683".utf8)

    /// A NoSec account and its Server object, each resource in a format of its own.
    private static let writes: [(path: LwM2MPath, format: UInt16, payload: [UInt8])] = [
        (LwM2MPath(0, 4, 0), 0, uri),
        (LwM2MPath(0, 4, 1), 11542, [0xC1, 0x01, 0x00]),
        (LwM2MPath(0, 4, 2), 60, [0x03]),
        (LwM2MPath(0, 4, 3), 42, Array("identity".utf8)),
        (LwM2MPath(0, 4, 5), 0, Array("AQIDBA==".utf8)),
        (LwM2MPath(0, 4, 10), 110, Array(#"[{"bn":"/0/4/10","v":1111}]"#.utf8)),
        (LwM2MPath(1, 7, 0), 1541, Array("1111".utf8)),
        (LwM2MPath(1, 7, 1), 11543, Array(#"{"bn":"/1/7/1","e":[{"n":"","v":86400}]}"#.utf8)),
        (LwM2MPath(1, 7, 7), 0, Array("UQS".utf8)),
    ]

    private static func hold(
        _ path: LwM2MPath, _ format: UInt16?, _ payload: [UInt8], in rewriter: inout AccountRewriter
    ) throws { try rewriter.hold(path, contentFormat: format, payload: payload) }

    /// What the device gets before Finish.
    private static func flush(_ rewriter: inout AccountRewriter) throws -> [RewrittenWrite] {
        var writes: [RewrittenWrite] = []
        while let path = rewriter.nextHeld {
            writes.append(try rewriter.rewriteHeld(path, mint: Rewriting.mint))
            rewriter.heldWasWritten(path)
        }
        return writes
    }

    private static func instance(_ write: RewrittenWrite) throws -> ObjectInstance {
        let format = ContentFormat(rawValue: write.contentFormat ?? 0)
        guard case .instance(let instance) = try PayloadCodec.decode(write.payload, format, at: write.path) else {
            throw Unexpected()
        }
        return instance
    }

    private static func code(_ body: () throws -> Void) -> UInt8? {
        do {
            try body()
            return nil
        } catch { return (error as? RewriteRefusal)?.code }
    }

    private struct Unexpected: Error {}

    @Test("T16: resources in any order are held until the account is complete", arguments: 0..<60)
    func anyOrder(seed: UInt64) throws {
        var generator = HeldGenerator(state: seed)
        var whole = Rewriting.rewriter()
        let expected = try [
            whole.write(
                Rewriting.server(4, with: [Rewriting.text(3, "identity"), Rewriting.opaque(5, [1, 2, 3, 4])])
            ).instance,
            whole.write(
                ObjectInstance(
                    id: 7,
                    resources: [Rewriting.number(0, 1111), Rewriting.number(1, 86_400), Rewriting.text(7, "UQS")]
                ), object: 1
            ).instance,
        ]
        var rewriter = Rewriting.rewriter()
        for write in Self.writes.shuffled(using: &generator) {
            try Self.hold(write.path, write.format, write.payload, in: &rewriter)
            #expect(!rewriter.mayFinish && rewriter.mayFinishWithHeld)
        }
        let written = try Self.flush(&rewriter)
        #expect(written.map(\.path) == [LwM2MPath(0, 4), LwM2MPath(1, 7)], "seed \(seed): object 0 first")
        for (write, expected) in zip(written, expected) {
            let instance = try Self.instance(write)
            let sorted = instance.resources.sorted { $0.id < $1.id }
            #expect(sorted == expected.resources.sorted { $0.id < $1.id }, "seed \(seed)")
        }
        #expect(written[0].accounts.map(\.shortServerID) == [1111] && rewriter.mayFinish)
        #expect(written[1].serverInstances == [1111: 7])
    }

    @Test("T16: an account that is not complete is refused, and may be completed")
    func incomplete() throws {
        var rewriter = Rewriting.rewriter()
        for write in Self.writes where write.path != LwM2MPath(0, 4, 10) {
            try Self.hold(write.path, write.format, write.payload, in: &rewriter)
        }
        let path = try #require(rewriter.nextHeld)
        #expect {
            try rewriter.rewriteHeld(path, mint: Rewriting.mint)
        } throws: { ($0 as? RewriteRefusal)?.message.contains("/0/4/10 is missing") == true }
        #expect(!rewriter.mayFinish && rewriter.nextHeld == path)
        try Self.hold(LwM2MPath(0, 4, 10), 0, Array("1111".utf8), in: &rewriter)
        #expect(try Self.flush(&rewriter).count == 2 && rewriter.mayFinish)
    }

    @Test("T16: a lone resource of a Server object makes no account (spec 1.7)")
    func loneResource() throws {
        var rewriter = Rewriting.rewriter()
        try Self.hold(LwM2MPath(1, 0, 5), 0, Array("60".utf8), in: &rewriter)
        let path = try #require(rewriter.nextHeld)
        #expect(throws: RewriteRefusal.self) { try rewriter.rewriteHeld(path, mint: Rewriting.mint) }
        #expect(!rewriter.mayFinish)
    }

    @Test("T19: a bootstrap account that is written in parts leads back to the gateway, too")
    func bootstrapAccount() throws {
        var rewriter = Rewriting.rewriter()
        try Self.hold(LwM2MPath(0, 1, 2), 0, Array("3".utf8), in: &rewriter)
        try Self.hold(LwM2MPath(0, 1, 0), 0, Array("coap://10.1.0.10:5683".utf8), in: &rewriter)
        try Self.hold(LwM2MPath(0, 1, 1), 0, Array("1".utf8), in: &rewriter)
        let written = try Self.flush(&rewriter)
        let account = try Self.instance(written[0])
        #expect(account.text(0) == "coaps://edge.example.net:5684" && account.number(2) == 0)
        #expect(account[3] == Rewriting.identity.bytes && rewriter.bootstrapInstanceID == 1)
    }

    @Test("T30: a credential is minted once for an account that is held, however often it is written")
    func minting() throws {
        var rewriter = Rewriting.rewriter()
        var minted = 0
        func mint(server: String, ssid: UInt16) -> (PSKIdentity, Secret) {
            minted += 1
            return Rewriting.mint(server: server, shortServerID: ssid)
        }
        for write in Self.writes { try Self.hold(write.path, write.format, write.payload, in: &rewriter) }
        #expect(minted == 0)
        let first = try rewriter.rewriteHeld(LwM2MPath(0, 4), mint: mint)
        rewriter.heldWasRefused(LwM2MPath(0, 4))
        #expect(try rewriter.rewriteHeld(LwM2MPath(0, 4), mint: mint) == first && minted == 1)
        rewriter.heldWasWritten(LwM2MPath(0, 4))
        // A change after that is a new write of the whole instance.
        try Self.hold(LwM2MPath(0, 4, 11), 0, Array("9".utf8), in: &rewriter)
        #expect(!rewriter.mayFinish)
        let second = try Self.instance(try rewriter.rewriteHeld(LwM2MPath(0, 4), mint: mint))
        #expect(second.number(11) == 9 && second.text(3) == "one-time-meters-1111" && minted == 1)
    }

    @Test("T16: a resource that is written after its instance changes it")
    func afterWhole() throws {
        var rewriter = Rewriting.rewriter()
        _ = try rewriter.write(
            Rewriting.server(4, uri: "coap://10.9.9.9", ssid: 2000, with: [Rewriting.number(11, 7)]))
        try Self.hold(LwM2MPath(0, 4, 0), 0, Self.uri, in: &rewriter)
        try Self.hold(LwM2MPath(0, 4, 10), 0, Array("1111".utf8), in: &rewriter)
        let written = try Self.flush(&rewriter)
        #expect(written.count == 1 && written[0].accounts.map(\.server) == ["meters"])
        #expect(written[0].accounts.map(\.before.uri) == ["coap://10.1.0.20:5683"])
        #expect(try Self.instance(written[0]).number(11) == 7)
    }

    @Test("T16: a write of the instance or the object, and a delete, make void what is held of it")
    func voided() throws {
        func holding() throws -> AccountRewriter {
            var rewriter = Rewriting.rewriter()
            try Self.hold(LwM2MPath(0, 4, 12), 0, Array("5".utf8), in: &rewriter)
            try Self.hold(LwM2MPath(1, 7, 5), 0, Array("5".utf8), in: &rewriter)
            return rewriter
        }
        var byInstance = try holding()
        _ = try byInstance.write(Rewriting.server(4))
        #expect(byInstance.nextHeld == LwM2MPath(1, 7))
        var byObject = try holding()
        _ = try byObject.write([Rewriting.server(0)])
        #expect(byObject.nextHeld == LwM2MPath(1, 7))
        var other = try holding()
        _ = try other.write(Rewriting.server(3))
        #expect(other.nextHeld == LwM2MPath(0, 4))
        for path in [LwM2MPath(0), LwM2MPath(1), LwM2MPath(1, 7), .root] {
            var deleted = try holding()
            try deleted.permitDelete(path)
            #expect(
                deleted.nextHeld == (path == .root ? nil : path == LwM2MPath(0) ? LwM2MPath(1, 7) : LwM2MPath(0, 4)))
        }
    }

    @Test("T36: a delete that is refused changes nothing of what is held")
    func refusedDelete() throws {
        var rewriter = Rewriting.rewriter()
        try Self.hold(LwM2MPath(0, 4, 1), 0, Array("0".utf8), in: &rewriter)
        #expect(throws: RewriteRefusal.self) { try rewriter.permitDelete(LwM2MPath(0, 4)) }
        #expect(rewriter.nextHeld == LwM2MPath(0, 4))
    }

    @Test("T42: a refused resource has to be repeated, a refused instance cannot be made up for by parts of it")
    func refusals() throws {
        var rewriter = Rewriting.rewriter()
        for write in Self.writes { try Self.hold(write.path, write.format, write.payload, in: &rewriter) }
        #expect(Self.code { try Self.hold(LwM2MPath(0, 4, 2), 0, Array("x".utf8), in: &rewriter) } == 0x80)
        #expect(!rewriter.mayFinishWithHeld)
        try Self.hold(LwM2MPath(0, 4, 2), 0, Array("3".utf8), in: &rewriter)
        #expect(rewriter.mayFinishWithHeld)

        #expect(rewriter.refusal(of: Rewriting.server(4, ssid: 0)) != nil)
        #expect(!rewriter.mayFinishWithHeld)
        try Self.hold(LwM2MPath(0, 4, 10), 0, Array("1111".utf8), in: &rewriter)
        #expect(throws: RewriteRefusal.self) { try Self.flush(&rewriter) }
        for write in Self.writes { try Self.hold(write.path, write.format, write.payload, in: &rewriter) }
        #expect(rewriter.mayFinishWithHeld && !rewriter.mayFinish)
        _ = try Self.flush(&rewriter)
        #expect(rewriter.mayFinish)
    }

    @Test("T28: a resource of an account in a format that cannot be read, or in none, gets 4.15")
    func formats() {
        for format: UInt16? in [nil, 40, 50, 320, 65_000] {
            for path in [LwM2MPath(0, 0, 0), LwM2MPath(1, 0, 7)] {
                var rewriter = Rewriting.rewriter()
                #expect(Self.code { try Self.hold(path, format, [0x55], in: &rewriter) } == 0x8F)
                #expect(!rewriter.mayFinish)
            }
        }
    }

    @Test(
        "T26, T27: a resource write that holds another resource, or no value of its type, gets 4.00",
        arguments: [
            (11542, [0xC1, 0x01, 0x00]), (11542, []), (0, [0xFF]), (42, [0x31]), (60, [0x01]),
            (60, [0x61, 0x61, 0x00]),
            (110, Array(#"[{"bn":"/0/4/1","vb":false}]"#.utf8)), (112, [0x80]),
        ] as [(UInt16, [UInt8])]
    )
    func malformed(format: UInt16, payload: [UInt8]) {
        var rewriter = Rewriting.rewriter()
        #expect(Self.code { try Self.hold(LwM2MPath(0, 4, 0), format, payload, in: &rewriter) } == 0x80)
        #expect(!rewriter.mayFinish && rewriter.nextHeld == nil)
    }

    @Test("What is held goes out in the structured format that was used last, else in TLV")
    func formatOfInstance() throws {
        func written(after format: UInt16?) throws -> UInt16? {
            var rewriter = Rewriting.rewriter()
            if let format {
                _ = try RewritingFormatTests.write(
                    .instance(Rewriting.server(0)), format, at: LwM2MPath(0, 0), with: &rewriter)
            }
            for write in Self.writes where write.path.objectID == 0 && (write.format == 0 || write.format == 42) {
                try Self.hold(write.path, write.format, write.payload, in: &rewriter)
            }
            try Self.hold(LwM2MPath(0, 4, 1), 60, [0xF4], in: &rewriter)
            try Self.hold(LwM2MPath(0, 4, 2), 0, Array("3".utf8), in: &rewriter)
            try Self.hold(LwM2MPath(0, 4, 10), 0, Array("1111".utf8), in: &rewriter)
            return try Self.flush(&rewriter).first?.contentFormat
        }
        #expect(try written(after: nil) == 11542)
        for format in RewritingFormatTests.formats { #expect(try written(after: format) == format) }
    }

    @Test(
        "A resource that is unknown here goes out in the format that spells it, and is refused where none is known to")
    func unknownResources() throws {
        var rewriter = Rewriting.rewriter()
        for write in Self.writes where write.path.objectID == 0 {
            try Self.hold(write.path, write.format, write.payload, in: &rewriter)
        }
        #expect(Self.code { try Self.hold(LwM2MPath(0, 4, 400), 0, [0x31], in: &rewriter) } == 0x85)
        try Self.hold(
            LwM2MPath(0, 4, 400), 112, [0x81, 0xA2, 0x21, 0x68] + Array("/0/4/400".utf8) + [0x02, 0x18, 0x2A],
            in: &rewriter)
        try Self.hold(LwM2MPath(0, 4, 11), 11542, [0xC1, 0x0B, 0x05], in: &rewriter)
        let written = try Self.flush(&rewriter)
        #expect(written.map(\.contentFormat) == [112])
        #expect(try Self.instance(written[0]).ids.contains(400))
        // Two spellings of unknown resources go into no one document.
        try Self.hold(LwM2MPath(0, 4, 401), 11542, [0xE1, 0x01, 0x91, 0x05], in: &rewriter)
        #expect(throws: RewriteRefusal.self) { try Self.flush(&rewriter) }
        #expect(!rewriter.mayFinish)
    }

    @Test("T46: what is held is bounded in instances, resources and bytes")
    func limits() throws {
        var instances = Rewriting.rewriter()
        for id: UInt16 in 0..<128 { try Self.hold(LwM2MPath(0, id, 1), 0, [0x30], in: &instances) }
        #expect(Self.code { try Self.hold(LwM2MPath(0, 128, 1), 0, [0x30], in: &instances) } == 0x80)
        try Self.hold(LwM2MPath(0, 127, 2), 0, [0x30], in: &instances)

        var resources = Rewriting.rewriter()
        func unknown(_ id: UInt16) throws {
            let record: [UInt8] = [0xE1, UInt8(id >> 8), UInt8(id & 0xFF), 0x01]
            try Self.hold(LwM2MPath(0, 0, id), 11542, record, in: &resources)
        }
        for id: UInt16 in 300..<364 { try unknown(id) }
        #expect(Self.code { try unknown(364) } == 0x80)
        try unknown(363)

        var bytes = Rewriting.rewriter()
        let large = [UInt8](repeating: 0x61, count: 32_768)
        try Self.hold(LwM2MPath(0, 0, 3), 42, large, in: &bytes)
        try Self.hold(LwM2MPath(0, 1, 3), 42, large, in: &bytes)
        #expect(Self.code { try Self.hold(LwM2MPath(0, 2, 3), 42, [1], in: &bytes) } == 0x80)
        // A resource in the place of another one counts once.
        try Self.hold(LwM2MPath(0, 0, 3), 42, [1], in: &bytes)
        try Self.hold(LwM2MPath(0, 2, 3), 42, [1], in: &bytes)
    }

    @Test("T16: a read of what is held needs the instances it shows, complete or not, and nothing else does")
    func reads() throws {
        var rewriter = Rewriting.rewriter()
        for write in Self.writes { try Self.hold(write.path, write.format, write.payload, in: &rewriter) }
        #expect(rewriter.nextHeld(before: LwM2MPath(3)) == nil)
        #expect(rewriter.nextHeld(before: LwM2MPath(1, 8)) == nil)
        // Object 1 is fitted to object 0, which goes first.
        for target in [.root, LwM2MPath(0), LwM2MPath(1), LwM2MPath(1, 7)] {
            #expect(rewriter.nextHeld(before: target) == LwM2MPath(0, 4))
        }
        rewriter.heldWasWritten(LwM2MPath(0, 4))
        #expect(rewriter.nextHeld(before: LwM2MPath(1)) == LwM2MPath(1, 7))
        rewriter.heldWasRefused(LwM2MPath(1, 7))
        #expect(rewriter.nextHeld(before: LwM2MPath(1)) == nil && rewriter.nextHeld == LwM2MPath(1, 7))
    }

    @Test("T42: a write whose blocks never end keeps Finish back, until it comes whole")
    func unfinished() throws {
        var rewriter = Rewriting.rewriter()
        for path in [["3", "0"], ["5"], [], ["00", "1"], ["21", "0"]] { rewriter.blocksBegan(path) }
        #expect(rewriter.mayFinish)
        rewriter.blocksBegan(["0", "0"])
        #expect(!rewriter.mayFinish && !rewriter.mayFinishWithHeld)
        #expect(rewriter.unfinishedWrite == LwM2MPath(0, 0))
        _ = try rewriter.write(Rewriting.server(1))
        #expect(!rewriter.mayFinish)
        _ = try rewriter.write(Rewriting.server(0))
        #expect(rewriter.mayFinish && rewriter.unfinishedWrite == nil)
        rewriter.blocksBegan(["0", "0", "5"])
        #expect(!rewriter.mayFinish)
        try Self.hold(LwM2MPath(0, 0, 5), 42, [1], in: &rewriter)
        #expect(rewriter.mayFinishWithHeld)
        rewriter.blocksBegan(["1"])
        try rewriter.permitDelete(.root)
        #expect(rewriter.mayFinish)
    }

    @Test("T44: a key that is held shows nowhere")
    func silence() throws {
        var rewriter = Rewriting.rewriter()
        try Self.hold(LwM2MPath(0, 4, 5), 42, Array("upstream-key".utf8), in: &rewriter)
        var dumped = "\(rewriter)"
        dump(rewriter, to: &dumped)
        #expect(!dumped.contains("upstream") && !dumped.contains("117"))
    }
}

private struct HeldGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = self.state
        mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }
}
