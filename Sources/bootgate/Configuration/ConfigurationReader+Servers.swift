internal import Gateway
internal import LwM2M

extension ConfigurationReader {
    /// `bootstrap`: the servers that bootstrap, and the device's way back.
    func bootstrap(_ node: ConfigurationNode) -> GatewayConfiguration.Bootstrap? {
        guard let fields = node.mapping("upstreams and account") else { return nil }
        let upstreams = fields.require("upstreams", "write a list such as [ \"coap://10.1.0.10:5683\" ]") { field in
            let list = field.list("a list of URIs such as coap://10.1.0.10:5683", self.upstream)
            if field.isEmptyList {
                field.mistake("\(field.path) is empty; name the bootstrap server, such as coap://10.1.0.10:5683")
            }
            return list
        }
        let account = fields.require(
            "account",
            "write how devices reach this gateway, such as { secure: \"coaps://edge.example.net:5684\" }",
            self.deviceURIs
        )
        fields.finish()
        guard let upstreams, let account else { return nil }
        return .init(upstreams: upstreams, account: account)
    }

    /// `{ secure: coaps://…, plain: coap://… }`, at least one of the two.
    private func deviceURIs(_ node: ConfigurationNode) -> GatewayConfiguration.DeviceURIs? {
        guard let fields = node.mapping("{ secure: \"coaps://HOST:PORT\", plain: \"coap://HOST:PORT\" }") else {
            return nil
        }
        let secureNode = fields.node("secure")
        let plainNode = fields.node("plain")
        fields.finish()
        guard secureNode != nil || plainNode != nil else {
            node.mistake("\(node.path) has neither secure nor plain; write at least one of them")
            return nil
        }
        let secure = secureNode.flatMap { self.deviceURI($0, .coaps, example: "coaps://edge.example.net:5684") }
        let plain = plainNode.flatMap { self.deviceURI($0, .coap, example: "coap://edge.example.net:5683") }
        // A form that was complained of is not missing as well.
        guard (secureNode == nil) == (secure == nil), (plainNode == nil) == (plain == nil) else { return nil }
        return .init(secure: secure, plain: plain)
    }

    private func deviceURI(_ node: ConfigurationNode, _ scheme: ServerURI.Scheme, example: String) -> ServerURI? {
        guard let uri = node.uri([scheme], example: example), self.checkReachable(uri, node) else { return nil }
        return uri
    }

    func checkReachable(_ uri: ServerURI, _ node: ConfigurationNode) -> Bool {
        guard IPAddress(uri.host)?.isUnspecified == true else { return true }
        node.mistake("\(node.path) is the address of no machine; write the address at which it is reached")
        return false
    }

    // MARK: servers

    /// `servers`: what a device gets instead of each server that the bootstrap server writes.
    func servers(_ node: ConfigurationNode) -> [Placed<GatewayConfiguration.ServerRule>]? {
        guard let entries = node.mapping("a mapping from names to servers") else { return nil }
        guard !entries.names.isEmpty else {
            node.mistake("servers is empty; name each LwM2M server that the bootstrap server writes")
            return nil
        }
        var rules: [Placed<GatewayConfiguration.ServerRule>] = []
        for (name, key, value) in entries.names {
            guard !name.isEmpty, name.utf8.count <= 64, name.utf8.allSatisfy(Self.isNameByte) else {
                key.mistake(
                    "the name '\(ConfigurationNode.shown(name))' is not made of letters, digits, '.', '_' and '-'")
                continue
            }
            guard let rule = self.server(name, value) else { continue }
            let twin = rules.first {
                $0.value.matchURI == rule.matchURI && $0.value.matchShortServerID == rule.matchShortServerID
            }
            if let twin {
                key.mistake("servers.\(name) matches the same accounts as servers.\(twin.value.name); keep one")
            }
            rules.append(Placed(value: rule, node: key))
        }
        return rules
    }

