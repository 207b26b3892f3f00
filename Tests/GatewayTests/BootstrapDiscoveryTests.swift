import LwM2M
import Secrets
import Testing
import Timing

@testable import CoAP
@testable import Gateway

@Suite("The device's own bootstrap account is known before anything could hit it")
struct BootstrapDiscoveryTests {
    typealias Action = BootstrapSession.Action

    private static let discover = CoAPRequest(.get, path: ["0"], accept: 40)

    private static func script(_ place: SIMRecord.BootstrapPlace) throws -> BootstrapScript {
        var script = try BootstrapScript(record: BootstrapScript.record(place: place))
        script.begin()
        return script
    }

    private static func write(to instance: String = "0") -> CoAPRequest {
        BootstrapScript.write(BootstrapScript.serverAccount, to: ["0", instance])
    }

    /// The paths of the writes that went to the device.
    private static func written(_ actions: [Action]) -> [[String]] {
        actions.compactMap {
            if case .requestDevice(let request) = $0, request.code == .put { request.uriPath } else { nil }
        }
    }

    private static func remembered(_ actions: [Action]) -> [SIMRecord.BootstrapPlace] {
        actions.compactMap { if case .remember(let place) = $0 { place } else { nil } }
    }

    @Test("T20: where it is known, an ordinary bootstrap asks the device nothing", arguments: [0, 1, 9] as [UInt16])
    func known(instance: UInt16) throws {
        var script = try Self.script(.instance(instance))
        script.upstreamRequests(script.nextID(), BootstrapScript.deleteAll)
        script.deviceAnswers(.deleted)
        let actions = script.upstreamRequests(script.nextID(), Self.write())
        #expect(Self.written(actions) == [["0", instance == 0 ? "1" : "0"]])
        script.stored()
        script.deviceAnswers(.changed)
        script.upstreamRequests(script.nextID(), BootstrapScript.finish)
        script.deviceAnswers(.changed)
        #expect(script.ends == [nil])
        #expect(!script.actions.contains(.requestDevice(Self.discover)))
        #expect(Self.remembered(script.actions).isEmpty)
    }

    @Test("T20: where it is not, the first write of an account waits for a Discover of the gateway's own")
    func unknown() throws {
        var script = try Self.script(.unknown)
        script.upstreamRequests(script.nextID(), BootstrapScript.deleteAll)
        script.deviceAnswers(.deleted)
        let write = script.nextID()
        #expect(script.upstreamRequests(write, Self.write()) == [.requestDevice(Self.discover)])
        let actions = script.deviceAnswers(links: "</>;lwm2m=1.1,</0/0>,</3/0>")
        #expect(Self.remembered(actions) == [.instance(0)])
        #expect(Self.written(actions) == [["0", "1"]], "not onto the account that the device came with")
        script.stored()
        #expect(script.deviceAnswers(.changed) == [.answerUpstream(write, CoAPResponse(.changed))])
        // Once in a bootstrap, and never again.
        #expect(Self.written(script.upstreamRequests(script.nextID(), Self.write(to: "3"))) == [["0", "3"]])
        let event = try #require(script.events.first { $0.name == .simChanged })
        #expect(event.detail.contains(.init("after", .text("/0/0"))))
        #expect(script.session.subject.record.bootstrapPlace == .instance(0))
        script.deviceAnswers(.changed)
        script.begin()
        #expect(Self.written(script.upstreamRequests(script.nextID(), Self.write())) == [["0", "1"]])
    }

    @Test("What cannot hit it does not ask for it")
    func harmless() throws {
        var script = try Self.script(.unknown)
        for request in [
            BootstrapScript.deleteAll, CoAPRequest(.delete, path: ["0"]), CoAPRequest(.delete, path: ["1"]),
            CoAPRequest(.delete, path: ["1", "0"]), CoAPRequest(.get, path: ["1"]),
            CoAPRequest(.get, path: ["3"], accept: 40), BootstrapScript.write([], to: ["3", "0"]),
        ] {
            #expect(script.upstreamRequests(script.nextID(), request).count == 1)
            #expect(script.deviceAnswers(.notFound).count == 1)
        }
        #expect(!script.actions.contains(.requestDevice(Self.discover)))
    }

