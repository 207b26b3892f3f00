import CoAP
import LwM2M
import Secrets
import Testing

@testable import Gateway

@Suite("Secure servers come first where plain ones are kept")
struct RewritingOrderTests {
    /// Without a rule: kept in the clear.
    private static func plain(_ id: UInt16, ssid: Int64 = 3000) -> ObjectInstance {
        Rewriting.server(id, uri: "coap://192.0.2.99:5683", ssid: ssid)
    }

    private static func settings(_ id: UInt16, ssid: Int64, priority: Int64? = nil) -> ObjectInstance {
        ObjectInstance(
            id: id,
            resources: [Rewriting.number(0, ssid), Rewriting.number(1, 86_400), Rewriting.number(2, 1)]
                + (priority.map { [Rewriting.number(13, $0)] } ?? [])
        )
    }

    private static func rewriter(
        _ arrival: GatewayConfiguration.Security = .dtls, version11: Bool = false
    ) -> AccountRewriter {
        var rewriter = Rewriting.rewriter(arrival, unmatched: .keep)
        rewriter.hasPriorities = version11
        return rewriter
    }

    @Test("T20: a write of all accounts gives secure ones the lower numbers, and the bootstrap account keeps its own")
    func wholeObject() throws {
        var rewriter = Self.rewriter()
        let (instances, accounts) = try rewriter.write([
            Self.plain(0), Rewriting.bootstrap(1), Rewriting.server(2),
            Rewriting.server(4, uri: "coap://x", ssid: 2000),
        ])
        #expect(instances.map(\.id) == [0, 1, 2, 4])
        #expect(instances.map { $0.number(10) } == [1111, 2222, 2000, 3000])
        #expect(accounts.map(\.instanceID) == [0, 1, 2, 4])
        #expect(accounts.map(\.shortServerID) == [1111, 2222, 2000, 3000])
        // What is kept is kept byte for byte, its number apart.
        #expect(instances[3].resources == Self.plain(0).resources)
        #expect(rewriter.bootstrapInstanceID == 1)
        #expect(rewriter.secureFirst == .byInstance)
    }

    @Test("T21: Server objects of one write follow, and later commands reach what they name")
    func laterCommands() throws {
        var rewriter = Self.rewriter()
        _ = try rewriter.write([Self.plain(0), Rewriting.server(1)])
        let (settings, _) = try rewriter.write(
            [Self.settings(0, ssid: 3000), Self.settings(1, ssid: 1111)], object: 1)
        #expect(settings.map { $0.number(0) } == [1111, 3000])
        #expect(settings[0].resources == Self.settings(0, ssid: 1111).resources)
        #expect(rewriter.place(LwM2MPath(1, 0)) == LwM2MPath(1, 1))
        // Upstream's 0 is the device's 1.
        let again = try rewriter.rewrite(
            path: ["0", "0"], contentFormat: 11542, payload: TLV.encode(.instance(Self.plain(0))), mint: Rewriting.mint)
        #expect(again.path == LwM2MPath(0, 1) && again.accounts.map(\.instanceID) == [1])
        #expect(try rewriter.permitDelete(LwM2MPath(0, 0)) == LwM2MPath(0, 1))
        #expect(rewriter.secureFirst == nil)
        // A new beginning has upstream's numbers again.
        try rewriter.permitDelete(.root)
        #expect(rewriter.place(LwM2MPath(0, 0)) == LwM2MPath(0, 0))
    }

    @Test("T30: the same accounts written once more come out the same")
    func repeated() throws {
        var rewriter = Self.rewriter()
        let accounts = [Self.plain(0), Rewriting.server(1)]
        let first = try rewriter.write(accounts)
        let second = try rewriter.write(accounts)
        #expect(first.instances == second.instances && first.accounts == second.accounts)
    }

