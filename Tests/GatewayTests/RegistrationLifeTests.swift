import Gateway
import LwM2M
import Secrets
import Testing
import Timing

@testable import CoAP

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
        let unwanted = script.relay.renameObservations([
            (Script.exchange(9), Script.exchange(3)), (Script.exchange(10), Script.exchange(4)),
        ])
        #expect(unwanted == [Script.exchange(4)])
        let second = CoAPResponse(.content, observe: 2)
        let notified = script.play { $0.deviceNotified(Script.exchange(3), second, isConfirmable: false, into: &$1) }
        #expect(notified == [.notifyUpstream(Script.id(9), second, isConfirmable: false)])
    }

    @Test("Observations are told apart in the next session, also where it gives one the name that another had")
    func renames() throws {
        var script = try Script()
        script.register()
        for serial: UInt64 in 9...11 { script.observe(serial) }
        script.play { $0.detach(into: &$1) }
        script.relay.attach(Script.subject(session: 2), record: try BootstrapScript.record())
        let names = (9...11).map { (old: Script.exchange($0), new: Script.exchange($0 + 1)) }
        let unwanted = script.relay.renameObservations(names)
        #expect(unwanted.isEmpty)
        let next = CoAPResponse(.content, observe: 2)
        for serial: UInt64 in 9...11 {
            let notified = script.play {
                $0.deviceNotified(Script.exchange(serial + 1), next, isConfirmable: false, into: &$1)
            }
            #expect(notified == [.notifyUpstream(Script.id(serial), next, isConfirmable: false)])
        }
    }

    @Test("An Update that succeeds after the registration was lost renews nothing")
    func lateUpdate() throws {
        var script = try Script()
        script.register()
        for serial: UInt64 in 2...3 {
            #expect(script.ask(serial, CoAPRequest(.post, path: ["rd", "5"])).requestToServer != nil)
        }
        _ = script.answer(2, CoAPResponse(.notFound))
        #expect(script.answer(3, CoAPResponse(.changed)).deviceAnswer?.code == .changed)
        #expect(!script.relay.isRegistered && script.relay.deadline == nil)
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
        #expect(out.count { if case .answerDevice = $0 { true } else { false } } == 1)
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
