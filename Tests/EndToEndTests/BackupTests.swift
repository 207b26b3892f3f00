internal import Foundation
internal import Testing

@Suite("Backup and restore, end to end")
struct BackupTests {
    @Test("A copy of a running gateway, restored elsewhere: the journal verifies, old keys work, a device bootstraps")
    func restore() async throws {
        try await Stage.run { stage in
            let (gateway, bootstrap, management) = try await stage.everything()
            let sim = try await stage.addSIM(to: gateway)
            let first = try stage.device(stage.credentials(sim, at: gateway) + ["--bootstrap-only"])
            #expect(try await first.exit(within: .seconds(60)) == 0)
            try await gateway.record("bootstrap.finished", of: sim)
            let copy = stage.folder.appendingPathComponent("copy").path
            try await stage.run(
                "bootgate backup", Programs.gateway,
                ["backup", "--with-keys", copy, "--config", gateway.configuration])
            // The machine is lost.
            gateway.program.signal(SIGKILL)
            _ = try await gateway.program.exit(within: .seconds(30))
            try FileManager.default.removeItem(atPath: stage.folder.path + "/state")
            try FileManager.default.moveItem(atPath: copy, toPath: stage.folder.path + "/state")
            for name in ["records.key", "audit.key", "audit.key.pub"] {
                try? FileManager.default.removeItem(atPath: "\(stage.folder.path)/\(name)")
                try FileManager.default.moveItem(
                    atPath: "\(stage.folder.path)/state/keys/\(name)", toPath: "\(stage.folder.path)/\(name)")
            }
            let restored = try await stage.restart(gateway)
            let device = try stage.device(stage.credentials(sim, at: restored) + ["--once"])
            #expect(try await device.exit(within: .seconds(60)) == 0)
            try await restored.record("registration.opened", of: sim)
            try await bootstrap.program.event("finished") { $0.text("endpoint") == sim.iccid }
            try await management.program.event("registered") { $0.text("endpoint") == sim.iccid }
            try await stage.verifyJournal(of: restored)
        }
    }
}
