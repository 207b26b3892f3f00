internal import Gateway

/// Where the stores lie and how they behave: the `state`, `records` and `credentials` parts of the configuration file as
/// plain values.
package struct RecordsConfiguration: Sendable {
    /// Folder of `sims.db`, `credentials.db` and `audit/`.
    package var state: String
    /// The key that encrypts keys at rest, 32 bytes.
    package var key: SecretSource
    /// Default PSK identity of a record.
    package var identity: NamePattern = .iccid
    /// Default endpoint client name of a record.
    package var endpoint: NamePattern = .iccid
    package var lifetimes = CredentialLifetimes()
    /// How long a credential waits for others to share its commit, 0 to 5 ms. With the commit itself, about 1 ms, the
    /// default makes 5.
    package var commitWindow: Duration = .milliseconds(4)
    /// How often the change feed looks at the store, at least every second.
    package var changeInterval: Duration = .milliseconds(250)
    /// How long a write waits for another process that writes.
    package var busyTimeout: Duration = .seconds(5)
    /// Wall clock, microseconds since 1970; tests bring their own.
    package var clock: @Sendable () -> Int64 = WallClock.microseconds

    package init(state: String, key: SecretSource) {
        self.state = state
        self.key = key
    }
}
