import Gateway
import LwM2M
import Secrets
import Testing

@Suite("Rewriting: the bootstrap account")
struct RewritingBootstrapAccountTests {
    @Test("T19: over DTLS it leads back to the gateway with the device's own identity and key")
    func secure() throws {
        var rewriter = Rewriting.rewriter()
        let (account, changes) = try rewriter.write(Rewriting.bootstrap()) { _, _ in
            Issue.record("nothing is minted for the bootstrap account")
            return Rewriting.mint(server: "", shortServerID: 0)
        }
        #expect(account.ids == [0, 1, 2, 3, 5, 10])
        #expect(account.text(0) == "coaps://edge.example.net:5684" && account[1] == [1] && account.number(2) == 0)
        #expect(account[3] == Rewriting.identity.bytes && account[5].map { Secret($0) } == Rewriting.key)
        #expect(account.number(10) == 2222, "as written upstream")
        let change = try #require(changes.first)
        #expect(change.isBootstrapServer && change.server == nil && change.shortServerID == 2222)
        #expect(change.after.identity == "8988…6770" && change.after.key == Rewriting.key)
        #expect(rewriter.bootstrapInstanceID == 1)
    }

    @Test("T19: a plain device gets it plain, without key")
    func plain() throws {
        var rewriter = Rewriting.rewriter(.plain)
        let keys = [Rewriting.text(3, "legacy"), Rewriting.text(5, "legacy-key-bytes")]
        let (account, _) = try rewriter.write(Rewriting.bootstrap(with: keys))
        #expect(account.ids == [0, 1, 2, 10, 3, 5] && account[3] == [] && account[5] == [])
        #expect(account.text(0) == "coap://edge.example.net:5683" && account.number(2) == 3)
    }

    @Test("T41: an account timeout is taken out, a hold-off stays")
    func accountTimeout() throws {
        var rewriter = Rewriting.rewriter()
        let more = [Rewriting.number(11, 10), Rewriting.number(12, 60)]
        let (account, _) = try rewriter.write(Rewriting.bootstrap(with: more))
        #expect(account.ids == [0, 1, 2, 3, 5, 10, 11] && account.number(11) == 10)
    }

    @Test("T18: what could lead elsewhere is taken out, what is unknown stays")
    func otherAddresses() throws {
        var rewriter = Rewriting.rewriter()
        let more = [
            Rewriting.text(14, "legacy"), Rewriting.opaque(17, [0, 21, 0, 0]),
            Rewriting.several(25, [ResourceValue.bytes("coap://legacy")]), Rewriting.text(3000, "kept"),
        ]
        #expect(try rewriter.write(Rewriting.bootstrap(with: more)).instance.ids == [0, 1, 2, 3, 5, 10, 3000])
    }

    @Test(
        "T19: neither unmatched nor mode nor a URI that nobody can read keeps it from leading back",
        arguments: [0, 1, 2, 3, 4]
    )
    func always(mode: Int64) throws {
        for unmatched: GatewayConfiguration.Unmatched in [.refuse, .keep] {
            var rewriter = Rewriting.rewriter(servers: [], unmatched: unmatched)
            var instance = Rewriting.bootstrap(mode: mode)
            instance.resources[0] = Rewriting.text(0, "\u{7}not a URI")
            let (account, changes) = try rewriter.write(instance)
            #expect(account.text(0) == "coaps://edge.example.net:5684" && account.number(2) == 0)
            #expect(changes.first?.before.uri == "?not a URI")
        }
    }

    @Test("It may have no short server ID", arguments: [true, false])
    func withoutShortServerID(removed: Bool) throws {
        var instance = Rewriting.bootstrap()
        instance.resources.removeAll { $0.id == 10 }
        if !removed { instance.resources.append(Rewriting.number(10, 0)) }
        var rewriter = Rewriting.rewriter()
        let (account, changes) = try rewriter.write(instance)
        #expect(account.number(10) == (removed ? nil : 0) && changes.first?.shortServerID == nil)
    }

    @Test("T42: without an address or a key for it the write is refused")
    func incomplete() {
        var noPlain = Rewriting.rewriter(.plain, account: .init(secure: Rewriting.uri("coaps://e")))
        #expect(noPlain.refusal(of: Rewriting.bootstrap())?.cause == .noRouteForServer)
        var noSecure = Rewriting.rewriter(account: .init(plain: Rewriting.uri("coap://e")))
        #expect(noSecure.refusal(of: Rewriting.bootstrap())?.cause == .noRouteForServer)
        var noKey = Rewriting.rewriter(key: nil)
        #expect(noKey.refusal(of: Rewriting.bootstrap())?.cause == .internal)
    }

    @Test("T36: an instance of object 0 is deleted only when it is known to be a server account")
    func deletes() throws {
        var rewriter = Rewriting.rewriter()
        let refusal = #expect(throws: RewriteRefusal.self) { try rewriter.permitDelete(LwM2MPath(0, 1)) }
        #expect(refusal?.code == 0x80 && refusal?.isAccount == false)
        for path in [LwM2MPath.root, LwM2MPath(0), LwM2MPath(1), LwM2MPath(1, 0), LwM2MPath(3, 0)] {
            try rewriter.permitDelete(path)
        }
        _ = try rewriter.write([Rewriting.server(0), Rewriting.bootstrap(1)])
        try rewriter.permitDelete(LwM2MPath(0, 0))
        #expect(throws: RewriteRefusal.self) { try rewriter.permitDelete(LwM2MPath(0, 1)) }
        // A server account is written where the bootstrap account was.
        _ = try rewriter.write([Rewriting.server(1), Rewriting.bootstrap(0)])
        try rewriter.permitDelete(LwM2MPath(0, 1))
        #expect(throws: RewriteRefusal.self) { try rewriter.permitDelete(LwM2MPath(0, 0)) }
        // As the device answered to Discover.
        var discovered = Rewriting.rewriter()
        discovered.bootstrapInstanceID = 4
        try discovered.permitDelete(LwM2MPath(0, 0))
        #expect(throws: RewriteRefusal.self) { try discovered.permitDelete(LwM2MPath(0, 4)) }
    }

    @Test("T36: what a refused document would have written is not known afterwards")
    func refusedDocument() throws {
        var rewriter = Rewriting.rewriter()
        #expect(throws: RewriteRefusal.self) {
            try rewriter.write([Rewriting.server(1), Rewriting.server(2, ssid: 3)])
        }
        #expect(throws: RewriteRefusal.self) { try rewriter.permitDelete(LwM2MPath(0, 1)) }
        #expect(throws: RewriteRefusal.self) {
            try rewriter.write([Rewriting.bootstrap(1), Rewriting.server(2, ssid: 3)])
        }
        #expect(rewriter.bootstrapInstanceID == nil)
    }
}
