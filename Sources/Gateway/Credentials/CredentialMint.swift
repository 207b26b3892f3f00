internal import Secrets

extension OneTimeCredential {
    /// Characters of one-time identities: they survive every client's command line, file and log.
    private static var alphabet: [UInt8] { Array("abcdefghijklmnopqrstuvwxyz234567".utf8) }

    /// A new credential with a random identity and key from the operating system's generator. An identity of 29
    /// characters carries 145 random bits, so none is ever met twice.
    package static func mint(
        for record: SIMRecord, endpoint: String, server: String, shortServerID: UInt16,
        policy: GatewayConfiguration.CredentialPolicy, at time: Int64
    ) -> OneTimeCredential {
        let alphabet = Self.alphabet
        let random = Secret.random(count: policy.identityLength)
        let characters = random.withUnsafeBytes { bytes in bytes.map { alphabet[Int($0 & 31)] } }
        guard let identity = PSKIdentity(characters) else {
            preconditionFailure("identity-length is checked when the configuration is read")
        }
        return OneTimeCredential(
            identity: identity, key: .random(count: policy.keyBytes), iccid: record.iccid, endpoint: endpoint,
            server: server, shortServerID: shortServerID, state: .pending, mintedAt: time
        )
    }
}
