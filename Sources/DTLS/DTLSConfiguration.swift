/// Which end of a connection the sessions of a context are.
package enum DTLSRole: Sendable, Equatable {
    case server
    case client
}

/// What the sessions of one context may do. Checked when the context is made.
package struct DTLSConfiguration: Sendable, Equatable {
    /// In order of preference. As a server, the first one that the client offers too is taken.
    package var suites: [CipherSuite] = [
        .pskAES128CCM8, .ecdhePSKChaCha20, .pskAES128GCM, .pskAES128CCM, .pskAES128CBC,
    ]

    /// Largest UDP payload that is sent, in bytes, 256 to 16,384. 1232 is what the smallest IPv6 path carries (1280
    /// less 40 and 8) and leaves 1203 bytes for a CoAP message with CCM-8. Records of a peer may be 500 bytes longer.
    package var mtu = 1232

    /// How many datagrams one handshake may take, received and sent ones together, before it is given up. An
    /// undisturbed handshake takes five after the cookie; the rest is for repetitions. Two ends that disagree on the
    /// key could otherwise answer each other's repetitions without end.
    package var maximumHandshakeDatagrams = 64

    /// How long a handshake may take in all, the look-up of the key included.
    package var handshakeTimeout: Duration = .seconds(30)

    /// When a flight is repeated for the first time (RFC 6347, section 4.2.4.1). Each further wait is twice as long, up
    /// to a minute.
    package var initialRetransmission: Duration = .seconds(1)

    /// How many protected records of one handshake are kept while they cannot be opened yet: the key is being looked
    /// up, or an earlier message of the flight is missing. Further ones are dropped; the peer repeats them.
    package var heldRecords = 8

    /// How many bytes those records may have together.
    package var heldBytes = 4096

    /// How long a server keeps its last flight for a client that repeats its own, if nothing proves before that the
    /// client has it (RFC 6347, section 4.2.4: twice the lifetime of a segment). Then the memory is given back.
    package var lastFlightLifetime: Duration = .seconds(240)

    /// How many handshakes of one context may be under way; a further hello is turned down.
    package var maximumHandshakes = 4096

    package init() {}
}
