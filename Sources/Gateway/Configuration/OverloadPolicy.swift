extension GatewayConfiguration {
    /// `limits.overload`: when the gateway begins to turn work away, and when it stops doing so.
    ///
    /// Each measure has up to three thresholds, rising: those of level 1, 2 and 3. A list that ends earlier never leads to
    /// the levels beyond it; an empty one switches the measure off.
    package struct OverloadPolicy: Sendable, Equatable {
        /// Percent of `limits.half-open`.
        package var halfOpen = [50, 75, 90]
        /// Percent of `limits.sessions`.
        package var sessions = [95]
        /// How long the device waits that waits longest for an upstream socket: percent of `pool.wait`;
        /// nothing while fewer than eight wait.
        package var queue = [50, 75, 90]
        /// How full the kernel's buffer of a listener is, in percent: what is lost there is lost to all devices alike.
        package var receive = [50, 75, 90]
        /// Resident memory, in percent of what the process may have.
        package var memory = [75, 85, 92]
        /// How late the event loop comes to a timer.
        package var lag: [Duration] = [.milliseconds(250), .seconds(1), .seconds(2)]
        /// How long all must be calm before a level is left; longer for one that comes back soon.
        package var hold: Duration = .seconds(3)

        package init() {}
    }
}
