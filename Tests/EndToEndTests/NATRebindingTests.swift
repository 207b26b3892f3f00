internal import CoAP
internal import Foundation
internal import Synchronization
internal import Testing

/// A NAT forgets a device and gives it another port, while the device has not moved and notices nothing.
@Suite("Devices behind a NAT that gives them new ports")
struct NATRebindingTests {
    @Test("With a connection ID a bootstrap goes on, from a new port with each message of the device")
    func bootstrap() async throws {
        try await Stage.run { stage in
            let roams = Atomic(false)
            let relay = try stage.relay { $0.isFromDevice && roams.load(ordering: .relaxed) ? .passFromNewPort : .pass }
            let (gateway, bootstrap, _) = try await stage.everything(bootstrapServer: ["--discover"], relay: relay)
            let sim = try await stage.addSIM(to: gateway)
            let device = try RoamingDevice(
                sim.iccid, key: sim.key, from: stage.otherAddress, to: (stage.address, relay.port))
            roams.store(true, ordering: .relaxed)
            #expect(try device.request(.post, ["bs"], query: ["ep=\(sim.iccid)"]).code == .changed)
            var commands: [CoAPCode] = []
            while true {
                let command = try device.next()
                commands.append(command.code)
                switch command.code {
                case .delete: try device.answer(.deleted, to: command)
                case .get: try device.answer(.content, to: command, format: 40, "</>;lwm2m=1.1,</0/1>,</1/0>")
                default: try device.answer(.changed, to: command)
                }
                if command.code == .post { break }
            }
            // The first GET is the gateway's own: where has the device its bootstrap account (T20)?
            #expect(commands == [.delete, .get, .put, .put, .put, .get, .post])
            try await bootstrap.program.event("finished") { $0.text("endpoint") == sim.iccid }
            #expect(Set(bootstrap.program.output.events.compactMap { $0.text("peer") }).count == 1)

            // A port for the handshake and one for each message.
            let ports = relay.ports
            #expect(ports.count == 1 + device.sent)
            let finished = try await gateway.record("bootstrap.finished", of: sim)
            #expect(finished.text("peer") == ports.last.map { "\(stage.address):\($0)" })
            #expect(finished.description.contains("\"moved-from\":\"\(stage.address):"))
            let counters = try await gateway.countersAtStop()
            #expect(counters.text("sessions_moved") == "\(device.sent)")
            #expect(counters.text("handshakes_completed") == "1")
            #expect(counters.text("bootstraps_finished") == "1")
        }
    }

    @Test("With a connection ID a registration goes on, and the server's requests find the device at its new port")
    func registration() async throws {
        try await Stage.run { stage in
            let roams = Atomic(false)
            let relay = try stage.relay { $0.isFromDevice && roams.load(ordering: .relaxed) ? .passFromNewPort : .pass }
            let (gateway, _, management) = try await stage.managed(
                ["read:/3/0/0", "write:/19/0/0:500", "wait:updated", "read:/3/0/1", "wait:deregistered"]
            ) { $0.relay = relay }
            let sim = try await stage.addSIM(to: gateway)
            let account = stage.folder.appendingPathComponent("account").path
            let first = try stage.device(
                stage.credentials(sim, at: gateway) + ["--bootstrap-only", "--save-account", account])
            #expect(try await first.exit(within: .seconds(60)) == 0)

            let device = try RoamingDevice(
                account: account, from: stage.otherAddress, to: (stage.address, relay.port))
            let before = relay.ports.count
            roams.store(true, ordering: .relaxed)
            let created = try device.request(.post, ["rd"], query: ["ep=\(sim.iccid)", "lt=300", "lwm2m=1.1"])
            #expect(created.code == .created)
            let location = created.options.strings(.locationPath) ?? []
            let read = try device.next()
            #expect(read.options.strings(.uriPath) == ["3", "0", "0"])
            try device.answer(.content, to: read, "one")
            let write = try device.next()
            #expect(write.code == .put && write.payload.count == 500)
            try device.answer(.changed, to: write)
            #expect(try device.request(.post, location).code == .changed)
            try device.answer(.content, to: try device.next(), "two")
            try await management.program.event("answered") { $0.text("payload") == "two" }
            #expect(try device.request(.delete, location).code == .deleted)
            try await management.program.event("done")

            let events = management.program.output.events
            #expect(events.filter { $0.name == "undelivered" }.isEmpty)
            #expect(events.filter { $0.name == "answered" }.map { $0.text("code") } == ["2.05", "2.04", "2.05"])
            #expect(Set(events.compactMap { $0.text("peer") }).count == 1)
            #expect(relay.ports.count == before + device.sent)
            let closed = try await gateway.record("registration.closed", of: sim)
            #expect(closed.text("peer") == relay.ports.last.map { "\(stage.address):\($0)" })
            let counters = try await gateway.countersAtStop()
            #expect(counters.text("sessions_moved") == "\(device.sent)")
            #expect(counters.text("registrations_opened") == "1")
            // The bootstrap's and this one.
            #expect(counters.text("handshakes_completed") == "2")
        }
    }

