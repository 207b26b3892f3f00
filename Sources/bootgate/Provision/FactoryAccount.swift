internal import Gateway
internal import LwM2M
internal import Secrets

/// The bootstrap account that a device has before it has ever met the gateway: what the factory puts into it.
///
/// It is the account that a bootstrap writes back, too, so that a device comes the same way ever after.
struct FactoryAccount {
    /// The instance of the Security object.
    var instanceID: UInt16
    var uri: ServerURI
    var endpoint: String
    /// Nil for a device that comes plain.
    var credential: Credential?

    struct Credential {
        var identity: PSKIdentity
        var key: Secret
    }

    /// Why a record or the configuration gives no account.
    enum Obstacle: Error {
        case noKey
        case noSecureURI
        case noPlainURI
    }

    /// Over DTLS, unless the record's profile is `plain`.
    init(
        of record: SIMRecord,
        leadingTo gateway: GatewayConfiguration.DeviceURIs,
        instanceID: UInt16
    ) throws(Obstacle) {
        self.instanceID = instanceID
        self.endpoint = record.endpoint
        if record.profile == .plain {
            guard let uri = gateway.plain else { throw .noPlainURI }
            self.uri = uri
        } else {
            guard let uri = gateway.secure else { throw .noSecureURI }
            guard let key = record.key else { throw .noKey }
            self.uri = uri
            self.credential = Credential(identity: record.identity, key: key)
        }
    }

    /// The instance as a device would be written it. Resources that the mode has no use for are left out.
    var instance: ObjectInstance {
        let mode: SecurityMode = self.credential == nil ? .noSec : .preSharedKey
        var resources = [
            Resource(id: 0, value: .single(ResourceValue.bytes(self.uri.description))),
            Resource(id: 1, value: .single(ResourceValue.bytes(true))),
            Resource(id: 2, value: .single(ResourceValue.bytes(Int64(mode.rawValue)))),
        ]
        if let credential = self.credential {
            resources.append(Resource(id: 3, value: .single(credential.identity.bytes)))
            resources.append(Resource(id: 5, value: .single(credential.key.withUnsafeBytes { Array($0) })))
        }
        return ObjectInstance(id: self.instanceID, resources: resources)
    }

    /// A document for the Security object with this one instance, so that it names the instance itself.
    func document(_ format: ContentFormat) throws(PayloadError) -> [UInt8] {
        try PayloadCodec.encode(.instances([self.instance]), format, at: LwM2MPath(0))
    }

    /// Path, name and value of each resource. The key is among them.
    var rows: [[String]] {
        let names = [0: "LwM2M Server URI", 1: "Bootstrap-Server", 2: "Security Mode", 3: "Identity", 5: "Secret Key"]
        let mode: SecurityMode = self.credential == nil ? .noSec : .preSharedKey
        var values = [0: self.uri.description, 1: "true", 2: "\(mode.rawValue) (\(mode.name))"]
        if let credential = self.credential {
            values[3] = credential.identity.text ?? "0x\(Self.hexadecimal(credential.identity.bytes))"
            values[5] = Self.hexadecimal(credential.key)
        }
        return values.sorted { $0.key < $1.key }.map {
            [LwM2MPath(0, self.instanceID, UInt16($0.key)).description, names[$0.key] ?? "", $0.value]
        }
    }

    static func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
        bytes.reduce(into: "") { $0 += ($1 < 16 ? "0" : "") + String($1, radix: 16) }
    }

    static func hexadecimal(_ key: Secret) -> String { key.withUnsafeBytes { Self.hexadecimal($0) } }
}
