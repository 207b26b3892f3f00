package import Secrets

/// A PSK identity with its key: how one end of a DTLS association shows who it is.
package struct PreSharedKey: Sendable, Hashable {
    package var identity: PSKIdentity
    /// 1 to 64 bytes, which is what the DTLS library takes.
    package var key: Secret

    package init(identity: PSKIdentity, key: Secret) {
        self.identity = identity
        self.key = key
    }

    /// By the identity alone: two keys of one identity are rare, and nothing of a key may show in a hash.
    package func hash(into hasher: inout Hasher) { hasher.combine(self.identity) }
}

extension PreSharedKey: CustomStringConvertible, CustomReflectable {
    package var description: String { "PreSharedKey(\(self.identity))" }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}

/// With what the gateway shows itself to a server over DTLS.
package enum UpstreamCredentials: Sendable, Hashable {
    /// One pair for all devices: for servers that do not bind endpoint names to PSK identities. Its sessions are kept
    /// with their sockets, and serve one device after another.
    case fixed(PreSharedKey)
    /// The SIM record's own identity and key, on the bootstrap leg. Each lease has a session of its own.
    case perDevice
    /// What the bootstrap server wrote for this very device, on the registration leg. Each lease has a session of its own.
    case written

    /// Whether a lease has to bring the pair along.
    package var belongsToDevice: Bool {
        switch self {
        case .fixed: false
        case .perDevice, .written: true
        }
    }
}

/// The account of a LwM2M server as the bootstrap server wrote it for one device, before it was rewritten: what the
/// registration leg shows to that server (`relay.credentials: written`). It never goes to a device.
package struct UpstreamAccount: Sendable, Hashable {
    /// Resource 0, as it was written: 255 bytes of UTF-8 at most.
    package var uri: String
    /// Resources 3 and 5.
    package var credentials: PreSharedKey

    package init(uri: String, credentials: PreSharedKey) {
        self.uri = uri
        self.credentials = credentials
    }
}

extension SIMRecord {
    /// Identity and key of the bootstrap; nil for a SIM without a key.
    package var preSharedKey: PreSharedKey? { self.key.map { PreSharedKey(identity: self.identity, key: $0) } }
}
