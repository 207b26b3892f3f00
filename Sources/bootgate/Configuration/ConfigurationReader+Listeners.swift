internal import Gateway
internal import LwM2M

extension ConfigurationReader {
    /// `listeners`: where devices arrive.
    func listeners(_ node: ConfigurationNode) -> [Placed<GatewayConfiguration.Listener>]? {
        guard let list = node.list("a list of addresses such as coaps://[::]:5684", self.listener) else { return nil }
        guard !list.isEmpty else {
            // Entries that were complained of need no second complaint.
            if node.isEmptyList {
                node.mistake("listeners is empty; write a list such as [ \"coaps://[::]:5684\" ]")
            }
            return nil
        }
        for (index, entry) in list.enumerated() where entry.value.port != 0 {
            let twin = list[..<index].first {
                $0.value.address == entry.value.address && $0.value.port == entry.value.port
            }
            if let twin {
                entry.node.mistake(
                    "\(entry.node.path) has the address and port of \(twin.node.path); give each its own")
            }
        }
        return list
    }

    private func listener(_ node: ConfigurationNode) -> Placed<GatewayConfiguration.Listener>? {
        guard node.isMapping else { return self.bind(node).map { Placed(value: $0, node: node) } }
        guard let fields = node.mapping() else { return nil }
        var listener = fields.require("bind", "write an address such as coaps://[::]:5684", self.bind)
        fields.read("connection-id") { field in listener?.connectionIDs = field.boolean() }
        fields.read("server") { field in
            listener?.server = field.text("the name of an entry in servers")
            if listener?.security == .dtls {
                field.mistake("\(field.path) stands at a coaps listener; leave it out, the identity decides there")
            }
        }
        fields.finish()
        return listener.map { Placed(value: $0, node: node) }
    }

    private func bind(_ node: ConfigurationNode) -> GatewayConfiguration.Listener? {
        let example = "an address such as coaps://[::]:5684 or coap://192.0.2.1:5683"
        guard let text = node.text(example) else { return nil }
        guard let parts = ListenerAddress(text) else {
            node.mistake("\(node.path) is '\(ConfigurationNode.shown(text))'; expected \(example)")
            return nil
        }
        guard let address = IPAddress(parts.host) else {
            node.mistake(
                "\(node.path) names the host '\(ConfigurationNode.shown(parts.host))'; a listener is bound to an address "
                    + "of this machine, or to [::] or 0.0.0.0 for all of them"
            )
            return nil
        }
        if parts.security == .plain, address.isUnspecified || address.isPublic {
            node.warning(
                "\(node.path) takes plain CoAP on \(address.isUnspecified ? "every address" : "a public address"), where "
                    + "source addresses can be forged; bind it to the address of the operator's private network"
            )
        }
        return .init(security: parts.security, address: address, port: parts.port)
    }

    /// Gives every plain listener the server whose registrations come to it, where the file leaves no doubt.
    /// Only servers whose plain address leads back to this gateway have registrations that come here.
    func assignServers(
        _ listeners: [Placed<GatewayConfiguration.Listener>],
        _ servers: [Placed<GatewayConfiguration.ServerRule>],
        account: GatewayConfiguration.DeviceURIs
    ) -> [GatewayConfiguration.Listener] {
        let relayed = servers.map(\.value).filter { $0.relay != nil && $0.device.plain != nil }.map(\.name)
        let leadingBack = servers.filter { relayed.contains($0.value.name) && $0.value.device.plain == account.plain }
        return listeners.map { entry in
            var listener = entry.value
            guard listener.security == .plain else { return listener }
            if let name = listener.server {
                if !servers.contains(where: { $0.value.name == name }) {
                    let nearest = NearestName.of(name, among: servers.map(\.value.name)).map {
                        "; did you mean '\($0)'?"
                    }
                    entry.node.mistake(
                        "\(entry.node.path).server is '\(ConfigurationNode.shown(name))', which is no entry in servers\(nearest ?? "")"
                    )
                } else if !relayed.contains(name) {
                    entry.node.mistake(
                        "\(entry.node.path).server is '\(name)', which has no relay with a plain device address; "
                            + "registrations have nowhere to go"
                    )
                }
            } else if leadingBack.count > 1 {
                let names = leadingBack.map(\.value.name).joined(separator: ", ")
                entry.node.mistake(
                    "\(entry.node.path) could carry registrations to \(names); on a plain port only one can be told: "
                        + "write { bind: …, server: NAME }"
                )
            } else {
                listener.server = leadingBack.first?.value.name
            }
            return listener
        }
    }
}

/// `SCHEME://ADDRESS[:PORT]`, where a port of 0 lets the system choose.
struct ListenerAddress {
    var security: GatewayConfiguration.Security
    var host: String
    var port: UInt16

    init?(_ text: String) {
        let rest: Substring
        if text.hasPrefix("coaps://") {
            self.security = .dtls
            rest = text.dropFirst(8)
        } else if text.hasPrefix("coap://") {
            self.security = .plain
            rest = text.dropFirst(7)
        } else {
            return nil
        }
        let tail: Substring
        if rest.first == "[" {
            guard let end = rest.firstIndex(of: "]") else { return nil }
            self.host = String(rest[rest.index(after: rest.startIndex)..<end])
            tail = rest[rest.index(after: end)...]
            guard self.host.contains(":") else { return nil }
        } else {
            self.host = String(rest.prefix { $0 != ":" })
            tail = rest.dropFirst(self.host.count)
        }
        guard !self.host.isEmpty, tail.isEmpty || tail.first == ":" else { return nil }
        let digits = tail.dropFirst()
        if tail.isEmpty {
            self.port =
                self.security == .dtls ? ServerURI.Scheme.coaps.listenerPort : ServerURI.Scheme.coap.listenerPort
        } else {
            guard (1...5).contains(digits.utf8.count), digits.utf8.allSatisfy({ (48...57).contains($0) }),
                let port = UInt16(digits)
            else { return nil }
            self.port = port
        }
    }
}

extension ServerURI.Scheme {
    /// The port of RFC 7252 for a listener that names none.
    fileprivate var listenerPort: UInt16 { self == .coap ? 5683 : 5684 }
}

extension IPAddress {
    var isUnspecified: Bool { self.high == 0 && (self.low == 0 || self.low == 0xFFFF_0000_0000) }

    var isLoopback: Bool { IPPrefix("127.0.0.0/8")?.contains(self) == true || self.high == 0 && self.low == 1 }

    /// Reachable from anywhere: neither private, shared, link-local nor loopback.
    var isPublic: Bool {
        !Self.privateRanges.contains { $0.contains(self) } && !self.isUnspecified
    }

    private static let privateRanges = [
        "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
        "::1/128", "fc00::/7", "fe80::/10",
    ].compactMap { IPPrefix($0) }
}
