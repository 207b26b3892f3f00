package import Gateway
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
    /// The keys of fixed pairs in ``gateway``, which are empty there until ``readUpstreamKeys()``.
    package var upstreamKeys: [UpstreamKey] = []

    package init(gateway: GatewayConfiguration) { self.gateway = gateway }

    package struct Records: Sendable, Equatable {
        /// Encrypts keys at rest; made on first use if it is a file that does not exist.
        package var key = SecretSource.file("/etc/bootgate/records.key")
        /// How a record that names no identity gets one: text with `{iccid}` and the like.
        package var identityPattern = "{iccid}"
        /// How a record that names no endpoint client name gets one.
        package var endpointPattern = "{iccid}"
    }

    package struct Audit: Sendable, Equatable {
        /// Ed25519; made on first use if it is a file that does not exist. Lies outside `state`.
        package var signingKey = SecretSource.file("/etc/bootgate/audit.key")
        /// A checkpoint follows after this time …
        package var checkpointEvery: Duration = .seconds(10)
        /// … or after this many records, whichever comes first.
        package var checkpointRecords = 10_000
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
