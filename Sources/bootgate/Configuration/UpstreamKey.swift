internal import Gateway
package import LwM2M
package import Records
package import Secrets

/// Where the key of a fixed pair comes from: `key` of an upstream or of a relay.
package struct UpstreamKey: Sendable, Equatable {
    package var uri: ServerURI
    package var identity: PSKIdentity
    package var source: SecretSource
    /// `bootstrap.upstreams[1].key`: how messages name it.
    package var path: String
}

/// Gathers the keys that the file names while it is read.
final class UpstreamKeyCollector {
    private(set) var all: [UpstreamKey] = []

    func add(_ key: UpstreamKey) { self.all.append(key) }
}

extension BootgateConfiguration {
    /// Reads the keys of fixed pairs into ``gateway``: before that they are empty.
    ///
    /// - Returns: what is risky about the places where they lie.
    package mutating func readUpstreamKeys() throws(RecordsError) -> [String] {
        var warnings: [String] = []
        for key in self.upstreamKeys {
            let reading = try key.source.readPreSharedKey(purpose: "key of \(key.uri), \(key.path)")
            if let warning = reading.warning { warnings.append(warning) }
            for index in self.gateway.bootstrap.upstreams.indices {
                self.gateway.bootstrap.upstreams[index].fill(key, with: reading.secret)
            }
            for index in self.gateway.servers.indices {
                self.gateway.servers[index].relay?.fill(key, with: reading.secret)
            }
        }
        return warnings
    }
}

extension GatewayConfiguration.Upstream {
    fileprivate mutating func fill(_ key: UpstreamKey, with secret: Secret) {
        guard self.uri == key.uri, case .fixed(let pair) = self.credentials, pair.identity == key.identity else {
            return
        }
        self.credentials = .fixed(PreSharedKey(identity: pair.identity, key: secret))
    }
}
