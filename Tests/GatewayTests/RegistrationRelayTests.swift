import Gateway
import LwM2M
import Secrets
import Testing

@testable import CoAP

@Suite("The registration leg of one device")
struct RegistrationRelayTests {
    typealias Action = RegistrationRelay.Action

    private func makeRelay(
        state: OneTimeCredential.State = .active, status: SIMRecord.Status = .active,
        policy: SIMRecord.EndpointPolicy = .match
    ) throws -> RegistrationRelay {
        let credential = OneTimeCredential(
            identity: try #require(PSKIdentity("one-time")), key: Secret([UInt8](0..<16)),
            iccid: BootstrapScript.iccid, endpoint: "meter-1", server: "meters", shortServerID: 1111, state: state,
            mintedAt: 0
        )
        return RegistrationRelay(
            record: try BootstrapScript.record(status: status, policy: policy), credential: credential,
            relay: BootstrapScript.upstream, peer: "198.51.100.7:40000", session: 1
        )
    }

    private func id(_ serial: UInt64) -> MessageLayer.RequestID { MessageLayer.RequestID(serial: serial) }
    private func exchange(_ serial: UInt64) -> MessageLayer.ExchangeID { MessageLayer.ExchangeID(serial: serial) }

    private func register(_ query: [String] = ["ep=meter-1", "lt=60"]) -> CoAPRequest {
        CoAPRequest(.post, path: ["rd"], query: query, contentFormat: 40, payload: Array("</1/0>".utf8))
    }

    /// From Register to the 2.01 that the device gets.
    private func registered() throws -> RegistrationRelay {
        var relay = try self.makeRelay()
        var out: [Action] = []
        relay.deviceRequested(self.id(1), self.register(), wallClock: 0, into: &out)
        relay.leaseGranted(into: &out)
        relay.forwarded(self.id(1), asUpstream: self.exchange(1))
        relay.upstreamAnswered(self.exchange(1), CoAPResponse(.created), wallClock: 0, into: &out)
        #expect(relay.isRegistered)
        return relay
    }

    @Test("Register waits for its socket, goes upstream with the proven endpoint first, and its answer comes back")
    func registers() throws {
        var relay = try self.makeRelay()
        var out: [Action] = []
        relay.deviceRequested(self.id(1), self.register(["lt=60", "ep=meter-1"]), wallClock: 0, into: &out)
        #expect(out == [.acquireLease(BootstrapScript.upstream)])
        out = []
        relay.leaseGranted(into: &out)
        #expect(out == [.requestUpstream(self.register(), answering: self.id(1))])
        relay.forwarded(self.id(1), asUpstream: self.exchange(7))
        out = []
        var created = CoAPResponse(.created)
        created.options.append(.locationPath, string: "rd")
        created.options.append(.locationPath, string: "5")
        relay.upstreamAnswered(self.exchange(7), created, wallClock: 0, into: &out)
        #expect(out.first == .answerDevice(self.id(1), created))
        #expect(relay.isRegistered)
    }

    @Test("Another endpoint than the credential's is 4.00, unless the record says replace")
    func endpoint() throws {
        var relay = try self.makeRelay()
        var out: [Action] = []
        relay.deviceRequested(self.id(1), self.register(["ep=meter-2"]), wallClock: 0, into: &out)
        #expect(out.first == .answerDevice(self.id(1), CoAPResponse(.badRequest)))
        relay = try self.makeRelay(policy: .replace)
        out = []
        relay.deviceRequested(self.id(1), self.register(["ep=host-17", "lt=60"]), wallClock: 0, into: &out)
        relay.leaseGranted(into: &out)
        #expect(out.last == .requestUpstream(self.register(), answering: self.id(1)))
    }

    @Test("A key that was replaced or expired is told 4.03", arguments: [OneTimeCredential.State.replaced, .expired])
    func staleKey(state: OneTimeCredential.State) throws {
        var relay = try self.makeRelay(state: state)
        var out: [Action] = []
        relay.deviceRequested(self.id(1), self.register(), wallClock: 0, into: &out)
        #expect(out.first == .answerDevice(self.id(1), CoAPResponse(.forbidden)))
    }

