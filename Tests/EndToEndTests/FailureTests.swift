internal import Foundation
internal import Testing

/// For every failure: what the device sees, what the journal and the counters keep, and that the operator is told what
/// to do.
@Suite("What goes wrong shows at the device, in the journal, in the counters and in the log")
struct FailureTests {
    @Test("A wrong key fails in silence")
    func wrongKey() async throws {
        try await Stage.run { stage in
            let (gateway, bootstrap, _) = try await stage.everything()
            let sim = try await stage.addSIM(to: gateway)
            let key = String(sim.key.reversed())
            let device = try stage.device(
                stage.credentials(sim, at: gateway, key: key) + ["--bootstrap-only", "--patience", "4"])
            #expect(try await device.exit(within: .seconds(60)) == 1)
            #expect(device.output.events("connected").isEmpty)
            try await gateway.record("bootstrap.refused", of: sim, cause: "wrong key")
            try await self.expect(gateway, "handshakes_failed_wrong_key", cause: "wrong key")
            #expect(bootstrap.program.output.events("request").isEmpty)
        }
    }

    @Test("A wrong key is in the journal while the device still tries")
    func wrongKeyAtOnce() async throws {
        try await Stage.run { stage in
            let (gateway, _, _) = try await stage.everything()
            let sim = try await stage.addSIM(to: gateway)
            let key = String(sim.key.reversed())
            let device = try stage.device(
                stage.credentials(sim, at: gateway, key: key) + ["--bootstrap-only", "--patience", "600"])
            try await gateway.record("bootstrap.refused", of: sim, cause: "wrong key")
            #expect(device.processID != nil)
            await device.stop()
        }
    }

    @Test("An unknown identity fails in silence")
    func unknownIdentity() async throws {
        try await Stage.run { stage in
            let (gateway, bootstrap, _) = try await stage.everything()
            let device = try stage.device(
                stage.credentials(SIM(), at: gateway) + ["--bootstrap-only", "--patience", "4"])
            #expect(try await device.exit(within: .seconds(60)) == 1)
            #expect(device.output.events("connected").isEmpty)
            try await gateway.journal.event("bootstrap.refused") { $0.text("cause") == "unknown identity" }
            try await self.expect(gateway, "handshakes_failed_unknown_identity", cause: "unknown identity")
            #expect(bootstrap.program.output.events("request").isEmpty)
        }
    }

    @Test("A suspended SIM shakes hands and gets 4.00, until it is resumed")
    func suspended() async throws {
        try await Stage.run { stage in
            let (gateway, bootstrap, _) = try await stage.everything()
            let sim = try await stage.addSIM(to: gateway, ["status=suspended"])
            let device = try stage.device(stage.credentials(sim, at: gateway) + ["--bootstrap-only"])
            #expect(try await device.exit(within: .seconds(60)) == 1)
            #expect(device.output.events("connected").count == 1)
            #expect(try await device.event("failed").text("code") == "4.00")
            try await gateway.record("bootstrap.refused", of: sim, cause: "suspended")
            #expect(bootstrap.program.output.events("request").isEmpty)

            try await stage.sim(["resume", sim.iccid], at: gateway)
            try await gateway.record("sim.changed", of: sim)
            // The journal tells of a change and the sessions follow it independently, each a few times a second.
            var status: Int32 = 1
            for _ in 0..<10 where status != 0 {
                let resumed = try stage.device(stage.credentials(sim, at: gateway) + ["--bootstrap-only"])
                status = try await resumed.exit(within: .seconds(60))
            }
            #expect(status == 0)
            try await self.expect(gateway, "bootstraps_failed_suspended", cause: "suspended")
        }
    }

