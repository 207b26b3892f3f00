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
