internal import Foundation
internal import Testing

@Suite("What the gateway did for one device can be looked up")
struct DiagnosisTests {
    @Test("The timeline of a good bootstrap is a table, and stands in the journal as it is")
    func good() async throws {
        try await Stage.run { stage in
            let (gateway, _, _) = try await stage.everything()
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(sim, at: gateway) + ["--bootstrap-only"])
            #expect(try await device.exit(within: .seconds(60)) == 0)
            let record = try await gateway.record("bootstrap.finished", of: sim)
            #expect(record.description.contains("\"timeline\":[{\"step\":\"request\",\"at\":0,"))
            let shown = try await stage.auditShow(sim, at: gateway)
            let start = try #require(shown.firstIndex { $0.hasPrefix("    AT ") })
            let end = try #require(shown[start...].firstIndex { $0.hasPrefix("    over after ") })
            let steps = shown[start..<end].dropFirst()
            let names = ["device asks: POST /bs", "server is asked: POST /bs", "server: write /0/", "server: finish"]
            for name in names {
                #expect(steps.contains { $0.contains(name) && $0.contains("2.04") }, "no '\(name)' in \(steps)")
            }
            #expect(!shown.contains { $0.contains("what to do") })
            // Everybody's records in one list have no room for it.
            let tail = try await stage.run(
                "bootgate audit tail", Programs.gateway, ["audit", "tail", "--config", gateway.configuration])
            #expect(tail.contains { $0.contains("bootstrap.finished") } && !tail.contains { $0.contains("POST /bs") })
            #expect(try await stage.auditShow(sim, at: gateway, ["--json"]).contains(record.description))
        }
    }

    @Test("The timeline of a failed bootstrap ends with what was not answered, whose fault it is and what to do")
    func failed() async throws {
        try await Stage.run { stage in
            let (gateway, _, _) = try await stage.everything()
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(
                stage.credentials(sim, at: gateway) + ["--bootstrap-only", "--vanish-after", "2"])
            try await gateway.record("bootstrap.failed", of: sim, cause: "device unreachable")
            device.signal(SIGKILL)
            let shown = try await stage.auditShow(sim, at: gateway)
            let end = try #require(shown.firstIndex { $0.contains("bootstrap.failed  cause: device unreachable") })
            let rest = shown[end...]
            #expect(rest.contains { $0.contains("not acknowledged") && $0.contains("sent again 2 times") })
            #expect(rest.contains { $0.hasPrefix("    whose: device; what to do: ") })
        }
    }

    @Test("One SIM's messages are logged while somebody asks for it, on both legs, and never what is in them")
    func traced() async throws {
        try await Stage.run { stage in
            let (gateway, _, _) = try await stage.everything()
            let sim = try await stage.addSIM(to: gateway)
            let other = try await stage.addSIM(to: gateway)
            try await stage.sim(["trace", sim.iccid, "--for", "5m"], at: gateway)
            // The journal tells of a change when it is in force.
            try await gateway.journal.event("sim.changed") { $0.description.contains("\"action\":\"trace\"") }
            for sim in [sim, other] {
                let device = try stage.device(stage.credentials(sim, at: gateway) + ["--once"])
                #expect(try await device.exit(within: .seconds(60)) == 0)
            }
            try await self.expect(gateway.program, "from device", ["/bs", "/rd"])
            try await self.expect(gateway.program, "to server", ["/bs", "/rd"])
            try await self.expect(gateway.program, "from server", ["/0/0", "/bs"])
            try await self.expect(gateway.program, "to device", ["/0/0", "/bs"])
            let entries = self.traced(gateway)
            #expect(entries.allSatisfy { $0.text("iccid") == sim.iccid })
            let fields = try #require(entries.first { $0.text("path") == "/bs" })
            #expect(fields.text("type") == "CON" && fields.text("code") == "0.02" && fields.text("mid") != nil)
            #expect(!gateway.program.errors.all.contains { $0.contains("ep=") || $0.contains(sim.key) })

            try await stage.sim(["trace", sim.iccid, "--off"], at: gateway)
            try await gateway.journal.event("sim.changed") { $0.description.contains("\"seconds\":0") }
            // A message that was on its way is in the log by now: the log is written before the answer goes out.
            let count = self.traced(gateway).count
            let last = try stage.device(stage.credentials(sim, at: gateway) + ["--bootstrap-only"])
            #expect(try await last.exit(within: .seconds(60)) == 0)
            _ = try await gateway.countersAtStop()
            #expect(self.traced(gateway).count == count)
        }
    }
    private func expect(_ gateway: Program, _ direction: String, _ paths: [String]) async throws {
        for path in paths {
            try await gateway.logged("\(direction) \(path)") { entry in
                entry.text("direction") == direction && entry.text("path") == path && entry.text("level") == "debug"
            }
        }
    }

    private func traced(_ gateway: Gateway) -> [Event] {
        gateway.program.errors.events.filter { $0.text("message") == "message" }
    }
}

extension Stage {
    fileprivate func auditShow(
        _ sim: SIM, at gateway: Gateway, _ arguments: [String] = []
    ) async throws -> [String] {
        try await self.run(
            "bootgate audit show", Programs.gateway,
            ["audit", "show", sim.iccid, "--config", gateway.configuration] + arguments)
    }
}
