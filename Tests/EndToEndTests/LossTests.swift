internal import Foundation
internal import Testing

/// `scripts/loss` measures more of it, at several rates and beside a server that devices reach without a gateway.
@Suite("Bootstraps over a link that loses, doubles and reorders datagrams")
struct LossTests {
    private static let seed = 20

    @Test("Of ten devices at 20 % loss each way most finish, and the journal says what became of each")
    func devices() async throws {
        try await Stage.run { stage in
            var settings = try await Self.settings(stage)
            settings.devicePatience =
                "{ ack-timeout: 200ms, max-retransmit: 5, handshake-retransmit: 300ms, handshake-timeout: 15s }"
            let gateway = try await stage.gateway(settings)
            let link = try await stage.link(
                to: gateway.securePort,
                [
                    "--loss", "20", "--duplicate", "2", "--reorder", "5", "--delay", "10ms", "--jitter", "10ms",
                    "--seed", "\(Self.seed)",
                ])
            var devices: [(sim: SIM, program: Program)] = []
            for _ in 0..<10 {
                let sim = try await stage.addSIM(to: gateway)
                let program = try stage.device([
                    "--bootstrap", "coaps://\(stage.address):\(link.port)", "--identity", sim.iccid, "--endpoint",
                    sim.iccid, "--key", sim.key, "--bootstrap-only", "--ack-timeout", "0.3", "--max-retransmit", "5",
                    "--linger", "2",
                ])
                // Its first datagram is on its way: the link numbers devices by their turn.
                try await program.event("connecting")
                devices.append((sim, program))
            }
            var finished = 0
            for (sim, program) in devices {
                let status = try await program.exit(within: .seconds(60))
                if status == 0 { finished += 1 }
                // A device that never got through its handshake has not asked for anything.
                guard !program.output.events("connected").isEmpty else {
                    #expect(status != 0 && program.output.events("failed").count == 1, "seed \(Self.seed)")
                    continue
                }
                let end = try await gateway.end(of: sim)
                #expect(end.name == "bootstrap.finished" || end.text("cause")?.isEmpty == false, "seed \(Self.seed)")
                if end.name == "bootstrap.finished" { #expect(status == 0, "seed \(Self.seed)") }
            }
            #expect(finished >= 8, "seed \(Self.seed)")
            let counts = try await link.counts()
            #expect(counts.allSatisfy { $0.integer("clients") == 10 && $0.integer("lost") ?? 0 > 0 }, "\(counts)")
            try await stage.verifyJournal(of: gateway)
        }
    }

    @Test("The same seed does the same to the same datagrams, another one does not")
    func repeatable() async throws {
        try await Stage.run { stage in
            var fates: [[[UInt8]]] = []
            for seed in [1, 1, 2] {
                let server = try UDPSocket(from: stage.address)
                let link = try await stage.link(
                    to: server.port, ["--loss", "30", "--duplicate", "10", "--seed", "\(seed)"])
                let client = try UDPSocket(from: stage.address)
                var arrived: [[UInt8]] = []
                for number in 0..<UInt8(200) { client.send([number], to: stage.address, port: link.port) }
                // Its end says that it has sent all that it had.
                let counts = try await link.counts()
                let up = try #require(counts.first { $0.text("direction") == "up" })
                #expect(up.integer("received") == 200)
                // As many as it has sent: fewer have to be waited for.
                for _ in 0..<(up.integer("sent") ?? 0) {
                    let datagram = server.receive(milliseconds: 1000)
                    arrived.append(try #require(datagram))
                }
                #expect(up.integer("lost").map { 30...90 ~= $0 } == true, "\(up)")
                #expect(up.integer("duplicated").map { $0 > 0 } == true, "\(up)")
                fates.append(arrived)
            }
            #expect(fates[0] == fates[1])
            #expect(fates[0] != fates[2])
        }
    }

    private static func settings(_ stage: Stage) async throws -> Stage.Settings {
        let server = "coap://192.0.2.10:5683"
        let bootstrap = try await stage.bootstrapServer([
            "--server-uri", server, "--account-uri", "coap://192.0.2.1:5683", "--ssid", "1111",
        ])
        return Stage.Settings(upstreams: [bootstrap.uri], server: server)
    }
}

extension Gateway {
    /// The journal's record of how a bootstrap of `sim` ended.
    fileprivate func end(of sim: SIM) async throws -> Event {
        let line = await self.journal.output.first(within: .seconds(60)) { line in
            guard let event = Event(line), event.text("iccid") == sim.iccid else { return false }
            return ["bootstrap.finished", "bootstrap.failed", "bootstrap.refused"].contains(event.name ?? "")
        }
        guard let event = line.flatMap(Event.init) else { throw Unexpected("no end of \(sim.iccid) in the journal") }
        return event
    }
}

/// A bad link in front of a server.
struct Link: Sendable {
    let program: Program
    let port: UInt16

    /// Ends it; returns what it has counted, for each direction.
    func counts() async throws -> [Event] {
        self.program.signal(SIGTERM)
        guard try await self.program.exit(within: .seconds(30)) == 0 else { throw Unexpected("the link ended badly") }
        return self.program.output.events("counts")
    }
}

extension Stage {
    func link(to port: UInt16, _ arguments: [String]) async throws -> Link {
        let program = try self.start(
            "link", Programs.simulator,
            ["link", "--listen", "\(self.address):0", "--to", "\(self.address):\(port)", "--timeout", "300"]
                + arguments)
        guard let port = try await program.event("listening").integer("port").flatMap(UInt16.init(exactly:)) else {
            throw Unexpected("the link names no port")
        }
        return Link(program: program, port: port)
    }
}
