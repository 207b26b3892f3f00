/// The PSK cipher suites that a listener or an upstream connection may use (RFC 4279, 5487, 6655, 7905, 8442).
package enum CipherSuite: UInt16, Sendable, CaseIterable {
    /// The one that every LwM2M device has.
    case pskAES128CCM8 = 0xC0A8
    case pskAES256CCM8 = 0xC0A9
    case pskAES128CCM = 0xC0A4
    case pskAES256CCM = 0xC0A5
    case pskAES128GCM = 0x00A8
    case pskAES256GCM = 0x00A9
    case pskAES128CBC = 0x00AE
    case ecdhePSKChaCha20 = 0xCCAC
    case ecdhePSKAES128CBC = 0xC037
    case ecdhePSKAES128GCM = 0xD001

    /// The suite that `text` names: by its IANA name, or by wolfSSL's or OpenSSL's, in either case of letters. Nil for
    /// any other text.
    package init?(_ text: some StringProtocol) {
        let name = text.uppercased()
        let match = Self.allCases.first { suite in
            name == suite.name || name == suite.wolfSSLName || name == suite.openSSLName
        }
        guard let match else { return nil }
        self = match
    }

    /// The name in the IANA registry.
    package var name: String {
        switch self {
        case .pskAES128CCM8: "TLS_PSK_WITH_AES_128_CCM_8"
        case .pskAES256CCM8: "TLS_PSK_WITH_AES_256_CCM_8"
        case .pskAES128CCM: "TLS_PSK_WITH_AES_128_CCM"
        case .pskAES256CCM: "TLS_PSK_WITH_AES_256_CCM"
        case .pskAES128GCM: "TLS_PSK_WITH_AES_128_GCM_SHA256"
        case .pskAES256GCM: "TLS_PSK_WITH_AES_256_GCM_SHA384"
        case .pskAES128CBC: "TLS_PSK_WITH_AES_128_CBC_SHA256"
        case .ecdhePSKChaCha20: "TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256"
        case .ecdhePSKAES128CBC: "TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA256"
        case .ecdhePSKAES128GCM: "TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256"
        }
    }

    /// The name in wolfSSL's cipher lists.
    package var wolfSSLName: String {
        switch self {
        case .pskAES128CCM8: "PSK-AES128-CCM-8"
        case .pskAES256CCM8: "PSK-AES256-CCM-8"
        case .pskAES128CCM: "PSK-AES128-CCM"
        case .pskAES256CCM: "PSK-AES256-CCM"
        case .pskAES128GCM: "PSK-AES128-GCM-SHA256"
        case .pskAES256GCM: "PSK-AES256-GCM-SHA384"
        case .pskAES128CBC: "PSK-AES128-CBC-SHA256"
        case .ecdhePSKChaCha20: "ECDHE-PSK-CHACHA20-POLY1305"
        case .ecdhePSKAES128CBC: "ECDHE-PSK-AES128-CBC-SHA256"
        case .ecdhePSKAES128GCM: "ECDHE-PSK-AES128-GCM-SHA256"
        }
    }

    /// The name in OpenSSL's cipher lists; OpenSSL itself lacks the last suite, whose name is formed alike.
    package var openSSLName: String {
        switch self {
        case .pskAES128CCM8: "PSK-AES128-CCM8"
        case .pskAES256CCM8: "PSK-AES256-CCM8"
        default: self.wolfSSLName
        }
    }

    /// Whether each handshake makes a Diffie-Hellman exchange, so that recorded traffic stays secret when the key leaks
    /// later. It costs about four times the computing time.
    package var hasForwardSecrecy: Bool {
        switch self {
        case .ecdhePSKChaCha20, .ecdhePSKAES128CBC, .ecdhePSKAES128GCM: true
        default: false
        }
    }
}

extension CipherSuite {
    /// Whether wolfSSL 5.9.2 can open records of this suite that carry a connection ID. It drops every one with CBC and
    /// encrypt-then-MAC, the Finished first.
    var worksWithConnectionIDs: Bool {
        switch self {
        case .pskAES128CBC, .ecdhePSKAES128CBC: false
        default: true
        }
    }

    /// Whether records are sealed with AES-CCM.
    var isCCM: Bool {
        switch self {
        case .pskAES128CCM8, .pskAES256CCM8, .pskAES128CCM, .pskAES256CCM: true
        default: false
        }
    }

    /// Whether no suite that a server may choose for `hello` stands against connection IDs. It takes the first one of
    /// its own that the client has too, but passes over one with forward secrecy if they have no curve in common.
    static func allowConnectionIDs(_ suites: [CipherSuite], for hello: ClientHello) -> Bool {
        for suite in suites where hello.offers(suite) {
            guard suite.worksWithConnectionIDs else { return false }
            if !suite.hasForwardSecrecy { return true }
        }
        return true
    }
}

extension CipherSuite: CustomStringConvertible {
    /// The IANA name.
    package var description: String { self.name }
}
