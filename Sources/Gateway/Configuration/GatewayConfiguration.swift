package import CoAP
package import DTLS
package import LwM2M

/// What the gateway runs with: the configuration file after it was read and checked, as plain values.
///
/// `interface.md` names the keys of the file in the same words; the command reads it, nothing below the command knows YAML.
package struct GatewayConfiguration: Sendable {
    package var mode = Mode.enforce
    package var listeners: [Listener]
    package var bootstrap: Bootstrap
    package var servers: [ServerRule]
    package var unmatched: Unmatched = .refuse
    package var credentials = CredentialPolicy()
    package var dtls = DTLSPolicy()
    /// Message layer towards devices.
    package var deviceTransmission = TransmissionParameters()
    /// Handshakes with devices.
    package var deviceHandshake = HandshakeTimers()
    /// Message layer towards servers.
    package var upstreamTransmission = TransmissionParameters()
    package var pool = PoolPolicy()
    package var limits = Limits()
    /// How long running bootstraps may take to finish after SIGTERM.
    package var drain: Duration = .seconds(30)
    /// `audit.durability: strict`: Finish passes only when what the journal holds of the bootstrap is on disk.
    package var isAuditStrict = false

    package init(listeners: [Listener], bootstrap: Bootstrap, servers: [ServerRule]) {
        self.listeners = listeners
        self.bootstrap = bootstrap
        self.servers = servers
    }

    /// How a device arrives.
    package enum Security: String, Sendable {
        /// DTLS with a pre-shared key: the identity decides what the peer is.
        case dtls
        /// Plain CoAP: the source address is checked against the SIM records.
        case plain
    }

    /// One address to listen on. A wildcard becomes one socket per local address.
    package struct Listener: Sendable, Equatable {
        package var security: Security
        package var address: IPAddress
        /// 0 lets the system choose.
        package var port: UInt16
        /// Name of the entry in `servers` whose registrations arrive here, for plain listeners.
        package var server: String?
        /// Whether connection IDs are negotiated here, for DTLS listeners; nil: as ``DTLSPolicy`` says.
        package var connectionIDs: Bool?

        package init(security: Security, address: IPAddress, port: UInt16, server: String? = nil) {
            self.security = security
            self.address = address
            self.port = port
            self.server = server
        }
    }

    /// A server behind the gateway.
    package struct Upstream: Sendable, Equatable {
        package var uri: ServerURI
        /// Nil for `coap`, never nil for `coaps`.
        package var credentials: UpstreamCredentials?
        /// Whether this bootstrap server knows bootstrap packs, `GET /bspack` (LwM2M 1.2).
        package var packs: Bool

        package init(uri: ServerURI, credentials: UpstreamCredentials? = nil, packs: Bool = false) {
            self.uri = uri
            self.credentials = credentials
            self.packs = packs
        }

        /// Whether a lease has to bring a pair of the device's own along.
        package var needsDeviceCredentials: Bool { self.credentials?.belongsToDevice ?? false }
    }

    /// A server's address in the form for devices over DTLS and in the form for plain ones. A missing form means that
    /// devices which came that way are refused.
    package struct DeviceURIs: Sendable, Equatable {
        package var secure: ServerURI?
        package var plain: ServerURI?

        package init(secure: ServerURI? = nil, plain: ServerURI? = nil) {
            self.secure = secure
            self.plain = plain
        }
    }

    package struct Bootstrap: Sendable, Equatable {
        /// In order of preference.
        package var upstreams: [Upstream]
        /// The device's way back: always this gateway, as devices reach it.
        package var account: DeviceURIs

        package init(upstreams: [Upstream], account: DeviceURIs) {
            self.upstreams = upstreams
            self.account = account
        }
    }

    /// One LwM2M server that the bootstrap server writes, and what a device gets instead.
    package struct ServerRule: Sendable, Equatable {
        package var name: String
        /// As written upstream; at least one of the two; both given: both must match. Compared by component.
        package var matchURI: ServerURI?
        package var matchShortServerID: UInt16?
        package var device: DeviceURIs
        /// Where the registration leg goes; nil when the server speaks DTLS itself.
        package var relay: Upstream?
        /// Set when the server terminates DTLS itself and is told the keys: how many it holds for one endpoint. How it is
        /// told is the business of ``CredentialPublisher``.
        package var publishedKeys: KeysPerEndpoint?

        package init(
            name: String, matchURI: ServerURI?, matchShortServerID: UInt16?, device: DeviceURIs, relay: Upstream?,
            publishedKeys: KeysPerEndpoint? = nil
        ) {
            self.name = name
            self.matchURI = matchURI
            self.matchShortServerID = matchShortServerID
            self.device = device
            self.relay = relay
            self.publishedKeys = publishedKeys
        }
    }

    /// What becomes of an account whose server has no rule.
    package enum Unmatched: String, Sendable {
        case refuse, keep
    }

    package struct CredentialPolicy: Sendable, Equatable {
        /// 16 to 64.
        package var keyBytes = 16
        /// Characters of an identity, 16 to 128; small clients take 29 at most.
        package var identityLength = 29
        /// An unused credential expires after this.
        package var useWithin: Duration = .seconds(7 * 86_400)
        /// A replaced credential lives at most this long beside an unproven successor.
        package var overlap: Duration = .seconds(7 * 86_400)
        /// Nil: no upper bound.
        package var maximumAge: Duration?

        package init() {}
    }

    package struct DTLSPolicy: Sendable, Equatable {
        /// In order of preference of the gateway.
        package var suites: [CipherSuite] = [
            .pskAES128CCM8, .ecdhePSKChaCha20, .pskAES128GCM, .pskAES128CCM, .pskAES128CBC,
        ]
        /// Whether connection IDs are negotiated with devices that offer them (RFC 9146).
        package var connectionIDs = true

        package init() {}
    }

    /// The times of one handshake (RFC 6347, section 4.2.4.1).
    package struct HandshakeTimers: Sendable, Equatable {
        /// When a flight is repeated for the first time; each further wait is twice as long, up to a minute.
        package var retransmission: Duration = .seconds(1)
        /// How long it may take in all.
        package var limit: Duration = .seconds(30)

        package init() {}

        /// Beside ``TransmissionParameters/narrowband``: repeats after 9, 18, 36 and 60 seconds.
        package static var narrowband: HandshakeTimers {
            var timers = HandshakeTimers()
            timers.retransmission = .seconds(9)
            timers.limit = .seconds(180)
            return timers
        }
    }

    package struct PoolPolicy: Sendable, Equatable {
        package var minimumIdle = 8
        /// How long a device may wait for a socket before it gets 5.03.
        package var wait: Duration = .seconds(2)
        /// How long a socket rests after a lease that did not end cleanly; at least 247 s.
        package var quarantine: Duration = .seconds(300)
        /// How long a socket rests after a clean end, before another device gets it: what the server still sends to the
        /// former device, late or after its own Finish, then meets nobody.
        package var rest: Duration = .milliseconds(20)
        /// Local addresses to use upstream; empty: the system's choice.
        package var from: [IPAddress] = []
        /// How long a server may be quiet before it is asked for a sign of life; nil: only servers that are down are asked.
        package var probe: Duration? = .seconds(10)
        /// How long a server that was down must be well before it is preferred again to one further back in the list.
        package var returnAfter: Duration = .seconds(10)

        package init() {}
    }

    package struct Limits: Sendable, Equatable {
        /// Live device sessions; nil: as many as ``SessionCapacity`` has memory for.
        package var sessions: Int?
        package var halfOpen = 4096
        /// Of these, so many of one source (IPv6: one /64).
        package var halfOpenPerSource = 256
        /// Plain bootstraps of one source (IPv6: one /64) that no device has acknowledged yet.
        package var unansweredPerSource = 64
        package var sessionsPerSIM = 4
        /// Largest body, in bytes, that is put together from blocks on the bootstrap leg, in either direction (T46).
        package var body = 65_536
        /// How long an identity has to wait at most that has shown wrong keys from one source; zero: never.
        package var backOff: Duration = .seconds(60)
        package var overload = OverloadPolicy()

        package init() {}
    }
}
