internal import Secrets

extension OneTimeCredential {
    /// A new credential with a random identity and key from the operating system's generator. An identity of 29
    /// characters carries 145 random bits, so none is ever met twice.
    package static func mint(
        for record: SIMRecord, endpoint: String, server: String, shortServerID: UInt16,
        policy: GatewayConfiguration.CredentialPolicy, at time: Int64
    ) -> OneTimeCredential {
        // One call of the generator for both.
        let random = Secret.random(count: policy.identityLength + policy.keyBytes)
        let (characters, key) = random.withUnsafeBytes { bytes in
            let key = Secret(copying: UnsafeRawBufferPointer(rebasing: bytes[policy.identityLength...]))
            return (bytes.prefix(policy.identityLength).map(Self.character), key)
        }
        guard let identity = PSKIdentity(characters) else {
            preconditionFailure("identity-length is checked when the configuration is read")
        }
        return OneTimeCredential(
            identity: identity, key: key, iccid: record.iccid, endpoint: endpoint,
            server: server, shortServerID: shortServerID, state: .pending, mintedAt: time
        )
    }

    /// Characters of one-time identities are `a` to `z` and `2` to `7`: they survive every client's command line, file and
    /// log.
    private static func character(for random: UInt8) -> UInt8 {
        let index = random & 31
        return index < 26 ? UInt8(ascii: "a") + index : UInt8(ascii: "2") + (index - 26)
    }
}
