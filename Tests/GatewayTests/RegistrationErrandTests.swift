import CoAP
import Gateway
import LwM2M
import Testing
import Timing

/// The gateway's own requests begin with this number.
private let own = RegistrationScript.exchange(900)

extension RegistrationScript {
    static let order = RebootstrapOrder(id: 7, iccid: BootstrapScript.iccid, orderedAt: 5)

    mutating func order(instance: UInt16?, isAwake: Bool = false, ssid: UInt16 = 1111) -> [Action] {
        self.play {
            $0.order(Self.order, shortServerID: ssid, instance: instance, isAwake: isAwake, into: &$1)
        }.sendingErrands(&self.relay)
    }

    mutating func deviceAnswersErrand(_ response: CoAPResponse) throws -> [Action] {
        var isOwn = false
        let out = self.play { isOwn = $0.errandAnswered(own, response, wallClock: 9, into: &$1) }
        #expect(isOwn)
        return out.sendingErrands(&self.relay)
    }

    mutating func contact(_ serial: UInt64) -> [Action] {
        _ = self.ask(serial, CoAPRequest(.post, path: ["rd", "5"]))
        return self.answer(serial, CoAPResponse(.changed)).sendingErrands(&self.relay)
    }
}

extension [RegistrationRelay.Action] {
    fileprivate func sendingErrands(_ relay: inout RegistrationRelay) -> Self {
        if self.errand != nil { relay.errandSent(asDevice: own) }
        return self
    }

    fileprivate var errand: CoAPRequest? {
        for case .askDevice(let request) in self { return request }
        return nil
    }

    fileprivate var outcome: [String: AuditEvent.Value] {
        let detail = self.journal(.simChanged)?.detail ?? []
        return Dictionary(detail.map { ($0.key, $0.value) }) { first, _ in first }
    }

    fileprivate var reachesServer: Bool {
        self.contains { action in
            switch action {
            case .requestUpstream, .answerUpstream, .notifyUpstream, .acknowledgeUpstream, .disownUpstream,
                .awaitRepetitions:
                true
            default: false
            }
        }
    }
}

@Suite("A registered device is asked to bootstrap again")
struct RegistrationErrandTests {
    typealias Script = RegistrationScript

    private static let trigger = CoAPRequest(.post, path: ["1", "3", "9"])
    private static let read = CoAPRequest(.get, path: ["1"], accept: 11542)
    private static let discover = CoAPRequest(.get, path: ["1"], accept: 40)

    /// `/1/0` for the server 2000 and `/1/3` for the server 1111.
    private static let instances = PathContent.instances([
        ObjectInstance(id: 0, resources: [Resource(id: 0, value: .single([0x07, 0xD0]))]),
        ObjectInstance(id: 3, resources: [Resource(id: 0, value: .single([0x04, 0x57]))]),
    ])

    private static func servers() throws -> CoAPResponse {
        CoAPResponse(.content, contentFormat: 11542, payload: try TLV.encode(Self.instances))
    }

    private static func links(_ text: String) -> CoAPResponse {
        CoAPResponse(.content, contentFormat: 40, payload: Array(text.utf8))
    }

    @Test("The trigger goes to the known instance at once; 2.04 settles the order, and the server hears nothing")
    func knownInstance() throws {
        var script = try Script()
        script.register()
        let sent = script.order(instance: 3)
        #expect(sent == [.askDevice(Self.trigger)])
        let out = try script.deviceAnswersErrand(CoAPResponse(.changed))
        #expect(out.contains(.orderSettled(Script.order)))
        #expect(!out.reachesServer)
        #expect(out.outcome["action"] == .text("rebootstrap") && out.outcome["code"] == .text("2.04"))
        #expect(out.outcome["instance"] == .integer(3) && out.outcome["outcome"] == .text("triggered"))
        #expect(script.relay.openOrder == nil)
        #expect(script.contact(2).errand == nil)
    }

    @Test("An unknown instance is looked for by short server ID in what the device says of object 1")
    func reads() throws {
        var script = try Script()
        script.register()
        #expect(script.order(instance: nil).errand == Self.read)
        #expect(try script.deviceAnswersErrand(try Self.servers()) == [.askDevice(Self.trigger)])
    }

    @Test("A device that does not show object 1 is asked for its instances, and one of them is enough")
    func discovers() throws {
        var script = try Script()
        script.register()
        _ = script.order(instance: nil)
        #expect(try script.deviceAnswersErrand(CoAPResponse(.notAcceptable)).errand == Self.discover)
        let out = try script.deviceAnswersErrand(Self.links("</1>;ver=1.1,</1/3>,</1/3/0>,</1/3/1>"))
        #expect(out.errand == Self.trigger)
    }

    @Test(
        "Where the instance cannot be known the order ends, and the journal says so",
        arguments: ["</1/0>,</1/3>", "", "</3/0>", "</1/x>,<"])
    func unknownInstance(links: String) throws {
        var script = try Script()
        script.register()
        _ = script.order(instance: nil)
        _ = try script.deviceAnswersErrand(CoAPResponse(.unauthorized))
        let out = try script.deviceAnswersErrand(Self.links(links))
        #expect(out.contains(.orderSettled(Script.order)))
        #expect(out.outcome["outcome"] == .text("no instance of /1 is known for the server"))
    }

