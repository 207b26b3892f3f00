/// Somebody's wish that a device bootstraps again (`bootgate sim rebootstrap`). A SIM has one at most: a newer one takes
/// the place of an older one.
package struct RebootstrapOrder: Sendable, Equatable {
    /// Random; tells a newer order of the same SIM from this one.
    package var id: Int64
    package var iccid: String
    /// When it was given: wall clock, microseconds since 1970.
    package var orderedAt: Int64

    package init(id: Int64, iccid: String, orderedAt: Int64) {
        self.id = id
        self.iccid = iccid
        self.orderedAt = orderedAt
    }
}

/// The orders that commands leave for the gateway. `Records` implements it over SQLite; nothing in it blocks an event loop.
/// That an order was given or taken back shows in ``RecordStore/changes()`` as a change of its SIM.
package protocol RebootstrapOrders: Sendable {
    /// The open orders, of one SIM or (nil) of all.
    func rebootstrapOrders(iccid: String?) async throws -> [RebootstrapOrder]

    /// The order was carried out, or never will be: it goes. One that took its place stays.
    func settle(_ order: RebootstrapOrder) async throws
}
