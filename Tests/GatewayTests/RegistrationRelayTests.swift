import Gateway
import LwM2M
import Secrets
import Testing
import Timing

@testable import CoAP

/// Plays a registration against ``RegistrationRelay``: feeds events and keeps what came out.
struct RegistrationScript {
    typealias Action = RegistrationRelay.Action

    var relay: RegistrationRelay
    var now = Instant.now
    private var serial: UInt64 = 100

    init(
        standing: OneTimeCredential.State = .active, status: SIMRecord.Status = .active,
        policy: SIMRecord.EndpointPolicy = .match
    ) throws {
        self.relay = RegistrationRelay(
            subject: Self.subject(standing: standing),
            record: try BootstrapScript.record(status: status, policy: policy),
            relay: BootstrapScript.upstream
        )
    }

    static func subject(standing: OneTimeCredential.State = .active, session: UInt64 = 1) -> RegistrationRelay.Subject {
        RegistrationRelay.Subject(
            iccid: BootstrapScript.iccid, endpoint: "meter-1", server: "meters", standing: standing,
            peer: "198.51.100.7:40000", session: session
        )
    }

    static func register(_ query: [String] = ["ep=meter-1", "lt=60"]) -> CoAPRequest {
        CoAPRequest(.post, path: ["rd"], query: query, contentFormat: 40, payload: Array("</1/0>".utf8))
    }

    static func created(_ location: [String] = ["rd", "5"]) -> CoAPResponse {
        var created = CoAPResponse(.created)
        for segment in location { created.options.append(.locationPath, string: segment) }
        return created
    }

    static func id(_ serial: UInt64) -> MessageLayer.RequestID { MessageLayer.RequestID(serial: serial) }
    static func exchange(_ serial: UInt64) -> MessageLayer.ExchangeID { MessageLayer.ExchangeID(serial: serial) }

    /// What comes out of `body`, journal and changes of life apart; requests are taken to have been sent, with the number
    /// that they answer as that of their exchange.
    @discardableResult
    mutating func play(_ body: (inout RegistrationRelay, inout [Action]) -> Void) -> [Action] {
        var out: [Action] = []
        body(&self.relay, &out)
        for action in out {
            switch action {
            case .requestUpstream(_, let origin):
                self.relay.forwarded(origin, asUpstream: Self.exchange(origin.id?.serial ?? 0))
            case .requestDevice(_, let origin): self.relay.forwarded(origin, asDevice: Self.exchange(origin.id.serial))
            default: break
            }
        }
        return out
    }

    mutating func ask(_ serial: UInt64, _ request: CoAPRequest) -> [Action] {
        self.play { $0.deviceRequested(Self.id(serial), request, wallClock: 0, into: &$1) }
    }

    mutating func answer(_ serial: UInt64, _ response: CoAPResponse) -> [Action] {
        let now = self.now
        return self.play { $0.upstreamAnswered(Self.exchange(serial), response, now: now, wallClock: 0, into: &$1) }
    }

    mutating func serverAsks(_ serial: UInt64, _ request: CoAPRequest) -> [Action] {
        let now = self.now
        return self.play { $0.upstreamRequested(Self.id(serial), request, now: now, into: &$1) }
    }

    mutating func deviceAnswers(_ serial: UInt64, _ response: CoAPResponse) -> [Action] {
        self.play { $0.deviceAnswered(Self.exchange(serial), response, into: &$1) }
    }

    mutating func register(
        _ query: [String] = ["ep=meter-1", "lt=60"], location: [String] = ["rd", "5"], as serial: UInt64 = 1
    ) {
        _ = self.ask(serial, Self.register(query))
        self.play { $0.leaseGranted(into: &$1) }
        _ = self.answer(serial, Self.created(location))
        #expect(self.relay.isRegistered)
    }

    /// An observation of `/3/0/13` that the device has confirmed.
    mutating func observe(_ serial: UInt64) {
        _ = self.serverAsks(serial, CoAPRequest(.get, path: ["3", "0", "13"], observe: 0))
        _ = self.deviceAnswers(serial, CoAPResponse(.content, observe: 1))
    }
}

extension [RegistrationRelay.Action] {
    /// The first answer to the device.
    var deviceAnswer: CoAPResponse? {
        for case .answerDevice(_, let response) in self { return response }
        return nil
    }

    var serverAnswer: CoAPResponse? {
        for case .answerUpstream(_, let response) in self { return response }
        return nil
    }

