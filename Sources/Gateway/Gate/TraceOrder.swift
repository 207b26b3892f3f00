/// Somebody's wish to see every message of one SIM in the log (`bootgate sim trace`). A SIM has one at most: a newer one
/// takes the place of an older one.
package struct TraceOrder: Sendable, Equatable {
    package var iccid: String
    /// When it ends: wall clock, microseconds since 1970.
    package var until: Int64

    package init(iccid: String, until: Int64) {
        self.iccid = iccid
        self.until = until
    }
}

/// The orders that commands leave for the gateway. `Records` implements it over SQLite; nothing in it blocks an event loop.
/// That an order was given or taken back shows in ``RecordStore/changes()`` as a change of its SIM.
package protocol TraceOrders: Sendable {
    /// Those that have not ended, of one SIM or (nil) of all.
    func traceOrders(iccid: String?) async throws -> [TraceOrder]
}
