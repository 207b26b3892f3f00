/// Where the audit journal lies and how it is written.
package struct AuditSettings: Sendable, Equatable {
    /// Folder of the segments, `STATE/audit`; made if it does not exist.
    package var directory: String
    /// Name of this gateway in every record.
    package var node: String
    /// A segment that has reached this size is closed with a checkpoint and the next one begun. It may exceed the
    /// size by what one write holds, at most 256 KiB and a record.
    package var segmentBytes = 64 * 1024 * 1024
    /// Longest time from a record to the checkpoint that signs it.
    package var checkpointInterval: Duration = .seconds(10)
    /// Most records between two checkpoints.
    package var checkpointRecords = 10_000
    /// Most events that wait for the disk; beyond it they are counted and dropped.
    package var queueLimit = 200_000
    /// How long the first event of a batch waits for others.
    package var batchDelay: Duration = .milliseconds(5)
    /// Pause before the disk is tried again after a failure; it doubles up to the upper bound.
    package var retryDelay: ClosedRange<Duration> = .milliseconds(100) ... .seconds(10)

    package init(directory: String, node: String) {
        self.directory = directory
        self.node = node
    }
}
