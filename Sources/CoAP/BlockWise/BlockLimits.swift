/// What block-wise transfers with one peer may hold in memory.
package struct BlockLimits: Sendable, Equatable {
    /// Largest body that is put together, in bytes. All unfinished bodies of one peer hold at most twice this, and so do
    /// all bodies that are being served to it.
    package var body = 65_536
    /// Unfinished bodies of one peer, and bodies that are being served to it: so many of each. The one that rested longest
    /// gives way to a new one.
    package var transfers = 4
    /// How long a transfer may rest before it is forgotten: EXCHANGE_LIFETIME (RFC 7252, section 4.8.2).
    package var lifetime: Duration = .seconds(247)
    /// Largest block that a sender should use, a power of two from 16 to 1024. A larger one is taken, with the request for
    /// smaller ones.
    package var acceptedBlock = 1024

    package init() {}

    var totalBytes: Int { 2 * self.body }
}
