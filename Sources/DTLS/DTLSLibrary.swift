internal import CWolfSSL

/// What the linked wolfSSL is and can do.
package enum DTLSLibrary {
    /// For example `5.9.2`.
    package static var version: String { String(cString: wolfSSL_lib_version()) }

    /// The version of the headers that this program was built with.
    package static var headerVersion: String { Self.text(bootgate_header_version()) }

    /// The suites that the linked library really has: each was tried.
    package static let suites: [CipherSuite] = CipherSuite.allCases.filter { suite in
        guard Self.isInitialized, let context = wolfSSL_CTX_new(wolfDTLSv1_2_client_method()) else { return false }
        defer { wolfSSL_CTX_free(context) }
        return wolfSSL_CTX_set_cipher_list(context, suite.wolfSSLName) == 1
    }

    /// Why no session can be made at all, and what to do; nil when there is no such reason.
    package static func obstacle() -> String? {
        guard Self.isInitialized else { return "wolfSSL cannot be initialized: \(Self.remedy)" }
        guard wolfSSL_lib_version_hex() == bootgate_header_version() else {
            return "built with the headers of wolfSSL \(Self.headerVersion), but linked with \(Self.version): "
                + Self.remedy
        }
        return nil
    }

    /// Why the linked library cannot be the server of DTLS devices, and what to do; nil when it can. A listener with
    /// `coaps` is refused with this text.
    package static func serverObstacle() -> String? {
        if let obstacle = Self.obstacle() { return obstacle }
        var lacks: [String] = []
        if bootgate_has_static_psk() == 0 || !Self.suites.contains(.pskAES128CCM8) {
            lacks.append("has no TLS_PSK_WITH_AES_128_CCM_8, the one suite that every LwM2M device has")
        }
        if wolfSSL_lib_version_hex() < Self.repeatsLastFlight {
            lacks.append("never repeats the last flight of a handshake, so that one lost datagram locks a device out")
        } else if bootgate_repeats_only_when_told() == 0 {
            lacks.append("answers every repeated datagram at once, so that a wrong key starts a storm")
        }
        if lacks.isEmpty { return nil }
        return "the installed wolfSSL \(Self.version) cannot serve DTLS devices: it "
            + lacks.joined(separator: ", and ") + ": " + Self.remedy
    }

    private static let remedy = "run scripts/setup, which builds a suitable one into .deps, then build again"

    /// 5.5.4 does not repeat its last flight, 5.9.2 does; nothing in between was tried.
    private static let repeatsLastFlight: UInt32 = 0x0500_9002

    /// Whether the library is ready for use; set up on the first look, from any thread.
    static let isInitialized: Bool = wolfSSL_Init() == 1

    private static func text(_ version: UInt32) -> String {
        // The nibbles are decimal digits: 0x05009002 is 5.9.2, 0x05005004 is 5.5.4.
        "\(version >> 24 & 0xF).\(version >> 12 & 0xFFF).\(version & 0xFFF)"
    }
}
