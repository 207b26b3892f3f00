import CoAP
import Gateway
import Testing

@Suite("A bootstrap that supersedes another follows the configuration as it is then")
struct BootstrapConfigurationTests {
    private static func write(_ script: inout BootstrapScript) -> [BootstrapSession.Action] {
        script.upstreamRequests(
            script.nextID(), BootstrapScript.write(BootstrapScript.serverAccount, to: ["0", "0"]))
    }

    @Test("Its rules; the one that runs goes on with those that it began with")
    func rules() throws {
        var script = try BootstrapScript()
        script.begin()
        var configuration = BootstrapScript.configuration()
        configuration.servers = []
        script.session.adopt(Shared(configuration))
        #expect(Self.write(&script).count == 2, "stored, and on its way to the device")
        let again = script.deviceRequests(script.nextID())
        #expect(again.contains { if case .requestUpstream = $0 { true } else { false } }, "on the same lease")
        script.upstreamAnswers(.changed)
        let refused = Self.write(&script)
        #expect(refused.count == 1 && refused.allSatisfy { if case .answerUpstream = $0 { true } else { false } })
    }

    @Test("Its bootstrap servers: a lease to one that is gone is given back")
    func upstreams() throws {
        var script = try BootstrapScript()
        script.begin()
        script.session.adopt(Shared(BootstrapScript.configuration(upstreams: [BootstrapScript.second])))
        #expect(
            script.deviceRequests(script.nextID())
                == [.releaseLease(.parked), .acquireLease([BootstrapScript.second])])
    }

    @Test("The one before ends under its own: what was published is taken back")
    func concluded() throws {
        var script = try BootstrapScript(publishedKeys: .one)
        script.begin()
        guard case .store(let minted, _)? = Self.write(&script).first else {
            Issue.record("nothing is stored")
            return
        }
        script.stored()
        script.deviceAnswers(.changed)
        script.upstreamRequests(script.nextID(), BootstrapScript.finish)
        script.session.adopt(Shared(BootstrapScript.configuration()))
        #expect(script.deviceRequests(script.nextID()).contains(.restore(minted)))
    }
}
