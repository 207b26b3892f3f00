import Gateway
import LwM2M
import Secrets
import Testing
import Timing

@testable import CoAP

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
        // Nobody's any more, and the device shall hear so.
        #expect(late == [.cancelDevice(Script.exchange(9))])
    }

    @Test("An observation whose end is held back when the registration ends is over as well")
    func heldCancellation() throws {
        var script = try Script()
        script.register()
        script.observe(9)
        _ = script.ask(2, CoAPRequest(.post, path: ["dp"], payload: [1]))
        script.play { relay, _ in relay.upstreamSuperseded(Script.id(9)) }
        let held = script.serverAsks(10, CoAPRequest(.get, path: ["3", "0", "13"], observe: 1))
        #expect(held.requestToDevice == nil)
        let out = script.play { $0.end(cause: .revoked, wallClock: 0, into: &$1) }
        #expect(out.contains(.cancelDevice(Script.exchange(9))))
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
