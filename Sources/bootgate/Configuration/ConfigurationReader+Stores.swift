internal import Gateway
internal import Records

extension ConfigurationReader {
    /// `{ file: PATH }` or `{ env: NAME }`.
    func secret(_ node: ConfigurationNode) -> SecretSource? {
        let expected = "{ file: PATH } or { env: NAME }"
        guard node.isMapping else {
            // What stands here may be a secret: the message must not repeat it.
            node.mistake(
                "\(node.path): a secret is never in this file, which is read and copied by many; write \(expected)")
            return nil
        }
        guard let fields = node.mapping() else { return nil }
        let file = fields.node("file")
        let variable = fields.node("env")
        fields.finish()
        switch (file, variable) {
        case (let file?, nil): return file.filePath().map { .file($0) }
        case (nil, let variable?):
            guard let name = variable.text("the name of an environment variable") else { return nil }
            guard !name.isEmpty, !name.utf8.contains(0), !name.contains("=") else {
                variable.mistake("\(variable.path) is no name of an environment variable")
                return nil
            }
            return .environment(name)
        default:
            node.mistake("\(node.path): expected one of the two, \(expected)")
            return nil
        }
    }

    func records(_ node: ConfigurationNode) -> BootgateConfiguration.Records? {
        guard let fields = node.mapping() else { return nil }
        var records = BootgateConfiguration.Records()
        records.key = fields.read("key", self.secret) ?? .file("/etc/bootgate/records.key")
        records.identityPattern = fields.read("identity", self.pattern) ?? records.identityPattern
        records.endpointPattern = fields.read("endpoint", self.pattern) ?? records.endpointPattern
        fields.finish()
        return records
    }

    /// Text with `{iccid}` and the like in it.
    private func pattern(_ node: ConfigurationNode) -> String? {
        guard let text = node.text("a pattern such as \"{iccid}\"") else { return nil }
        let fields = ["iccid", "imsi", "imei", "msisdn", "device-id"]
        var rest = Substring(text)
        var hasField = false
        while let open = rest.firstIndex(of: "{") {
            guard let close = rest[open...].firstIndex(of: "}") else { break }
            let name = String(rest[rest.index(after: open)..<close])
            guard fields.contains(name) else {
                let nearest = NearestName.of(name, among: fields).map { "; did you mean '{\($0)}'?" } ?? ""
                node.mistake(
                    "\(node.path) has the unknown field '{\(ConfigurationNode.shown(name))}'; expected one of: "
                        + fields.map { "{\($0)}" }.joined(separator: ", ") + nearest
                )
                return nil
            }
            hasField = true
            rest = rest[rest.index(after: close)...]
        }
        guard hasField, !rest.contains("{") else {
            node.mistake("\(node.path) would be the same for every record; expected a pattern such as \"{iccid}\"")
            return nil
        }
        return text
    }

    func audit(_ node: ConfigurationNode, state: String) -> BootgateConfiguration.Audit? {
        guard let fields = node.mapping() else { return nil }
        var audit = BootgateConfiguration.Audit()
        fields.read("durability") { field in
            audit.isStrict = field.name(among: ["batched", "strict"]) == "strict"
        }
        fields.read("keep") { field in
            guard let keep = field.durationOrNone() else { return }
            // Shorter is a slip of the unit; the evidence would be gone before anybody looked.
            if let keep, keep < .seconds(86_400) {
                field.mistake("\(field.path) is \(Notation.text(keep)); expected at least 1d, or none")
            }
            audit.keep = keep
        }
        audit.keepsDevices = fields.read("keep-devices") { $0.boolean() } ?? audit.keepsDevices
        audit.signingKey =
            fields.read("signing-key") { field in
                let source = self.secret(field)
                if case .file(let path)? = source, path.hasPrefix(state.hasSuffix("/") ? state : state + "/") {
                    field.mistake(
                        "\(field.path) lies inside state; who can rewrite the journal could sign it: put it elsewhere")
                }
                return source
            } ?? audit.signingKey
        fields.read("checkpoint") { field in
            guard let checkpoint = field.mapping("{ every: 10s, records: 10000 }") else { return }
            audit.checkpointEvery =
                checkpoint.read("every") { $0.duration(atLeast: .milliseconds(100)) } ?? audit.checkpointEvery
            audit.checkpointRecords =
                checkpoint.read("records") { $0.integer(1...1_000_000) } ?? audit.checkpointRecords
            checkpoint.finish()
        }
        audit.syslog = fields.read("syslog", self.syslog)
        fields.finish()
        return audit
    }

    /// `{ to: "udp://127.0.0.1:514", facility: local4 }`.
    private func syslog(_ node: ConfigurationNode) -> SyslogTarget? {
        let example = "udp://127.0.0.1:514 or unix:/dev/log"
        guard let fields = node.mapping("{ to: \"udp://127.0.0.1:514\", facility: local4 }") else { return nil }
        let destination = fields.require("to", "write \(example)") { field -> SyslogTarget.Destination? in
            guard let text = field.text(example) else { return nil }
            if text.hasPrefix("unix:/"), text.utf8.count < 108, !text.utf8.contains(0) {
                return .unix(String(text.dropFirst(5)))
            }
            if text.hasPrefix("udp://"), let parts = ListenerAddress("coap\(text.dropFirst(3))"),
                let address = IPAddress(parts.host), text.hasSuffix(":\(parts.port)"), parts.port > 0
            {
                return .udp(address, parts.port)
            }
            field.mistake(
                "\(field.path) is '\(ConfigurationNode.shown(text))'; expected an address and port, or the path of a "
                    + "socket, such as \(example)"
            )
            return nil
        }
        let facility = fields.read("facility") { $0.name(among: SyslogTarget.facilities) } ?? "local4"
        fields.finish()
        guard let destination, let code = SyslogTarget.facilities.firstIndex(of: facility) else { return nil }
        return SyslogTarget(destination, facility: code)
    }

    func log(_ node: ConfigurationNode) -> BootgateConfiguration.Log? {
        guard let fields = node.mapping() else { return nil }
        var log = BootgateConfiguration.Log()
        log.level = fields.read("level") { $0.choice(BootgateConfiguration.Log.Level.self) } ?? log.level
        log.format = fields.read("format") { $0.choice(BootgateConfiguration.Log.Format.self) } ?? log.format
        fields.finish()
        return log
    }
}