    @Test("A gateway without room says 5.03 to a plain device, and nothing to a hello")
    func overload() async throws {
        try await Stage.run { stage in
            let (gateway, bootstrap, _) = try await stage.everything(more: "limits: { sessions: 1 }")
            let first = try await stage.addSIM(to: gateway)
            // It falls silent; its session stays.
            let device = try stage.device(
                stage.credentials(first, at: gateway) + ["--bootstrap-only", "--vanish-after", "1"])
            try await gateway.record("bootstrap.failed", of: first)
            let sim = try await stage.addSIM(to: gateway, ["address=\(stage.address)"])
            let plain = try stage.device([
                "--bootstrap", gateway.plain, "--endpoint", sim.iccid, "--bind", stage.address, "--bootstrap-only",
            ])
            #expect(try await plain.exit(within: .seconds(60)) == 1)
            #expect(try await plain.event("failed").text("code") == "5.03")
            let secure = try stage.device(
                stage.credentials(sim, at: gateway) + ["--bootstrap-only", "--patience", "3"])
            #expect(try await secure.exit(within: .seconds(60)) == 1)
            #expect(secure.output.events("connected").isEmpty)
            #expect(bootstrap.program.output.events("request").count == 1)
            try await gateway.remedy(for: "limit")
            device.signal(SIGKILL)
        }
    }

    @Test("A retired SIM fails in silence")
    func retired() async throws {
        try await Stage.run { stage in
            let (gateway, _, _) = try await stage.everything()
            let sim = try await stage.addSIM(to: gateway, ["status=retired"])
            let device = try stage.device(
                stage.credentials(sim, at: gateway) + ["--bootstrap-only", "--patience", "4"])
            #expect(try await device.exit(within: .seconds(60)) == 1)
            #expect(device.output.events("connected").isEmpty)
            try await gateway.record("bootstrap.refused", of: sim, cause: "retired")
            try await self.expect(gateway, "handshakes_failed_retired", cause: "retired")
        }
    }

    @Test("T12: another device's endpoint name gets 4.00, and nothing is forwarded")
    func foreignEndpoint() async throws {
        try await Stage.run { stage in
            let (gateway, bootstrap, _) = try await stage.everything()
            let sim = try await stage.addSIM(to: gateway)
            let victim = try await stage.addSIM(to: gateway)
            let device = try stage.device(
                stage.credentials(sim, at: gateway, endpoint: victim.iccid) + ["--bootstrap-only"])
            #expect(try await device.exit(within: .seconds(60)) == 1)
            #expect(try await device.event("failed").text("code") == "4.00")
            try await gateway.record("bootstrap.refused", of: sim, cause: "endpoint mismatch")
            try await self.expect(gateway, "bootstraps_failed_endpoint_mismatch", cause: "endpoint mismatch")
            #expect(bootstrap.program.output.events("request").isEmpty)
        }
    }

