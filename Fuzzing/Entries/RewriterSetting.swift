internal import Gateway
internal import LwM2M
internal import Secrets

extension RewriterEntry {
    /// How a gateway is set up, and how the device came to it.
    struct Setting {
        static let key = Secret([UInt8](repeating: 0xB0, count: 16))

        let arrival: GatewayConfiguration.Security
        let unmatched: GatewayConfiguration.Unmatched
        let rewriter: AccountRewriter
        private let identity: PSKIdentity
        /// All that an account may lead to that is not kept.
        let deviceURIs: Set<String>

        /// Nil only when a text below is wrong.
        init?(_ bits: UInt8) {
            let texts = [
                "coaps://edge.example.net:5684", "coap://edge.example.net:5683", "coaps://lwm2m.example.net:5684",
                "coap://10.1.0.20:5683",
            ]
            let uris = texts.compactMap { try? ServerURI($0) }
            guard uris.count == texts.count, let identity = PSKIdentity("8988228066602306770") else { return nil }
            let meters = GatewayConfiguration.ServerRule(
                name: "meters", matchURI: uris[3], matchShortServerID: 1111,
                device: .init(secure: uris[0], plain: uris[1]), relay: nil
            )
            let trackers = GatewayConfiguration.ServerRule(
                name: "trackers", matchURI: nil, matchShortServerID: 2000, device: .init(secure: uris[2]), relay: nil
            )
            self.arrival = bits & 1 == 0 ? .dtls : .plain
            self.identity = identity
            self.unmatched = bits & 2 == 0 ? .refuse : .keep
            self.deviceURIs = Set(uris.prefix(3).map(\.description))
            var rewriter = AccountRewriter(
                servers: [meters, trackers], unmatched: self.unmatched,
                account: .init(secure: uris[0], plain: uris[1]), arrival: self.arrival, bootstrapIdentity: identity,
                bootstrapKey: Self.key
            )
            rewriter.hasPriorities = bits & 4 != 0
            if bits & 8 != 0 { rewriter.bootstrapInstanceID = UInt16(bits >> 4 & 3) }
            self.rewriter = rewriter
        }

        func mint(server: String, shortServerID: UInt16) -> (PSKIdentity, Secret) {
            let bytes = Array("one-time-\(server)-\(shortServerID)".utf8)
            let key = Secret([UInt8](repeating: UInt8(truncatingIfNeeded: shortServerID), count: 16))
            return (PSKIdentity(bytes) ?? self.identity, key)
        }
    }
}
