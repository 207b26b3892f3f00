import Gateway
import LwM2M
import Secrets
import Testing

@Suite("Rewriting: server accounts")
struct RewritingServerTests {
    @Test("T17: NoSec becomes PSK over DTLS, and everything that depends on it changes with it")
    func noSecToPSK() throws {
        var rewriter = Rewriting.rewriter()
        let (account, changes) = try rewriter.write(Rewriting.server())
        #expect(account.ids == [0, 1, 2, 3, 5, 10], "3 and 5 stand behind 2")
        #expect(account.text(0) == "coaps://edge.example.net:5684")
        #expect(account[1] == [0] && account.number(2) == 0 && account.number(10) == 1111)
        #expect(account.text(3) == "one-time-meters-1111")
        #expect(account[5] == Rewriting.oneTimeKey(1111))
        let change = try #require(changes.first)
        #expect(changes.count == 1 && change.instanceID == 0 && !change.isBootstrapServer)
        #expect(change.shortServerID == 1111 && change.server == "meters")
        #expect(change.before.uri == "coap://10.1.0.20:5683" && change.before.securityMode == "NoSec")
        #expect(change.before.identity == nil && change.before.key == nil)
        #expect(change.after.uri == "coaps://edge.example.net:5684" && change.after.securityMode == "PSK")
        #expect(change.after.identity == "one-…1111")
        #expect(change.after.key == Secret(Rewriting.oneTimeKey(1111)))
    }

    @Test("T13, T17: a plain device gets NoSec accounts without identity and key")
    func plain() throws {
        var rewriter = Rewriting.rewriter(.plain)
        let (account, changes) = try rewriter.write(Rewriting.server()) { _, _ in
            Issue.record("nothing is minted for a plain device")
            return Rewriting.mint(server: "", shortServerID: 0)
        }
        #expect(account.ids == [0, 1, 2, 10])
        #expect(account.text(0) == "coap://edge.example.net:5683" && account.number(2) == 3)
        #expect(changes.first?.after.key == nil && changes.first?.after.identity == nil)
    }

    @Test("T17: resources that are formally mandatory stay, empty, where the mode has no use for them")
    func emptyOnes() throws {
        let empty = [3, 4, 5].map { Rewriting.opaque($0, []) }
        var plain = Rewriting.rewriter(.plain)
        let (open, _) = try plain.write(Rewriting.server(with: empty))
        #expect(open.ids == [0, 1, 2, 10, 3, 4, 5] && open[3] == [] && open[4] == [] && open[5] == [])
        var secure = Rewriting.rewriter()
        let (closed, _) = try secure.write(
            Rewriting.server(with: [Rewriting.opaque(4, [1, 2, 3])] + empty.filter { $0.id != 4 })
        )
        #expect(closed.ids == [0, 1, 2, 10, 4, 3, 5])
        #expect(closed[4] == [] && closed.text(3) == "one-time-meters-1111" && closed[5]?.count == 16)
    }

    @Test("T17, T18, T31: what carries another address, suite or protection is dropped", arguments: [true, false])
    func dropped(secure: Bool) throws {
        let more =
            [Rewriting.number(13, 0), Rewriting.text(14, "legacy.example"), Rewriting.number(15, 3)]
            + [Rewriting.several(16, [[0xC0, 0x2B]]), Rewriting.opaque(17, [255, 255, 255, 255])]
            + [18, 19, 20, 21].map { Rewriting.several($0, [[1]]) } + [22, 23, 24].map { Rewriting.number($0, 1) }
            + [Rewriting.several(25, [ResourceValue.bytes("coap://legacy.example")])]
        var rewriter = Rewriting.rewriter(secure ? .dtls : .plain)
        let (account, _) = try rewriter.write(Rewriting.server(with: more))
        #expect(account.ids == (secure ? [0, 1, 2, 3, 5, 10] : [0, 1, 2, 10]))
    }

