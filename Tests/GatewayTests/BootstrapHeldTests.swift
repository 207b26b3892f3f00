import CoAP
import Gateway
import LwM2M
import Testing

@Suite("Bootstraps whose accounts are written resource by resource")
struct BootstrapHeldTests {
    private static func put(_ path: String, _ text: String) -> CoAPRequest {
        CoAPRequest(
            .put, path: path.split(separator: "/").map(String.init), contentFormat: 0, payload: Array(text.utf8))
    }

    private static let account = [
        put("1/0/0", "1111"), put("0/0/10", "1111"), put("0/0/1", "0"), put("0/0/0", "coap://192.0.2.10:5683"),
        put("1/0/1", "86400"), put("0/0/2", "3"), put("1/0/7", "U"),
    ]

    /// A bootstrap that has got these writes, each of which was answered at once and did not reach the device.
    private static func script(_ writes: [CoAPRequest] = account) throws -> BootstrapScript {
        var script = try BootstrapScript()
        script.begin()
        for write in writes {
            let id = script.nextID()
            #expect(script.upstreamRequests(id, write) == [.answerUpstream(id, CoAPResponse(.changed))])
        }
        return script
    }

    private static func toDevice(_ actions: [BootstrapSession.Action]) -> [[String]?] {
        actions.compactMap { if case .requestDevice(let request) = $0 { .some(request.uriPath) } else { nil } }
    }

    private static func answers(_ actions: [BootstrapSession.Action]) -> [CoAPCode] {
        actions.compactMap { if case .answerUpstream(_, let response) = $0 { response.code } else { nil } }
    }

    private static func stores(_ actions: [BootstrapSession.Action]) -> [Int] {
        actions.compactMap { if case .store(let minted, _) = $0 { minted.count } else { nil } }
    }

    @Test("T16, T38: Finish waits until the held accounts, object 0 first, are at the device and their keys on disk")
    func finish() throws {
        var script = try Self.script()
        let finish = script.nextID()
        let security = script.upstreamRequests(finish, BootstrapScript.finish)
        #expect(Self.toDevice(security) == [["0", "0"]] && Self.stores(security) == [1])
        let server = script.deviceAnswers(.changed)
        #expect(Self.toDevice(server) == [["1", "0"]] && Self.answers(server).isEmpty)
        #expect(script.deviceAnswers(.changed).isEmpty, "the store has not answered")
        #expect(Self.toDevice(script.stored()) == [["bs"]])
        let end = script.deviceAnswers(.changed)
        #expect(end.contains(.answerUpstream(finish, CoAPResponse(.changed))))
        #expect(script.ends == [nil])
        let written = try #require(script.events.first { $0.name == .bootstrapWritten })
        #expect(written.detail.contains(.init("ssid", .integer(1111))))
    }

    @Test("T38: an account that the device refuses is told at Finish as 4.06, and may be corrected")
    func refusedByDevice() throws {
        var script = try Self.script()
        let finish = script.nextID()
        script.upstreamRequests(finish, BootstrapScript.finish)
        script.stored()
        let refused = script.deviceAnswers(.badRequest)
        #expect(refused == [.answerUpstream(finish, CoAPResponse(.notAcceptable))])
        let event = try #require(script.events.last)
        #expect(event.name == .bootstrapRefused && event.cause == .deviceRefused)
        #expect(event.detail.contains(.init("path", .text("/0/0"))))
        let correction = script.nextID()
        #expect(Self.answers(script.upstreamRequests(correction, Self.put("0/0/11", "7"))) == [.changed])
        let again = script.upstreamRequests(script.nextID(), BootstrapScript.finish)
        #expect(Self.toDevice(again) == [["0", "0"]] && Self.stores(again).isEmpty, "the same credential")
        #expect(Self.toDevice(script.deviceAnswers(.changed)) == [["1", "0"]])
        #expect(Self.toDevice(script.deviceAnswers(.changed)) == [["bs"]])
        script.deviceAnswers(.changed)
        #expect(script.ends == [nil])
    }

