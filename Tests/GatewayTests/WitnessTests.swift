import CoAP
import LwM2M
import Secrets
import Testing

@testable import Gateway

@Suite("Log-and-audit mode watches a bootstrap and changes nothing of it")
struct WitnessTests {
    private typealias Action = BootstrapSession.Action

    private static func script(
        keepDevices: Bool = true, arrival: GatewayConfiguration.Security = .dtls, record: SIMRecord? = nil,
        upstreams: [GatewayConfiguration.Upstream] = [BootstrapScript.upstream], isAuditStrict: Bool = false
    ) throws -> BootstrapScript {
        try BootstrapScript(
            record: record, arrival: arrival, upstreams: upstreams, isAuditStrict: isAuditStrict,
            mode: .audit(keepDevices: keepDevices)
        )
    }

    private static func outcomes(_ script: BootstrapScript) -> [String] {
        script.events.compactMap { event in
            guard case .text(let outcome)? = event.detail.first(where: { $0.key == "outcome" })?.value else {
                return nil
            }
            return "\(event.name.rawValue) \(outcome) \(event.cause?.rawValue ?? "-")"
        }
    }

    /// Nothing that only `enforce` does.
    private static func isInert(_ script: BootstrapScript) -> Bool {
        script.actions.allSatisfy { action in
            switch action {
            case .store, .discard, .publish, .restore, .commit, .serversWritten: false
            default: true
            }
        }
    }

    private static func text(_ event: AuditEvent, _ path: String...) -> String? {
        var fields = event.detail
        for key in path.dropLast() {
            guard case .object(let inner)? = fields.first(where: { $0.key == key })?.value else { return nil }
            fields = inner
        }
        guard case .text(let text)? = fields.first(where: { $0.key == path.last })?.value else { return nil }
        return text
    }