    @Test("A device that has renumbered says 4.04, is asked, and gets the trigger at the right instance")
    func renumbered() throws {
        var script = try Script()
        script.register()
        _ = script.order(instance: 0)
        #expect(try script.deviceAnswersErrand(CoAPResponse(.notFound)).errand == Self.read)
        #expect(try script.deviceAnswersErrand(try Self.servers()).errand == Self.trigger)
        // What it says after it was asked is its last word.
        let out = try script.deviceAnswersErrand(CoAPResponse(.notFound))
        #expect(out.contains(.orderSettled(Script.order)) && out.outcome["code"] == .text("4.04"))
    }

    @Test(
        "A device that refuses the trigger is not asked for ever",
        arguments: [CoAPCode.methodNotAllowed, .notAcceptable, .badRequest, .notImplemented])
    func refused(code: CoAPCode) throws {
        var script = try Script()
        script.register()
        _ = script.order(instance: 3)
        let out = try script.deviceAnswersErrand(CoAPResponse(code))
        #expect(out.contains(.orderSettled(Script.order)))
        #expect(out.outcome["code"] == .text(code.description))
    }

    @Test(
        "A device that refuses for now gets the trigger at its next contact; the journal says it once",
        arguments: [CoAPCode.unauthorized, .forbidden, .tooManyRequests, .serviceUnavailable])
    func refusedForNow(code: CoAPCode) throws {
        var script = try Script()
        script.register()
        _ = script.order(instance: 3)
        for attempt in 0..<3 {
            let out = try script.deviceAnswersErrand(CoAPResponse(code))
            #expect(!out.contains(.orderSettled(Script.order)))
            #expect((out.journal(.simChanged) == nil) == (attempt > 0))
            #expect(script.contact(UInt64(10 + attempt)).errand == Self.trigger)
        }
    }

    @Test("The device may say its instances in any format", arguments: [110, 112, 11542, 11543, 11544] as [UInt16])
    func readsAnyFormat(format: UInt16) throws {
        var script = try Script()
        script.register()
        _ = script.order(instance: nil)
        let answer = CoAPResponse(
            .content, contentFormat: format,
            payload: try PayloadCodec.encode(Self.instances, ContentFormat(rawValue: format), at: LwM2MPath(1))
        )
        #expect(try script.deviceAnswersErrand(answer) == [.askDevice(Self.trigger)])
    }

    @Test("A device that cannot be reached gets the trigger at its next contact; the journal says it once")
    func unreachable() throws {
        var script = try Script()
        script.register()
        _ = script.order(instance: 3)
        for attempt in 0..<3 {
            var isOwn = false
            let out = script.play { isOwn = $0.errandFailed(own, .unacknowledged, wallClock: 9, into: &$1) }
            #expect(isOwn && !out.contains(.orderSettled(Script.order)))
            #expect((out.journal(.simChanged) == nil) == (attempt > 0))
            #expect(script.contact(UInt64(10 + attempt)).errand == Self.trigger)
        }
    }

    @Test("A device in queue mode gets it after its own request was answered, behind what the server wants")
    func queueMode() throws {
        var script = try Script()
        script.register(["ep=meter-1", "lt=60", "b=UQ"])
        #expect(script.order(instance: 3).isEmpty)
        // While the device waits for its answer a request of the server comes; that one goes first.
        _ = script.ask(2, CoAPRequest(.post, path: ["rd", "5"]))
        #expect(script.serverAsks(50, CoAPRequest(.get, path: ["3", "0", "0"])).requestToDevice == nil)
        let out = script.answer(2, CoAPResponse(.changed))
        let passed = try #require(out.firstIndex { if case .requestDevice = $0 { true } else { false } })
        let asked = try #require(out.firstIndex(of: .askDevice(Self.trigger)))
        let answered = try #require(out.firstIndex(of: .answerDevice(Script.id(2), CoAPResponse(.changed))))
        #expect(answered < passed && passed < asked)
    }

    @Test("While the device waits for an answer the trigger waits too")
    func waits() throws {
        var script = try Script()
        script.register()
        _ = script.ask(2, CoAPRequest(.post, path: ["rd", "5"]))
        #expect(script.order(instance: 3).isEmpty)
        #expect(script.answer(2, CoAPResponse(.changed)).errand == Self.trigger)
    }

    @Test("Without a session the order waits for the next one, also when the trigger was on its way")
    func noSession() throws {
        var script = try Script()
        script.register()
        _ = script.order(instance: 3)
        script.play { $0.detach(into: &$1) }
        let late = script.play { _ = $0.errandAnswered(own, CoAPResponse(.changed), wallClock: 9, into: &$1) }
        #expect(late.isEmpty)
        script.relay.attach(Script.subject(session: 2), record: try BootstrapScript.record())
        #expect(script.contact(2).errand == Self.trigger)
    }

    @Test("An order that was taken back is forgotten, its request with it")
    func withdrawn() throws {
        var script = try Script()
        script.register()
        _ = script.order(instance: 3)
        #expect(script.play { $0.withdrawOrder(into: &$1) } == [.cancelDevice(own)])
        #expect(script.contact(2).errand == nil)
    }

    @Test("Answers to the server's requests stay the server's")
    func foreignExchange() throws {
        var script = try Script()
        script.register()
        _ = script.order(instance: 3)
        _ = script.serverAsks(50, CoAPRequest(.get, path: ["3", "0", "0"]))
        var isOwn = true
        script.play { isOwn = $0.errandAnswered(Script.exchange(50), CoAPResponse(.content), wallClock: 9, into: &$1) }
        #expect(!isOwn)
        #expect(script.deviceAnswers(50, CoAPResponse(.content)).serverAnswer == CoAPResponse(.content))
    }
}
