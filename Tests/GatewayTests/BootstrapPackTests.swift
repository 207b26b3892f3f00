import LwM2M
import Secrets
import Testing
import Timing

@testable import CoAP
@testable import Gateway

@Suite("Bootstrap packs")
struct BootstrapPackTests {
    typealias Action = BootstrapSession.Action

    private static let packs = GatewayConfiguration.Upstream(
        uri: .init(scheme: .coap, host: "192.0.2.3", port: 5683), packs: true)

    private static func script(
        _ place: SIMRecord.BootstrapPlace = .instance(1), upstreams: [GatewayConfiguration.Upstream] = [packs],
        publishedKeys: GatewayConfiguration.KeysPerEndpoint? = nil
    ) throws -> BootstrapScript {
        try BootstrapScript(
            record: BootstrapScript.record(place: place), upstreams: upstreams, publishedKeys: publishedKeys)
    }

    private static let account = Rewriting.server(0, uri: "coap://192.0.2.10:5683")
    private static let settings = ObjectInstance(
        id: 0, resources: [Rewriting.number(0, 1111), Rewriting.number(1, 86_400), Rewriting.text(7, "US")])

    private static func pack(
        _ security: [ObjectInstance] = [account, Rewriting.bootstrap(1)], format: ContentFormat = .senMLCBOR
    ) throws -> CoAPResponse {
        let objects = [ObjectContent(id: 1, instances: [settings]), ObjectContent(id: 0, instances: security)]
        return CoAPResponse(
            .content, contentFormat: format.rawValue, payload: try PayloadCodec.encodePack(objects, format))
    }

    /// From the request to the server's answer.
    private static func ask(
        _ script: inout BootstrapScript, query: [String] = ["ep=meter-1"], accept: UInt16? = 112
    ) -> (MessageLayer.RequestID, [Action]) {
        let id = script.nextID()
        let request = CoAPRequest(.get, path: ["bspack"], query: query, accept: accept)
        let actions = script.play { session, now, out in
            session.packRequested(id, request, now: now, wallClock: 0, into: &out)
        }
        return (id, actions)
    }

    private static func answer(_ script: inout BootstrapScript, _ response: CoAPResponse) -> [Action] {
        script.play { session, now, out in
            session.upstreamAnswered(response, now: now, wallClock: 0, into: &out)
        }
    }

    @Test("T40: where no server is said to know packs, the answer is 5.01 at once and nothing goes upstream")
    func none() throws {
        var script = try BootstrapScript()
        let (id, actions) = Self.ask(&script)
        #expect(actions == [.answerDevice(id, CoAPResponse(.notImplemented))])
        #expect(!script.session.isRunning && script.actions.count == 1)
    }

