internal import Foundation
internal import Testing

/// No file can be opened and no connection taken.
@Suite("Descriptors used up")
struct DescriptorTests {
    private static let limit = 120

    @Test("A device is refused because of a limit, everything that was open lives on, and so does what comes after")
    func usedUp() async throws {
        try await Stage.run { stage in
            let (gateway, _, management) = try await stage.everything(
                more: """
                    admin: { listen: "\(stage.address):0", metrics: open }
                    pool: { min-idle: 0 }
                    """,
                launcher: ["/usr/bin/prlimit", "--nofile=\(Self.limit):\(Self.limit)", "--"])
            let monitoring = try await Monitoring(of: gateway)
            let process = try #require(gateway.program.processID)
            let sim = try await stage.addSIM(to: gateway)
            let plain = try await stage.addSIM(to: gateway, ["address=\(stage.address)"])
            try await gateway.record("sim.changed", of: plain)

            // Each is a descriptor of the gateway: over the network and in the state folder, 64 each.
            var connections = try (0..<64).map { _ in
                try Connection(to: stage.address, port: UInt16(monitoring.port))
            }
            connections += try (0..<64).map { _ in
                try Connection(to: stage.folder.appendingPathComponent("state/gateway.sock").path)
            }
            _ = try await monitoring.until("used up", { try Self.descriptors(of: process) }) { $0 >= Self.limit }
            let refused = try stage.device(stage.credentials(sim, at: gateway) + ["--bootstrap-only"])
            #expect(try await refused.exit(within: .seconds(60)) == 1)
            #expect(try await refused.event("failed").text("code") == "5.03")
            try await gateway.record("bootstrap.failed", of: sim, cause: "limit")
            try await gateway.remedy(for: "limit")

            connections = []
            _ = try await monitoring.until("free again", { try Self.descriptors(of: process) }) { $0 < Self.limit }
            #expect(try await monitoring.get("/healthz").status == 200)
            let device = try stage.device(stage.credentials(sim, at: gateway) + ["--bootstrap-only"])
            #expect(try await device.exit(within: .seconds(60)) == 0)
            let plainDevice = try stage.device([
                "--bootstrap", gateway.plain, "--endpoint", plain.iccid, "--bind", stage.address, "--bootstrap-only",
            ])
            #expect(try await plainDevice.exit(within: .seconds(60)) == 0)
            _ = try await monitoring.until("ready", { try await monitoring.get("/readyz") }) { $0.status == 200 }
            try await stage.verifyJournal(of: gateway)
            #expect(management.program.processID != nil)
        }
    }

    private static func descriptors(of process: pid_t) throws -> Int {
        try FileManager.default.contentsOfDirectory(atPath: "/proc/\(process)/fd").count
    }

    /// A connection that says nothing.
    private final class Connection {
        private let descriptor: Int32

        init(to address: String, port: UInt16) throws {
            var name = sockaddr_in()
            name.sin_family = sa_family_t(AF_INET)
            name.sin_port = port.bigEndian
            inet_pton(AF_INET, address, &name.sin_addr)
            self.descriptor = try Self.connected(AF_INET, &name)
        }

        init(to path: String) throws {
            var name = sockaddr_un()
            name.sun_family = sa_family_t(AF_UNIX)
            withUnsafeMutableBytes(of: &name.sun_path) { place in
                for (index, byte) in path.utf8.prefix(place.count - 1).enumerated() { place[index] = byte }
            }
            self.descriptor = try Self.connected(AF_UNIX, &name)
        }

        deinit { close(self.descriptor) }

        private static func connected<Name>(_ family: Int32, _ name: inout Name) throws -> Int32 {
            let descriptor = socket(family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
            let result = withUnsafePointer(to: &name) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                    connect(descriptor, $0, socklen_t(MemoryLayout<Name>.size))
                }
            }
            guard result == 0 else {
                close(descriptor)
                throw Unexpected("cannot connect: error \(errno)")
            }
            return descriptor
        }
    }
}
