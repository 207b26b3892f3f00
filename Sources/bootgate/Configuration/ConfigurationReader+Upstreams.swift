internal import Gateway
internal import LwM2M
internal import Secrets

// The servers behind the gateway: where they are, and what the gateway shows to those that demand DTLS.
extension ConfigurationReader {
    /// An entry of `bootstrap.upstreams`: a `coap` URI alone, or a mapping.
    func upstream(_ node: ConfigurationNode) -> GatewayConfiguration.Upstream? {
        let kind = UpstreamKind(
            uriKey: "uri", example: "coap://10.1.0.10:5683", deviceWord: "per-device", deviceCredentials: .perDevice
        )
        if node.isMapping {
            guard let fields = node.mapping() else { return nil }
            let packs = fields.read("packs") { $0.boolean() } ?? false
            var upstream = self.upstream(node, fields, kind)
            upstream?.packs = packs
            return upstream
        }
        guard let uri = node.uri([.coap, .coaps], example: kind.example) else { return nil }
        guard uri.scheme == .coap else {
            node.mistake(
                "\(node.path) is reached over DTLS, and nothing says with which key; write { uri: \"\(uri)\", "
                    + "identity: NAME, key: { file: PATH } } or { uri: \"\(uri)\", credentials: per-device }"
            )
            return nil
        }
        return self.checkReachable(uri, node) ? .init(uri: uri) : nil
    }

    /// `relay` of an entry of `servers`.
    func relay(_ node: ConfigurationNode) -> GatewayConfiguration.Upstream? {
        let kind = UpstreamKind(
            uriKey: "to", example: "coap://10.1.0.20:5683", deviceWord: "written", deviceCredentials: .written
        )
        guard let fields = node.mapping("{ to: \"coap://HOST:PORT\" }") else { return nil }
        let upstream = self.upstream(node, fields, kind)
        if case .fixed? = upstream?.credentials {
            node.warning(
                "\(node.path): all devices register with one identity; a server that binds endpoint names to identities "
                    + "refuses them: for such a one write credentials: written"
            )
        }
        return upstream
    }

    /// What differs between the two legs.
    private struct UpstreamKind {
        let uriKey: String
        let example: String
        /// What `credentials` says, and means.
        let deviceWord: String
        let deviceCredentials: UpstreamCredentials
    }

    private func upstream(
        _ node: ConfigurationNode, _ fields: MappingReader, _ kind: UpstreamKind
    ) -> GatewayConfiguration.Upstream? {
        let uri = fields.require(kind.uriKey, "write the server's own address, such as \(kind.example)") { field in
            field.uri([.coap, .coaps], example: kind.example).flatMap { self.checkReachable($0, field) ? $0 : nil }
        }
        let identityNode = fields.node("identity")
        let keyNode = fields.node("key")
        let wordNode = fields.node("credentials")
        fields.finish()
        let identity = identityNode.flatMap(self.identity)
        let key = keyNode.flatMap(self.secret)
        let word = wordNode.flatMap { $0.name(among: [kind.deviceWord]) }
        guard let uri else { return nil }
        let given = [identityNode, keyNode, wordNode].compactMap { $0 }
        guard uri.scheme == .coaps else {
            for field in given {
                field.mistake(
                    "\(field.path): a server over coap:// is shown no credentials; remove it, or write its coaps:// address"
                )
            }
            return given.isEmpty ? .init(uri: uri) : nil
        }
        switch (identityNode, keyNode, wordNode) {
        case (nil, nil, nil):
            node.mistake(
                "\(node.path) is reached over DTLS, and nothing says with which key; write identity: NAME and "
                    + "key: { file: PATH }, or credentials: \(kind.deviceWord)"
            )
            return nil
        case (nil, nil, _?):
            return word.map { _ in .init(uri: uri, credentials: kind.deviceCredentials) }
        case (_, _, let wordNode?):
            wordNode.mistake(
                "\(wordNode.path): either the devices' own credentials or one identity with its key; remove one of the two"
            )
            return nil
        case (_?, nil, nil):
            node.mistake("\(node.path) has an identity and no key; write key: { file: PATH }")
            return nil
        case (nil, let keyNode?, nil):
            keyNode.mistake("\(keyNode.path) is a key without an identity; write identity: NAME")
            return nil
        case (_?, let keyNode?, nil):
            guard let identity, let key else { return nil }
            self.context.keys.add(UpstreamKey(uri: uri, identity: identity, source: key, path: keyNode.path))
            // The key itself is read when the gateway starts: reading the file has no effects.
            let pair = PreSharedKey(identity: identity, key: Secret([]))
            return .init(uri: uri, credentials: .fixed(pair))
        }
    }

    private func identity(_ node: ConfigurationNode) -> PSKIdentity? {
        let expected = "a PSK identity of 1 to \(PSKIdentity.maximumLength) bytes"
        guard let text = node.text(expected) else { return nil }
        guard let identity = PSKIdentity(text) else {
            node.mistake("\(node.path): expected \(expected), without a NUL")
            return nil
        }
        return identity
    }

    /// Devices that come plain need no key, unless the bootstrap server is shown it.
    func crossCheck(
        upstreams: [GatewayConfiguration.Upstream], at node: ConfigurationNode,
        listeners: [Placed<GatewayConfiguration.Listener>]
    ) {
        guard listeners.contains(where: { $0.value.security == .plain }), !upstreams.isEmpty,
            upstreams.allSatisfy({ $0.credentials == .perDevice })
        else { return }
        node.warning(
            "every bootstrap server is shown the SIM's own key; devices without one that come over the coap listener get "
                + "5.03: give their records a key, or one server an identity and a key of its own"
        )
    }

    /// What a rule matches must be able to have what its relay needs.
    func crossCheck(relay: GatewayConfiguration.Upstream?, match: ServerURI?, at node: ConfigurationNode, name: String)
    {
        guard relay?.credentials == .written, let match, match.scheme == .coap else { return }
        node.mistake(
            "servers.\(name).match.uri is \(match), but relay.credentials: written needs accounts with a key, and those have "
                + "coaps:// addresses; write the address as the bootstrap server does"
        )
    }
}
