internal import Foundation
internal import Testing

/// `bootgate probe` against a running gateway: one line, and an exit code for monitoring.
@Suite("A probe tells whether devices get in")
struct ProbeTests {
    @Test("A probe that bootstraps and registers is a good one, and leaves nothing registered")
    func good() async throws {
        try await Stage.run { stage in
            let (gateway, _, management) = try await stage.everything()
            let sim = try await stage.addSIM(to: gateway)
            let probe = try stage.probe(gateway.secure, try stage.key(sim), ["--identity", sim.iccid, "--register"])
            #expect(try await probe.exit(within: .seconds(60)) == 0)
            let line = try #require(probe.output.all.first)
            #expect(line.hasPrefix("ok "))
            for step in ["handshake=", "bootstrap=", "connect=", "register=", "deregister=", "total="] {
                #expect(line.contains(step))
            }
            try await gateway.record("registration.closed", of: sim)
            #expect(management.program.output.events("registered").count == 1)
        }
    }

    @Test("A probe that the gateway refuses ends with 77 and says at which step")
    func refused() async throws {
        try await Stage.run { stage in
            let (gateway, _, _) = try await stage.everything()
            let sim = try await stage.addSIM(to: gateway)
            let stranger = try stage.probe(
                gateway.secure, try stage.key(SIM()), ["--identity", sim.iccid, "--timeout", "5"])
            #expect(try await stranger.exit(within: .seconds(60)) == 77)
            #expect(stranger.output.all.first?.hasPrefix("failed step=handshake") == true)

            let other = try stage.probe(
                gateway.secure, try stage.key(sim), ["--identity", sim.iccid, "--endpoint", "another", "--json"])
            #expect(try await other.exit(within: .seconds(60)) == 77)
            #expect(other.output.all.first?.contains(#""step":"bootstrap""#) == true)
        }
    }

    @Test("A probe ends with 69 when the bootstrap server is down, and when nobody listens")
    func unavailable() async throws {
        try await Stage.run { stage in
            let (gateway, bootstrap, _) = try await stage.everything()
            let sim = try await stage.addSIM(to: gateway)
            await bootstrap.program.stop()
            let key = try stage.key(sim)
            let down = try stage.probe(gateway.secure, key, ["--identity", sim.iccid])
            #expect(try await down.exit(within: .seconds(60)) == 69)
            #expect(down.output.all.first?.hasPrefix("failed step=bootstrap") == true)

            let nobody = try stage.probe(
                "coaps://\(stage.address):\(try stage.freePort())", key, ["--identity", sim.iccid])
            #expect(try await nobody.exit(within: .seconds(60)) == 69)
            #expect(nobody.output.all.first?.hasPrefix("failed step=handshake") == true)
        }
    }
}

extension Stage {
    fileprivate func probe(_ uri: String, _ keyFile: String, _ more: [String]) throws -> Program {
        try self.start("bootgate probe", Programs.gateway, ["probe", uri, "--key-file", keyFile] + more)
    }

    /// A file with the key of `sim`.
    fileprivate func key(_ sim: SIM) throws -> String {
        let path = self.folder.appendingPathComponent("\(sim.iccid).key").path
        try Data((sim.key + "\n").utf8).write(to: URL(fileURLWithPath: path))
        return path
    }
}