    @Test("A bootstrap server that is down gives the device 5.03")
    func upstreamDown() async throws {
        try await Stage.run { stage in
            let nowhere = "coap://\(stage.address):\(try stage.freePort())"
            let gateway = try await stage.gateway(.init(upstreams: [nowhere], server: "coap://192.0.2.1"))
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(sim, at: gateway) + ["--bootstrap-only"])
            #expect(try await device.exit(within: .seconds(60)) == 1)
            #expect(try await device.event("failed").text("code") == "5.03")
            try await gateway.record("bootstrap.failed", of: sim, cause: "upstream unreachable")
            try await self.expect(gateway, "bootstraps_failed_upstream_unreachable", cause: "upstream unreachable")
        }
    }

    @Test("A bootstrap server that does not answer gives the device 5.04")
    func upstreamSilent() async throws {
        try await Stage.run { stage in
            let (gateway, bootstrap, _) = try await stage.everything(bootstrapServer: ["--silent"])
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(sim, at: gateway) + ["--bootstrap-only"])
            #expect(try await device.exit(within: .seconds(60)) == 1)
            #expect(try await device.event("failed").text("code") == "5.04")
            #expect(!bootstrap.program.output.events("request").isEmpty)
            try await gateway.record("bootstrap.failed", of: sim, cause: "upstream silent")
            try await self.expect(gateway, "bootstraps_failed_upstream_silent", cause: "upstream silent")
        }
    }

    @Test("The next bootstrap server is asked when the first is down or silent", arguments: [false, true])
    func secondUpstream(isSilent: Bool) async throws {
        try await Stage.run { stage in
            let management = try await stage.managementServer()
            let written = ["--server-uri", management.uri]
            let first =
                isSilent
                ? try await stage.bootstrapServer(written + ["--silent"]).uri
                : "coap://\(stage.address):\(try stage.freePort())"
            let second = try await stage.bootstrapServer(written)
            let gateway = try await stage.gateway(.init(upstreams: [first, second.uri], server: management.uri))
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(sim, at: gateway) + ["--once"])
            #expect(try await device.exit(within: .seconds(60)) == 0)
            try await second.program.event("finished") { $0.text("endpoint") == sim.iccid }
        }
    }

    @Test("A bootstrap server that refuses gives the device its own code")
    func upstreamRefuses() async throws {
        try await Stage.run { stage in
            let (gateway, _, _) = try await stage.everything(bootstrapServer: ["--refuse", "4.03"])
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(sim, at: gateway) + ["--bootstrap-only"])
            #expect(try await device.exit(within: .seconds(60)) == 1)
            #expect(try await device.event("failed").text("code") == "4.03")
            try await gateway.record("bootstrap.failed", of: sim, cause: "upstream refused")
            try await self.expect(gateway, "bootstraps_failed_upstream_refused", cause: "upstream refused")
        }
    }

    @Test("A write that ends in the middle is refused, and the device gets no end of its bootstrap")
    func brokenTLV() async throws {
        try await Stage.run { stage in
            let (gateway, bootstrap, _) = try await stage.everything(bootstrapServer: ["--broken-tlv"])
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(
                stage.credentials(sim, at: gateway) + ["--bootstrap-only", "--patience", "3"])
            #expect(try await device.exit(within: .seconds(60)) == 1)
            #expect(try await device.event("failed").text("reason") == "no finish")
            #expect(device.output.events("account").isEmpty)
            #expect(try await bootstrap.program.event("aborted").text("reason") == "answer 4.00")
            try await gateway.record("bootstrap.refused", of: sim, cause: "malformed upstream message")
            try await self.expect(
                gateway, "bootstraps_failed_malformed_upstream_message", cause: "malformed upstream message")
        }
    }

    @Test("An account without a rule is refused, and the device gets no end of its bootstrap")
    func noRule() async throws {
        try await Stage.run { stage in
            let bootstrap = try await stage.bootstrapServer(["--server-uri", "coap://192.0.2.9:5683"])
            let gateway = try await stage.gateway(
                .init(upstreams: [bootstrap.uri], server: "coap://192.0.2.1:5683"))
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(
                stage.credentials(sim, at: gateway) + ["--bootstrap-only", "--patience", "3"])
            #expect(try await device.exit(within: .seconds(60)) == 1)
            #expect(try await device.event("failed").text("reason") == "no finish")
            #expect(device.output.events("account").isEmpty)
            try await bootstrap.program.event("aborted")
            try await gateway.record("bootstrap.refused", of: sim, cause: "no route for server")
            try await self.expect(gateway, "bootstraps_failed_no_route_for_server", cause: "no route for server")
        }
    }

    @Test("A server that goes on after an abort reaches no other device")
    func serverGoesOn() async throws {
        try await Stage.run { stage in
            let (gateway, bootstrap, _) = try await stage.everything(
                bootstrapServer: ["--continue-after-abort", "--pause", "0.3"])
            let sim = try await stage.addSIM(to: gateway)
            let other = try await stage.addSIM(to: gateway)
            let lost = try stage.device(
                stage.credentials(sim, at: gateway) + ["--bootstrap-only", "--vanish-after", "1"])
            try await lost.event("vanished")
            try await gateway.record("bootstrap.failed", of: sim, cause: "device unreachable")
            // While the server goes on with what was for the first, the second asks.
            let device = try stage.device(stage.credentials(other, at: gateway) + ["--bootstrap-only"])
            #expect(try await device.exit(within: .seconds(60)) == 0)
            // In its first bootstrap it is asked where it has its own account (T20).
            #expect(
                device.output.events("request").map { $0.text("path") } == ["/", "/0", "/0/0", "/1/0", "/0/1", "/bs"])
            try await bootstrap.program.event("undelivered") {
                $0.text("endpoint") == sim.iccid && $0.text("reason") == "reset"
            }
            try await self.expect(gateway, "bootstraps_failed_device_unreachable", cause: "device unreachable")
        }
    }

    @Test("A device that refuses a write says so to the server, and the journal keeps it")
    func writeRefused() async throws {
        try await Stage.run { stage in
            let (gateway, bootstrap, _) = try await stage.everything()
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(
                stage.credentials(sim, at: gateway) + ["--bootstrap-only", "--refuse-write", "4.15", "--patience", "3"])
            #expect(try await device.exit(within: .seconds(60)) == 1)
            #expect(try await bootstrap.program.event("aborted").text("reason") == "answer 4.15")
            try await gateway.record("bootstrap.failed", of: sim, cause: "device refused")
            try await self.expect(gateway, "bootstraps_failed_device_refused", cause: "device refused")
        }
    }

    @Test("A device that finds its configuration incomplete says so to the server, and the journal keeps it")
    func finishRefused() async throws {
        try await Stage.run { stage in
            let (gateway, bootstrap, _) = try await stage.everything()
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(
                stage.credentials(sim, at: gateway) + ["--bootstrap-only", "--refuse-finish", "--patience", "3"])
            #expect(try await device.exit(within: .seconds(60)) == 1)
            #expect(try await bootstrap.program.event("aborted").text("reason") == "answer 4.06")
            try await gateway.record("bootstrap.failed", of: sim, cause: "finish refused")
            try await self.expect(gateway, "bootstraps_failed_finish_refused", cause: "finish refused")
        }
    }

    @Test("A key that was replaced shakes hands and gets 4.03, so that the device bootstraps again")
    func replacedKey() async throws {
        try await Stage.run { stage in
            let (gateway, _, management) = try await stage.everything()
            let sim = try await stage.addSIM(to: gateway)
            let file = stage.folder.appendingPathComponent("account").path
            let bootstrapping = stage.credentials(sim, at: gateway)
            // The old key goes when the new one has proved itself.
            let first = try stage.device(bootstrapping + ["--once", "--save-account", file])
            #expect(try await first.exit(within: .seconds(60)) == 0)
            let second = try stage.device(bootstrapping + ["--once"])
            #expect(try await second.exit(within: .seconds(60)) == 0)
            try await gateway.record("credential.replaced", of: sim)
            let registrations = management.program.output.events("registered").count

            let late = try stage.device(["--account", file, "--endpoint", sim.iccid, "--once"])
            #expect(try await late.exit(within: .seconds(60)) == 1)
            #expect(try await late.event("failed").text("code") == "4.03")
            try await gateway.record("registration.refused", of: sim)
            #expect(management.program.output.events("registered").count == registrations)
        }
    }

    @Test("A registered device is put out within a second when its SIM is suspended")
    func suspendedWhileRegistered() async throws {
        try await Stage.run { stage in
            let (gateway, _, management) = try await stage.everything()
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(sim, at: gateway))
            try await management.program.event("registered") { $0.text("endpoint") == sim.iccid }
            try await stage.sim(["suspend", sim.iccid], at: gateway)
            #expect(try await device.event("failed").text("reason") == "connection closed")
            try await gateway.record("registration.closed", of: sim)
            try await gateway.record("credential.revoked", of: sim)
        }
    }

    /// The log names the cause and the remedy, and the gateway has counted it.
    private func expect(_ gateway: Gateway, _ counter: String, cause: String) async throws {
        try await gateway.remedy(for: cause)
        let counters = try await gateway.countersAtStop()
        #expect(counters.text(counter) != nil, "\(counters)")
    }
}