    @Test("Without one the bootstrap fails, its server is told, and a device that comes again gets in")
    func bootstrapWithout() async throws {
        try await Stage.run { stage in
            // Request and first answer still come from the old port.
            let relay = try stage.relay { passage in
                passage.device == 1 && passage.isFromDevice && passage.messages == 3 ? .passFromNewPort : .pass
            }
            let (gateway, bootstrap, management) = try await stage.everything(relay: relay)
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(
                stage.credentials(sim, at: gateway) + ["--bootstrap-only", "--patience", "3"])
            #expect(try await device.exit(within: .seconds(60)) == 1)
            #expect(try await device.event("failed").text("reason") == "no finish")
            try await gateway.record("bootstrap.failed", of: sim, cause: "device unreachable")
            try await bootstrap.program.event("aborted") { $0.integer("steps") == 2 }
            #expect(relay.ports.count == 2)

            let again = try stage.device(stage.credentials(sim, at: gateway) + ["--once"])
            #expect(try await again.exit(within: .seconds(60)) == 0)
            try await management.program.event("deregistered") { $0.text("endpoint") == sim.iccid }
            let counters = try await gateway.countersAtStop()
            #expect((counters.text("dropped_unknown_session").flatMap(Int.init) ?? 0) >= 1)
            #expect(counters.text("bootstraps_failed_device_unreachable") == "1")
            #expect(counters.text("bootstraps_finished") == "1")
            #expect(counters.text("sessions_moved") == nil)
        }
    }

    @Test("Without one a registered device shakes hands again and goes on, and keeps its port at the server")
    func registrationWithout() async throws {
        try await Stage.run { stage in
            let relay = try stage.relay()
            let (gateway, _, management) = try await stage.managed(
                ["observe:/3/0/13:2:cancel", "wait:updated", "read:/3/0/0"]
            ) { $0.relay = relay }
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(sim, at: gateway))
            try await management.program.event("cancelled")
            let before = relay.ports.count

            // This Update comes from a stranger's port and is not answered.
            relay.rebind()
            device.signal(SIGUSR1)
            try await device.event("requested") { $0.text("path")?.hasPrefix("/rd/") == true }
            device.signal(SIGUSR2)
            try await device.event("updated")
            try await management.program.event("done")
            #expect(relay.ports.count == before + 2)
            let events = management.program.output.events
            #expect(events.last { $0.name == "answered" }?.text("code") == "2.05")
            #expect(events.filter { $0.name == "updated" }.count == 1)
            #expect(Set(events.compactMap { $0.text("peer") }).count == 1)
            #expect(gateway.journal.output.events("registration.opened").count == 1)
            let counters = try await gateway.countersAtStop()
            #expect((counters.text("dropped_unknown_session").flatMap(Int.init) ?? 0) >= 1)
            // Bootstrap, registration, and the one after the NAT forgot.
            #expect(counters.text("handshakes_completed") == "3")
        }
    }
}
