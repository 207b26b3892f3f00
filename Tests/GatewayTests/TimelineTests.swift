import CoAP
import LwM2M
import Testing

@testable import Gateway

@Suite("The timeline of a bootstrap")
struct TimelineTests {
    typealias Fields = [String: AuditEvent.Value]

    @Test("A good one: every step with its time, its size and its code, in the record of the end")
    func good() throws {
        var script = try BootstrapScript()
        script.wallClock = 5_000_000
        script.deviceRequests(script.nextID())
        script.session.deviceRepeated()
        script.wallClock += 120_000
        script.leaseGranted()
        script.session.messageRetransmitted()
        script.wallClock += 30_000
        script.upstreamAnswers(.changed)
        script.wallClock += 10_999
        script.upstreamRequests(script.nextID(), BootstrapScript.deleteAll)
        script.session.messageRetransmitted()
        script.session.messageRetransmitted()
        script.session.deviceRepeated()
        script.wallClock += 200_000
        script.deviceAnswers(.deleted)
        // Two blocks before the write is whole, one on its way to the device.
        script.play { session, now, _ in for _ in 0..<2 { session.blockPassed(now: now) } }
        let write = BootstrapScript.write(BootstrapScript.serverAccount, to: ["0", "3"])
        script.upstreamRequests(script.nextID(), write)
        script.play { session, now, _ in session.blockPassed(now: now) }
        script.wallClock += 1_000
        script.deviceAnswers(.changed)
        script.upstreamRequests(script.nextID(), BootstrapScript.finish)
        script.wallClock += 4_000
        script.stored()
        script.wallClock += 50_000
        script.deviceAnswers(.changed)

        let end = try #require(script.events.last)
        #expect(end.name == .bootstrapFinished && end.cause == nil)
        #expect(Self.fields(end.detail)["took"] == .integer(415))
        let size = AuditEvent.Value.integer(Int64(BootstrapScript.serverAccount.count))
        #expect(
            Self.steps(end) == [
                [
                    "step": .text("request"), "at": .integer(0), "took": .integer(150), "code": .text("2.04"),
                    "repeated-by-device": .integer(1),
                ],
                [
                    "step": .text("upstream"), "at": .integer(120), "took": .integer(30), "code": .text("2.04"),
                    "retransmissions": .integer(1),
                ],
                [
                    "step": .text("delete"), "path": .text("/"), "at": .integer(160), "took": .integer(200),
                    "code": .text("2.02"), "retransmissions": .integer(2), "repeated-by-device": .integer(1),
                ],
                [
                    "step": .text("write"), "path": .text("/0/3"), "at": .integer(360), "took": .integer(1),
                    "code": .text("2.04"), "bytes": size, "blocks": .integer(3),
                ],
                [
                    "step": .text("finish"), "at": .integer(361), "took": .integer(54), "waited": .integer(4),
                    "code": .text("2.04"),
                ],
            ])
    }

    @Test("A device that falls silent: the last step says so")
    func silentDevice() throws {
        var script = try BootstrapScript()
        script.begin()
        script.upstreamRequests(script.nextID(), BootstrapScript.deleteAll)
        script.play { session, now, out in
            session.deviceFailed(.unacknowledged, now: now, wallClock: 31_000_000, into: &out)
        }
        let end = try #require(script.events.last)
        #expect(end.name == .bootstrapFailed && end.cause == .deviceUnreachable)
        let step = try #require(Self.steps(end).last)
        #expect(step["failure"] == .text("not acknowledged") && step["took"] == .integer(31_000))
        #expect(step["code"] == nil)
    }

    @Test("What is refused at once has its code, and the bootstrap goes on")
    func refusedAtOnce() throws {
        var script = try BootstrapScript()
        script.begin()
        let account = BootstrapScript.write(BootstrapScript.foreignAccount, to: ["0", "0"])
        script.upstreamRequests(script.nextID(), account)
        script.upstreamRequests(script.nextID(), CoAPRequest(.post, path: ["rd"]))
        script.upstreamRequests(script.nextID(), BootstrapScript.finish)
        script.play { session, _, out in session.deviceGone(.deviceUnreachable, wallClock: 0, into: &out) }
        let end = try #require(script.events.last)
        let steps = Self.steps(end).dropFirst(2)
        #expect(steps.map { $0["step"] } == [.text("write"), .text("other"), .text("finish")])
        #expect(steps.allSatisfy { $0["took"] == .integer(0) })
        #expect(steps.map { $0["code"] } == [.text("4.00"), .text("4.05"), .text("4.06")])
    }

    @Test("Each server that was asked is named where there are several, and the device's answer is told")
    func servers() throws {
        var script = try BootstrapScript(upstreams: [BootstrapScript.upstream, BootstrapScript.second])
        script.deviceRequests(script.nextID())
        script.leaseGranted()
        script.play { session, _, out in session.upstreamFailed(.unacknowledged, wallClock: 9_000, into: &out) }
        script.leaseGranted(BootstrapScript.second)
        script.play { session, _, out in session.upstreamFailed(.noResponse, wallClock: 12_000, into: &out) }
        let steps = Self.steps(try #require(script.events.last))
        #expect(steps.map { $0["server"] } == [nil, .text("coap://192.0.2.1:5683"), .text("coap://192.0.2.2:5683")])
        #expect(steps.map { $0["failure"] } == [nil, .text("not acknowledged"), .text("acknowledged, no answer")])
        #expect(steps.first?["code"] == .text("5.04") && steps.first?["took"] == .integer(12))
    }

    @Test("It does not grow without end")
    func bounded() throws {
        var script = try BootstrapScript()
        script.begin()
        for _ in 0..<100 {
            script.upstreamRequests(script.nextID(), BootstrapScript.deleteAll)
            script.deviceAnswers(.deleted)
        }
        script.play { session, _, out in session.deviceGone(.deviceUnreachable, wallClock: 0, into: &out) }
        let end = try #require(script.events.last)
        #expect(Self.steps(end).count == Timeline.maximumSteps)
        #expect(Self.fields(end.detail)["more-steps"] == .integer(Int64(102 - Timeline.maximumSteps)))
    }

    @Test("A clock that is set meanwhile moves no step before an earlier one", arguments: [Int64.min, -1, 0])
    func clock(time: Int64) throws {
        var timeline = Timeline(at: 1_000_000)
        timeline.asks(server: 0, at: 3_000_000)
        timeline.serverAnswered(.changed, at: time)
        timeline.deviceHasAnswer(.changed, at: .max)
        let fields = timeline.fields(at: time, servers: [])
        let steps = Self.steps(AuditEvent(.bootstrapFinished, time: 0, detail: fields))
        #expect(steps.map { $0["at"] } == [.integer(0), .integer(2000)])
        #expect(steps[1]["took"] == .integer(0))
    }

    @Test("T20: the gateway's own question is told apart from the server's")
    func ownQuestion() {
        var timeline = Timeline(at: 0)
        timeline.asksForAccount(at: 1000)
        timeline.answered(.content, bytes: 20, at: 3000)
        timeline.begins(.discover(LwM2MPath(0)), bytes: 0, at: 4000)
        let steps = Self.steps(
            AuditEvent(.bootstrapFinished, time: 0, detail: timeline.fields(at: 5000, servers: []))
        )
        #expect(steps.map { $0["step"] } == [.text("request"), .text("own-discover"), .text("discover")])
        #expect(steps[1]["took"] == .integer(2))
        #expect(steps[1]["path"] == steps[2]["path"])
    }

    @Test("T40: a pack has its own words, and the server's answer tells how large it is")
    func pack() {
        var timeline = Timeline(at: 0)
        timeline.isForPack()
        timeline.asks(server: 0, at: 1000)
        timeline.serverAnswered(.content, bytes: 345, at: 2000)
        timeline.deviceHasAnswer(.content, at: 3000)
        let steps = Self.steps(
            AuditEvent(.bootstrapFinished, time: 0, detail: timeline.fields(at: 3000, servers: []))
        )
        #expect(steps.map { $0["step"] } == [.text("pack-request"), .text("upstream-pack")])
        #expect(steps[0]["code"] == .text("2.05") && steps[0]["took"] == .integer(3))
        #expect(steps[1]["bytes"] == .integer(345))
    }

    private static func fields(_ fields: [AuditEvent.Field]) -> Fields {
        Dictionary(fields.map { ($0.key, $0.value) }) { first, _ in first }
    }

    private static func steps(_ event: AuditEvent) -> [Fields] {
        guard case .steps(let steps, let servers)? = Self.fields(event.detail)["timeline"] else { return [] }
        return steps.map { step in
            var fields = Fields()
            step.tell(servers) { name, member in
                switch member {
                case .text(let text): fields["\(name)"] = .text(text)
                case .integer(let number): fields["\(name)"] = .integer(number)
                }
            }
            return fields
        }
    }
}
