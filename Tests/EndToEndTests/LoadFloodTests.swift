internal import CoAP
internal import Foundation
internal import Synchronization
internal import Testing
internal import Timing

/// More than the gateway can carry, from many sources, while devices are in. `scripts/slow floods` runs it for longer and
/// against a release build, and shows the figures: BOOTGATE_FLOOD_SECONDS says how long each flood lasts.
@Suite("Floods beyond the capacity cost devices that are in nothing but time", .serialized)
struct LoadFloodTests {
    private static let token = "a-token-of-a-viewer"
    private static let seconds = ProcessInfo.processInfo.environment["BOOTGATE_FLOOD_SECONDS"].flatMap(Double.init)
    private static let devices = Self.seconds == nil ? 2 : 8
    private static let sources = Self.seconds == nil ? 300 : 600
    private static let patience = Duration.seconds(600)

    @Test(
        "Registered and bootstrapping devices get every answer, and the level returns",
        arguments: [
            FloodLoad.Kind.hellos, .handshakes, .requests,
        ])
    func flood(kind: FloodLoad.Kind) async throws {
        try await Stage.run { stage in
            let management = try await stage.managementServer()
            let bootstrap = try await stage.bootstrapServer(
                ["--server-uri", management.uri, "--ssid", "1111", "--pause", "0.3"])
            var settings = Stage.Settings(upstreams: [bootstrap.uri], server: management.uri)
            settings.devicePatience = "{ handshake-timeout: 5s }"
            settings.more =
                try Monitoring.configuration(on: stage, token: Self.token)
                + "\nlimits: { half-open: \(Self.sources * 3 / 4), overload: { hold: 1s } }\n"
            let gateway = try await stage.gateway(settings)
            let monitoring = try await Monitoring(of: gateway, token: Self.token)
            let devices = try await self.registered(on: stage, at: gateway)
            let quiet = try await Self.measure(devices, for: min(Self.seconds ?? 0.3, 5))
            let sim = try await stage.addSIM(to: gateway)
            let rate = try await Self.capacity(kind, of: gateway, monitoring) * 2
            let running = try stage.device(
                stage.credentials(sim, at: gateway) + [
                    "--bind", stage.otherAddress, "--bootstrap-only", "--linger", "2",
                ])
            try await gateway.record("bootstrap.forwarded", of: sim)
            let began = Instant.now
            let before = try await monitoring.metrics()
            let flood = try await Self.blocking {
                try FloodLoad(kind, at: gateway, sources: Self.sources, rate: rate, seed: 7)
            }
            let started = Instant.now
            async let level = Self.risen(monitoring, since: started, for: Self.seconds ?? 1)
            let busy = try await Self.measure(devices, for: Self.seconds ?? 1)
            let risen = try await level
            let ended = Instant.now
            let sent = try await Self.blocking { flood.stop() }
            #expect(try await running.exit(within: .seconds(120)) == 0)
            let after = try await monitoring.until("normal", monitoring.metrics) { $0["overload_level"] == 0 }
            let returned = ended.duration(to: .now)
            #expect(quiet.allSatisfy { $0.isGood } && busy.allSatisfy { $0.isGood })
            #expect(after["registrations"] == Double(Self.devices))
            if Self.seconds != nil {
                let seconds = started.duration(to: ended) / .seconds(1)
                func rise(_ name: String) -> Double { after[name, default: 0] - before[name, default: 0] }
                let read = rise(#"datagrams_total{leg="device",direction="in"}"#)
                print(
                    """
                    flood of \(kind.rawValue): \(Int(Double(sent) / seconds)) a second sent, \
                    \(Int(read / seconds)) read, \
                    \(Int(rise(#"dropped_total{reason="receive_buffer_full"}"#) / seconds)) lost in the kernel, \
                    \(Int(rise(#"dropped_total{reason="overload"}"#) / seconds)) turned away, \
                    \(Int(rise("hello_verifications_total") / seconds)) cookies; \
                    level \(risen.map { "\($0.level) after \($0.after)" } ?? "0"), normal again \(returned) after the end; \
                    updates of registered devices in ms: \(Self.summary(quiet)) before, \(Self.summary(busy)) meanwhile; \
                    ready to flood after \(began.duration(to: started))
                    """)
            }
        }
    }

    /// How many datagrams of a flood without bounds the gateway reads in a second. Returns when it is calm again.
    private static func capacity(
        _ kind: FloodLoad.Kind, of gateway: Gateway, _ monitoring: Monitoring
    ) async throws -> Double {
        let name = #"datagrams_total{leg="device",direction="in"}"#
        let flood = try await Self.blocking { try FloodLoad(kind, at: gateway, sources: Self.sources, seed: 3) }
        let first = (try await monitoring.metrics()[name, default: 0], Instant.now)
        try await Task.sleep(for: .milliseconds(500))
        let second = (try await monitoring.metrics()[name, default: 0], Instant.now)
        _ = try await Self.blocking { flood.stop() }
        _ = try await monitoring.until("normal", monitoring.metrics) { $0["overload_level"] == 0 }
        return max(1000, (second.0 - first.0) / (first.1.duration(to: second.1) / .seconds(1)))
    }

    // MARK: - Devices

    private struct Answer: Sendable {
        let isGood: Bool
        let milliseconds: Double
    }

    /// A device that is used by one thread at a time.
    private final class Registered: @unchecked Sendable {
        // Unchecked: `measure` gives each device to one thread, and waits for that thread before it returns.
        let device: RoamingDevice
        let location: [String]

        init(_ device: RoamingDevice, _ location: [String]) {
            self.device = device
            self.location = location
        }
    }

    private func registered(on stage: Stage, at gateway: Gateway) async throws -> [Registered] {
        var devices: [Registered] = []
        for number in 0..<Self.devices {
            let sim = try await stage.addSIM(to: gateway)
            let account = stage.folder.appendingPathComponent("account-\(number)").path
            let first = try stage.device(
                stage.credentials(sim, at: gateway) + ["--bootstrap-only", "--save-account", account])
            #expect(try await first.exit(within: .seconds(60)) == 0)
            let device = try RoamingDevice(
                account: account, from: stage.otherAddress, to: (gateway.address, gateway.securePort),
                patience: Self.patience)
            let created = try device.request(.post, ["rd"], query: ["ep=\(sim.iccid)", "lt=3000", "lwm2m=1.1"])
            #expect(created.code == .created)
            devices.append(Registered(device, created.options.strings(.locationPath) ?? []))
        }
        return devices
    }

    /// Lets each device update its registration again and again.
    private static func measure(_ devices: [Registered], for seconds: Double) async throws -> [Answer] {
        try await withThrowingTaskGroup(of: [Answer].self) { tasks in
            for device in devices {
                tasks.addTask {
                    try await Self.blocking {
                        var answers: [Answer] = []
                        let end = Instant.now + .seconds(seconds)
                        repeat {
                            let sent = Instant.now
                            let answer = try device.device.request(.post, device.location, repetition: .seconds(2))
                            answers.append(
                                Answer(
                                    isGood: answer.code == .changed,
                                    milliseconds: sent.duration(to: .now) / .milliseconds(1)))
                            Thread.sleep(forTimeInterval: 0.01)
                        } while Instant.now < end
                        return answers
                    }
                }
            }
            return try await tasks.reduce(into: []) { $0 += $1 }
        }
    }

    private static func summary(_ answers: [Answer]) -> String {
        let times = answers.map(\.milliseconds).sorted()
        func quantile(_ share: Double) -> String {
            let index = min(times.count - 1, Int(Double(times.count) * share))
            return times.isEmpty ? "-" : String(format: "%.1f", times[index])
        }
        return "p50 \(quantile(0.5)) p99 \(quantile(0.99)) max \(quantile(1)) of \(times.count)"
    }

    /// The first level that monitoring sees, and when.
    private static func risen(
        _ monitoring: Monitoring, since: Instant, for seconds: Double
    ) async throws -> (level: Int, after: Duration)? {
        while since.duration(to: .now) < .seconds(seconds) {
            let level = try await monitoring.metrics()["overload_level", default: 0]
            if level > 0 { return (Int(level), since.duration(to: .now)) }
            try await Task.sleep(for: .milliseconds(20))
        }
        return nil
    }

    private static func blocking<R: Sendable>(_ body: @escaping @Sendable () throws -> R) async throws -> R {
        try await withCheckedThrowingContinuation { continuation in
            Thread.detachNewThread { continuation.resume(with: Result { try body() }) }
        }
    }
}
