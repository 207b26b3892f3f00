import CoAP
import Gateway
import LwM2M
import Testing

@Suite("What a device refuses it does not have")
struct BootstrapRefusalTests {
    typealias Action = BootstrapSession.Action

    private static let discover = CoAPRequest(.get, path: ["0"], accept: 40)

    private static func script(_ place: SIMRecord.BootstrapPlace) throws -> BootstrapScript {
        var script = try BootstrapScript(record: BootstrapScript.record(place: place))
        script.begin()
        return script
    }

    private static func server(_ instance: String = "0") -> CoAPRequest {
        BootstrapScript.write(BootstrapScript.serverAccount, to: ["0", instance])
    }

    private static func bootstrap(_ instance: UInt16 = 0) throws -> CoAPRequest {
        let account = try TLV.encode(.instance(Rewriting.bootstrap(instance)))
        return BootstrapScript.write(account, to: ["0", "\(instance)"])
    }

    private static func remembered(_ actions: [Action]) -> [SIMRecord.BootstrapPlace] {
        actions.compactMap { if case .remember(let place) = $0 { place } else { nil } }
    }

    /// What the server hears of its delete of `/0/1`, which may be the device's own account.
    private static func delete(_ script: inout BootstrapScript, sourceLocation: SourceLocation = #_sourceLocation) {
        let delete = script.nextID()
        #expect(
            script.upstreamRequests(delete, CoAPRequest(.delete, path: ["0", "1"]))
                == [.answerUpstream(delete, CoAPResponse(.badRequest))], sourceLocation: sourceLocation)
    }

    @Test(
        "T36: a bootstrap account that the device refuses says nothing of where its own is",
        arguments: [CoAPCode.badRequest, .notAcceptable])
    func bootstrapAccount(code: CoAPCode) throws {
        var script = try Self.script(.untold)
        script.upstreamRequests(script.nextID(), try Self.bootstrap())
        script.deviceAnswers(code)
        Self.delete(&script)
        script.upstreamRequests(script.nextID(), BootstrapScript.finish)
        #expect(Self.remembered(script.deviceAnswers(.changed)) == [.unknown])
        #expect(script.ends == [nil])
    }

    @Test("T36: a server account that the device refuses does not make its instance a server's")
    func serverAccount() throws {
        var script = try Self.script(.untold)
        script.upstreamRequests(script.nextID(), Self.server("1"))
        script.deviceAnswers(.badRequest)
        Self.delete(&script)
        // What was there before the refused write still is.
        let path = ["0", "2"]
        script.upstreamRequests(script.nextID(), Self.server("2"))
        script.deviceAnswers(.changed)
        script.upstreamRequests(script.nextID(), Self.server("2"))
        script.deviceAnswers(.badRequest)
        let delete = CoAPRequest(.delete, path: path)
        #expect(script.upstreamRequests(script.nextID(), delete) == [.requestDevice(delete)])
    }

    @Test("T36: nor does one that was written resource by resource")
    func heldAccount() throws {
        var script = try Self.script(.untold)
        for (resource, text) in [("0", "coap://192.0.2.1:5683"), ("1", "1"), ("2", "3")] {
            let put = CoAPRequest(.put, path: ["0", "0", resource], contentFormat: 0, payload: Array(text.utf8))
            script.upstreamRequests(script.nextID(), put)
        }
        let finish = script.nextID()
        #expect(script.upstreamRequests(finish, BootstrapScript.finish).count == 1)
        #expect(script.deviceAnswers(.badRequest) == [.answerUpstream(finish, CoAPResponse(.notAcceptable))])
        Self.delete(&script)
    }

    @Test("T19: once it has taken a later one, that one is its own")
    func corrected() throws {
        var script = try Self.script(.untold)
        for code in [CoAPCode.badRequest, .changed] {
            script.upstreamRequests(script.nextID(), try Self.bootstrap())
            script.deviceAnswers(code)
        }
        script.upstreamRequests(script.nextID(), BootstrapScript.finish)
        #expect(Self.remembered(script.deviceAnswers(.changed)) == [.instance(0)])
    }

    @Test("T21: a refused account keeps no number: what it was moved to is free again")
    func numbers() throws {
        var script = try Self.script(.instance(0))
        script.upstreamRequests(script.nextID(), Self.server("0"))
        script.deviceAnswers(.badRequest)
        let actions = script.upstreamRequests(script.nextID(), Self.server("1"))
        #expect(actions.contains { if case .requestDevice(let put) = $0 { put.uriPath == ["0", "1"] } else { false } })
    }

    // MARK: - The next bootstrap

    @Test("A device that asks again after it has refused an account is asked where its own is")
    func superseded() throws {
        var script = try Self.script(.instance(1))
        script.upstreamRequests(script.nextID(), Self.server())
        script.deviceAnswers(.badRequest)
        #expect(Self.remembered(script.deviceRequests(script.nextID())) == [.unknown])
        #expect(script.ends == [.superseded])
        script.upstreamAnswers(.changed)
        #expect(script.upstreamRequests(script.nextID(), Self.server()) == [.requestDevice(Self.discover)])
    }

    @Test("The same after it has refused Finish, whatever ends the bootstrap", arguments: [true, false])
    func finishRefused(isRefused: Bool) throws {
        var script = try Self.script(.instance(1))
        script.upstreamRequests(script.nextID(), Self.server())
        script.deviceAnswers(.changed)
        script.upstreamRequests(script.nextID(), BootstrapScript.finish)
        script.stored()
        if isRefused { script.deviceAnswers(.notAcceptable) }
        let actions = script.play { session, _, out in
            session.leaseBroken(.upstreamSilent, wallClock: 0, into: &out)
        }
        #expect(Self.remembered(actions) == (isRefused ? [.unknown] : []))
    }

    @Test("T3: Finish does not pass for a device that holds discarded accounts and has refused the new ones")
    func stale() throws {
        var script = try BootstrapScript()
        script.begin()
        script.upstreamRequests(script.nextID(), Self.server())
        script.stored()
        script.deviceAnswers(.changed)
        script.deviceRequests(script.nextID())
        script.upstreamAnswers(.changed)
        script.upstreamRequests(script.nextID(), Self.server())
        script.stored()
        script.deviceAnswers(.badRequest)
        let finish = script.nextID()
        #expect(
            script.upstreamRequests(finish, BootstrapScript.finish)
                == [.answerUpstream(finish, CoAPResponse(.notAcceptable))])
    }
}