    var requestToServer: CoAPRequest? {
        for case .requestUpstream(let request, _) in self { return request }
        return nil
    }

    var requestToDevice: (request: CoAPRequest, origin: RegistrationRelay.ServerRequest)? {
        for case .requestDevice(let request, let origin) in self { return (request, origin) }
        return nil
    }

    func journal(_ name: AuditEvent.Name) -> AuditEvent? {
        for case .journal(let event) in self where event.name == name { return event }
        return nil
    }
}

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
        for request in [CoAPRequest(.post, path: ["dp"]), CoAPRequest(.post, path: ["rd", "5"])] {
            #expect(script.ask(1, request) == [.answerDevice(Script.id(1), CoAPResponse(.notFound))])
        }
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

    @Test("An Update that the server does not know ends the registration, and the next Register keeps the socket")
    func unknownUpdate() throws {
        var script = try Script()
        script.register()
        _ = script.ask(2, CoAPRequest(.post, path: ["rd", "5"]))
        let out = script.answer(2, CoAPResponse(.notFound))
        #expect(!script.relay.isRegistered && !out.contains(.releaseLease))
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

@Suite("A registration: what the server asks for")
struct RegistrationServerTests {
    typealias Script = RegistrationScript

    private static let read = CoAPRequest(.get, path: ["3", "0", "0"])

    @Test("The server's request waits while the device waits for an answer, and follows it")
    func answerFirst() throws {
        var script = try Script()
        _ = script.ask(1, Script.register())
        script.play { $0.leaseGranted(into: &$1) }
        #expect(script.serverAsks(9, Self.read).requestToDevice == nil)
        let out = script.answer(1, Script.created())
        #expect(out.first == .answerDevice(Script.id(1), Script.created()))
        #expect(out.requestToDevice?.request == Self.read)
    }

    @Test(
        "A server that asks before it answers gets through after ten seconds, and at once when the device does not wait"
    )
    func boundedWait() throws {
        var script = try Script()
        script.register()
        _ = script.ask(2, CoAPRequest(.post, path: ["dp"], payload: [1]))
        #expect(script.serverAsks(9, Self.read).requestToDevice == nil)
        let due = script.now + .seconds(10)
        #expect(script.relay.deadline == due)
        #expect(script.play { $0.handleDeadline(now: due, wallClock: 0, into: &$1) }.requestToDevice != nil)
        script.now = due
        #expect(script.serverAsks(10, Self.read).requestToDevice != nil)
        _ = script.answer(2, CoAPResponse(.changed))

        _ = script.ask(3, CoAPRequest(.post, path: ["dp"], payload: [1], isConfirmable: false))
        #expect(script.serverAsks(11, Self.read).requestToDevice != nil)
    }

    @Test("Every operation passes with its method, its options and its body")
    func operations() throws {
        var script = try Script()
        script.register()
        let requests = [
            CoAPRequest(.put, path: ["1", "0", "1"], contentFormat: 0, payload: [0x31]),
            CoAPRequest(.post, path: ["3", "0", "4"]),
            CoAPRequest(.post, path: ["1"], contentFormat: 11542, payload: [1]),
            CoAPRequest(.delete, path: ["1", "2"]), CoAPRequest(.get, path: ["3"], accept: 40),
            CoAPRequest(.put, path: ["3", "0"], query: ["pmin=1", "pmax=60"]),
            CoAPRequest(.fetch, contentFormat: 112, accept: 112, payload: [0x80]),
            CoAPRequest(.iPatch, contentFormat: 112, payload: [0x80]),
        ]
        for (serial, request) in requests.enumerated() {
            let out = script.serverAsks(UInt64(serial + 20), request)
            #expect(out.requestToDevice?.request == request)
            var response = CoAPResponse(.content, maxAge: 7, payload: [9])
            response.options.append(.eTag, [1, 2])
            response.options.append(CoAPOptionNumber(rawValue: 2044), [3])
            #expect(script.deviceAnswers(UInt64(serial + 20), response).serverAnswer == response)
        }
    }

    @Test("Blocks of a body pass one by one, with the sizes and refusals that the ends agree on")
    func blocks() throws {
        var script = try Script()
        script.register()
        var request = Self.read
        request.options.append(.block2, uint: 0x15)
        #expect(script.serverAsks(9, request).requestToDevice?.request == request)
        var response = CoAPResponse(.content, payload: [UInt8](repeating: 1, count: 512))
        response.options.append(.block2, uint: 0x1D)
        response.options.append(.size2, uint: 3000)
        #expect(script.deviceAnswers(9, response).serverAnswer == response)
        var tooLarge = CoAPResponse(.requestEntityTooLarge)
        tooLarge.options.append(.block1, uint: 0x04)
        _ = script.serverAsks(10, CoAPRequest(.put, path: ["5", "0", "0"], payload: [1]))
        #expect(script.deviceAnswers(10, tooLarge).serverAnswer == tooLarge)
    }

    @Test("Notifications pass as what they are, CON or NON, until the server refuses one", arguments: [true, false])
    func notifications(isConfirmable: Bool) throws {
        var script = try Script()
        script.register()
        script.observe(9)
        let second = CoAPResponse(.content, observe: 2)
        let notified = script.play {
            $0.deviceNotified(Script.exchange(9), second, isConfirmable: isConfirmable, into: &$1)
        }
        #expect(notified == [.notifyUpstream(Script.id(9), second, isConfirmable: isConfirmable)])
        #expect(script.play { $0.upstreamCancelled(Script.id(9), into: &$1) } == [.cancelDevice(Script.exchange(9))])
        let late = script.play { $0.deviceNotified(Script.exchange(9), second, isConfirmable: false, into: &$1) }
        #expect(late.isEmpty)
    }

    @Test("GET with Observe 1 goes to the device with the token of the observation")
    func cancellation() throws {
        var script = try Script()
        script.register()
        script.observe(9)
        script.play { relay, _ in relay.upstreamSuperseded(Script.id(9)) }
        let out = script.serverAsks(10, CoAPRequest(.get, path: ["3", "0", "13"], observe: 1))
        #expect(out.requestToDevice?.origin.replacing == Script.exchange(9))
        _ = script.deviceAnswers(10, CoAPResponse(.content))
        // The next one has a token of its own again.
        #expect(script.serverAsks(11, Self.read).requestToDevice?.origin.replacing == nil)
    }

    @Test("An observation that ends with an error at the device ends at the server too")
    func deviceEnds() throws {
        var script = try Script()
        script.register()
        script.observe(9)
        let gone = CoAPResponse(.notFound)
        let out = script.play { $0.deviceNotified(Script.exchange(9), gone, isConfirmable: true, into: &$1) }
        #expect(out == [.notifyUpstream(Script.id(9), gone, isConfirmable: true)])
        #expect(script.play { $0.upstreamCancelled(Script.id(9), into: &$1) }.isEmpty)
    }

    @Test("A new Register begins without the observations of the old one")
    func registerAgain() throws {
        var script = try Script()
        script.register()
        script.observe(9)
        _ = script.ask(2, Script.register())
        let out = script.answer(2, Script.created(["rd", "6"]))
        #expect(out.contains(.cancelDevice(Script.exchange(9))) && out.contains(.disownUpstream(Script.id(9))))
        #expect(out.journal(.registrationClosed)?.cause == .superseded)
        #expect(!out.contains(.releaseLease))
    }

    @Test("Requests and observations of the server are bounded and counted")
    func bounds() throws {
        var script = try Script()
        script.register()
        for serial in 0..<64 { script.observe(UInt64(1000 + serial)) }
        let observe = script.serverAsks(2000, CoAPRequest(.get, path: ["3", "0", "13"], observe: 0))
        #expect(observe.requestToDevice?.request.observe == nil)
        #expect(observe.contains(.count(.observation)))
        for serial in 0..<15 { #expect(script.serverAsks(UInt64(3000 + serial), Self.read).requestToDevice != nil) }
        let refused = script.serverAsks(4000, Self.read)
        #expect(refused.serverAnswer?.code == .serviceUnavailable)
        #expect(refused.contains(.count(.serverRequest)))
    }

    @Test("Towards a device in queue mode the server's repetitions are all there is", arguments: ["b=UQ", "Q"])
    func queueMode(parameter: String) throws {
        var script = try Script()
        script.register(["ep=meter-1", "b=U", parameter])
        let out = script.serverAsks(9, Self.read)
        #expect(out.first == .awaitRepetitions(Script.id(9)))
        #expect(out.requestToDevice?.origin.followsRepetitions == true)
        let again = script.play { relay, actions in relay.upstreamRepeated(Script.id(9), into: &actions) }
        #expect(again == [.repeatToDevice(Script.exchange(9))])
        let acknowledged = script.play { relay, actions in relay.deviceAcknowledged(Script.exchange(9), into: &actions)
        }
        #expect(acknowledged == [.acknowledgeUpstream(Script.id(9))])
        // Slept through: the server has given up, and hears nothing.
        let failed = script.play { $0.deviceFailed(Script.exchange(9), .noResponse, into: &$1) }
        #expect(failed == [.disownUpstream(Script.id(9))])
    }

    @Test("A device that is awake gets requests that the gateway repeats")
    func awake() throws {
        var script = try Script()
        script.register(["ep=meter-1", "b=U"])
        let out = script.serverAsks(9, Self.read)
        #expect(out.count == 1 && out.requestToDevice?.origin.followsRepetitions == false)
        let failed = script.play { $0.deviceFailed(Script.exchange(9), .unacknowledged, into: &$1) }
        #expect(failed.serverAnswer?.code == .gatewayTimeout)
    }
}

@Suite("A registration: sessions of its device come and go")
struct RegistrationLifeTests {
    typealias Script = RegistrationScript

    @Test("It outlives the session of its device, with its socket and what the server observes")
    func outlives() throws {
        var script = try Script()
        script.register()
        script.observe(9)
        _ = script.serverAsks(10, CoAPRequest(.get, path: ["3", "0", "0"]))
        let left = script.play { $0.detach(into: &$1) }
        #expect(left == [.answerUpstream(Script.id(10), CoAPResponse(.gatewayTimeout))])
        #expect(!script.relay.isOver)
        // Nobody is there: as if it had never arrived.
        #expect(script.serverAsks(11, CoAPRequest(.get, path: ["3"])) == [.disownUpstream(Script.id(11))])
        script.relay.attach(Script.subject(session: 2), record: try BootstrapScript.record())
        let isKnown = script.relay.renameObservation(Script.exchange(9), to: Script.exchange(3))
        #expect(isKnown)
        let second = CoAPResponse(.content, observe: 2)
        let notified = script.play { $0.deviceNotified(Script.exchange(3), second, isConfirmable: false, into: &$1) }
        #expect(notified == [.notifyUpstream(Script.id(9), second, isConfirmable: false)])
    }

    @Test("A device that leaves before it is registered leaves nothing behind")
    func leavesEarly() throws {
        var script = try Script()
        _ = script.ask(1, Script.register())
        #expect(script.play { $0.detach(into: &$1) } == [.releaseLease])
        #expect(script.relay.isOver)
    }

    @Test("An answer to a Register whose device has lost its session still counts")
    func lateAnswer() throws {
        var script = try Script()
        _ = script.ask(1, Script.register())
        script.play { $0.leaseGranted(into: &$1) }
        #expect(script.play { $0.detach(into: &$1) }.isEmpty)
        let out = script.answer(1, Script.created())
        #expect(out.deviceAnswer == nil && script.relay.isRegistered && !out.contains(.releaseLease))
        let later = script.now + .seconds(200_000)
        script.play { $0.handleDeadline(now: later, wallClock: 0, into: &$1) }
        #expect(script.relay.isOver)
    }

    @Test("A refused Register of a device that has gone gives the socket back")
    func lateRefusal() throws {
        var script = try Script()
        _ = script.ask(1, Script.register())
        script.play { $0.leaseGranted(into: &$1) }
        script.play { $0.detach(into: &$1) }
        #expect(script.answer(1, CoAPResponse(.forbidden)).contains(.releaseLease))
        #expect(script.relay.isOver)
    }

    @Test("A lost socket ends the registration, because the server knows its address")
    func brokenLease() throws {
        var script = try Script()
        script.register()
        _ = script.ask(2, CoAPRequest(.post, path: ["rd", "5"]))
        let out = script.play { $0.leaseBroken(.upstreamUnreachable, wallClock: 0, into: &$1) }
        #expect(out.deviceAnswer?.code == .serviceUnavailable)
        #expect(out.journal(.registrationClosed)?.cause == .upstreamUnreachable)
        #expect(!out.contains(.releaseLease) && !script.relay.isRegistered)
    }

    @Test("A device that may not go on loses registration and socket, with the cause on record")
    func ended() throws {
        var script = try Script()
        script.register()
        let out = script.play { $0.end(cause: .suspended, wallClock: 0, into: &$1) }
        #expect(out.journal(.registrationClosed)?.cause == .suspended)
        #expect(out.contains(.releaseLease) && script.relay.isOver)
    }
}
