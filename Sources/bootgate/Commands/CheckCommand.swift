internal import ArgumentParser
internal import DTLS
internal import Gateway
internal import LwM2M
internal import Publishing
internal import Records

/// `bootgate check`: the configuration with the same eyes as `serve`, and what the machine allows.
struct CheckCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check",
        abstract: "Check the configuration: mistakes, risks, capacity.",
        discussion:
            "Exits with 0 if `serve` would start with it, 78 for a mistake, 69 for a library that lacks something."
    )

    @Flag(help: "As JSON.") var json = false
    @OptionGroup var config: ConfigurationOption

    func run() async throws {
        var configuration = try self.config.load(showsWarnings: true)
        _ = try reporting { try configuration.recordsConfiguration() }
        for warning in try reporting({ try configuration.readUpstreamKeys() }) {
            Terminal.complain("warning: \(warning)")
        }
        if let publisher = try reporting({ try configuration.publisher() }) { await publisher.close() }
        let gateway = configuration.gateway
        let capacity = PoolCapacity.current(addresses: gateway.pool.from.count)
        let missing = gateway.dtls.suites.filter { !DTLSLibrary.suites.contains($0) }
        if !missing.isEmpty {
            Terminal.complain("warning: wolfSSL lacks \(missing.map { "\($0)" }.joined(separator: ", "))")
        }
        if let obstacle = configuration.dtlsObstacle { throw fail(.unavailable, obstacle) }
        let sessions = gateway.limits.sessions ?? SessionCapacity.current()
        let runtime: String? =
            switch configuration.runtimeDirectory() {
            case .directory(let path): path
            case .none: nil
            }
        let upstreams = gateway.bootstrap.upstreams.map(\.uri.description)
        let servers = gateway.servers.map(\.name)
        if self.json {
            return Terminal.say(
                JSONText.line([
                    "good": true, "listeners": gateway.listeners.count, "bootstrap-servers": upstreams,
                    "servers": servers, "devices": capacity.sockets, "ports-per-address": capacity.portsPerAddress,
                    "sessions": sessions, "runtime": runtime ?? "",
                    "wolfssl": DTLSLibrary.version, "missing-suites": missing.map { "\($0)" },
                ])
            )
        }
        Terminal.say("listeners          \(gateway.listeners.count)")
        Terminal.say("bootstrap servers  \(upstreams.joined(separator: ", "))")
        Terminal.say("LwM2M servers      \(servers.joined(separator: ", "))")
        let timers = TransmissionPolicy(
            device: gateway.deviceTransmission, upstream: gateway.upstreamTransmission,
            handshake: gateway.deviceHandshake)
        for line in timers.summary { Terminal.say(line) }
        Terminal.say(
            "capacity           \(capacity.sockets) devices at once: "
                + "\(capacity.portsPerAddress) ports on each local address towards one server, and the limit of open files"
        )
        Terminal.say("sessions           \(sessions) of devices at most")
        Terminal.say("hand-over          \(runtime.map { "through \($0)" } ?? "off: \(RuntimeDirectory.absence)")")
        Terminal.say("wolfSSL            \(DTLSLibrary.version)")
        Terminal.say("the configuration is good")
    }
}

extension BootgateConfiguration {
    /// Why the linked library cannot serve the `coaps` listeners, or reach the servers over `coaps`; nil when there are
    /// none, or when it can.
    var dtlsObstacle: String? {
        if self.gateway.listeners.contains(where: { $0.security == .dtls }), let obstacle = DTLSLibrary.serverObstacle()
        {
            return obstacle
        }
        let servers = self.gateway.bootstrap.upstreams + self.gateway.servers.compactMap(\.relay)
        guard servers.contains(where: { $0.credentials != nil }) else { return nil }
        if let obstacle = DTLSLibrary.obstacle() { return obstacle }
        guard !self.gateway.dtls.suites.contains(where: DTLSLibrary.suites.contains) else { return nil }
        return DTLSError.noSuite(self.gateway.dtls.suites).description
    }
}
