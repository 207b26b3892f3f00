/// Where a peer is, in the form that cookies are bound to: an IPv6 address, IPv4 mapped into it, and a port.
package struct DTLSPeer: Hashable, Sendable {
    /// The first eight bytes of the address, as a number.
    package let high: UInt64
    /// The last eight bytes of the address, as a number.
    package let low: UInt64
    package let port: UInt16

    package init(high: UInt64, low: UInt64, port: UInt16) {
        self.high = high
        self.low = low
        self.port = port
    }

    /// The number of bytes that ``withBytes(_:)`` lends.
    static let byteCount = 18

    /// Lends the 18 bytes. The order of bytes inside the numbers is the machine's: they never leave the process.
    func withBytes<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R {
        withUnsafeBytes(of: self) { body(UnsafeRawBufferPointer(rebasing: $0.prefix(Self.byteCount))) }
    }
}
