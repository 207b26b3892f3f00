/// The addresses that this host has at the moment.
package enum HostAddresses {
    /// Throws what the system says when it cannot list its interfaces.
    package static func current() throws -> [IPAddress] { try Listener.localAddresses().map(\.ip) }

    /// Whether a socket of this host can have the address: one of its own, or any of the loopback network.
    package static func contains(_ address: IPAddress, _ locals: [IPAddress]) -> Bool {
        locals.contains(address) || address.isIPv4 && UInt32(truncatingIfNeeded: address.low) >> 24 == 127
    }
}
