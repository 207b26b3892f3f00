internal import CWolfSSL

/// What all sessions of one role on one event loop share: suites, limits, callbacks, and the memory through which they
/// hand out plaintext and datagrams.
///
/// Not for use by several threads: make one per event loop. It may be dropped while sessions of it live; they keep it.
package final class DTLSContext {
    package let role: DTLSRole
    package let configuration: DTLSConfiguration
    /// The configured suites that the linked library has, in the configured order.
    package let suites: [CipherSuite]

    /// Handshakes under way, and sessions established and not closed yet.
    package internal(set) var handshakes = 0
    package internal(set) var established = 0

    /// Datagrams and records that were lost because nobody drained what was there before: a fault of the caller.
    package var overflows: Int { self.output.overflows + self.plaintext.overflows }

    let library: OpaquePointer
    /// Datagrams to be sent.
    let output = ScratchArena(capacity: 256 * 1024, isSensitive: false)
    /// Opened records to be read.
    let plaintext = ScratchArena(capacity: 128 * 1024, isSensitive: true)
    private var lastNumber: UInt64 = 0

    /// - Throws: `library` when the linked library is not the one that this program was built for, `noSuite` when it
    ///   has none of the suites, `configuration` when a value is out of range, `failure` when memory is short.
    package init(role: DTLSRole, configuration: DTLSConfiguration) throws(DTLSError) {
        if let obstacle = DTLSLibrary.obstacle() { throw .library(obstacle) }
        try Self.check(configuration)
        let suites = configuration.suites.filter(DTLSLibrary.suites.contains)
        guard !suites.isEmpty else { throw .noSuite(configuration.suites) }
        let method = role == .server ? wolfDTLSv1_2_server_method() : wolfDTLSv1_2_client_method()
        guard let library = wolfSSL_CTX_new(method) else { throw .failure(call: "wolfSSL_CTX_new", code: 0) }
        self.role = role
        self.configuration = configuration
        self.suites = suites
        self.library = library

        // The callbacks come before the list: PSK suites count only once there is one.
        switch role {
        case .server: wolfSSL_CTX_set_psk_server_callback(library, serverKeyCallback)
        case .client:
            wolfSSL_CTX_set_psk_client_callback(library, clientKeyCallback)
            bootgate_offer_cheap_curves(library)
        }
        let list = suites.map(\.wolfSSLName).joined(separator: ":")
        let listed = wolfSSL_CTX_set_cipher_list(library, list)
        guard listed == 1 else { throw .failure(call: "wolfSSL_CTX_set_cipher_list", code: listed) }
        wolfSSL_CTX_SetIORecv(library, receiveCallback)
        wolfSSL_CTX_SetIOSend(library, sendCallback)
        // A resumed session would never ask for the key: one that was revoked would go on working.
        _ = wolfSSL_CTX_set_session_cache_mode(library, bootgate_session_cache_off)
        bootgate_export_without_peer(library)
        // One datagram per flight where it fits.
        _ = wolfSSL_CTX_set_group_messages(library)
        guard bootgate_set_mtu(library, UInt16(configuration.mtu)) == 1 || bootgate_has_static_psk() == 0 else {
            throw .failure(call: "wolfSSL_CTX_dtls_set_mtu", code: 0)
        }
    }

    deinit { wolfSSL_CTX_free(self.library) }

    /// A number for a new session; never 0.
    func nextNumber() -> UInt64 {
        self.lastNumber &+= 1
        return self.lastNumber
    }

    private static func check(_ configuration: DTLSConfiguration) throws(DTLSError) {
        guard (256...16_384).contains(configuration.mtu) else {
            throw .configuration("the mtu is \(configuration.mtu): it has to be 256 to 16384 bytes")
        }
        guard configuration.initialRetransmission > .zero, configuration.handshakeTimeout > .zero else {
            throw .configuration("initialRetransmission and handshakeTimeout have to be longer than nothing")
        }
    }
}

extension DTLSContext: CustomStringConvertible, CustomReflectable {
    package var description: String {
        "DTLSContext(\(self.role), \(self.handshakes) handshakes, \(self.established) established)"
    }

    package var customMirror: Mirror { Mirror(self, children: [:]) }
}
