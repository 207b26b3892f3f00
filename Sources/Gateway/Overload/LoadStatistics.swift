/// How busy a shard is: for `overload_level`, `loop_lag_seconds` and the status page.
package struct LoadStatistics: Sendable, Equatable {
    package var level = OverloadGovernor.Level.normal
    /// What has led to the level; nil at ``OverloadGovernor/Level/normal``.
    package var measure: OverloadGovernor.Measure?
    /// How late the event loop came to its last timer.
    package var lag = Duration.zero
    /// How full the kernel's buffer of the fullest listener is; 1 is full.
    package var receiveFill = 0.0
    /// Datagrams that the kernel dropped since the listeners were bound, for want of room in their buffers.
    package var lostInKernel: UInt64 = 0
    /// Bytes.
    package var residentMemory = 0

    package init() {}
}
