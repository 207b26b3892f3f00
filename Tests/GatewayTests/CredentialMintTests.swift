import Secrets
import Testing

@testable import Gateway

@Suite("Minting one-time credentials")
struct CredentialMintTests {
    private func mint(at time: Int64, length: Int = 29) -> OneTimeCredential {
        var policy = GatewayConfiguration.CredentialPolicy()
        policy.identityLength = length
        return OneTimeCredential.mint(
            for: "8944500900000000007", endpoint: "ep", server: "meters", shortServerID: 1, policy: policy, at: time
        )
    }

    @Test("No identity and no key comes twice, also at the same moment")
    func distinct() {
        let minted = (0..<500).map { _ in self.mint(at: 1_700_000_000_000_000) }
        #expect(Set(minted.map(\.identity)).count == minted.count)
        #expect(Set(minted.map { $0.key.withUnsafeBytes { Array($0) } }).count == minted.count)
    }

    @Test(
        "Identities are of the length that was asked for and of characters that survive every client",
        arguments: [16, 23, 24, 29, 128])
    func form(length: Int) throws {
        let identity = self.mint(at: 1_700_000_000_000_000, length: length).identity
        #expect(identity.bytes.count == length)
        #expect(identity.bytes.allSatisfy { (0x61...0x7A).contains($0) || (0x32...0x37).contains($0) })
    }

    @Test("Identities of the same moment begin alike, those of other moments do not")
    func start() {
        let time: Int64 = 4_096 * 415_000_000_000
        let starts = (0..<50).map { Array(self.mint(at: time + $0 * 80).identity.bytes.prefix(4)) }
        #expect(Set(starts).count == 1)
        let others = (1...50).map { Array(self.mint(at: time + $0 * 4_096).identity.bytes.prefix(4)) }
        #expect(Set(others).count > 40)
    }

    @Test("A short identity is random from its first character on")
    func short() {
        let starts = (0..<50).map { _ in
            Array(self.mint(at: 1_700_000_000_000_000, length: 16).identity.bytes.prefix(4))
        }
        #expect(Set(starts).count > 40)
    }
}
