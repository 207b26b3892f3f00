import Testing

@testable import Gateway

@Suite("How many sessions fit into memory")
struct SessionCapacityTests {
    struct Host: Sendable {
        var machine: Int
        var container: String
        var sessions: Int
    }

    private static let gibibyte = 1_073_741_824

    static let hosts: [Host] = [
        Host(machine: 8 * gibibyte, container: "max\n", sessions: 262_144),
        Host(machine: 8 * gibibyte, container: "", sessions: 262_144),
        Host(machine: 8 * gibibyte, container: "1073741824\n", sessions: 32_768),
        Host(machine: gibibyte, container: "8589934592\n", sessions: 32_768),
        Host(machine: 0, container: "", sessions: 32_768),
        Host(machine: 0, container: "2147483648", sessions: 65_536),
        // A little is always allowed.
        Host(machine: 1_048_576, container: "max", sessions: 1024),
        Host(machine: 8 * gibibyte, container: "4096", sessions: 1024),
        Host(machine: 8 * gibibyte, container: "-1", sessions: 262_144),
    ]

    @Test("Half of the memory of the machine, or of the container where that is less", arguments: hosts)
    func sessions(host: Host) {
        #expect(SessionCapacity.sessions(machine: host.machine, container: host.container) == host.sessions)
    }
}