    @Test("T42: a refused write leaves the numbers as they were, and stays refused when another instance is deleted")
    func refused() throws {
        var rewriter = Self.rewriter()
        _ = try rewriter.write([Self.plain(0), Rewriting.server(1)])
        #expect(throws: RewriteRefusal.self) {
            try rewriter.write([Self.plain(0, ssid: 0), Rewriting.server(1)])
        }
        #expect(rewriter.place(LwM2MPath(0, 0)) == LwM2MPath(0, 1))
        try rewriter.permitDelete(LwM2MPath(0, 0))
        #expect(!rewriter.mayFinish)
    }

    @Test("Nothing changes where all are secure, all are in order, or the device came plain")
    func untouched() throws {
        var secure = Self.rewriter(version11: true)
        let both = [Rewriting.server(0, uri: "coap://x", ssid: 2000), Rewriting.server(1)]
        #expect(try secure.write(both).instances.map { $0.number(10) } == [2000, 1111])
        let settings = [Self.settings(0, ssid: 2000), Self.settings(1, ssid: 1111, priority: 7)]
        #expect(try secure.write(settings, object: 1).instances == settings)
        #expect(secure.secureFirst == nil)

        var ordered = Self.rewriter()
        #expect(
            try ordered.write([Rewriting.server(0), Self.plain(1)]).instances.map { $0.number(10) } == [1111, 3000])

        var plain = Self.rewriter(.plain, version11: true)
        let mixed = [Self.plain(0), Rewriting.server(1)]
        #expect(try plain.write(mixed).instances.map { $0.number(10) } == [3000, 1111])
        let own = Self.settings(0, ssid: 3000, priority: 1)
        #expect(try plain.write(own, object: 1).instance == own)
        #expect(plain.secureFirst == nil)
    }

    @Test(
        "Written one by one, a device of 1.1 gets priorities: secure servers 0, 1 and on, plain ones behind all of them"
    )
    func priorities() throws {
        var rewriter = Self.rewriter(version11: true)
        _ = try rewriter.write(Self.plain(0))
        let plain = try rewriter.write(Self.settings(0, ssid: 3000), object: 1).instance
        #expect(plain.number(13) == 65_536)
        #expect(plain.resources.dropLast() == Self.settings(0, ssid: 3000).resources[...])
        for (index, server) in [Rewriting.server(1), Rewriting.server(2, uri: "coap://x", ssid: 2000)].enumerated() {
            _ = try rewriter.write(server)
            let ssid = index == 0 ? Int64(1111) : 2000
            let written = try rewriter.write(Self.settings(UInt16(index + 1), ssid: ssid), object: 1).instance
            #expect(written.number(13) == Int64(index))
            #expect(try rewriter.write(Self.settings(UInt16(index + 1), ssid: ssid), object: 1).instance == written)
        }
        #expect(rewriter.secureFirst == .byPriority)
    }

    @Test("Upstream's own priorities keep their order among secure and among plain servers")
    func ownPriorities() throws {
        var rewriter = Self.rewriter(version11: true)
        _ = try rewriter.write([Self.plain(0), Self.plain(1, ssid: 3001), Rewriting.server(2)])
        let (settings, _) = try rewriter.write(
            [
                Self.settings(0, ssid: 3000, priority: 2), Self.settings(1, ssid: 3001, priority: 1),
                Self.settings(2, ssid: 1111, priority: 3),
            ], object: 1)
        let priorities = settings.map { $0[13].flatMap(ResourceValue.unsigned) }
        #expect(settings.map { $0.number(0) } == [1111, 3000, 3001])
        #expect(priorities == [3, 65_538, 65_537])
        #expect(rewriter.secureFirst == .byBoth)
    }

    @Test("A secure server without a priority waits for nobody: its Server object stays as it is")
    func secureFirstWritten() throws {
        var rewriter = Self.rewriter(version11: true)
        _ = try rewriter.write(Rewriting.server(3))
        let own = Self.settings(3, ssid: 1111)
        #expect(try rewriter.write(own, object: 1).instance == own)
        _ = try rewriter.write(Self.plain(0))
        #expect(try rewriter.write(Self.settings(0, ssid: 3000), object: 1).instance.number(13) == 65_536)
        #expect(rewriter.secureFirst == .byPriority)
    }

    @Test("Where nothing can be done, that is what is said")
    func impossible() throws {
        var old = Self.rewriter()
        _ = try old.write(Self.plain(0))
        _ = try old.write(Rewriting.server(1))
        let own = Self.settings(0, ssid: 3000)
        #expect(try old.write(own, object: 1).instance == own)
        #expect(old.secureFirst == .no)

        var early = Self.rewriter(version11: true)
        #expect(try early.write(own, object: 1).instance == own)
        _ = try early.write(Self.plain(0))
        _ = try early.write(Rewriting.server(1))
        #expect(early.secureFirst == .notByPriority)
    }

    @Test(
        "The version is what the device says",
        arguments: [
            ("lwm2m=1.1", true), ("lwm2m=1.0", false), ("lwm2m=1", false), ("</>;lwm2m=1.2,</0/0>;ssid=1", true),
            ("</>;lwm2m=\"1.1\"", true), ("lwm2m=2", true), ("ep=a", nil), ("lwm2m=x", nil), ("lwm2m=1.", false),
            ("lwm2m=99999999999999999999.1", nil),
        ] as [(String, Bool?)])
    func version(text: String, expected: Bool?) {
        #expect(EnablerVersion.hasPriorities(text) == expected)
    }

    @Test("The device's Discover answer counts, and Finish leaves the outcome in the journal")
    func journal() throws {
        var script = try BootstrapScript(unmatched: .keep)
        script.begin()
        script.upstreamRequests(script.nextID(), CoAPRequest(.get, path: ["0"], accept: 40))
        script.play { session, now, out in
            let links = CoAPResponse(.content, contentFormat: 40, payload: Array("</>;lwm2m=1.1,</0/9>".utf8))
            session.deviceAnswered(links, now: now, wallClock: 0, into: &out)
        }
        for (object, instance) in [
            (0, Self.plain(0)), (1, Self.settings(0, ssid: 3000)),
            (0, Rewriting.server(1, uri: "coap://192.0.2.10:5683")), (1, Self.settings(1, ssid: 1111)),
        ] {
            let payload = try TLV.encode(.instance(instance))
            script.upstreamRequests(
                script.nextID(), BootstrapScript.write(payload, to: ["\(object)", "\(instance.id)"]))
            script.deviceAnswers(.changed)
        }
        script.stored()
        script.upstreamRequests(script.nextID(), BootstrapScript.finish)
        script.deviceAnswers(.changed)
        let finished = try #require(script.events.last { $0.name == .bootstrapFinished })
        #expect(finished.detail.contains(.init("secure-first", .text("by priority"))))
    }
}
