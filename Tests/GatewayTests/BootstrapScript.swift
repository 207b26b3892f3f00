import Gateway
import LwM2M
import Secrets
import Testing
import Timing

@testable import CoAP

/// Plays a bootstrap against ``BootstrapSession``: feeds events, keeps what came out, and moves time.
struct BootstrapScript {
    static let iccid = "8988303000000000015"

    var session: BootstrapSession
    var now = Instant.now
    /// Microseconds.
    var wallClock: Int64 = 0
    var actions: [BootstrapSession.Action] = []
    private var serial: UInt64 = 0

    static let upstream = GatewayConfiguration.Upstream(uri: .init(scheme: .coap, host: "192.0.2.1", port: 5683))
    static let second = GatewayConfiguration.Upstream(uri: .init(scheme: .coap, host: "192.0.2.2", port: 5683))

    static func record(
        status: SIMRecord.Status = .active, policy: SIMRecord.EndpointPolicy = .match,
        profile: SIMRecord.Profile = .follow, place: SIMRecord.BootstrapPlace = .instance(1)
    ) throws -> SIMRecord {
        SIMRecord(
            iccid: Self.iccid, endpoint: "meter-1", endpointPolicy: policy, identity: try #require(identity("meter-1")),
            key: Secret([UInt8](0..<16)), status: status, profile: profile,
            bootstrapPlace: place
        )
    }

    static func configuration(upstreams: [GatewayConfiguration.Upstream] = [Self.upstream]) -> GatewayConfiguration {
        GatewayConfiguration(
            listeners: [],
            bootstrap: .init(
                upstreams: upstreams,
                account: .init(
                    secure: .init(scheme: .coaps, host: "edge.example.net", port: 5684),
                    plain: .init(scheme: .coap, host: "edge.example.net", port: 5683)
                )
            ),
            servers: [
                .init(
                    name: "meters", matchURI: .init(scheme: .coap, host: "192.0.2.10", port: 5683),
                    matchShortServerID: 1111,
                    device: .init(
                        secure: .init(scheme: .coaps, host: "edge.example.net", port: 5684),
                        plain: .init(scheme: .coap, host: "edge.example.net", port: 5683)
                    ),
                    relay: Self.upstream
                )
            ]
        )
    }

    init(
        record: SIMRecord? = nil, arrival: GatewayConfiguration.Security = .dtls,
        upstreams: [GatewayConfiguration.Upstream] = [Self.upstream],
        publishedKeys: GatewayConfiguration.KeysPerEndpoint? = nil,
        unmatched: GatewayConfiguration.Unmatched = .refuse, isAuditStrict: Bool = false,
        mode: GatewayConfiguration.Mode = .enforce
    ) throws {
        var configuration = Self.configuration(upstreams: upstreams)
        configuration.isAuditStrict = isAuditStrict
        configuration.mode = mode
        configuration.unmatched = unmatched
        if publishedKeys != nil {
            configuration.servers[0].relay = nil
            configuration.servers[0].publishedKeys = publishedKeys
        }
        self.session = BootstrapSession(
            subject: .init(
                record: try record ?? Self.record(), arrival: arrival, peer: "198.51.100.7:40000", session: 1
            ),
            configuration: Shared(configuration)
        )
    }

    mutating func nextID() -> MessageLayer.RequestID {
        self.serial += 1
        return MessageLayer.RequestID(serial: self.serial)
    }

    /// What came out of `body`, journal and counters apart.
    @discardableResult
    mutating func play(
        _ body: (inout BootstrapSession, Instant, inout [BootstrapSession.Action]) -> Void
    ) -> [BootstrapSession.Action] {
        var out: [BootstrapSession.Action] = []
        body(&self.session, self.now, &out)
        self.actions += out
        return out.filter {
            switch $0 {
            case .journal, .warn, .ended: false
            default: true
            }
        }
    }