    @Test("T36: a delete of one account asks first; the bootstrap account is refused here with 4.00")
    func deletes() throws {
        var script = try Self.script(.unknown)
        let delete = script.nextID()
        #expect(
            script.upstreamRequests(delete, CoAPRequest(.delete, path: ["0", "1"])) == [.requestDevice(Self.discover)])
        let actions = script.deviceAnswers(links: "</0/0>;ssid=5,</0/1>")
        #expect(actions.last == .answerUpstream(delete, CoAPResponse(.badRequest)))
        let other = script.nextID()
        #expect(
            script.upstreamRequests(other, CoAPRequest(.delete, path: ["0", "0"]))
                == [.requestDevice(CoAPRequest(.delete, path: ["0", "0"]))])
    }

    @Test("T36: a device that does not say gets no delete of a single account, and the numbers that upstream writes")
    func untold() throws {
        for code: CoAPCode in [.notFound, .methodNotAllowed, .notAcceptable, .badRequest, .notImplemented] {
            var script = try Self.script(.unknown)
            let delete = script.nextID()
            script.upstreamRequests(delete, CoAPRequest(.delete, path: ["0", "1"]))
            let actions = script.deviceAnswers(code)
            #expect(actions == [.remember(.untold), .answerUpstream(delete, CoAPResponse(.badRequest))])
            #expect(Self.written(script.upstreamRequests(script.nextID(), Self.write())) == [["0", "0"]])
        }
        var later = try Self.script(.untold)
        #expect(Self.written(later.upstreamRequests(later.nextID(), Self.write())) == [["0", "0"]])
    }

    @Test("A device that resets the Discover goes on; one that does not answer it ends the bootstrap")
    func failures() throws {
        var reset = try Self.script(.unknown)
        reset.upstreamRequests(reset.nextID(), Self.write())
        let actions = reset.play { session, now, out in
            session.deviceFailed(.reset, now: now, wallClock: 0, into: &out)
        }
        #expect(Self.remembered(actions) == [.untold] && Self.written(actions) == [["0", "0"]])

        var silent = try Self.script(.unknown)
        let write = silent.nextID()
        silent.upstreamRequests(write, Self.write())
        #expect(
            silent.play { session, now, out in
                session.deviceFailed(.unacknowledged, now: now, wallClock: 0, into: &out)
            } == [.answerUpstream(write, CoAPResponse(.gatewayTimeout)), .releaseLease(.parked)])
        #expect(silent.ends == [.deviceUnreachable])
    }

    @Test(
        "What nobody can make sense of is not remembered",
        arguments: ["</0/0>,</0/1>", "</0/0>;ssid=1,</3/0>", "</0/0", ""])
    func unclear(links: String) throws {
        var script = try Self.script(.unknown)
        script.upstreamRequests(script.nextID(), Self.write())
        let actions = script.deviceAnswers(links: links)
        #expect(Self.remembered(actions).isEmpty && Self.written(actions) == [["0", "0"]])
        #expect(script.events.contains { $0.cause == .malformed } == (links == "</0/0"))
    }

    @Test("Commands that came while the device was asked follow in their order")
    func order() throws {
        var script = try Self.script(.unknown)
        script.upstreamRequests(script.nextID(), CoAPRequest(.delete, path: ["0", "1"]))
        script.upstreamRequests(script.nextID(), BootstrapScript.deleteAll)
        let actions = script.deviceAnswers(links: "</0/1>")
        // The delete is refused here, so the next one is at the device at once.
        #expect(actions.last == .requestDevice(CoAPRequest(.delete)))
    }

    @Test("Upstream's own Discover teaches the same, and corrects what was remembered")
    func upstreamDiscovers() throws {
        var script = try Self.script(.instance(1))
        let discover = script.nextID()
        script.upstreamRequests(discover, CoAPRequest(.get, path: [], accept: 40))
        let actions = script.deviceAnswers(links: "</>;lwm2m=1.1,</0/4>;uri=\"coaps://edge.example.net\"")
        var answer = CoAPResponse(.content, contentFormat: 40)
        answer.payload = Array("</>;lwm2m=1.1,</0/4>".utf8)
        #expect(actions == [.remember(.instance(4)), .answerUpstream(discover, answer)])
        #expect(Self.written(script.upstreamRequests(script.nextID(), Self.write(to: "4"))) == [["0", "0"]])
        // It is gone: the next bootstrap asks.
        script.deviceAnswers(.changed)
        script.upstreamRequests(script.nextID(), CoAPRequest(.get, path: ["0"], accept: 40))
        #expect(Self.remembered(script.deviceAnswers(links: "</0/0>;ssid=1111")) == [.unknown])
    }

    @Test("T19: the account that upstream writes is the device's own after Finish")
    func learnedFromFinish() throws {
        var script = try Self.script(.untold)
        let bootstrap = try TLV.encode(.instance(Rewriting.bootstrap(5)))
        script.upstreamRequests(script.nextID(), BootstrapScript.write(bootstrap, to: ["0", "5"]))
        #expect(Self.remembered(script.deviceAnswers(.changed)).isEmpty)
        script.upstreamRequests(script.nextID(), BootstrapScript.finish)
        #expect(Self.remembered(script.deviceAnswers(.changed)) == [.instance(5)])
    }

    @Test("After a device has refused its accounts the next bootstrap asks where its own is")
    func forgotten() throws {
        var script = try Self.script(.instance(1))
        script.upstreamRequests(script.nextID(), Self.write())
        script.deviceAnswers(.badRequest)
        let actions = script.play { session, _, out in
            session.deviceGone(.deviceUnreachable, wallClock: 0, into: &out)
        }
        #expect(Self.remembered(actions) == [.unknown])
        script.begin()
        #expect(script.upstreamRequests(script.nextID(), Self.write()) == [.requestDevice(Self.discover)])
    }

    // MARK: - Answers

    @Test("T35: an answer of the device that cannot be used is 5.02 upstream, counted and in the journal")
    func unusable() throws {
        var script = try Self.script(.instance(1))
        for (request, response) in [
            (CoAPRequest(.get, path: [], accept: 40), CoAPResponse(.content, contentFormat: 40, payload: [0x3C])),
            (CoAPRequest(.get, path: ["1"]), CoAPResponse(.content, contentFormat: 50, payload: [0x7B])),
            (CoAPRequest(.get, path: ["1", "0"]), CoAPResponse(.content, payload: [0xC0])),
        ] {
            let id = script.nextID()
            script.upstreamRequests(id, request)
            #expect(script.deviceAnswers(response) == [.dropAnswer, .answerUpstream(id, CoAPResponse(.badGateway))])
            #expect(script.events.last?.cause == .malformed && script.session.isRunning)
        }
    }

    @Test("T35: Accept of a read goes on as it came, and not at all when it did not come")
    func accept() throws {
        var script = try Self.script(.instance(1))
        for accept: UInt16? in [nil, 112, 11542] {
            let request = CoAPRequest(.get, path: ["1", "0"], accept: accept)
            let id = script.nextID()
            #expect(script.upstreamRequests(id, request) == [.requestDevice(request)])
            let refused = CoAPResponse(.notAcceptable)
            #expect(script.deviceAnswers(refused) == [.answerUpstream(id, refused)])
        }
    }

    // MARK: - pct

    @Test(
        "T14: a format that can be rewritten goes upstream behind ep, byte for byte",
        arguments: [110, 112, 11542, 11543, 11544])
    func preferredFormat(number: Int) throws {
        var script = try BootstrapScript()
        script.deviceRequests(script.nextID(), query: ["pct=\(number)"])
        let request = CoAPRequest(.post, path: ["bs"], query: ["ep=meter-1", "pct=\(number)"])
        #expect(script.leaseGranted() == [.requestUpstream(request)])
    }

    @Test("T14: a format that nobody can rewrite is 4.15, one that is no number 4.00, and nothing goes upstream")
    func refusedFormat() throws {
        for (parameters, code) in [
            (["pct=50"], CoAPCode.unsupportedContentFormat), (["pct=0"], .unsupportedContentFormat),
            (["pct="], .badRequest), (["pct=0112"], .badRequest), (["pct=65536"], .badRequest),
            (["pct=TLV"], .badRequest), (["pct=112", "pct=112"], .badRequest),
        ] {
            var script = try BootstrapScript()
            let id = script.nextID()
            #expect(
                script.deviceRequests(id, query: ["ep=meter-1"] + parameters)
                    == [.answerDevice(id, CoAPResponse(code))])
            #expect(!script.session.isRunning && script.ends.count == 1)
        }
    }

    @Test(
        "T14: a strict server is asked once more without pct",
        arguments: [CoAPCode.badRequest, .unsupportedContentFormat])
    func strictServer(code: CoAPCode) throws {
        var script = try BootstrapScript()
        let id = script.nextID()
        script.deviceRequests(id, query: ["ep=meter-1", "pct=112"])
        script.leaseGranted()
        let plain = CoAPRequest(.post, path: ["bs"], query: ["ep=meter-1"])
        #expect(script.upstreamAnswers(code) == [.requestUpstream(plain)])
        #expect(script.upstreamAnswers(.changed) == [.answerDevice(id, CoAPResponse(.changed))])

        var refused = try BootstrapScript()
        let other = refused.nextID()
        refused.deviceRequests(other, query: ["ep=meter-1", "pct=112"])
        refused.leaseGranted()
        refused.upstreamAnswers(code)
        #expect(
            refused.upstreamAnswers(.badRequest)
                == [.answerDevice(other, CoAPResponse(.badRequest)), .releaseLease(.parked)])
        #expect(refused.ends == [.upstreamRefused])
    }
}
