internal import CoAP
internal import DTLS
internal import Gateway

extension ConfigurationReader {
    func credentials(_ node: ConfigurationNode) -> GatewayConfiguration.CredentialPolicy? {
        guard let fields = node.mapping() else { return nil }
        var policy = GatewayConfiguration.CredentialPolicy()
        policy.keyBytes =
            fields.read("key-bytes") { field in
                let bytes = field.integer(16...64)
                if let bytes, bytes > 16 {
                    field.warning("\(field.path) is \(bytes); small clients hold keys of at most 16 bytes")
                }
                return bytes
            } ?? policy.keyBytes
        policy.identityLength =
            fields.read("identity-length") { field in
                let length = field.integer(16...128)
                if let length, length > 29 {
                    field.warning("\(field.path) is \(length); small clients hold identities of at most 29 characters")
                }
                return length
            } ?? policy.identityLength
        let minute = Duration.seconds(60)
        policy.useWithin = fields.read("use-within") { $0.duration(atLeast: minute) } ?? policy.useWithin
        policy.overlap = fields.read("overlap") { $0.duration(atLeast: minute) } ?? policy.overlap
        policy.maximumAge = fields.read("max-age") { $0.durationOrNone() } ?? policy.maximumAge
        fields.finish()
        return policy
    }

    func dtls(_ node: ConfigurationNode) -> GatewayConfiguration.DTLSPolicy? {
        guard let fields = node.mapping() else { return nil }
        var policy = GatewayConfiguration.DTLSPolicy()
        policy.suites = fields.read("suites", self.suites) ?? policy.suites
        policy.connectionIDs = fields.read("connection-id") { $0.boolean() } ?? policy.connectionIDs
        fields.finish()
        return policy
    }

    private func suites(_ node: ConfigurationNode) -> [CipherSuite]? {
        var seen: [CipherSuite] = []
        let suites = node.list("a list of cipher suites such as [ TLS_PSK_WITH_AES_128_CCM_8 ]") {
            entry -> CipherSuite? in
            guard let suite = self.suite(entry) else { return nil }
            if seen.contains(suite) { entry.mistake("\(entry.path) is in the list already; keep one of them") }
            seen.append(suite)
            return suite
        }
        if node.isEmptyList {
            node.mistake(
                "\(node.path) is empty; write at least TLS_PSK_WITH_AES_128_CCM_8, which every LwM2M device has")
        } else if let suites, !suites.isEmpty, !suites.contains(.pskAES128CCM8) {
            node.warning("\(node.path) lacks TLS_PSK_WITH_AES_128_CCM_8; many devices have no other suite")
        }
        return suites
    }

    /// One suite by its IANA name, or by the name that wolfSSL or OpenSSL gives it.
    private func suite(_ node: ConfigurationNode) -> CipherSuite? {
        let expected = "an IANA name such as TLS_PSK_WITH_AES_128_CCM_8"
        guard let text = node.text(expected) else { return nil }
        guard let suite = CipherSuite(text) else {
            let nearest = NearestName.of(text, among: CipherSuite.allCases.map(\.name)).map {
                "; did you mean '\($0)'?"
            }
            node.mistake(
                "\(node.path) is '\(ConfigurationNode.shown(text))', which is no suite known here; expected \(expected)"
                    + (nearest ?? "")
            )
            return nil
        }
        return suite
    }

    func pool(_ node: ConfigurationNode) -> GatewayConfiguration.PoolPolicy? {
        guard let fields = node.mapping() else { return nil }
        var policy = GatewayConfiguration.PoolPolicy()
        policy.minimumIdle = fields.read("min-idle") { $0.integer(0...10_000) } ?? policy.minimumIdle
        policy.wait = fields.read("wait") { $0.duration() } ?? policy.wait
        policy.rest = fields.read("rest") { $0.duration(atMost: .seconds(60)) } ?? policy.rest
        if let probe = fields.read("probe", { $0.probeInterval() }) { policy.probe = probe }
        policy.returnAfter = fields.read("return-after") { $0.duration(atMost: .seconds(300)) } ?? policy.returnAfter
        policy.quarantine =
            fields.read("quarantine") { field in
                field.duration(
                    atLeast: .seconds(247),
                    because: "the time for which a server may still send what was meant for the device before"
                )
            } ?? policy.quarantine
        policy.from =
            fields.read("from") { field in
                var seen: Set<IPAddress> = []
                return field.list("a list of IP addresses") { entry -> IPAddress? in
                    guard let address = entry.address() else { return nil }
                    if !seen.insert(address).inserted {
                        entry.mistake("\(entry.path) is in the list already; keep one of them")
                    }
                    if address.isUnspecified { entry.mistake("\(entry.path) is no address of this machine; name one") }
                    return address
                }
            } ?? policy.from
        fields.finish()
        return policy
    }

    func limits(_ node: ConfigurationNode) -> GatewayConfiguration.Limits? {
        guard let fields = node.mapping() else { return nil }
        var limits = GatewayConfiguration.Limits()
        limits.sessions = fields.read("sessions") { field -> Int? in
            field.isWord("auto") ? nil : field.integer(1...10_000_000)
        }
        limits.halfOpen = fields.read("half-open") { $0.integer(1...1_000_000) } ?? limits.halfOpen
        limits.halfOpenPerSource =
            fields.read("half-open-per-source") { $0.integer(1...1_000_000) } ?? limits.halfOpenPerSource
        limits.unansweredPerSource =
            fields.read("unanswered-per-source") { $0.integer(1...1_000_000) } ?? limits.unansweredPerSource
        limits.sessionsPerSIM = fields.read("sessions-per-sim") { $0.integer(1...1000) } ?? limits.sessionsPerSIM
        limits.body = fields.read("body") { $0.size(1024...65_536) } ?? limits.body
        limits.backOff = fields.read("back-off") { $0.duration(atMost: .seconds(3600)) } ?? limits.backOff
        limits.overload = fields.read("overload", self.overload) ?? limits.overload
        fields.finish()
        return limits
    }
}

extension ConfigurationNode {
    /// `10s`, at least half a second, or `none`.
    fileprivate func probeInterval() -> Duration?? {
        self.isWord("none") ? .some(nil) : self.duration(atLeast: .milliseconds(500)).map { .some($0) }
    }
}