    @Test("T31: over DTLS an OSCORE link is dropped; over the plain port its loss would be a downgrade")
    func oscore() throws {
        let linked = Rewriting.server(with: [Rewriting.opaque(17, [0, 21, 0, 0])])
        var secure = Rewriting.rewriter()
        #expect(try secure.write(linked).instance.ids == [0, 1, 2, 3, 5, 10])
        var plain = Rewriting.rewriter(.plain)
        let refusal = plain.refusal(of: linked)
        #expect(refusal?.code == 0x80 && refusal?.cause == .unsupported && refusal?.isAccount == true)
    }

    @Test("T17: what the gateway does not know is kept byte for byte, in upstream's order")
    func unknown() throws {
        let unknown = [
            Rewriting.several(3000, [[1], [2, 3]]), Rewriting.number(11, 5), Rewriting.opaque(26, [0, 24, 0, 1]),
            Rewriting.text(9, "15105550123"),
        ]
        var instance = Rewriting.server()
        instance.resources = [unknown[0]] + instance.resources.reversed() + unknown[1...]
        var rewriter = Rewriting.rewriter()
        let (account, _) = try rewriter.write(instance)
        #expect(account.ids == [3000, 10, 2, 3, 5, 1, 0, 11, 26, 9])
        for resource in unknown { #expect(account.resources.contains(resource)) }
    }

    @Test("Wakaama's order 0, 1, 10, 2, 3, 5 stays, and a coaps account gets its one-time credential too")
    func wakaamaOrder() throws {
        let instance = ObjectInstance(
            id: 3,
            resources: [
                Rewriting.text(0, "coaps://10.1.0.20:5684"), Rewriting.boolean(1, false), Rewriting.number(10, 2000),
                Rewriting.number(2, 0), Rewriting.text(3, "legacy-identity"), Rewriting.text(5, "legacy-key-bytes"),
            ]
        )
        var rewriter = Rewriting.rewriter()
        let (account, changes) = try rewriter.write(instance)
        #expect(account.ids == [0, 1, 10, 2, 3, 5])
        #expect(account.text(0) == "coaps://lwm2m.example.net:5684" && account.text(3) == "one-time-trackers-2000")
        #expect(changes.first?.before.identity == "lega…tity")
        #expect(changes.first?.before.key == Secret("legacy-key-bytes".utf8))
    }

    @Test("T13: a plain device never gets the key that upstream wrote")
    func upstreamKeyOverPlain() throws {
        let rule = Rewriting.rule("any", ssid: 7, plain: "coap://edge.example.net:5683")
        let keys = [Rewriting.text(3, "legacy"), Rewriting.text(5, "legacy-key-bytes")]
        let sms = [Rewriting.number(6, 1), Rewriting.text(7, "params"), Rewriting.text(8, "legacy-key-bytes")]
        var rewriter = Rewriting.rewriter(.plain, servers: [rule])
        let (account, changes) = try rewriter.write(
            Rewriting.server(uri: "coaps://10.1.0.20", mode: 0, ssid: 7, with: keys + sms)
        )
        #expect(account.ids == [0, 1, 2, 10, 3, 5, 6] && account[3] == [] && account[5] == [])
        #expect(account.number(2) == 3 && account.number(6) == 3)
        #expect(changes.first?.after.key == nil)
    }

    @Test(
        "T20: an account is recognised by resource 1 and its short server ID, whatever its instance",
        arguments: [0, 1, 7, 65_534]
    )
    func instanceIsNothing(id: UInt16) throws {
        var rewriter = Rewriting.rewriter()
        #expect(try rewriter.write(Rewriting.server(id)).accounts.first?.server == "meters")
        #expect(try rewriter.write(Rewriting.bootstrap(id)).accounts.first?.isBootstrapServer == true)
    }

    @Test("T22: at object level each account is rewritten to its own target with its own credential")
    func wholeObject() throws {
        var rewriter = Rewriting.rewriter()
        let (instances, changes) = try rewriter.write([
            Rewriting.server(0), Rewriting.bootstrap(1), Rewriting.server(1000, uri: "coap://10.1.0.30", ssid: 2000),
        ])
        #expect(instances.map(\.id) == [0, 1, 1000])
        #expect(
            instances.map { $0.text(0) } == [
                "coaps://edge.example.net:5684", "coaps://edge.example.net:5684", "coaps://lwm2m.example.net:5684",
            ]
        )
        #expect(
            instances.map { $0.text(3) } == [
                "one-time-meters-1111", Rewriting.identity.text, "one-time-trackers-2000",
            ]
        )
        #expect(changes.map(\.server) == ["meters", nil, "trackers"] && changes.map(\.instanceID) == [0, 1, 1000])
    }

    @Test("T22: one account without a rule refuses the whole object")
    func wholeObjectRefused() throws {
        var rewriter = Rewriting.rewriter()
        let refusal = #expect(throws: RewriteRefusal.self) {
            try rewriter.write([Rewriting.server(0), Rewriting.server(1, ssid: 3)])
        }
        #expect(refusal?.cause == .noRouteForServer)
    }

    @Test("T24: a rule's URI is compared by component; where it names both, both must match")
    func matching() throws {
        var rewriter = Rewriting.rewriter()
        #expect(try rewriter.write(Rewriting.server(uri: "COAP://10.1.0.20/")).accounts.first?.server == "meters")
        for (uri, ssid) in [("coap://10.1.0.20:5684", 1111), ("coap://10.1.0.20/rd", 1111), ("coap://10.1.0.20", 1112)]
        {
            let refusal = rewriter.refusal(of: Rewriting.server(uri: uri, ssid: Int64(ssid)))
            #expect(refusal?.cause == .noRouteForServer && refusal?.code == 0x80, "\(uri) \(ssid)")
        }
        let byURI = Rewriting.rule("by-uri", uri: "coap://[2001:db8::1]", secure: "coaps://edge.example.net")
        let nothing = Rewriting.rule("nothing", secure: "coaps://edge.example.net")
        var other = Rewriting.rewriter(servers: [nothing, byURI])
        let spelled = Rewriting.server(uri: "coap://[2001:DB8:0:0::1]:5683", ssid: 77)
        #expect(try other.write(spelled).accounts.first?.server == "by-uri")
    }

    @Test("T22: the first rule that matches decides")
    func firstRule() throws {
        var rewriter = Rewriting.rewriter(servers: [
            Rewriting.rule("first", ssid: 1111, secure: "coaps://a"), Rewriting.meters,
        ])
        #expect(try rewriter.write(Rewriting.server()).accounts.first?.server == "first")
    }

    @Test("T42: the form for the way the device came is missing: refused, no route for server")
    func missingForm() {
        var plain = Rewriting.rewriter(.plain)
        let refusal = plain.refusal(of: Rewriting.server(ssid: 2000))
        #expect(refusal?.code == 0x80 && refusal?.cause == .noRouteForServer && refusal?.isAccount == true)
        #expect(refusal?.message.contains("trackers") == true && refusal?.message.contains("device.plain") == true)
        let rule = Rewriting.rule("open", ssid: 2000, plain: "coap://edge.example.net")
        var secure = Rewriting.rewriter(servers: [rule])
        #expect(secure.refusal(of: Rewriting.server(ssid: 2000))?.cause == .noRouteForServer)
    }

    @Test("T25: an address that UDP does not carry is refused, unless a rule is for its short server ID alone")
    func unsupportedScheme() throws {
        var rewriter = Rewriting.rewriter()
        #expect(rewriter.refusal(of: Rewriting.server(uri: "coap+tcp://10.1.0.20"))?.cause == .noRouteForServer)
        let (account, _) = try rewriter.write(Rewriting.server(uri: "coap+tcp://10.1.0.20", ssid: 2000))
        #expect(account.text(0) == "coaps://lwm2m.example.net:5684" && account.number(2) == 0)
    }

    @Test(
        "T24: a URI that does not parse is refused, also for a rule by short server ID",
        arguments: ["", "coap://", "coap://a@h", "x"]
    )
    func badURI(uri: String) {
        var rewriter = Rewriting.rewriter(unmatched: .keep)
        let refusal = rewriter.refusal(of: Rewriting.server(uri: uri, ssid: 2000))
        #expect(refusal?.code == 0x80 && refusal?.cause == .upstreamMalformed)
    }

    @Test(
        "Scheme and mode that contradict each other are refused",
        arguments: [("coap://10.1.0.20:5683", 0), ("coaps://h", 3), ("coap://h", 2)]
    )
    func contradiction(uri: String, mode: Int64) {
        var rewriter = Rewriting.rewriter(servers: [Rewriting.rule("any", ssid: 1111, secure: "coaps://e")])
        #expect(rewriter.refusal(of: Rewriting.server(uri: uri, mode: mode))?.cause == .upstreamMalformed)
    }

    @Test("T42: missing resources 0, 1, 2 or 10 make no account", arguments: [0, 1, 2, 10])
    func missing(id: UInt16) {
        var instance = Rewriting.server()
        instance.resources.removeAll { $0.id == id }
        var rewriter = Rewriting.rewriter(unmatched: .keep)
        let refusal = rewriter.refusal(of: instance)
        #expect(refusal?.code == 0x80 && refusal?.cause == .upstreamMalformed && refusal?.isAccount == true)
        #expect(refusal?.message.contains("/0/0/\(id)") == true)
    }

    @Test("T23: short server IDs 0 and 65535 are refused", arguments: [0, 65_535, -1, 65_536])
    func forbiddenShortServerID(ssid: Int64) {
        var rewriter = Rewriting.rewriter(unmatched: .keep)
        #expect(rewriter.refusal(of: Rewriting.server(ssid: ssid))?.cause == .upstreamMalformed)
    }

    @Test("T30: a credential is minted once for a server and short server ID, and a repeated write has the same bytes")
    func mintedOnce() throws {
        var calls: [String] = []
        let counting: AccountRewriter.Mint = { server, ssid in
            calls.append("\(server) \(ssid)")
            return (PSKIdentity("identity-\(calls.count)")!, Secret([UInt8](repeating: UInt8(calls.count), count: 16)))
        }
        let rule = Rewriting.rule("both", uri: "coap://10.1.0.20", secure: "coaps://edge.example.net")
        var rewriter = Rewriting.rewriter(servers: [rule])
        let first = try rewriter.write(Rewriting.server(0), mint: counting)
        let repeated = try rewriter.write(Rewriting.server(0), mint: counting)
        #expect(first.instance == repeated.instance)
        let other = try rewriter.write(Rewriting.server(1, ssid: 1112), mint: counting)
        #expect(other.instance[5] != first.instance[5], "two short server IDs have separate credentials (T22)")
        let whole = try rewriter.write([Rewriting.server(0), Rewriting.server(1, ssid: 1112)], mint: counting)
        #expect(whole.instances == [first.instance, other.instance])
        rewriter.reset()
        #expect(try rewriter.write(Rewriting.server(0), mint: counting).instance == first.instance)
        #expect(calls == ["both 1111", "both 1112"])
    }

    @Test("T17: modes 1, 2 and 4 are never downgraded: only the address changes", arguments: [1, 2, 4])
    func certificates(mode: Int64) throws {
        let more = [
            Rewriting.opaque(3, [1]), Rewriting.opaque(4, [2]), Rewriting.number(13, 1),
            Rewriting.text(14, "legacy.example"), Rewriting.several(16, [[0xC0, 0x2B]]),
            Rewriting.several(25, [ResourceValue.bytes("coaps://legacy.example")]),
        ]
        let account = Rewriting.server(uri: "coaps://legacy.example", mode: mode, ssid: 2000, with: more)
        for arrival: GatewayConfiguration.Security in [.dtls, .plain] {
            var rewriter = Rewriting.rewriter(arrival)
            let (written, changes) = try rewriter.write(account) { _, _ in
                Issue.record("nothing is minted for an account with keys of its own")
                return Rewriting.mint(server: "", shortServerID: 0)
            }
            #expect(written.ids == [0, 1, 2, 10, 3, 4, 13, 16] && written.number(2) == mode)
            #expect(written.text(0) == "coaps://lwm2m.example.net:5684" && written[3] == [1] && written[4] == [2])
            #expect(changes.first?.server == "trackers")
        }
        var plain = Rewriting.rewriter(.plain)
        var withKey = account
        withKey.resources.append(Rewriting.opaque(5, [9]))
        #expect(plain.refusal(of: withKey)?.cause == .noRouteForServer, "a private key never goes out plain")
        var unmatched = Rewriting.rewriter()
        let stranger = Rewriting.server(uri: "coaps://legacy.example", mode: mode, ssid: 3)
        #expect(unmatched.refusal(of: stranger)?.cause == .noRouteForServer)
        var keeping = Rewriting.rewriter(unmatched: .keep)
        #expect(try keeping.write(stranger).instance == stranger)
    }

    @Test("T22: unmatched: keep passes an account without a rule unchanged")
    func keep() throws {
        let stranger = Rewriting.server(5, uri: "coap+tcp://10.9.9.9", ssid: 3, with: [Rewriting.text(14, "name")])
        var rewriter = Rewriting.rewriter(unmatched: .keep)
        let (account, changes) = try rewriter.write(stranger)
        #expect(account == stranger)
        #expect(changes.first?.server == nil && changes.first?.before == changes.first?.after)
    }

    @Test("unmatched: keep passes no key over the plain port, no OSCORE link, and no PSK account without a key")
    func keepHasLimits() {
        var plain = Rewriting.rewriter(.plain, unmatched: .keep)
        let keys = [Rewriting.text(3, "legacy"), Rewriting.text(5, "legacy-key-bytes")]
        let psk = Rewriting.server(uri: "coaps://10.9.9.9", mode: 0, ssid: 3, with: keys)
        #expect(plain.refusal(of: psk)?.code == 0x80)
        #expect(
            plain.refusal(of: Rewriting.server(ssid: 3, with: [Rewriting.text(8, "legacy-key-bytes")]))?.code == 0x80
        )
        var secure = Rewriting.rewriter(unmatched: .keep)
        #expect(secure.refusal(of: psk) == nil)
        #expect(
            secure.refusal(of: Rewriting.server(ssid: 3, with: [Rewriting.opaque(17, [0, 21, 0, 0])]))?.cause
                == .unsupported
        )
        #expect(secure.refusal(of: Rewriting.server(uri: "coaps://h", mode: 0, ssid: 3))?.cause == .upstreamMalformed)
    }

    @Test("T19, T22: one document has one bootstrap account and one account for each server")
    func oneOfEach() {
        var rewriter = Rewriting.rewriter()
        for twice in [
            [Rewriting.bootstrap(0), Rewriting.bootstrap(1)], [Rewriting.server(0), Rewriting.server(1)], [],
        ] {
            let refusal = #expect(throws: RewriteRefusal.self) { try rewriter.write(twice) }
            #expect(refusal?.cause == .upstreamMalformed && refusal?.code == 0x80)
        }
    }

    @Test("T17: a rule whose secure form is no coaps URI is caught before the device sees it (spec 2.4)")
    func wrongForm() {
        let rule = Rewriting.rule("wrong", ssid: 1111, secure: "coap://edge.example.net")
        var rewriter = Rewriting.rewriter(servers: [rule])
        let refusal = rewriter.refusal(of: Rewriting.server())
        #expect(refusal?.code == 0xA0 && refusal?.cause == .internal)
    }

    @Test("T46: one bootstrap writes at most 64 server accounts and mints at most 64 credentials")
    func limits() throws {
        let rule = Rewriting.rule("any", uri: "coap://10.1.0.20", secure: "coaps://edge.example.net")
        var calls = 0
        let counting: AccountRewriter.Mint = { server, ssid in
            calls += 1
            return Rewriting.mint(server: server, shortServerID: ssid)
        }
        var accounts = Rewriting.rewriter(servers: [rule])
        for id: UInt16 in 0..<64 { _ = try accounts.write(Rewriting.server(id, ssid: 1), mint: counting) }
        #expect(accounts.refusal(of: Rewriting.server(64, ssid: 1))?.cause == .limit)
        #expect(accounts.refusal(of: Rewriting.server(63, ssid: 1)) == nil)
        #expect(calls == 1)
        calls = 0
        var credentials = Rewriting.rewriter(servers: [rule])
        for ssid: Int64 in 1...64 { _ = try credentials.write(Rewriting.server(0, ssid: ssid), mint: counting) }
        let refusal = #expect(throws: RewriteRefusal.self) {
            try credentials.write(Rewriting.server(0, ssid: 65), mint: counting)
        }
        #expect(refusal?.cause == .limit && refusal?.code == 0x80 && calls == 64)
    }
}
