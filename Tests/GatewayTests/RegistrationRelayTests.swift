import Gateway
import LwM2M
import Secrets
import Testing
import Timing

@testable import CoAP

@Suite("A registration: what the device asks for")
struct RegistrationRelayTests {
    typealias Script = RegistrationScript

    @Test("Register waits for its socket, goes upstream with the proven endpoint first, and its answer comes back")
    func registers() throws {
        var script = try Script()
        #expect(script.ask(1, Script.register(["lt=60", "ep=meter-1"])) == [.acquireLease(BootstrapScript.upstream)])
        let sent = script.play { $0.leaseGranted(into: &$1) }
        #expect(sent.requestToServer == Script.register())
        let answered = script.answer(1, Script.created())
        #expect(answered.first == .answerDevice(Script.id(1), Script.created()))
        #expect(answered.journal(.registrationOpened) != nil)
        #expect(script.relay.isRegistered)
    }

    @Test("Another endpoint than the credential's is 4.00 and recorded, unless the record says replace")
    func endpoint() throws {
        var script = try Script()
        let refused = script.ask(1, Script.register(["ep=meter-2"]))
        #expect(refused.deviceAnswer == CoAPResponse(.badRequest))
        #expect(refused.journal(.registrationRefused)?.cause == .endpointMismatch)
        script = try Script(policy: .replace)
        _ = script.ask(1, Script.register(["ep=host-17", "lt=60"]))
        #expect(script.play { $0.leaseGranted(into: &$1) }.requestToServer == Script.register())
    }

    @Test("A Register without a name goes upstream under the record's, its other parameters untouched")
    func missingEndpoint() throws {
        var script = try Script()
        var request = Script.register(["lt=60", "lwm2m=1.1"])
        request.options.append(.uriQuery, [0xFF, 0xFE])
        _ = script.ask(1, request)
        let sent = try #require(script.play { $0.leaseGranted(into: &$1) }.requestToServer)
        let queries = sent.options.filter { $0.number == .uriQuery }.map { Array($0.value) }
        #expect(queries == [Array("ep=meter-1".utf8), Array("lt=60".utf8), Array("lwm2m=1.1".utf8), [0xFF, 0xFE]])
    }

    @Test("A key that was replaced or expired is told 4.03", arguments: [OneTimeCredential.State.replaced, .expired])
    func staleKey(standing: OneTimeCredential.State) throws {
        var script = try Script(standing: standing)
        #expect(script.ask(1, Script.register()).deviceAnswer == CoAPResponse(.forbidden))
    }

    @Test("Update, De-register and Send pass once there is a registration")
    func laterRequests() throws {
        var script = try Script()
        script.register(location: ["rd", "a b", "5"])
        let update = CoAPRequest(.post, path: ["rd", "a b", "5"], query: ["lt=300"])
        #expect(script.ask(2, update).requestToServer == update)
        #expect(script.answer(2, CoAPResponse(.changed)).deviceAnswer == CoAPResponse(.changed))
        let send = CoAPRequest(.post, path: ["dp"], contentFormat: 112, payload: [1, 2], isConfirmable: false)
        #expect(script.ask(3, send).requestToServer == send)
    }

    @Test(
        "Nobody reaches a location that is not his own, nor a path that can be read in two ways, nor a bootstrap",
        arguments: [
            (CoAPRequest(.post, path: ["rd", "6"]), CoAPCode.notFound),
            (CoAPRequest(.delete, path: ["rd", "6"]), .notFound), (CoAPRequest(.delete, path: ["rd"]), .notFound),
            (CoAPRequest(.post, path: ["rd", "5", ""]), .notFound), (CoAPRequest(.post, path: ["rd/5"]), .badRequest),
            (CoAPRequest(.post, path: ["rd", ""]), .badRequest), (CoAPRequest(.post, path: [".", "rd"]), .badRequest),
            (CoAPRequest(.post, path: ["bs"], query: ["ep=meter-1"]), .methodNotAllowed),
            (CoAPRequest(.get, path: ["bspack"]), .methodNotAllowed), (CoAPRequest(.delete, path: ["x"]), .notFound),
            (CoAPRequest(.post, path: ["dp"], query: ["ep=meter-2"]), .badRequest),
        ])
    func foreignPaths(request: CoAPRequest, code: CoAPCode) throws {
        var script = try Script()
        script.register()
        let out = script.ask(2, request)
        #expect(out.requestToServer == nil)
        let answer = out.deviceAnswer?.code
        #expect(answer == code || (answer == .badRequest && request.uriPath?.contains("") == true))
    }

    @Test("Without a registration only a Register passes")
    func unregistered() throws {
        var script = try Script()
        for request in [
            CoAPRequest(.post, path: ["dp"]), CoAPRequest(.get, path: ["rd", "5"]), CoAPRequest(.delete, path: ["5"]),
        ] {
            #expect(script.ask(1, request) == [.answerDevice(Script.id(1), CoAPResponse(.notFound))])
        }
    }

