package import Admin
package import Gateway
package import Publishing
package import Records

/// The whole configuration file after it was read and checked: what the data path runs with, and what only the command
/// needs. All paths are absolute.
package struct BootgateConfiguration: Sendable {
    package var gateway: GatewayConfiguration
    /// The folder of `sims.db`, `credentials.db` and `audit/`.
    package var state = "/var/lib/bootgate"
    package var records = Records()
    package var audit = Audit()
    package var log = Log()
    package var admin = Admin()
    /// The keys of fixed pairs in ``gateway``, which are empty there until ``readUpstreamKeys()``.
    package var upstreamKeys: [UpstreamKey] = []
    /// How servers that terminate DTLS themselves are told of keys, by the name of their entry in `servers`.
    package var publications: [String: Publication] = [:]

    package init(gateway: GatewayConfiguration) { self.gateway = gateway }

    package struct Records: Sendable, Equatable {
        /// Encrypts keys at rest; made on first use if it is a file that does not exist.
        package var key = SecretSource.file("/etc/bootgate/records.key")
        /// How a record that names no identity gets one: text with `{iccid}` and the like.
        package var identityPattern = "{iccid}"
        /// How a record that names no endpoint client name gets one.
        package var endpointPattern = "{iccid}"
    }

    /// `publish` of one server, secrets not yet read.
    package struct Publication: Sendable, Equatable {
        package var form: PublicationTarget.Form
        package var url: String
        package var token: SecretSource?
        /// PEM files of mutual TLS, and of the roots that the server's certificate must lead to.
        package var certificate: String?
        package var key: SecretSource?
        package var trustRoots: String?
        package var timeout: Duration
        package var keys: GatewayConfiguration.KeysPerEndpoint
    }

    package struct Audit: Sendable, Equatable {
        /// Ed25519; made on first use if it is a file that does not exist. Lies outside `state`.
        package var signingKey = SecretSource.file("/etc/bootgate/audit.key")
        /// A checkpoint follows after this time …
        package var checkpointEvery: Duration = .seconds(10)
        /// … or after this many records, whichever comes first.
        package var checkpointRecords = 10_000
        /// Segments whose newest record is older go away; nil: all stay.
        package var keep: Duration?
        /// Where a copy of each record goes.
        package var syslog: SyslogTarget?
        /// In log-and-audit mode the bootstrap account that a device gets leads back here.
        package var keepsDevices = true
        /// Finish passes only when its journal records are on disk.
        package var isStrict = false
    }

    /// How monitoring reaches the running gateway over HTTP, secrets not yet read.
    package struct Admin: Sendable, Equatable {
        package struct Address: Sendable, Equatable {
            package var host: String
            package var port: UInt16
        }

        package struct Token: Sendable, Equatable {
            package var name: String
            package var role: AdminSettings.Role
            package var source: SecretSource
        }

        /// A loopback address; nil: no HTTP.
        package var address: Address?
        package var metricsAreOpen = false
        package var tokens: [Token] = []
    }

    package struct Log: Sendable, Equatable {
        package enum Level: String, Sendable, CaseIterable {
            case trace, debug, info, notice, warning, error, critical
        }

        package enum Format: String, Sendable, CaseIterable {
            /// One JSON object a line, for collectors.
            case json
            /// One line for people.
            case text
        }

        package var level = Level.info
        package var format = Format.json
    }
}
