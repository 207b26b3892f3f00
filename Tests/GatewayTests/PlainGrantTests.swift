import CoAP
import Gateway
import Testing

@Suite("Registration over the plain port needs a bootstrap there")
struct PlainGrantTests {
    private func grant(_ state: OneTimeCredential.State = .active) -> PlainGrant {
        PlainGrant(
            id: 1, key: .init(iccid: BootstrapScript.iccid, server: "meters"), endpoint: "meter-1",
            shortServerID: 1111, state: state, mintedAt: 0
        )
    }

    private func judge(
        _ record: SIMRecord, _ grant: PlainGrant?, query: [String] = ["ep=meter-1", "lt=300"]
    ) -> Gate.Admission {
        Gate.judgeRegistration(CoAPRequest(.post, path: ["rd"], query: query), record: record, grant: grant)
    }

    @Test("A plain bootstrap stores a grant with its account, before Finish passes; the account has no key")
    func granted() throws {
        var script = try BootstrapScript(arrival: .plain)
        script.begin()
        let written = script.upstreamRequests(
            script.nextID(), BootstrapScript.write(BootstrapScript.serverAccount, to: ["0", "0"])
        )
        guard case .store(let credentials, let grants)? = written.first else {
            Issue.record("nothing is stored: \(written)")
            return
        }
        #expect(credentials.isEmpty)
        #expect(grants.map(\.key) == [.init(iccid: BootstrapScript.iccid, server: "meters")])
        #expect(grants.map(\.shortServerID) == [1111])
        #expect(grants.map(\.endpoint) == ["meter-1"])
        script.deviceAnswers(.changed)
        let finish = script.nextID()
        #expect(script.upstreamRequests(finish, BootstrapScript.finish).isEmpty)
        #expect(script.stored() == [.requestDevice(BootstrapScript.finish)])
    }

    @Test("An account that is written twice is granted once; a bootstrap that comes to nothing takes it back")
    func repeatedAndDiscarded() throws {
        var script = try BootstrapScript(arrival: .plain)
        script.begin()
        let write = BootstrapScript.write(BootstrapScript.serverAccount, to: ["0", "0"])
        guard case .store(_, let grants)? = script.upstreamRequests(script.nextID(), write).first else {
            Issue.record("nothing is stored")
            return
        }
        script.deviceAnswers(.changed)
        #expect(script.upstreamRequests(script.nextID(), write).count == 1)
        let again = script.deviceRequests(script.nextID())
        #expect(again.contains(.discard([], grants: grants.map(\.id))))
    }

    @Test("A grant that lives lets its device in under the name of its bootstrap")
    func admitted() throws {
        let record = try BootstrapScript.record()
        #expect(self.judge(record, self.grant()) == .admit(endpoint: "meter-1"))
        #expect(self.judge(record, self.grant(.pending)) == .admit(endpoint: "meter-1"))
        #expect(self.judge(record, self.grant(), query: []) == .admit(endpoint: "meter-1"))
        let replacing = try BootstrapScript.record(policy: .replace)
        #expect(self.judge(replacing, self.grant(), query: ["ep=other"]) == .admit(endpoint: "meter-1"))
    }

    @Test(
        "Without a living grant the answer is 4.03",
        arguments: [OneTimeCredential.State.replaced, .revoked, .expired, nil])
    func refused(state: OneTimeCredential.State?) throws {
        let record = try BootstrapScript.record()
        #expect(self.judge(record, state.map { self.grant($0) }) == .refuse(.notBootstrapped, .forbidden))
    }

    @Test("What the record forbids is 4.00 with a grant, too")
    func recordFirst() throws {
        let suspended = try BootstrapScript.record(status: .suspended)
        #expect(self.judge(suspended, self.grant()) == .refuse(.suspended, .badRequest))
        let retired = try BootstrapScript.record(status: .retired)
        #expect(self.judge(retired, self.grant()) == .refuse(.retired, .badRequest))
        let secure = try BootstrapScript.record(profile: .secure)
        #expect(self.judge(secure, self.grant()) == .refuse(.unauthorized, .badRequest))
        let record = try BootstrapScript.record()
        #expect(self.judge(record, self.grant(), query: ["ep=other"]) == .refuse(.endpointMismatch, .badRequest))
        #expect(
            self.judge(record, self.grant(), query: ["ep=meter-1", "ep=meter-1"]) == .refuse(.malformed, .badRequest))
    }
}