    @Test("An Update of a registration that is not known here gets its own lease, the server's answer, and no journal")
    func stray() throws {
        var script = try Script()
        let asked = script.ask(1, CoAPRequest(.post, path: ["rd", "5"], query: ["lt=60"]))
        #expect(asked.contains { if case .acquireLease = $0 { true } else { false } })
        let sent = script.play { relay, actions in relay.leaseGranted(into: &actions) }
        guard case .requestUpstream(let request, _)? = sent.first else {
            Issue.record("nothing goes to the server: \(sent)")
            return
        }
        #expect(request.uriPath == ["rd", "5"] && request.uriQuery == ["lt=60"])
        let answered = script.answer(1, CoAPResponse(.notFound))
        #expect(answered == [.answerDevice(Script.id(1), CoAPResponse(.notFound)), .releaseLease])
    }

    @Test("What a server asks for while such an Update is with it does not get into the next registration")
    func strayObservation() throws {
        var script = try Script()
        _ = script.ask(1, CoAPRequest(.post, path: ["rd", "5"], isConfirmable: false))
        script.play { $0.leaseGranted(into: &$1) }
        script.observe(9)
        _ = script.serverAsks(10, CoAPRequest(.get, path: ["3"]))
        let answered = script.answer(1, CoAPResponse(.notFound))
        #expect(answered.contains(.cancelDevice(Script.exchange(9))))
        #expect(answered.contains(.cancelDevice(Script.exchange(10))) && answered.last == .releaseLease)
        // The layer of the next lease gives the same numbers to other requests.
        script.register(as: 2)
        script.play { relay, _ in relay.upstreamSuperseded(Script.id(9)) }
        let next = script.serverAsks(11, CoAPRequest(.get, path: ["3"]))
        #expect(next.requestToDevice?.origin.replacing == nil && next.requestToDevice != nil)
    }

    @Test("A request that waits behind such an Update goes with its lease")
    func strayHeld() throws {
        var script = try Script()
        _ = script.ask(1, CoAPRequest(.post, path: ["rd", "5"]))
        script.play { $0.leaseGranted(into: &$1) }
        #expect(script.serverAsks(9, CoAPRequest(.get, path: ["3"])).requestToDevice == nil)
        let answered = script.answer(1, CoAPResponse(.notFound))
        #expect(answered == [.answerDevice(Script.id(1), CoAPResponse(.notFound)), .releaseLease])
    }

    @Test("An Update of a registration that is not known here does without a lease that is not to be had")
    func strayWithoutLease() throws {
        var script = try Script()
        _ = script.ask(1, CoAPRequest(.delete, path: ["rd", "5"]))
        let refused = script.play { relay, actions in
            relay.leaseRefused(.upstreamUnreachable, wallClock: 1, into: &actions)
        }
        #expect(refused == [.answerDevice(Script.id(1), DeviceAnswer.response(to: .upstreamUnreachable))])
    }

