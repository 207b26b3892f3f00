internal import Foundation
internal import Testing

/// The registration leg with independent code at both ends: the device on libcoap or aiocoap, the server on aiocoap.
@Suite("Registrations through the gateway")
struct RegistrationTests {
    @Test("Everything that a server starts reaches a DTLS device, block by block where it has to")
    func operations() async throws {
        try await Stage.run { stage in
            let operations = [
                "read:/3/0/0", "read:/19/0/0", "write:/19/0/0:2500", "read:/19/0/0", "discover:/3",
                "attributes:/3/0:pmin=1", "execute:/3/0/4", "create:/19:0503c300010203", "delete:/19/3",
                "fetch:/3/0/0,/3/0/1", "iwrite:/3/0/15=Paris,/3/0/1=edge", "fetch:/3/0/15,/3/0/1", "non:/3/0/0",
                "unsafe:/3/0/0", "elective:/3/0/0", "wait:deregistered",
            ]
            let (gateway, management) = try await stage.managed(operations)
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(
                stage.credentials(sim, at: gateway) + ["--once", "--stay", "2", "--data", "3000"])
            #expect(try await device.exit(within: .seconds(60)) == 0)
            try await management.program.event("done")

            let answers = management.program.output.events("answered")
            let codes = answers.map { "\($0.text("operation") ?? "") \($0.text("code") ?? "")" }
            #expect(
                codes == [
                    "read:/3/0/0 2.05", "read:/19/0/0 2.05", "write:/19/0/0:2500 2.04", "read:/19/0/0 2.05",
                    "discover:/3 2.05", "attributes:/3/0:pmin=1 2.04", "execute:/3/0/4 2.04",
                    "create:/19:0503c300010203 2.01", "delete:/19/3 2.02", "fetch:/3/0/0,/3/0/1 2.05",
                    "iwrite:/3/0/15=Paris,/3/0/1=edge 2.04", "fetch:/3/0/15,/3/0/1 2.05", "non:/3/0/0 2.05",
                    "unsafe:/3/0/0 4.02", "elective:/3/0/0 2.05",
                ])
            #expect(
                answers.filter { $0.text("operation") == "read:/19/0/0" }.map { $0.integer("bytes") } == [3000, 2500])
            #expect(answers[11].text("payload")?.contains("\"vs\":\"Paris\"") == true)
            #expect(
                device.output.events("request").contains { $0.text("path") == "/19/0/0" && $0.integer("bytes") == 2500 }
            )
            // A location of several segments comes back as it was given.
            #expect(try await device.event("registered").text("location") == "/rd/a b/1")
            try await gateway.record("registration.opened", of: sim)
            try await gateway.record("registration.closed", of: sim)
        }
    }

    @Test("Notifications pass as CON and as NON, and end by Observe 1", arguments: [true, false])
    func observations(confirmable: Bool) async throws {
        try await Stage.run { stage in
            let (gateway, management) = try await stage.managed([
                "observe:/3/0/13:2:cancel", "composite:/3/0/13,/3/0/0:2:cancel", "wait:deregistered",
            ])
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(
                stage.credentials(sim, at: gateway) + ["--once", "--stay", "2", "--notifications", "1000"]
                    + (confirmable ? ["--confirm"] : []))
            #expect(try await device.exit(within: .seconds(60)) == 0)
            try await management.program.event("done")
            let notifications = management.program.output.events("notification")
            #expect(notifications.map { $0.integer("observe") } == [1, 2, 1, 2])
            #expect(notifications.allSatisfy { $0.boolean("confirmable") == confirmable })
            #expect(management.program.output.events("cancelled").map { $0.text("code") } == ["2.05", "2.05"])
            // It would have gone on for minutes: the device itself was told.
            #expect(device.output.events("unobserved").map { $0.text("reason") } == ["cancelled", "cancelled"])
        }
    }

    @Test("A notification that the server resets ends the observation at the device")
    func reset() async throws {
        try await Stage.run { stage in
            let (gateway, management) = try await stage.managed(["observe:/3/0/13:2:reset", "wait:deregistered"])
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(
                stage.credentials(sim, at: gateway) + ["--once", "--notifications", "1000", "--confirm"])
            #expect(try await device.exit(within: .seconds(60)) == 0)
            try await management.program.event("done")
            #expect(management.program.output.events("notification").count == 2)
            #expect(try await device.event("unobserved").text("reason") == "reset")
        }
    }

    @Test("After another handshake, from another port, server and observations notice nothing")
    func reconnects() async throws {
        try await Stage.run { stage in
            let (gateway, management) = try await stage.managed([
                "observe:/3/0/13:6:keep", "wait:updated", "read:/3/0/0", "wait:deregistered",
            ])
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(
                stage.credentials(sim, at: gateway) + [
                    "--once", "--notifications", "6", "--confirm", "--reconnect-after", "3",
                ])
            #expect(try await device.exit(within: .seconds(60)) == 0)
            try await management.program.event("done")
            let events = management.program.output.events
            #expect(events.filter { $0.name == "notification" }.map { $0.integer("observe") } == [1, 2, 3, 4, 5, 6])
            #expect(events.last { $0.text("operation") == "read:/3/0/0" }?.text("code") == "2.05")
            let peers = Set(events.compactMap { $0.text("peer") })
            #expect(peers.count == 1)
            // Bootstrap, registration, and the second handshake of the registration, each from a port of its own.
            #expect(Set(device.output.events("connecting").compactMap { $0.integer("localPort") }).count == 3)
            let opened = gateway.journal.output.events("registration.opened")
            #expect(opened.count == 1)
        }
    }

    @Test(
        "A device that lost its power keeps its port at the server, back at its address or at another one",
        arguments: [true, false])
    func restarts(sameAddress: Bool) async throws {
        try await Stage.run { stage in
            let (gateway, management) = try await stage.managed(["wait:deregistered"])
            let sim = try await stage.addSIM(to: gateway)
            let account = stage.folder.appendingPathComponent("account").path
            let place = "\(stage.address):\(try stage.freePort())"
            let first = try stage.device(
                stage.credentials(sim, at: gateway) + ["--save-account", account, "--bind", place])
            try await first.event("registered")
            first.signal(SIGKILL)
            _ = try await first.exit(within: .seconds(10))
            let second = try stage.device([
                "--account", account, "--endpoint", sim.iccid, "--bind",
                sameAddress ? place : stage.otherAddress, "--once",
            ])
            #expect(try await second.exit(within: .seconds(60)) == 0)
            try await management.program.event("done")
            let registered = management.program.output.events("registered")
            #expect(registered.count == 2)
            #expect(Set(registered.compactMap { $0.text("peer") }).count == 1)
            try await gateway.record("registration.closed", of: sim, cause: "superseded by a new request")
        }
    }

    @Test("A device in queue mode sleeps through the server's request and gets it from the server's own repetition")
    func queueMode() async throws {
        try await Stage.run { stage in
            let (gateway, management) = try await stage.managed([
                "wait:registered", "stop:", "read:/3/0/0", "wait:deregistered",
            ])
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(
                stage.credentials(sim, at: gateway) + ["--once", "--stay", "8", "--register-query", "Q"])
            try await device.event("registered")
            // It sleeps until the server has repeated its request at least once.
            try await management.program.event("stopped")
            device.signal(SIGSTOP)
            management.program.signal(SIGUSR1)
            try await management.program.event("repeating")
            device.signal(SIGCONT)
            let answered = try await management.program.event("answered")
            #expect(answered.text("code") == "2.05")
            #expect(try await management.program.event("registered").list("queries").contains("Q"))
            #expect(try await device.exit(within: .seconds(60)) == 0)
        }
    }

    @Test("T48: a plain device registers only after its bootstrap; its Update from a new port moves the registration")
    func plainDevice() async throws {
        try await Stage.run { stage in
            let (gateway, management) = try await stage.managed(
                [
                    "read:/3/0/0", "read:/19/0/0", "write:/19/0/0:2500", "read:/19/0/0", "observe:/3/0/13:3:reset",
                    "observe:/3/0/13:2:cancel", "execute:/1/0/8", "wait:sent", "wait:updated", "wait:deregistered",
                ], plain: true)
            let sim = try await stage.addSIM(to: gateway, ["address=\(stage.address)"])
            let arguments = [
                try Programs.resource("lwm2m_device.py"), stage.address, stage.address, "\(gateway.plainPort)",
            ]
            let early = try stage.start("early device", Programs.python, arguments + [sim.iccid])
            #expect(try await early.exit(within: .seconds(30)) == 1)
            #expect(try await early.event("answered").text("code") == "4.03")
            try await gateway.record("registration.refused", of: sim)

            let bootstrapped = try stage.device([
                "--bootstrap", gateway.plain, "--endpoint", sim.iccid, "--bind", stage.address, "--bootstrap-only",
            ])
            #expect(try await bootstrapped.exit(within: .seconds(60)) == 0)
            let other = try stage.start("device under another name", Programs.python, arguments + ["meter-9"])
            #expect(try await other.exit(within: .seconds(30)) == 1)
            #expect(try await other.event("answered").text("code") == "4.00")
            try await gateway.record("registration.refused", of: sim, cause: "endpoint mismatch")

            let device = try stage.start("device on aiocoap", Programs.python, arguments + [sim.iccid])
            #expect(try await device.exit(within: .seconds(60)) == 0)
            try await management.program.event("done")
            let events = management.program.output.events
            #expect(events.filter { $0.name == "undelivered" }.isEmpty)
            let answers = events.filter { $0.name == "answered" }
            #expect(answers.first?.integer("maxAge") == 7 && answers.first?.text("etag") == "0102")
            #expect(
                answers.filter { $0.text("operation") == "read:/19/0/0" }.map { $0.integer("bytes") } == [3000, 2500])
            #expect(events.first { $0.name == "sent" }?.integer("bytes") == 2500)
            // The server sees one address, although the device has had two.
            #expect(Set(events.compactMap { $0.text("peer") }).count == 1)
            try await gateway.record("registration.closed", of: sim)
            try await stage.verifyJournal(of: gateway)
        }
    }

    @Test("Suspension ends a live registration, with its cause on record")
    func suspension() async throws {
        try await Stage.run { stage in
            let (gateway, _, _) = try await stage.everything()
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(sim, at: gateway))
            try await device.event("registered")
            try await stage.sim(["suspend", sim.iccid], at: gateway)
            try await gateway.record("registration.closed", of: sim, cause: "suspended")
        }
    }
}