    private static func isNameByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
            true
        default: false
        }
    }

    private func server(_ name: String, _ node: ConfigurationNode) -> GatewayConfiguration.ServerRule? {
        guard let fields = node.mapping("match, device and relay") else { return nil }
        let match = fields.require(
            "match", "write { uri: \"coap://10.1.0.20:5683\" } or { ssid: 1111 }, or both", self.match)
        let device = fields.require(
            "device",
            "write what devices get, such as { secure: \"coaps://edge.example.net:5684\" }",
            self.deviceURIs
        )
        let relayNode = fields.node("relay")
        let relay = relayNode.flatMap(self.relay)
        let publishNode = fields.node("publish")
        let publish = publishNode.flatMap(self.publication)
        fields.finish()
        if let publishNode, relayNode != nil {
            publishNode.mistake(
                "servers.\(name) has both relay and publish; keep relay for a server behind this gateway, publish for one "
                    + "that speaks DTLS itself")
        }
        if let publishNode, publish != nil, device?.secure == nil {
            publishNode.warning(
                "servers.\(name).device has no secure address, so no key is ever made for this server: write secure")
        }
        if relayNode == nil, publishNode == nil {
            node.warning(
                "servers.\(name) has neither relay nor publish; its devices register past this gateway with a key that the "
                    + "server does not know: write relay: { to: \"coap://HOST:PORT\" }"
            )
        }
        guard let match, let device, relayNode == nil || relay != nil, publishNode == nil || publish != nil else {
            return nil
        }
        self.crossCheck(relay: relay, match: match.uri, at: relayNode ?? node, name: name)
        if let publish { self.publications.add(publish, for: name) }
        return .init(
            name: name, matchURI: match.uri, matchShortServerID: match.ssid, device: device, relay: relay,
            publishedKeys: publish?.keys
        )
    }

    private func match(_ node: ConfigurationNode) -> (uri: ServerURI?, ssid: UInt16?)? {
        guard let fields = node.mapping("{ uri: \"coap://HOST:PORT\", ssid: NUMBER }") else { return nil }
        let uriNode = fields.node("uri")
        let ssidNode = fields.node("ssid")
        fields.finish()
        guard uriNode != nil || ssidNode != nil else {
            node.mistake(
                "\(node.path) has neither uri nor ssid; write at least one of them, as the bootstrap server does")
            return nil
        }
        let uri = uriNode.flatMap { $0.uri([.coap, .coaps], example: "coap://10.1.0.20:5683") }
        let ssid = ssidNode.flatMap { $0.integer(1...65534) }.flatMap(UInt16.init(exactly:))
        guard (uriNode == nil) == (uri == nil), (ssidNode == nil) == (ssid == nil) else { return nil }
        return (uri, ssid)
    }

    func unmatched(_ node: ConfigurationNode) -> GatewayConfiguration.Unmatched? {
        guard let name = node.name(among: ["refuse", "keep"]) else { return nil }
        if name == "keep" {
            node.warning(
                "unmatched: keep passes accounts of unknown servers on as they are written, plain ones included")
        }
        return .init(rawValue: name)
    }

    // MARK: Values that must fit each other

    /// A server whose address fits none of the ways that devices come is refused to them.
    func crossCheck(
        listeners: [Placed<GatewayConfiguration.Listener>],
        servers: [Placed<GatewayConfiguration.ServerRule>]
    ) {
        let securities = Set(listeners.map(\.value.security))
        for entry in servers {
            for (security, missing) in [
                (GatewayConfiguration.Security.dtls, entry.value.device.secure == nil),
                (.plain, entry.value.device.plain == nil),
            ] where securities.contains(security) && missing {
                let (way, key) = security == .dtls ? ("DTLS", "secure") : ("plain CoAP", "plain")
                entry.node.warning(
                    "servers.\(entry.value.name).device has no \(key) address; devices that come over \(way) are refused "
                        + "this server: write \(key), or remove the listener"
                )
            }
        }
    }

    /// The bootstrap account needs an address for every way that devices come, or they do not come back.
    func crossCheck(
        account: GatewayConfiguration.DeviceURIs,
        at node: ConfigurationNode,
        listeners: [Placed<GatewayConfiguration.Listener>]
    ) {
        let securities = Set(listeners.map(\.value.security))
        if securities.contains(.dtls), account.secure == nil {
            node.mistake("bootstrap.account has no secure address, but there is a coaps listener; write secure")
        }
        if securities.contains(.plain), account.plain == nil {
            node.mistake("bootstrap.account has no plain address, but there is a coap listener; write plain")
        }
    }
}