    @discardableResult
    mutating func deviceRequests(_ id: MessageLayer.RequestID, query: [String] = ["ep=meter-1"])
        -> [BootstrapSession.Action]
    {
        self.play { [wallClock] session, now, out in
            session.deviceRequested(
                id, CoAPRequest(.post, path: ["bs"], query: query), now: now, wallClock: wallClock, into: &out
            )
        }
    }

    @discardableResult
    mutating func leaseGranted(_ upstream: GatewayConfiguration.Upstream = Self.upstream)
        -> [BootstrapSession.Action]
    {
        self.play { [wallClock] session, _, out in session.leaseGranted(upstream, wallClock: wallClock, into: &out) }
    }

    @discardableResult
    mutating func upstreamAnswers(_ code: CoAPCode) -> [BootstrapSession.Action] {
        self.play { [wallClock] session, now, out in
            session.upstreamAnswered(CoAPResponse(code), now: now, wallClock: wallClock, into: &out)
        }
    }

    @discardableResult
    mutating func upstreamRequests(_ id: MessageLayer.RequestID, _ request: CoAPRequest)
        -> [BootstrapSession.Action]
    {
        self.play { [wallClock] session, now, out in
            session.upstreamRequested(id, request, now: now, wallClock: wallClock, into: &out)
        }
    }

    @discardableResult
    mutating func deviceAnswers(_ code: CoAPCode) -> [BootstrapSession.Action] {
        self.deviceAnswers(CoAPResponse(code))
    }

    @discardableResult
    mutating func deviceAnswers(_ response: CoAPResponse) -> [BootstrapSession.Action] {
        self.play { [wallClock] session, now, out in
            session.deviceAnswered(response, now: now, wallClock: wallClock, into: &out)
        }
    }

    /// A list of links.
    @discardableResult
    mutating func deviceAnswers(links: String) -> [BootstrapSession.Action] {
        self.deviceAnswers(CoAPResponse(.content, contentFormat: 40, payload: Array(links.utf8)))
    }

    @discardableResult
    mutating func stored(_ failure: FailureCause? = nil) -> [BootstrapSession.Action] {
        self.play { [wallClock] session, _, out in session.credentialsStored(failure, wallClock: wallClock, into: &out)
        }
    }

    @discardableResult
    mutating func published(_ failure: FailureCause? = nil) -> [BootstrapSession.Action] {
        self.play { [wallClock] session, _, out in
            session.credentialsPublished(failure, wallClock: wallClock, into: &out)
        }
    }

    /// From the device's request to the 2.04 that it gets.
    mutating func begin() {
        let id = self.nextID()
        self.deviceRequests(id)
        self.leaseGranted()
        self.upstreamAnswers(.changed)
    }

    /// How the bootstraps of this script ended so far, nil for success.
    var ends: [FailureCause?] {
        self.actions.compactMap { if case .ended(let cause) = $0 { .some(cause) } else { nil } }
    }

    var events: [AuditEvent] {
        self.actions.compactMap { if case .journal(let event) = $0 { event } else { nil } }
    }

    static func identity(_ text: String) -> PSKIdentity? { PSKIdentity(text) }

    // MARK: - What a legacy server sends

    static let finish = CoAPRequest(.post, path: ["bs"])
    static let deleteAll = CoAPRequest(.delete, path: [])

    /// The NoSec account of spec 3.2: coap://192.0.2.10:5683, ssid 1111.
    static let serverAccount: [UInt8] =
        [0xC8, 0x00, 0x16] + Array("coap://192.0.2.10:5683".utf8)
        + [0xC1, 0x01, 0x00, 0xC1, 0x02, 0x03, 0xC2, 0x0A, 0x04, 0x57]

    /// The same with another server, for which there is no rule.
    static let foreignAccount: [UInt8] =
        [0xC8, 0x00, 0x16] + Array("coap://192.0.2.99:5683".utf8)
        + [0xC1, 0x01, 0x00, 0xC1, 0x02, 0x03, 0xC2, 0x0A, 0x04, 0x57]

    static func write(_ payload: [UInt8], to path: [String]) -> CoAPRequest {
        CoAPRequest(.put, path: path, contentFormat: 11542, payload: payload)
    }
}
