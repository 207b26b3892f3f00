internal import Gateway

/// Where the audit journal lies and how it behaves: the `audit` part of the configuration file as plain values.
package struct AuditConfiguration: Sendable {
    /// The state folder; segments go to its folder `audit`.
    package var state: String
    /// Name of this gateway in every record.
    package var node: String
    /// Ed25519 key that signs checkpoints, 32 bytes. Outside `state`, so that who can write the journal cannot sign it.
    package var signingKey: SecretSource
    /// A checkpoint comes this long after the first record that has none yet.
    package var checkpointInterval: Duration = .seconds(10)
    /// A checkpoint comes after this many records at the latest.
    package var checkpointRecords = 10_000
    /// A segment ends when it has this many bytes.
    package var segmentSize: Int64 = 64 * 1024 * 1024
    /// Records that may wait for the disk; what comes on top is counted as lost.
    package var queueLimit = 20_000
    /// How long records are gathered before they are written.
    package var window: Duration = .milliseconds(5)
    /// How long to wait before a write that failed is tried again.
    package var retryInterval: Duration = .seconds(1)
    /// Segments whose newest record is older than this go away; nil: all stay.
    package var keep: Duration?
    /// How often old segments are looked for, beside start and each new segment.
    package var retentionInterval: Duration = .seconds(3600)
    /// Where a copy of each record goes; nil: nowhere.
    package var syslog: SyslogTarget?
    /// Wall clock, microseconds since 1970; tests bring their own.
    package var clock: @Sendable () -> Int64 = WallClock.microseconds

    package init(state: String, node: String, signingKey: SecretSource) {
        self.state = state
        self.node = node
        self.signingKey = signingKey
    }

    var directory: String { self.state + "/audit" }
}
