internal import DTLS

/// The IANA names of the suites that a configuration may list.
enum SuiteNames {
    static let all: [(name: String, suite: CipherSuite)] = [
        ("TLS_PSK_WITH_AES_128_CCM_8", .pskAES128CCM8),
        ("TLS_PSK_WITH_AES_256_CCM_8", .pskAES256CCM8),
        ("TLS_PSK_WITH_AES_128_CCM", .pskAES128CCM),
        ("TLS_PSK_WITH_AES_256_CCM", .pskAES256CCM),
        ("TLS_PSK_WITH_AES_128_GCM_SHA256", .pskAES128GCM),
        ("TLS_PSK_WITH_AES_256_GCM_SHA384", .pskAES256GCM),
        ("TLS_PSK_WITH_AES_128_CBC_SHA256", .pskAES128CBC),
        ("TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256", .ecdhePSKChaCha20),
        ("TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA256", .ecdhePSKAES128CBC),
        ("TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256", .ecdhePSKAES128GCM),
    ]

    static func suite(_ name: String) -> CipherSuite? { self.all.first { $0.name == name }?.suite }
}