    @Test("What is another device's, or beside a registration that is known, does not get to the server")
    func strayRefused() throws {
        var script = try Script()
        let update = CoAPRequest(.post, path: ["rd", "6"])
        let refusal = [RegistrationRelay.Action.answerDevice(Script.id(1), CoAPResponse(.notFound))]
        #expect(
            script.play { relay, actions in
                relay.deviceRequested(Script.id(1), update, isAnothers: true, wallClock: 1, into: &actions)
            } == refusal)
        script.register()
        #expect(script.ask(1, update) == refusal)
    }

    @Test("Options that speak of the gateway do not go upstream, others do")
    func options() throws {
        var script = try Script()
        script.register()
        var send = CoAPRequest(.post, path: ["dp"], payload: [1])
        var expected = send
        send.options.append(.uriHost, string: "edge.example.net")
        send.options.append(.uriPort, uint: 5684)
        send.options.append(.noResponse, uint: 26)
        // Notifications would come to nobody.
        send.observe = 0
        send.options.append(.hopLimit, uint: 16)
        expected.options.append(.hopLimit, uint: 15)
        let unknown = CoAPOptionNumber(rawValue: 2044)
        send.options.append(.requestTag, [7])
        send.options.append(unknown, [1, 2, 3])
        expected.options.append(.requestTag, [7])
        expected.options.append(unknown, [1, 2, 3])
        #expect(script.ask(2, send).requestToServer == expected)
    }

    @Test(
        "A message that has passed too many proxies ends here",
        arguments: [(UInt8(1), CoAPCode.hopLimitReached), (0, .badRequest)])
    func hopLimit(hops: UInt8, code: CoAPCode) throws {
        var script = try Script()
        script.register()
        var send = CoAPRequest(.post, path: ["dp"])
        send.options.append(.hopLimit, [hops])
        #expect(script.ask(2, send).deviceAnswer?.code == code)
    }

    @Test("A body in blocks passes block by block, each with what the server says to it")
    func blocks() throws {
        var script = try Script()
        var first = Script.register()
        first.options.append(.block1, uint: 0x0D)
        first.options.append(.size1, uint: 900)
        _ = script.ask(1, first)
        #expect(script.play { $0.leaseGranted(into: &$1) }.requestToServer == first)
        var next = CoAPResponse(.continue)
        next.options.append(.block1, uint: 0x0C)
        let continued = script.answer(1, next)
        #expect(continued == [.answerDevice(Script.id(1), next)])
        #expect(!script.relay.isRegistered)
        var last = Script.register()
        last.options.append(.block1, uint: 0x24)
        #expect(script.ask(2, last).requestToServer == last)
        _ = script.answer(2, Script.created())
        #expect(script.relay.isRegistered)
    }

    @Test("The lifetime is the one of Register and Update, and when it is over the socket goes to rest")
    func lifetime() throws {
        var script = try Script()
        script.register(["ep=meter-1", "lt=60"])
        #expect(script.relay.deadline == script.now + .seconds(60 + 93))
        script.now += .seconds(50)
        _ = script.ask(2, CoAPRequest(.post, path: ["rd", "5"]))
        _ = script.answer(2, CoAPResponse(.changed))
        #expect(script.relay.deadline == script.now + .seconds(60 + 93))
        _ = script.ask(3, CoAPRequest(.post, path: ["rd", "5"], query: ["lt=300"]))
        _ = script.answer(3, CoAPResponse(.changed))
        let end = try #require(script.relay.deadline)
        #expect(end == script.now + .seconds(300 + 93))
        let early = script.play { $0.handleDeadline(now: end - .seconds(1), wallClock: 0, into: &$1) }
        #expect(early.isEmpty)
        let over = script.play { $0.handleDeadline(now: end, wallClock: 0, into: &$1) }
        #expect(over.journal(.registrationClosed)?.cause == .lifetimeOver)
        #expect(over.contains(.releaseLease))
        #expect(!script.relay.isRegistered && script.relay.deadline == nil)
    }

    @Test("Without lt a registration lives a day; with 0 it lives for ever")
    func specialLifetimes() throws {
        var script = try Script()
        script.register(["ep=meter-1"])
        #expect(script.relay.deadline == script.now + .seconds(86_400 + 93))
        _ = script.ask(2, CoAPRequest(.post, path: ["rd", "5"], query: ["lt=0"]))
        _ = script.answer(2, CoAPResponse(.changed))
        #expect(script.relay.deadline == nil && script.relay.isRegistered)
    }

    @Test("De-register ends the registration and its lease")
    func deregister() throws {
        var script = try Script()
        script.register()
        _ = script.ask(2, CoAPRequest(.delete, path: ["rd", "5"]))
        let out = script.answer(2, CoAPResponse(.deleted))
        #expect(out.first == .answerDevice(Script.id(2), CoAPResponse(.deleted)))
        #expect(out.last == .releaseLease)
        #expect(out.journal(.registrationClosed)?.cause == nil)
        #expect(!script.relay.isRegistered)
    }

    @Test("A request that is with the server when its registration ends gets an answer", arguments: [true, false])
    func openRequest(isDeregistered: Bool) throws {
        var script = try Script()
        script.register()
        _ = script.ask(2, CoAPRequest(.post, path: ["dp"], payload: [1]))
        let out: [Script.Action]
        if isDeregistered {
            _ = script.ask(3, CoAPRequest(.delete, path: ["rd", "5"]))
            out = script.answer(3, CoAPResponse(.deleted))
        } else {
            let later = script.now + .seconds(200)
            out = script.play { $0.handleDeadline(now: later, wallClock: 0, into: &$1) }
        }
        #expect(!script.relay.isRegistered && out.last == .releaseLease)
        let answer = DeviceAnswer.response(to: .upstreamUnreachable)
        #expect(out.filter { $0 == .answerDevice(Script.id(2), answer) }.count == 1)
    }

    @Test("An Update that the server does not know ends the registration, and the next Register keeps the socket")
    func unknownUpdate() throws {
        var script = try Script()
        script.register()
        script.observe(9)
        _ = script.ask(2, CoAPRequest(.post, path: ["rd", "5"]))
        let out = script.answer(2, CoAPResponse(.notFound))
        #expect(!script.relay.isRegistered && !out.contains(.releaseLease))
        // The server has forgotten its observations with it, and the next registration begins without.
        #expect(out.contains(.cancelDevice(Script.exchange(9))) && out.contains(.disownUpstream(Script.id(9))))
        #expect(script.ask(3, Script.register()).requestToServer == Script.register())
    }

    @Test("Registers wait for the socket in a bounded queue")
    func waiting() throws {
        var script = try Script()
        for serial in 1...4 { #expect(script.ask(UInt64(serial), Script.register()).deviceAnswer == nil) }
        let fifth = script.ask(5, Script.register())
        #expect(fifth.deviceAnswer?.code == .serviceUnavailable)
        #expect(fifth.contains(.count(.deviceRequest)))
        let refused = script.play { $0.leaseRefused(.limit, wallClock: 0, into: &$1) }
        #expect(refused.count { if case .answerDevice = $0 { true } else { false } } == 4)
    }
}
