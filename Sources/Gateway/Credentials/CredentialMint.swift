internal import Secrets

extension OneTimeCredential {
    /// A new credential with a random identity and key from the operating system's generator. An identity of 29
    /// characters carries 125 random bits of its own, so none is ever met twice.
    ///
    /// Those minted within the same few milliseconds share their first four characters: a store that commits them together
    /// finds them side by side in its index, and changes one page of it rather than one for each. Nothing secret is lost:
    /// an identity names a key and protects nothing.
    package static func mint(
        for iccid: String, endpoint: String, server: String, shortServerID: UInt16,
        policy: GatewayConfiguration.CredentialPolicy, at time: Int64
    ) -> OneTimeCredential {
        // One call of the generator for both.
        let random = Secret.random(count: policy.identityLength + policy.keyBytes)
        let (characters, key) = random.withUnsafeBytes { bytes in
            let key = Secret(copying: UnsafeRawBufferPointer(rebasing: bytes[policy.identityLength...]))
            var characters = bytes.prefix(policy.identityLength).map(Self.character)
            var shared = Self.sharedBits(at: time)
            for index in 0..<4 where characters.count >= Self.shortestWithSharedStart {
                characters[index] = Self.character(for: UInt8(truncatingIfNeeded: shared))
                shared >>= 5
            }
            return (characters, key)
        }
        guard let identity = PSKIdentity(characters) else {
            preconditionFailure("identity-length is checked when the configuration is read")
        }
        return OneTimeCredential(
            identity: identity, key: key, iccid: iccid, endpoint: endpoint,
            server: server, shortServerID: shortServerID, state: .pending, mintedAt: time
        )
    }

    /// Shorter identities, 16 characters at least by configuration, keep all their random bits.
    private static let shortestWithSharedStart = 24

    /// Random for whoever does not know ``seed``, so that an identity does not tell when it was minted; the same for about
    /// four milliseconds.
    private static func sharedBits(at time: Int64) -> UInt64 {
        // SplitMix64.
        var mixed = Self.seed &+ UInt64(bitPattern: time >> 12) &* 0x9E37_79B9_7F4A_7C15
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    private static let seed = UInt64.random(in: .min ... .max)

    /// Characters of one-time identities are `a` to `z` and `2` to `7`: they survive every client's command line, file and
    /// log.
    private static func character(for random: UInt8) -> UInt8 {
        let index = random & 31
        return index < 26 ? UInt8(ascii: "a") + index : UInt8(ascii: "2") + (index - 26)
    }
}
