internal import Foundation
internal import Testing

/// The gateway stops and starts again while devices are registered. They stand behind a NAT, as most do: nobody tells them
/// that the gateway was gone for a moment.
@Suite("A clean restart of the gateway")
struct HandoverTests {
    /// A registered device, and a gateway that has stopped in order.
    private func registered(
        on stage: Stage, _ operations: [String], device arguments: [String] = [],
        meanwhile: (Gateway, Program, Stage.Server) async throws -> Void = { _, _, _ in }
    ) async throws -> (gateway: Gateway, sim: SIM, device: Program, management: Stage.Server) {
        let relay = try stage.relay()
        let (gateway, _, management) = try await stage.managed(operations) {
            $0.relay = relay
            $0.handsOver = true
        }
        let sim = try await stage.addSIM(to: gateway)
        let device = try stage.device(stage.credentials(sim, at: gateway) + arguments)
        try await device.event("registered")
        // A session can be saved as soon as the device has used it, and the server has heard of it by now.
        try await gateway.record("registration.opened", of: sim)
        try await meanwhile(gateway, device, management)
        gateway.program.signal(SIGTERM)
        #expect(try await gateway.program.exit(within: .seconds(30)) == 0)
        return (gateway, sim, device, management)
    }

    private func takenUp(by gateway: Gateway) async throws -> Event {
        try await gateway.program.logged("what was taken up") {
            $0.text("message") == "sessions taken up from the last run"
        }
    }

    @Test("A device goes on without a handshake: its Update, the server's Read through the old port, an observation")
    func goesOn() async throws {
        try await Stage.run { stage in
            let (gateway, sim, device, management) = try await self.registered(
                on: stage, ["observe:/3/0/13:10000:keep", "read:/3/0/0", "wait:updated", "read:/3/0/1"],
                device: ["--notifications", "10000"]
            ) { _, _, management in
                try await management.program.event("answered", number: 2)
                try await management.program.event("notification")
            }
            #expect(FileManager.default.fileExists(atPath: stage.sessionFile))
            let before =
                management.program.output.events("notification").compactMap { $0.integer("observe") }.max() ?? 0
            let again = try await stage.restart(gateway)
            #expect(!FileManager.default.fileExists(atPath: stage.sessionFile))
            let takenUp = try await self.takenUp(by: again)
            #expect(takenUp.text("registrations") == "1")
            try await management.program.event("notification") { ($0.integer("observe") ?? 0) > before + 5 }
            device.signal(SIGUSR1)
            try await device.event("updated")
            try await management.program.event("done")

            let events = management.program.output.events
            #expect(events.filter { $0.name == "undelivered" }.isEmpty)
            #expect(events.filter { $0.name == "answered" }.map { $0.text("code") } == ["2.05", "2.05", "2.05"])
            #expect(Set(events.compactMap { $0.text("peer") }).count == 1)
            #expect(device.output.events("registered").count == 1 && device.output.events("connecting").count == 2)
            #expect(again.journal.output.events("registration.closed").isEmpty)
            #expect(
                again.journal.output.events("registration.opened").filter { $0.text("iccid") == sim.iccid }.count == 1)
            let counters = try await again.countersAtStop()
            #expect((counters.text("handshakes_completed") ?? "0") == "0")
            try await stage.verifyJournal(of: again)
        }
    }

    @Test("A plain device keeps its registration too")
    func plain() async throws {
        try await Stage.run { stage in
            let (gateway, _, management) = try await stage.managed(["read:/3/0/0", "wait:updated", "read:/3/0/1"]) {
                $0.carriesPlainRegistrations = true
                $0.handsOver = true
            }
            let sim = try await stage.addSIM(to: gateway, ["address=\(stage.address)"])
            let device = try stage.device([
                "--bootstrap", gateway.plain, "--endpoint", sim.iccid, "--bind", stage.address,
            ])
            try await device.event("registered")
            try await management.program.event("answered")
            gateway.program.signal(SIGTERM)
            #expect(try await gateway.program.exit(within: .seconds(30)) == 0)
            let again = try await stage.restart(gateway)
            device.signal(SIGUSR1)
            try await device.event("updated")
            try await management.program.event("done")
            let events = management.program.output.events
            #expect(events.filter { $0.name == "answered" }.map { $0.text("code") } == ["2.05", "2.05"])
            #expect(Set(events.compactMap { $0.text("peer") }).count == 1)
            #expect(device.output.events("registered").count == 1)
            #expect(try await self.takenUp(by: again).text("registrations") == "1")
        }
    }

    @Test("Saved sessions work once: a copy that is put back is refused with its reason, and devices shake hands again")
    func once() async throws {
        try await Stage.run { stage in
            let (gateway, sim, device, _) = try await self.registered(on: stage, ["read:/3/0/0"])
            let copy = stage.folder.appendingPathComponent("copy").path
            try FileManager.default.copyItem(atPath: stage.sessionFile, toPath: copy)
            let again = try await stage.restart(gateway)
            _ = try await self.takenUp(by: again)
            again.program.signal(SIGKILL)
            #expect(try await again.program.exit(within: .seconds(10)) == 128 + SIGKILL)

            try FileManager.default.copyItem(atPath: copy, toPath: stage.sessionFile)
            let third = try await stage.restart(gateway)
            let refusal = try await third.program.logged("the refusal") {
                $0.text("message")?.hasPrefix("the saved sessions are not used") == true
            }
            #expect(refusal.text("error")?.contains("put a copy of the file back") == true, "\(refusal)")
            #expect(!FileManager.default.fileExists(atPath: stage.sessionFile))
            device.signal(SIGUSR2)
            try await device.event("forgotten")
            try await device.event("registered", number: 2)
            #expect(device.output.events("connecting").count == 3)
            #expect(try await third.countersAtStop().text("handshakes_completed") == "1")
            try await third.record("registration.opened", of: sim)
        }
    }

    @Test("A port that another program has taken meanwhile ends the registration, and the device registers anew")
    func portTaken() async throws {
        try await Stage.run { stage in
            let (gateway, sim, device, management) = try await self.registered(on: stage, ["read:/3/0/0"])
            let peer = try #require(try await management.program.event("registered").text("peer"))
            let parts = peer.split(separator: ":")
            let thief = try UDPSocket(
                from: try #require(parts.first.map(String.init)), port: try #require(parts.last.flatMap { UInt16($0) }))
            let again = try await stage.restart(gateway)
            let closed = try await again.record("registration.closed", of: sim, cause: "upstream port taken")
            #expect(closed.description.contains(peer))
            try await again.remedy(for: "upstream port taken")
            #expect(try await self.takenUp(by: again).text("sessions").flatMap { Int($0) } ?? 0 >= 1)
            device.signal(SIGUSR1)
            #expect(try await device.event("forgotten").text("code") == "4.04")
            try await device.event("registered", number: 2)
            #expect(try await again.countersAtStop().text("handshakes_completed") ?? "0" == "0")
            _ = thief.port
        }
    }

    @Test("A SIM that was suspended while the gateway was down has no registration afterwards")
    func suspended() async throws {
        try await Stage.run { stage in
            let (gateway, sim, _, _) = try await self.registered(on: stage, ["read:/3/0/0"])
            try await stage.sim(["suspend", sim.iccid], at: gateway)
            let again = try await stage.restart(gateway)
            try await again.record("registration.closed", of: sim, cause: "suspended")
            let takenUp = try await self.takenUp(by: again)
            #expect(takenUp.text("sessions") == "0" && takenUp.text("registrations") == "0")
        }
    }
}

