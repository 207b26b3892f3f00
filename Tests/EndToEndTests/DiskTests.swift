internal import Foundation
internal import Testing

/// A disk that takes nothing: because it is full, because files may not grow, because it was made read-only.
@Suite("Disks that take nothing")
struct DiskTests {
    enum Trouble: String, CaseIterable, Sendable, CustomTestStringConvertible {
        /// Every write fails with ENOSPC.
        case noRoom = "no room"
        /// The kernel's own limit of the size of files, with its signal.
        case sizeLimit = "a limit of the size of files"
        /// Every write fails with EROFS, as when the kernel has found an error on the disk.
        case readOnly = "read-only"

        var testDescription: String { self.rawValue }
    }

    @Test(
        "Bootstraps fail closed, registered devices go on, everybody is told, and it goes on by itself afterwards",
        arguments: Trouble.allCases)
    func running(trouble: Trouble) async throws {
        try await Stage.run { stage in
            let faults = try await Faults(on: stage, disk: "state")
            let (gateway, bootstrap, _) = try await stage.everything(
                more: "admin: { listen: \"\(stage.address):0\", metrics: open }", launcher: faults.launcher)
            let monitoring = try await Monitoring(of: gateway)
            let registered = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(registered, at: gateway))
            try await device.event("registered")
            try await gateway.record("registration.opened", of: registered)
            let sim = try await stage.addSIM(to: gateway)
            try await gateway.record("sim.changed", of: sim)

            try await self.set(trouble, faults, of: gateway, on: stage)
            let refused = try stage.device(
                stage.credentials(sim, at: gateway) + ["--bootstrap-only", "--patience", "3"])
            #expect(try await refused.exit(within: .seconds(60)) == 1)
            #expect(refused.output.events("finished").isEmpty)
            #expect(bootstrap.program.output.events("finished").allSatisfy { $0.text("endpoint") != sim.iccid })
            #expect(try await gateway.remedy(for: "store unavailable").contains("disk"))
            let down = try await monitoring.until("not ready", { try await monitoring.get("/readyz") }) { answer in
                answer.status == 503 && answer.body.contains("the stores take no changes")
                    && answer.body.contains("the audit journal takes no records")
            }
            #expect(down.body.split(separator: "\n").count == 2)
            let entry = try await gateway.program.logged("the stores") {
                $0.text("message")?.hasPrefix("the stores take no changes") == true
            }
            #expect(entry.text("remedy")?.isEmpty == false)
            try await gateway.program.logged("the journal") {
                $0.text("message")?.hasPrefix("cannot write the audit journal") == true
            }
            device.signal(SIGUSR1)
            try await device.event("updated")

            try await self.set(nil, faults, of: gateway, on: stage)
            _ = try await monitoring.until("ready", { try await monitoring.get("/readyz") }) { $0.status == 200 }
            let again = try stage.device(stage.credentials(sim, at: gateway) + ["--once"])
            #expect(try await again.exit(within: .seconds(60)) == 0)
            device.signal(SIGUSR1)
            try await device.event("updated", number: 2)
            // What happened meanwhile is on record all the same.
            try await gateway.record("bootstrap.failed", of: sim, cause: "store unavailable")
            try await gateway.record("registration.closed", of: sim)
            #expect(try await monitoring.metrics()["audit_records_lost_total"] == 0)
            try await stage.verifyJournal(of: gateway)
        }
    }

    @Test(
        "A gateway does not start where it cannot write, says what to do, and starts when it can",
        arguments: [ENOSPC, EROFS])
    func starting(error: Int32) async throws {
        try await Stage.run { stage in
            let faults = try await Faults(on: stage, disk: "state")
            let (gateway, _, management) = try await stage.everything(launcher: faults.launcher)
            let sim = try await stage.addSIM(to: gateway)
            let account = stage.folder.appendingPathComponent("account").path
            let device = try stage.device(
                stage.credentials(sim, at: gateway) + ["--bootstrap-only", "--save-account", account])
            #expect(try await device.exit(within: .seconds(60)) == 0)
            gateway.program.signal(SIGKILL)
            #expect(try await gateway.program.exit(within: .seconds(10)) == 128 + SIGKILL)

            try faults.setDisk(error)
            let command = faults.launcher + [Programs.gateway, "serve", "--config", gateway.configuration]
            let vain = try stage.start("gateway without a disk", command[0], Array(command.dropFirst()))
            let status = try await vain.exit(within: .seconds(60))
            #expect([69, 73].contains(status), "\(status)")
            #expect(vain.output.all.isEmpty)
            let said = vain.errors.all.joined(separator: "\n")
            #expect(said.contains("\(stage.folder.path)/state/"), "\(said)")
            #expect(said.contains(error == EROFS ? "Read-only" : "space"), "\(said)")

            try faults.setDisk(nil)
            let again = try await stage.restart(gateway)
            let registering = try stage.device(["--account", account, "--endpoint", sim.iccid, "--once"])
            #expect(try await registering.exit(within: .seconds(60)) == 0)
            try await management.program.event("deregistered") { $0.text("endpoint") == sim.iccid }
            try await stage.verifyJournal(of: again)
        }
    }

    private func set(_ trouble: Trouble?, _ faults: Faults, of gateway: Gateway, on stage: Stage) async throws {
        try faults.setDisk(trouble == .noRoom ? ENOSPC : trouble == .readOnly ? EROFS : nil)
        // The soft limit alone, which can be raised again without any rights.
        let size = trouble == .sizeLimit ? "1" : "unlimited"
        let process = try #require(gateway.program.processID)
        try await stage.run("prlimit", "/usr/bin/prlimit", ["--pid", "\(process)", "--fsize=\(size):"])
    }
}