    @Test("An account passes byte for byte, nothing is minted, and the journal has what it would have become")
    func unchanged() throws {
        var script = try Self.script()
        script.begin()
        let write = BootstrapScript.write(BootstrapScript.serverAccount, to: ["0", "0"])
        #expect(script.upstreamRequests(script.nextID(), write) == [.requestDevice(write)])
        script.deviceAnswers(.changed)
        #expect(
            script.upstreamRequests(script.nextID(), BootstrapScript.finish) == [.requestDevice(BootstrapScript.finish)]
        )
        script.deviceAnswers(.changed)
        #expect(script.ends == [nil] && Self.isInert(script))
        let written = try #require(script.events.first { $0.name == .bootstrapWritten })
        #expect(Self.text(written, "before", "uri") == "coap://192.0.2.10:5683")
        #expect(Self.text(written, "after", "uri") == "coaps://edge.example.net:5684")
        #expect(Self.text(written, "after", "identity") == "one-time identity")
        #expect(Self.text(written, "after", "key") == "one-time key")
        #expect(Self.text(written, "device-got") == "before")
        #expect(!script.events.contains { $0.name == .credentialMinted })
        #expect(Self.outcomes(script) == ["bootstrap.written would-rewrite -", "bootstrap.finished would-finish -"])
    }

    @Test("A suspended SIM and a server without a rule are let through, recorded as what enforce would have refused")
    func wouldRefuse() throws {
        var script = try Self.script(record: try BootstrapScript.record(status: .suspended))
        script.begin()
        let write = BootstrapScript.write(BootstrapScript.foreignAccount, to: ["0", "0"])
        #expect(script.upstreamRequests(script.nextID(), write) == [.requestDevice(write)])
        script.deviceAnswers(.changed)
        #expect(
            script.upstreamRequests(script.nextID(), BootstrapScript.finish) == [.requestDevice(BootstrapScript.finish)]
        )
        script.deviceAnswers(.changed)
        #expect(script.ends == [nil] && Self.isInert(script))
        #expect(
            Self.outcomes(script) == [
                "bootstrap.refused would-refuse suspended", "bootstrap.refused would-refuse no route for server",
                "bootstrap.finished would-refuse -",
            ])
        let finished = try #require(script.events.last { $0.name == .bootstrapFinished })
        #expect(Self.text(finished, "would-cause") == "suspended")
    }

    /// Object 0 with a server account and a bootstrap account, as TLV.
    private static let bootstrap = Rewriting.bootstrap(1, mode: 3)
    private static func object(_ instances: [ObjectInstance]) throws -> [UInt8] {
        try PayloadCodec.encode(.instances(instances), .tlv, at: LwM2MPath(0))
    }

    @Test("A device is kept: the bootstrap account alone leads back, with the security that goes with its address")
    func kept() throws {
        let server = Rewriting.server(0, uri: "coap://192.0.2.10:5683")
        let payload = try Self.object([server, Self.bootstrap])
        for arrival in [GatewayConfiguration.Security.dtls, .plain] {
            var script = try Self.script(arrival: arrival)
            script.begin()
            guard
                case .requestDevice(let passed)? = script.upstreamRequests(
                    script.nextID(), BootstrapScript.write(payload, to: ["0"])
                ).first,
                case .instances(let instances) = try PayloadCodec.decode(passed.payload, .tlv, at: LwM2MPath(0))
            else {
                Issue.record("no write for the device")
                return
            }
            #expect(passed.uriPath == ["0"] && instances.count == 2)
            #expect(instances[0] == server, "only the bootstrap account changes")
            let account = try SecurityAccount(instances[1])
            #expect(account.isBootstrapServer && account.instanceID == 1)
            #expect(
                account.uri
                    == (arrival == .dtls ? "coaps://edge.example.net:5684" : "coap://edge.example.net:5683"))
            #expect(account.securityMode == (arrival == .dtls ? .preSharedKey : .noSec))
            let records = script.events.filter { $0.name == .bootstrapWritten }
            #expect(records.map { Self.text($0, "device-got") } == ["before", "after"])
        }
    }

    @Test("With keep-devices: false the bootstrap account passes as well")
    func notKept() throws {
        var script = try Self.script(keepDevices: false)
        script.begin()
        let write = BootstrapScript.write(try Self.object([Self.bootstrap]), to: ["0"])
        #expect(script.upstreamRequests(script.nextID(), write) == [.requestDevice(write)])
    }

    @Test("Single resources are not held; a bootstrap account made of them leads back just before Finish")
    func single() throws {
        func put(_ path: [String], _ text: String) -> CoAPRequest {
            CoAPRequest(.put, path: path, contentFormat: 0, payload: Array(text.utf8))
        }
        var script = try Self.script()
        script.begin()
        for write in [
            put(["0", "1", "0"], "coap://192.0.2.1:5683"), put(["0", "1", "1"], "1"), put(["0", "1", "2"], "3"),
            put(["0", "0", "0"], "coap://192.0.2.99:5683"), put(["0", "0", "1"], "0"),
            put(["0", "0", "10"], "1111"), put(["0", "0", "2"], "3"),
        ] {
            #expect(script.upstreamRequests(script.nextID(), write) == [.requestDevice(write)])
            #expect(script.deviceAnswers(.changed).count == 1)
        }
        let finish = script.nextID()
        guard case .requestDevice(let kept)? = script.upstreamRequests(finish, BootstrapScript.finish).first,
            case .instance(let instance) = try PayloadCodec.decode(kept.payload, .tlv, at: LwM2MPath(0, 1))
        else {
            Issue.record("the bootstrap account is not led back")
            return
        }
        #expect(kept.uriPath == ["0", "1"])
        #expect(try SecurityAccount(instance).uri == "coaps://edge.example.net:5684")
        // Whatever the device makes of it.
        #expect(script.deviceAnswers(.badRequest) == [.requestDevice(BootstrapScript.finish)])
        #expect(script.deviceAnswers(.changed).contains(.answerUpstream(finish, CoAPResponse(.changed))))
        #expect(script.ends == [nil] && Self.isInert(script))
        #expect(
            Self.outcomes(script) == [
                "bootstrap.written would-rewrite -", "bootstrap.refused would-refuse no route for server",
                "bootstrap.finished would-refuse -",
            ])
    }

    @Test("Discover, Read and Delete pass with their answers as they are, and no question of the gateway's own")
    func questions() throws {
        var script = try Self.script(record: try BootstrapScript.record(place: .unknown))
        script.begin()
        for request in [
            CoAPRequest(.get, path: [], accept: 40), CoAPRequest(.get, path: ["1", "0"], accept: 11542),
            CoAPRequest(.delete, path: ["0", "1"]), BootstrapScript.deleteAll,
        ] {
            let id = script.nextID()
            #expect(script.upstreamRequests(id, request) == [.requestDevice(request)])
            let answer = CoAPResponse(.content, contentFormat: 40, payload: Array("</0/1>;uri=\"coap://a\"".utf8))
            #expect(script.deviceAnswers(answer) == [.answerUpstream(id, answer)])
        }
        #expect(Self.outcomes(script) == ["bootstrap.refused would-refuse unsupported"], "of the delete of /0/1")
    }

    @Test("Keys of object 0 are not read and malformed paths go nowhere, in this mode neither")
    func refused() throws {
        var script = try Self.script()
        script.begin()
        for (request, code) in [
            (CoAPRequest(.get, path: ["0", "1"]), CoAPCode.methodNotAllowed),
            (CoAPRequest(.put, path: ["0", "x"], contentFormat: 11542), .badRequest),
        ] {
            let id = script.nextID()
            #expect(script.upstreamRequests(id, request) == [.answerUpstream(id, CoAPResponse(code))])
        }
        let create = CoAPRequest(.post, path: ["3"], contentFormat: 11542, payload: [1])
        #expect(script.upstreamRequests(script.nextID(), create) == [.requestDevice(create)])
    }

    @Test("A body that was too large never reached the device: Finish does not either")
    func tooLarge() throws {
        var script = try Self.script()
        script.begin()
        script.play { session, _, out in session.upstreamBodyRefused(wallClock: 0, into: &out) }
        let finish = script.nextID()
        #expect(
            script.upstreamRequests(finish, BootstrapScript.finish)
                == [.answerUpstream(finish, CoAPResponse(.notAcceptable))])
    }

    @Test("With a strict journal Finish waits for it, and for nothing else")
    func strict() throws {
        var script = try Self.script(isAuditStrict: true)
        script.begin()
        #expect(script.upstreamRequests(script.nextID(), BootstrapScript.finish) == [.store([], grants: [])])
        #expect(script.stored() == [.requestDevice(BootstrapScript.finish)])
    }

    @Test("What was known of the place of the device's own account is forgotten: it may be elsewhere now")
    func place() throws {
        var script = try Self.script()
        script.begin()
        let write = BootstrapScript.write(BootstrapScript.serverAccount, to: ["0", "0"])
        script.upstreamRequests(script.nextID(), write)
        script.deviceAnswers(.changed)
        script.upstreamRequests(script.nextID(), BootstrapScript.finish)
        #expect(script.deviceAnswers(.changed).contains(.remember(.unknown)))
    }

    @Test("A pack passes, but for the bootstrap account of a device that is kept")
    func pack() throws {
        let upstream = GatewayConfiguration.Upstream(
            uri: .init(scheme: .coap, host: "192.0.2.3", port: 5683), packs: true)
        let server = Rewriting.server(0, uri: "coap://192.0.2.10:5683")
        for keeps in [true, false] {
            var script = try Self.script(keepDevices: keeps, upstreams: [upstream])
            let id = script.nextID()
            let query = ["ep=meter-1", "x=y"]
            script.play { session, now, out in
                let request = CoAPRequest(.get, path: ["bspack"], query: query, accept: 112)
                session.packRequested(id, request, now: now, wallClock: 0, into: &out)
            }
            #expect(
                script.leaseGranted(upstream)
                    == [.requestUpstream(CoAPRequest(.get, path: ["bspack"], query: query, accept: 112))])
            let payload = try PayloadCodec.encodePack(
                [ObjectContent(id: 0, instances: [server, Self.bootstrap])], .senMLCBOR)
            var pack = CoAPResponse(.content, contentFormat: ContentFormat.senMLCBOR.rawValue)
            pack.payload = payload
            let out = script.play { session, now, out in
                session.upstreamAnswered(pack, now: now, wallClock: 0, into: &out)
            }
            guard case .answerDevice(id, let answer)? = out.first else {
                Issue.record("no pack for the device: \(out)")
                return
            }
            let instances = try #require(try PayloadCodec.decodePack(answer.payload, .senMLCBOR).first).instances
            #expect(instances.first == server)
            let uri = try SecurityAccount(try #require(instances.last)).uri
            let written = try SecurityAccount(Self.bootstrap).uri
            #expect(uri == (keeps ? "coaps://edge.example.net:5684" : written))
            #expect(keeps || answer.payload == payload)
            #expect(script.ends == [nil] && Self.isInert(script))
        }
    }
}
