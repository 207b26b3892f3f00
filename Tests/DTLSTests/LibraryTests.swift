import DTLS
import Testing

@Suite("Cipher suites and library")
struct LibraryTests {
    @Test("A suite is found by its IANA name, wolfSSL's and OpenSSL's, in any case", arguments: CipherSuite.allCases)
    func names(_ suite: CipherSuite) {
        for name in [suite.name, suite.wolfSSLName, suite.openSSLName, suite.name.lowercased()] {
            #expect(CipherSuite(name) == suite)
        }
        #expect(suite.description == suite.name)
    }

    @Test("No two suites share a name")
    func distinctNames() {
        #expect(Set(CipherSuite.allCases.map(\.name)).count == CipherSuite.allCases.count)
        #expect(Set(CipherSuite.allCases.map(\.wolfSSLName)).count == CipherSuite.allCases.count)
    }

    @Test(
        "Numbers and names belong together",
        arguments: [
            (0xC0A8, "TLS_PSK_WITH_AES_128_CCM_8", "PSK-AES128-CCM8"),
            (0x00AE, "TLS_PSK_WITH_AES_128_CBC_SHA256", "PSK-AES128-CBC-SHA256"),
            (0xCCAC, "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-PSK-CHACHA20-POLY1305"),
            (0xD001, "TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256", "ECDHE-PSK-AES128-GCM-SHA256"),
        ]
    )
    func numbers(_ number: Int, _ name: String, _ alias: String) {
        #expect(CipherSuite(name)?.rawValue == UInt16(number))
        #expect(CipherSuite(alias)?.rawValue == UInt16(number))
    }

    @Test(
        "Any other text is no suite",
        arguments: ["", "PSK", "TLS_RSA_WITH_AES_128_CBC_SHA", " PSK-AES128-CCM8", "ALL"]
    )
    func unknownNames(_ text: String) { #expect(CipherSuite(text) == nil) }

    @Test("The linked library can serve devices, with every suite")
    func tuned() {
        #expect(DTLSLibrary.obstacle() == nil)
        #expect(DTLSLibrary.serverObstacle() == nil)
        #expect(DTLSLibrary.suites == CipherSuite.allCases)
        #expect(DTLSLibrary.version == DTLSLibrary.headerVersion)
    }

    @Test("A context without any suite of the library is refused")
    func noSuite() {
        var configuration = DTLSConfiguration()
        configuration.suites = []
        #expect(throws: DTLSError.noSuite([])) { try DTLSContext(role: .server, configuration: configuration) }
    }

    @Test("Values out of range are refused with the range", arguments: [0, 255, 16_385, 70_000])
    func mtu(_ mtu: Int) {
        var configuration = DTLSConfiguration()
        configuration.mtu = mtu
        #expect(throws: DTLSError.configuration("the mtu is \(mtu): it has to be 256 to 16384 bytes")) {
            try DTLSContext(role: .client, configuration: configuration)
        }
    }
}