    @Test(
        "T40: a pack is rewritten like a write of the root, and goes out when its credentials are on disk",
        arguments: [ContentFormat.senMLJSON, .senMLCBOR, .lwm2mCBOR])
    func whole(format: ContentFormat) throws {
        var script = try Self.script(upstreams: [BootstrapScript.upstream, Self.packs])
        let (id, asked) = Self.ask(&script, query: ["pct=112", "ep=meter-1"], accept: format.rawValue)
        #expect(asked == [.acquireLease([Self.packs])])
        let request = CoAPRequest(.get, path: ["bspack"], query: ["ep=meter-1"], accept: format.rawValue)
        #expect(script.leaseGranted(Self.packs) == [.requestUpstream(request)])
        let actions = Self.answer(&script, try Self.pack(format: format))
        guard case .store(let credentials, let grants)? = actions.first, let credential = credentials.first else {
            Issue.record("nothing stored: \(actions)")
            return
        }
        #expect(credentials.count == 1 && grants.isEmpty && actions.dropFirst() == [.serversWritten([1111: 0])])
        let delivered = script.stored()
        guard case .answerDevice(id, let response)? = delivered.first else {
            Issue.record("no pack: \(delivered)")
            return
        }
        #expect(delivered.last == .releaseLease(.clean) && script.ends == [nil] && !script.session.isRunning)
        #expect(response.code == .content && response.contentFormat == format.rawValue)
        let objects = try PayloadCodec.decodePack(response.payload, format)
        #expect(objects.map(\.id) == [1, 0])
        let server = try SecurityAccount(objects[1].instances[0])
        #expect(server.uri == "coaps://edge.example.net:5684" && server.secretKey == credential.key)
        let bootstrap = try SecurityAccount(objects[1].instances[1])
        #expect(bootstrap.isBootstrapServer && bootstrap.uri == "coaps://edge.example.net:5684")
        #expect(bootstrap.publicKeyOrIdentity == Array("meter-1".utf8))
        #expect(objects[0].instances[0].text(7) == "U")
        #expect(
            script.events.map(\.name) == [
                .bootstrapRequested, .bootstrapForwarded, .credentialMinted, .bootstrapWritten, .bootstrapWritten,
                .bootstrapFinished,
            ])
        let detail = try #require(script.events.last?.detail)
        #expect(detail.contains(.init("pack", .boolean(true))))
        guard case .steps(let steps, _)? = detail.first(where: { $0.key == "timeline" })?.value else {
            Issue.record("no timeline: \(detail)")
            return
        }
        #expect(steps.map(\.kind) == [.packRequest, .upstreamPack])
        #expect(Int(steps[1].bytes) == (try Self.pack(format: format)).payload.count)
    }

    @Test("T20, T40: acc says where the device's own account is, stays here, and the pack keeps off it")
    func ownAccount() throws {
        var script = try Self.script(.unknown)
        let (_, asked) = Self.ask(&script, query: ["ep=meter-1", "acc=</0/0>,</21/0>"])
        #expect(asked == [.remember(.instance(0)), .acquireLease([Self.packs])])
        #expect(
            script.leaseGranted(Self.packs) == [
                .requestUpstream(CoAPRequest(.get, path: ["bspack"], query: ["ep=meter-1"], accept: 112))
            ])
        _ = Self.answer(&script, try Self.pack())
        guard case .answerDevice(_, let response)? = script.stored().first else {
            Issue.record("no pack")
            return
        }
        let accounts = try PayloadCodec.decodePack(response.payload, .senMLCBOR)[1].instances
        #expect(accounts.first { $0.id == 0 }?[1] == [1] && accounts.filter { $0.id != 0 }.allSatisfy { $0[1] == [0] })

        var malformed = try Self.script()
        let (id, refused) = Self.ask(&malformed, query: ["ep=meter-1", "acc=</0/0"])
        #expect(refused == [.answerDevice(id, CoAPResponse(.badRequest))])
    }

    @Test("T42: a pack that cannot be decided is 5.02, and nothing of it is kept")
    func refused() throws {
        let foreign = Rewriting.server(2, uri: "coap://192.0.2.99", ssid: 7)
        let oscore = try PayloadCodec.encodePack(
            [ObjectContent(id: 21, instances: [ObjectInstance(id: 0, resources: [Rewriting.opaque(0, [1])])])],
            .senMLCBOR)
        for response in [
            try Self.pack([Self.account, foreign]), CoAPResponse(.content, contentFormat: 112, payload: [0xFF]),
            CoAPResponse(.content, payload: try Self.pack().payload),
            CoAPResponse(.content, contentFormat: 11542, payload: []),
            CoAPResponse(.content, contentFormat: 112, payload: oscore),
        ] {
            var script = try Self.script()
            let (id, _) = Self.ask(&script)
            script.leaseGranted(Self.packs)
            let actions = Self.answer(&script, response)
            #expect(actions == [.answerDevice(id, CoAPResponse(.badGateway)), .releaseLease(.parked)])
            #expect(script.events.map(\.name).suffix(2) == [.bootstrapRefused, .bootstrapFailed])
        }
    }

    @Test("T40: what the server answers instead of a pack goes to the device, which falls back")
    func noPack() throws {
        for code: CoAPCode in [.notFound, .notImplemented, .badRequest, .notAcceptable] {
            var script = try Self.script()
            let (id, _) = Self.ask(&script)
            script.leaseGranted(Self.packs)
            #expect(
                Self.answer(&script, CoAPResponse(code))
                    == [.answerDevice(id, CoAPResponse(code)), .releaseLease(.parked)])
        }
        var script = try Self.script()
        let (id, _) = Self.ask(&script, accept: 11542)
        #expect(script.actions.last == .answerDevice(id, CoAPResponse(.notAcceptable)))
    }

    @Test("T39: credentials that cannot be stored or published keep the pack back")
    func failures() throws {
        var script = try Self.script()
        let (id, _) = Self.ask(&script)
        script.leaseGranted(Self.packs)
        _ = Self.answer(&script, try Self.pack())
        let actions = script.stored(.storeUnavailable)
        #expect(actions.first == .answerDevice(id, CoAPResponse(.internalServerError)))
        #expect(script.ends == [.storeUnavailable])
        #expect(actions.contains { if case .discard = $0 { true } else { false } })

        for failure: FailureCause? in [nil, .publicationRefused] {
            var script = try Self.script(publishedKeys: .one)
            _ = Self.ask(&script)
            script.leaseGranted(Self.packs)
            _ = Self.answer(&script, try Self.pack())
            guard case .publish(let credentials)? = script.stored().first else {
                Issue.record("not published")
                return
            }
            let actions = script.published(failure)
            #expect(script.ends == [failure])
            #expect(actions.contains(.restore(credentials)) == (failure != nil))
            #expect(actions.contains(.commit(credentials, .one)) == (failure == nil))
        }
    }

    @Test("The newest request wins, also over a pack that waits for the store")
    func superseded() throws {
        var script = try Self.script(upstreams: [BootstrapScript.upstream, Self.packs])
        let (first, _) = Self.ask(&script)
        script.leaseGranted(Self.packs)
        _ = Self.answer(&script, try Self.pack())
        let actions = script.deviceRequests(script.nextID())
        #expect(actions.contains { if case .answerDevice(first, _) = $0 { true } else { false } })
        #expect(actions.contains { if case .discard = $0 { true } else { false } })
        #expect(script.ends == [.superseded] && script.session.isRunning)
        // What is stored late is none of the new one's business.
        #expect(script.stored().isEmpty)
        // A lease of a server without packs is of no use for one.
        var other = try Self.script(upstreams: [BootstrapScript.upstream, Self.packs])
        other.begin()
        let (_, asked) = Self.ask(&other)
        #expect(asked == [.releaseLease(.parked), .acquireLease([Self.packs])])
    }

    @Test("T40: over real sockets a large pack travels in blocks on both sides", .timeLimit(.minutes(1)))
    func blocks() async throws {
        let stage = try await MovesStage { configuration in
            configuration.deviceTransmission.blockSize = 64
            configuration.upstreamTransmission.blockSize = 128
            configuration.bootstrap.upstreams[0].packs = true
        }
        let device = try await stage.device()
        try device.request(.get, ["bspack"], query: ["ep=\(StagedRecords.meter(1))"])
        let pack = try Self.pack([Rewriting.server(0)]).payload
        #expect(pack.count > 64)
        var offset = 0
        while offset < pack.count {
            let request = try await stage.bootstrap.next()
            #expect(request.code == .get)
            let end = min(offset + 64, pack.count)
            var answer = Dialogue.answer(.content, to: request)
            answer.options.append(.contentFormat, uint: 112)
            answer.options.append(.block2, uint: UInt32(offset / 64) << 4 | (end < pack.count ? 8 : 0) | 2)
            answer.payload = Array(pack[offset..<end])
            try stage.bootstrap.send(answer)
            offset = end
        }
        var taken: [UInt8] = []
        var blocks = 0
        while true {
            let answer = try await device.next()
            #expect(answer.code == .content)
            taken += answer.payload
            blocks += 1
            guard let block = answer.options.first(.block2).flatMap({ BlockOption($0) }), block.more else { break }
            try device.request(.get, ["bspack"], query: ["ep=\(StagedRecords.meter(1))"], block2: block.num + 1)
        }
        #expect(blocks > 2)
        let objects = try PayloadCodec.decodePack(taken, .senMLCBOR)
        let security = try #require(objects.first { $0.id == 0 })
        #expect(security.instances.first?.text(0) == "coaps://edge.example.net:5684")
        #expect(await stage.counters.bootstrapsFinished.total == 1)
        try await stage.stop()
    }
}