/// SIGTERM lets running bootstraps finish, for a while.
@Suite("The drain")
struct DrainTests {
    private func stopping(_ gateway: Gateway) async throws {
        gateway.program.signal(SIGTERM)
        _ = try await gateway.program.logged("its end") { $0.text("message")?.hasPrefix("stopping") == true }
    }

    @Test("A running bootstrap finishes, and a new device does not even get a cookie")
    func finishes() async throws {
        try await Stage.run { stage in
            let (gateway, _, _) = try await stage.managed([], bootstrapServer: ["--pause", "0.5"]) { $0.drain = "30s" }
            let sim = try await stage.addSIM(to: gateway)
            let late = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(sim, at: gateway) + ["--bootstrap-only"])
            try await gateway.record("bootstrap.forwarded", of: sim)
            try await self.stopping(gateway)
            let newcomer = try stage.device(stage.credentials(late, at: gateway) + ["--bootstrap-only"])
            try await newcomer.event("connecting")
            #expect(try await device.exit(within: .seconds(30)) == 0)
            try await gateway.record("bootstrap.finished", of: sim)
            let counters = try await gateway.program.logged("the counters") { $0.text("message") == "gateway stopped" }
            #expect((counters.text("dropped_draining").flatMap { Int($0) } ?? 0) >= 1)
            #expect(counters.text("handshakes_completed") == "1")
            #expect(try await gateway.program.exit(within: .seconds(30)) == 0)
        }
    }

    @Test("A bootstrap that takes longer than the drain fails with its cause")
    func cut() async throws {
        try await Stage.run { stage in
            let (gateway, _, _) = try await stage.managed([], bootstrapServer: ["--pause", "20"]) { $0.drain = "500ms" }
            let sim = try await stage.addSIM(to: gateway)
            _ = try stage.device(stage.credentials(sim, at: gateway) + ["--bootstrap-only"])
            try await gateway.record("bootstrap.forwarded", of: sim)
            try await self.stopping(gateway)
            try await gateway.record("bootstrap.failed", of: sim, cause: "gateway stopping")
            #expect(try await gateway.program.exit(within: .seconds(30)) == 0)
            try await stage.verifyJournal(of: gateway)
        }
    }

    @Test("A second signal ends the drain at once", arguments: [SIGTERM, SIGINT])
    func second(signal: Int32) async throws {
        try await Stage.run { stage in
            let (gateway, _, _) = try await stage.managed([], bootstrapServer: ["--pause", "100"]) { $0.drain = "1h" }
            let sim = try await stage.addSIM(to: gateway)
            _ = try stage.device(stage.credentials(sim, at: gateway) + ["--bootstrap-only"])
            try await gateway.record("bootstrap.forwarded", of: sim)
            try await self.stopping(gateway)
            gateway.program.signal(signal)
            try await gateway.record("bootstrap.failed", of: sim, cause: "gateway stopping")
            #expect(try await gateway.program.exit(within: .seconds(30)) == 0)
        }
    }
}