    @Test("The server's request waits while the device waits for an answer, and follows it")
    func answerFirst() throws {
        var relay = try self.makeRelay()
        var out: [Action] = []
        relay.deviceRequested(self.id(1), self.register(), wallClock: 0, into: &out)
        relay.leaseGranted(into: &out)
        relay.forwarded(self.id(1), asUpstream: self.exchange(1))
        out = []
        let read = CoAPRequest(.get, path: ["3", "0", "0"])
        relay.upstreamRequested(self.id(9), read, into: &out)
        #expect(out.isEmpty)
        relay.upstreamAnswered(self.exchange(1), CoAPResponse(.created), wallClock: 0, into: &out)
        #expect(out.first == .answerDevice(self.id(1), CoAPResponse(.created)))
        #expect(out.last == .requestDevice(read, answering: self.id(9)))
    }

    @Test("An observation runs on: first answer, notifications, and its end by the server's RST")
    func observation() throws {
        var relay = try self.registered()
        var out: [Action] = []
        relay.upstreamRequested(self.id(9), CoAPRequest(.get, path: ["3", "0", "13"], observe: 0), into: &out)
        relay.forwarded(self.id(9), asDevice: self.exchange(3))
        out = []
        let first = CoAPResponse(.content, observe: 1)
        relay.deviceAnswered(self.exchange(3), first, isObservation: true, into: &out)
        #expect(out == [.answerUpstream(self.id(9), first)])
        out = []
        let second = CoAPResponse(.content, observe: 2)
        relay.deviceNotified(self.exchange(3), second, into: &out)
        #expect(out == [.notifyUpstream(self.id(9), second)])
        out = []
        relay.upstreamCancelled(self.id(9), into: &out)
        #expect(out == [.cancelDevice(self.exchange(3))])
        out = []
        relay.deviceNotified(self.exchange(3), second, into: &out)
        #expect(out.isEmpty)
    }

    @Test("De-register ends the registration and its lease, which then rests")
    func deregister() throws {
        var relay = try self.registered()
        var out: [Action] = []
        relay.deviceRequested(self.id(2), CoAPRequest(.delete, path: ["rd", "5"]), wallClock: 0, into: &out)
        relay.forwarded(self.id(2), asUpstream: self.exchange(2))
        out = []
        relay.upstreamAnswered(self.exchange(2), CoAPResponse(.deleted), wallClock: 0, into: &out)
        #expect(out.first == .answerDevice(self.id(2), CoAPResponse(.deleted)))
        #expect(out.last == .releaseLease(.unclean))
        #expect(!relay.isRegistered)
    }

    @Test("A body in blocks is 4.13, not a wrong forward")
    func blockedBody() throws {
        var relay = try self.makeRelay()
        var out: [Action] = []
        var request = self.register()
        request.options.append(.block1, uint: 0x0D)
        relay.deviceRequested(self.id(1), request, wallClock: 0, into: &out)
        guard case .answerDevice(_, let answer)? = out.first else {
            Issue.record("no answer: \(out)")
            return
        }
        #expect(answer.code == .requestEntityTooLarge)
        #expect(out.count == 1)
    }

    @Test("Options that name the gateway do not go upstream")
    func hostOptionsStay() throws {
        var relay = try self.registered()
        var out: [Action] = []
        var send = CoAPRequest(.post, path: ["dp"], payload: [1])
        send.options.append(.uriHost, string: "edge.example.net")
        send.options.append(.uriPort, uint: 5684)
        relay.deviceRequested(self.id(2), send, wallClock: 0, into: &out)
        #expect(
            out == [.requestUpstream(CoAPRequest(.post, path: ["dp"], payload: [1]), answering: self.id(2))]
        )
    }
}
