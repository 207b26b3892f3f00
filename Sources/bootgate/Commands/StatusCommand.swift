internal import Admin
internal import ArgumentParser
internal import AsyncHTTPClient
internal import Foundation
internal import NIOCore

/// `bootgate status`: what the running gateway is doing.
struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show what the running gateway is doing.",
        discussion: """
            Asks the gateway of this configuration through its socket in the state folder. Exits with 0 when it is ready, \
            with 69 when it is not, or does not run.
            """
    )

    @Flag(help: "As JSON.") var json = false
    @OptionGroup var config: ConfigurationOption

    func run() async throws {
        let configuration = try self.config.load()
        guard let socket = configuration.adminSocket else {
            throw fail(.unavailable, "the path of `state` is too long for a socket in it; choose a shorter one")
        }
        let status = try await Self.ask(socket)
        if self.json {
            Terminal.say(String(try status.json().dropLast()))
        } else {
            Self.show(status)
        }
        if !status.isReady { throw ExitCode(ExitStatus.unavailable.rawValue) }
    }

    private static func ask(_ socket: String) async throws -> GatewayStatus {
        let path = socket.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? ""
        var settings = HTTPClient.Configuration()
        // A socket that nobody listens at is said at once, and not tried again until the time is over.
        settings.connectionPool.retryConnectionEstablishment = false
        do {
            return try await HTTPClient.withHTTPClient(configuration: settings) { client in
                let request = HTTPClientRequest(url: "http+unix://\(path)/v1/status")
                let response = try await client.execute(request, timeout: .seconds(10))
                let body = try await response.body.collect(upTo: 1 << 20)
                return try GatewayStatus(json: Array(body.readableBytesView))
            }
        } catch {
            throw fail(
                .unavailable,
                "no gateway answers at \(socket): it does not run, or you may not open that file. "
                    + "Start it with `bootgate serve`, or ask as its user")
        }
    }

    private static func show(_ status: GatewayStatus) {
        Terminal.say(
            "\(status.isReady ? "ready" : "NOT READY"), version \(status.version), up \(Self.duration(status.uptimeSeconds))"
        )
        for obstacle in status.obstacles { Terminal.say("  \(obstacle)") }
        Terminal.say("listeners       \(status.listeners.joined(separator: " "))")
        Terminal.say(
            "sessions        \(status.sessions), \(status.bootstrapping) of them bootstrapping; \(status.halfOpen) half open"
        )
        Terminal.say("registrations   \(status.registrations)")
        let measure = status.overloadMeasure.map { ", by \($0)" } ?? ""
        Terminal.say(
            "load            \(status.overloadLevel == 0 ? "normal" : "OVERLOAD, level \(status.overloadLevel)\(measure)")"
        )
        let failed = status.bootstrapsFailed.values.reduce(0, +)
        Terminal.say("bootstraps      \(status.bootstrapsFinished) finished, \(failed) failed")
        for (cause, count) in status.bootstrapsFailed.sorted(by: { ($1.value, $0.key) < ($0.value, $1.key) }) {
            Terminal.say("  \(count)  \(cause)")
        }
        Terminal.say(
            "journal         \(status.auditWritten) written, \(status.auditWaiting) waiting, \(status.auditLost) lost")
        if let failure = status.auditFailure { Terminal.say("  \(Terminal.printable(failure))") }
        var table = Table(["UPSTREAM", "LEG", "STATE", "LEASED", "IDLE", "QUARANTINED", "WAITING"])
        for upstream in status.upstreams {
            table.add([
                upstream.uri, upstream.leg, upstream.isUp ? "up" : "DOWN", "\(upstream.leased)", "\(upstream.idle)",
                "\(upstream.quarantined)", "\(upstream.waiting)",
            ])
        }
        if !table.isEmpty { Terminal.say(table.text) }
    }

    private static func duration(_ seconds: Double) -> String {
        let total = Int(seconds)
        let (days, hours, minutes) = (total / 86_400, total / 3_600 % 24, total / 60 % 60)
        if days > 0 { return "\(days) d \(hours) h" }
        if hours > 0 { return "\(hours) h \(minutes) min" }
        return minutes > 0 ? "\(minutes) min \(total % 60) s" : "\(total) s"
    }
}