    @Test("T14: held accounts go out in the format that the device prefers, and in TLV if it does not take that")
    func preferredFormat() throws {
        func formats(_ actions: [BootstrapSession.Action]) -> [UInt16?] {
            actions.compactMap {
                if case .requestDevice(let request) = $0 { .some(request.contentFormat) } else { nil }
            }
        }
        var script = try BootstrapScript()
        script.deviceRequests(script.nextID(), query: ["ep=meter-1", "pct=112"])
        script.leaseGranted()
        script.upstreamAnswers(.changed)
        for write in Self.account { script.upstreamRequests(script.nextID(), write) }
        let finish = script.nextID()
        #expect(formats(script.upstreamRequests(finish, BootstrapScript.finish)) == [112])
        script.stored()
        let second = script.deviceAnswers(.unsupportedContentFormat)
        #expect(formats(second) == [11542] && Self.answers(second).isEmpty && Self.stores(second).isEmpty)
        // Neither: then the server has to know.
        #expect(
            script.deviceAnswers(.unsupportedContentFormat)
                == [.answerUpstream(finish, CoAPResponse(.notAcceptable))])
    }

    @Test("T38: an account that is not complete is told at Finish as 4.06 and does not reach the device")
    func incomplete() throws {
        var script = try Self.script([Self.put("1/0/5", "60")])
        let finish = script.nextID()
        let refused = script.upstreamRequests(finish, BootstrapScript.finish)
        #expect(refused == [.answerUpstream(finish, CoAPResponse(.notAcceptable))])
        #expect(script.events.last?.cause == .upstreamMalformed)
        script.upstreamRequests(script.nextID(), Self.put("1/0/0", "1111"))
        let again = script.upstreamRequests(script.nextID(), BootstrapScript.finish)
        #expect(Self.toDevice(again) == [["1", "0"]])
        #expect(Self.toDevice(script.deviceAnswers(.changed)) == [["bs"]])
    }

    @Test("T38: a device that is gone ends the bootstrap; Finish hears 5.04, and the credentials go")
    func unreachable() throws {
        var script = try Self.script()
        let finish = script.nextID()
        script.upstreamRequests(finish, BootstrapScript.finish)
        let end = script.play { session, now, out in
            session.deviceFailed(.unacknowledged, now: now, wallClock: 0, into: &out)
        }
        #expect(end.contains(.answerUpstream(finish, CoAPResponse(.gatewayTimeout))))
        #expect(end.contains { if case .discard(let minted, _) = $0 { minted.count == 1 } else { false } })
        #expect(script.ends == [.deviceUnreachable])
    }

    @Test("T16: a Discover or a Read of held accounts writes them first, and then shows the device's answer")
    func reads() throws {
        for (path, expected): ([String], [[String]]) in [
            ([], [["0", "0"], ["1", "0"]]), (["1"], [["0", "0"], ["1", "0"]]),
        ] {
            var script = try Self.script()
            let id = script.nextID()
            var passed = Self.toDevice(
                script.upstreamRequests(id, CoAPRequest(.get, path: path, accept: path.isEmpty ? 40 : 11542)))
            for _ in expected { passed += Self.toDevice(script.deviceAnswers(.changed)) }
            #expect(passed == expected + [path])
            let answer = CoAPResponse(.content, contentFormat: path.isEmpty ? 40 : 11542)
            #expect(Self.answers(script.deviceAnswers(answer)) == [.content])
        }
    }

    @Test("T16: what is not complete does not keep a Discover back, nor does what the device refuses")
    func readsOfIncomplete() throws {
        var script = try Self.script(Array(Self.account.dropFirst(2)))
        let discover = CoAPRequest(.get, path: [], accept: 40)
        #expect(Self.toDevice(script.upstreamRequests(script.nextID(), discover)) == [[]])
        script.deviceAnswers(.content)
        script.upstreamRequests(script.nextID(), Self.put("0/0/10", "1111"))
        #expect(Self.toDevice(script.upstreamRequests(script.nextID(), discover)) == [["0", "0"]])
        script.stored()
        #expect(Self.toDevice(script.deviceAnswers(.badRequest)) == [[]])
        script.deviceAnswers(.content)
        let finish = script.upstreamRequests(script.nextID(), BootstrapScript.finish)
        #expect(Self.toDevice(finish) == [["0", "0"]], "tried again")
        #expect(Self.answers(script.deviceAnswers(.badRequest)) == [.notAcceptable])
    }

    @Test("T7: commands that come while a held account is at the device wait for Finish's answer")
    func waiting() throws {
        var script = try Self.script()
        script.upstreamRequests(script.nextID(), BootstrapScript.finish)
        let waiting = script.nextID()
        #expect(script.upstreamRequests(waiting, Self.put("0/0/11", "7")).isEmpty)
        #expect(Self.answers(script.deviceAnswers(.badRequest)) == [.notAcceptable, .changed])
    }

    @Test("T36: a delete makes void what is held, and Finish passes without it")
    func deleted() throws {
        var script = try Self.script()
        #expect(Self.toDevice(script.upstreamRequests(script.nextID(), BootstrapScript.deleteAll)) == [[]])
        script.deviceAnswers(.deleted)
        #expect(Self.toDevice(script.upstreamRequests(script.nextID(), BootstrapScript.finish)) == [["bs"]])
    }

    @Test("T37: what a delete carries does not reach the device")
    func deleteWithPayload() throws {
        var script = try Self.script([])
        let delete = CoAPRequest(.delete, path: [""], contentFormat: 11542, payload: [1, 2, 3])
        #expect(
            script.upstreamRequests(script.nextID(), delete) == [.requestDevice(CoAPRequest(.delete, path: []))])
    }

    @Test("T23: short server IDs that are held reach the device as they were written")
    func shortServerIDs() throws {
        var script = try Self.script()
        script.upstreamRequests(script.nextID(), BootstrapScript.finish)
        script.stored()
        script.deviceAnswers(.changed)
        let writes = script.actions.compactMap { action -> [UInt8]? in
            if case .requestDevice(let request) = action, request.code == .put { request.payload } else { nil }
        }
        #expect(writes.count == 2)
        for (payload, (object, resource)) in zip(writes, [(0, 10), (1, 0)] as [(UInt16, UInt16)]) {
            guard case .instance(let instance) = try TLV.decode(payload, at: LwM2MPath(object, 0)) else {
                Issue.record("no instance")
                continue
            }
            #expect(instance.number(resource) == 1111)
        }
    }

    @Test("T42: after a refused resource Finish gets 4.06 until it is repeated")
    func refusedResource() throws {
        var script = try Self.script()
        #expect(Self.answers(script.upstreamRequests(script.nextID(), Self.put("0/0/2", "x"))) == [.badRequest])
        #expect(Self.answers(script.upstreamRequests(script.nextID(), BootstrapScript.finish)) == [.notAcceptable])
        script.upstreamRequests(script.nextID(), Self.put("0/0/2", "3"))
        #expect(Self.toDevice(script.upstreamRequests(script.nextID(), BootstrapScript.finish)) == [["0", "0"]])
    }

    @Test("T42: a write that is left in the middle of its blocks keeps Finish back, and the journal says why")
    func unfinished() throws {
        var script = try Self.script([])
        script.session.upstreamBodyBegan(CoAPRequest(.put, path: ["0", "0"]))
        #expect(Self.answers(script.upstreamRequests(script.nextID(), BootstrapScript.finish)) == [.notAcceptable])
        let event = try #require(script.events.last)
        #expect(event.name == .bootstrapRefused && event.cause == .upstreamMalformed)
        #expect(event.detail.contains(.init("path", .text("/0/0"))))
        script.upstreamRequests(script.nextID(), BootstrapScript.write(BootstrapScript.serverAccount, to: ["0", "0"]))
        script.stored()
        script.deviceAnswers(.changed)
        #expect(Self.toDevice(script.upstreamRequests(script.nextID(), BootstrapScript.finish)) == [["bs"]])
    }

    @Test("T30: what a refused document would have needed is not used later without being stored")
    func refusedDocument() throws {
        var script = try Self.script([])
        func instance(_ id: UInt8, _ account: [UInt8]) -> [UInt8] { [0x08, id, UInt8(account.count)] + account }
        let good = instance(0, BootstrapScript.serverAccount)
        let both = BootstrapScript.write(good + instance(1, BootstrapScript.foreignAccount), to: ["0"])
        let refused = script.upstreamRequests(script.nextID(), both)
        #expect(Self.answers(refused) == [.badRequest] && Self.stores(refused).isEmpty)
        let written = script.upstreamRequests(script.nextID(), BootstrapScript.write(good, to: ["0"]))
        #expect(Self.toDevice(written) == [["0"]] && Self.stores(written) == [1])
    }
}
