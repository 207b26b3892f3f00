internal import Admin
internal import Gateway

extension ConfigurationReader {
    /// `admin`: where monitoring reads, and with which tokens.
    func admin(_ node: ConfigurationNode) -> BootgateConfiguration.Admin? {
        guard let fields = node.mapping() else { return nil }
        var admin = BootgateConfiguration.Admin()
        let listen = fields.node("listen")
        admin.address = listen.flatMap(self.adminAddress)
        let access = fields.read("metrics") { $0.name(among: ["open", "token"]) }
        admin.metricsAreOpen = access == "open"
        let tokens = fields.node("tokens")
        admin.tokens = tokens?.list("a list of { name, role, token }", self.adminToken) ?? []
        fields.finish()
        if listen == nil, access != nil || tokens != nil {
            node.warning(
                "\(node.path) has no `listen`, so nothing uses the rest of it; write one such as 127.0.0.1:8684")
        } else if listen != nil, !admin.metricsAreOpen, tokens == nil {
            node.warning(
                "\(node.path) has no tokens, so nobody can read /metrics; write `metrics: open`, or a token of a viewer"
            )
        }
        return admin
    }

    private func adminAddress(_ node: ConfigurationNode) -> BootgateConfiguration.Admin.Address? {
        let expected = "an address and port such as 127.0.0.1:8684"
        guard let text = node.text(expected) else { return nil }
        // There is no usual port for this.
        guard let parts = ListenerAddress("coap://\(text)"), text.hasSuffix(":\(parts.port)"),
            let address = IPAddress(parts.host)
        else {
            node.mistake("\(node.path) is '\(ConfigurationNode.shown(text))'; expected \(expected)")
            return nil
        }
        guard address.isLoopback else {
            node.mistake("\(node.path) is no loopback address; without TLS, tokens would cross the network in clear")
            return nil
        }
        return .init(host: parts.host, port: parts.port)
    }

    private func adminToken(_ node: ConfigurationNode) -> BootgateConfiguration.Admin.Token? {
        let expected = "{ name: NAME, role: viewer or operator, token: { file: PATH } }"
        guard let fields = node.mapping(expected) else { return nil }
        let name = fields.require("name", "write who uses the token") { $0.text() }
        let role = fields.require("role", "write viewer or operator") { $0.choice(AdminSettings.Role.self) }
        let source = fields.require("token", "write { file: PATH } or { env: NAME }", self.secret)
        fields.finish()
        guard let name, let role, let source else { return nil }
        return .init(name: name, role: role, source: source)
    }
}
