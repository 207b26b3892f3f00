internal import Foundation
internal import Gateway
internal import Yams

/// Reads the configuration file: every mistake with its line and column, all of them at once.
///
/// The file is walked as a tree of nodes rather than decoded, because a decoder stops at its first error. Reading has no
/// effects: it opens no secret and no store, so `check` and `serve` see the same.
package struct ConfigurationReader {
    /// The outcome: a configuration when there is no mistake, and everything that is to be said.
    package struct Reading: Sendable {
        package var configuration: BootgateConfiguration?
        /// In the order of the file.
        package var diagnostics: [Diagnostic]
    }

    /// A configuration is written by people; a file beyond this is something else.
    package static let maximumLength = 1 << 20

    let context: ReadingContext
    /// `publish` of each server as it is read: only the command needs it, so it is no part of the server's rule.
    let publications = PublicationCollector()
    private var collector: DiagnosticCollector { self.context.collector }

    /// Reads `text`; `folder` is where relative paths in it start.
    package static func read(_ text: String, folder: String) -> Reading {
        let collector = DiagnosticCollector()
        let reader = ConfigurationReader(context: ReadingContext(collector: collector, folder: folder))
        let configuration = reader.root(text).flatMap { reader.configuration($0) }
        let hasMistake = collector.diagnostics.contains { $0.severity == .mistake }
        return Reading(configuration: hasMistake ? nil : configuration, diagnostics: collector.sorted)
    }

    // MARK: The tree

    private func root(_ text: String) -> ConfigurationNode? {
        let start = FilePosition(line: 1, column: 1)
        guard text.utf8.count <= Self.maximumLength else {
            self.collector.mistake(at: start, "the file is longer than 1 MiB; expected a configuration")
            return nil
        }
        if let deep = Nesting.tooDeep(in: text) {
            self.collector.mistake(at: deep, "the file is nested too deep; expected a configuration")
            return nil
        }
        do {
            // No rules of resolution: what a scalar means is decided by the key that it stands under.
            guard let node = try compose(yaml: text, .basic) else {
                self.collector.mistake(at: start, "the file is empty; listeners, bootstrap and servers are needed")
                return nil
            }
            return ConfigurationNode(node: node, path: "", context: self.context)
        } catch let error as YamlError {
            let (position, message) = YAMLProblem.describe(error)
            self.collector.mistake(at: position, message)
        } catch {
            self.collector.mistake(at: start, "the file cannot be read as YAML")
        }
        return nil
    }

    // MARK: The top level

    private func configuration(_ root: ConfigurationNode) -> BootgateConfiguration? {
        guard root.isMapping else {
            root.mistake("the file is no mapping; expected keys such as listeners, bootstrap and servers")
            return nil
        }
        guard let file = root.mapping() else { return nil }
        let isAudit = file.read("mode") { $0.name(among: ["enforce", "audit"]) } == "audit"

        let listeners = file.require("listeners", "write a list such as [ \"coaps://[::]:5684\" ]", self.listeners)
        let bootstrap = file.require("bootstrap", "write its upstreams and account") { self.bootstrap($0) }
        // Who watches first need not know them yet: the report names them.
        let hasServers = !isAudit || file.node("servers") != nil
        let servers =
            !hasServers
            ? []
            : file.require("servers", "name each LwM2M server that the bootstrap server writes", self.servers)
        var gateway = GatewayConfiguration(
            listeners: listeners?.map(\.value) ?? [],
            bootstrap: bootstrap ?? .init(upstreams: [], account: .init()),
            servers: servers?.map(\.value) ?? []
        )
        gateway.unmatched = file.read("unmatched", self.unmatched) ?? gateway.unmatched
        gateway.credentials = file.read("credentials", self.credentials) ?? gateway.credentials
        gateway.dtls = file.read("dtls", self.dtls) ?? gateway.dtls
        if let policy = file.read("coap", self.transmission) {
            gateway.deviceTransmission = policy.device
            gateway.upstreamTransmission = policy.upstream
            gateway.deviceHandshake = policy.handshake
        }
        gateway.pool = file.read("pool", self.pool) ?? gateway.pool
        gateway.limits = file.read("limits", self.limits) ?? gateway.limits
        gateway.drain = file.read("drain") { $0.duration() } ?? gateway.drain

        var configuration = BootgateConfiguration(gateway: gateway)
        configuration.state = file.read("state") { $0.filePath() } ?? configuration.state
        configuration.records = file.read("records", self.records) ?? configuration.records
        configuration.audit = file.read("audit") { self.audit($0, state: configuration.state) } ?? configuration.audit
        configuration.gateway.isAuditStrict = configuration.audit.isStrict
        if isAudit { self.watch(with: &configuration, at: file) }
        configuration.publications = self.publications.all
        configuration.log = file.read("log", self.log) ?? configuration.log
        configuration.admin = file.read("admin", self.admin) ?? configuration.admin
        file.finish()
        configuration.upstreamKeys = self.context.keys.all

        if let listeners, let servers, let bootstrap {
            self.crossCheck(listeners: listeners, servers: servers)
            if let account = file.node("bootstrap") {
                self.crossCheck(account: bootstrap.account, at: account, listeners: listeners)
                self.crossCheck(upstreams: bootstrap.upstreams, at: account, listeners: listeners)
            }
            configuration.gateway.listeners = self.assignServers(
                listeners,
                servers,
                account: bootstrap.account
            )
        }
        return configuration
    }
}

/// A value with the node that it came from, for checks that look at several values together.
struct Placed<Value> {
    var value: Value
    var node: ConfigurationNode
}
