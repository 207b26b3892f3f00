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
        let prepared = try self.config.prepare()
        let configuration = prepared.configuration
        await prepared.publisher?.close()
        try self.readOwnKeys(of: configuration)
        let gateway = configuration.gateway
        for warning in gateway.foreignAddresses() { Terminal.complain("warning: \(warning)") }
        // As `serve` does.
        FileDescriptorLimit.raise()
        let capacity = PoolCapacity.current(addresses: gateway.pool.from.count)
        let missing = gateway.dtls.suites.filter { !DTLSLibrary.suites.contains($0) }
        if !missing.isEmpty {
            Terminal.complain("warning: wolfSSL lacks \(missing.map { "\($0)" }.joined(separator: ", "))")
        }
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
                    "good": true, "mode": gateway.mode.name,
                    "keep-devices": gateway.mode == .audit(keepDevices: true), "notes": gateway.modeNotes,
                    "listeners": gateway.listeners.count, "bootstrap-servers": upstreams,
                    "servers": servers, "devices": capacity.sockets, "ports-per-address": capacity.portsPerAddress,
                    "addresses": capacity.addresses, "open-files": capacity.descriptors,
                    "kept-for-bootstraps": capacity.bootstrapReserve,
                    "sessions": sessions, "runtime": runtime ?? "",
                    "wolfssl": DTLSLibrary.version, "missing-suites": missing.map { "\($0)" },
                ])
            )
        }
        if !gateway.mode.isAudit { Terminal.say("mode               enforce") }
        for (index, note) in gateway.modeNotes.enumerated() {
            Terminal.say((index == 0 ? "mode               " : "                   ") + note)
        }
        Terminal.say("listeners          \(gateway.listeners.count)")
        Terminal.say("bootstrap servers  \(upstreams.joined(separator: ", "))")
        Terminal.say("LwM2M servers      \(servers.joined(separator: ", "))")
        let timers = TransmissionPolicy(
            device: gateway.deviceTransmission, upstream: gateway.upstreamTransmission,
            handshake: gateway.deviceHandshake)
        for line in timers.summary { Terminal.say(line) }
        for line in capacity.summary { Terminal.say(line) }
        let source = gateway.limits.sessions == nil ? "what half of the memory holds" : "limits.sessions"
        Terminal.say("sessions           \(sessions) of devices at most: \(source)")
        Terminal.say("hand-over          \(runtime.map { "through \($0)" } ?? "off: \(RuntimeDirectory.absence)")")
        Terminal.say("wolfSSL            \(DTLSLibrary.version)")
        Terminal.say("the configuration is good")
    }

    /// The keys of records and journal, where they are made already.
    private func readOwnKeys(of configuration: BootgateConfiguration) throws {
        let keys = [(configuration.records.key, "records key"), (configuration.audit.signingKey, "audit signing key")]
        for (source, purpose) in keys {
            let reading = try reporting { try source.readKey(count: 32, purpose: purpose) }
            if let warning = reading?.warning { Terminal.complain("warning: \(warning)") }
        }
    }
}

extension PoolCapacity {
    /// What bounds the devices at work, for people.
    fileprivate var summary: [String] {
        let least = self.ports < self.descriptors - self.reservedDescriptors ? "ports" : "open files"
        return [
            "capacity           \(self.sockets) devices at work at once, for want of more \(least)",
            "  ports            \(self.portsPerAddress) on each of \(self.addresses) local "
                + "\(self.addresses == 1 ? "address" : "addresses"); more with pool.from",
            "  open files       \(self.descriptors), of which \(self.reservedDescriptors) are for other things; under "
                + "systemd LimitNOFILE counts",
            "  bootstraps       \(self.bootstrapReserve) of these that registrations cannot take",
        ]
    }
}

extension GatewayConfiguration {
    /// Addresses that this machine does not have at the moment: `serve` cannot bind them here.
    fileprivate func foreignAddresses() -> [String] {
        guard let locals = try? HostAddresses.current() else { return [] }
        let listeners = self.listeners.filter { !$0.isWildcard && !HostAddresses.contains($0.address, locals) }
        return listeners.map { "listeners: this machine has no address \($0.address) at the moment" }
            + self.pool.from.filter { !HostAddresses.contains($0, locals) }.map {
                "pool.from: this machine has no address \($0) at the moment"
            }
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
