internal import Glibc
package import NIOCore

/// Address and port of the far end of a datagram: the compact key of the tables that are looked into for every datagram.
///
/// It is made from NIO's `SocketAddress` without allocating; IPv4 addresses are held in their mapped form, as in
/// ``IPAddress``. A value is plain data and belongs to no executor.
package struct PeerAddress: Hashable, Sendable {
    package let high: UInt64
    package let low: UInt64
    package let port: UInt16
    /// Interface of a link-local IPv6 address (`sin6_scope_id`), 0 for every other address.
    package let scope: UInt32

    package init(high: UInt64, low: UInt64, port: UInt16, scope: UInt32 = 0) {
        self.high = high
        self.low = low
        self.port = port
        self.scope = scope
    }

    package init(_ ip: IPAddress, port: UInt16, scope: UInt32 = 0) {
        self.init(high: ip.high, low: ip.low, port: port, scope: scope)
    }

    /// Nil for an address that is neither IPv4 nor IPv6.
    package init?(_ address: SocketAddress) {
        guard let peer = address.withSockAddr({ pointer, _ in PeerAddress(raw: pointer) }) else { return nil }
        self = peer
    }

    /// Nil for an address that is neither IPv4 nor IPv6.
    init?(raw pointer: UnsafePointer<sockaddr>) {
        // Read by offset: the layouts of sockaddr_in (port 2, address 4) and sockaddr_in6 (port 2, address 8, scope 24)
        // are fixed by the system's interface.
        let raw = UnsafeRawPointer(pointer)
        switch Int32(raw.loadUnaligned(as: sa_family_t.self)) {
        case AF_INET:
            self.init(
                IPAddress(ipv4: UInt32(bigEndian: raw.loadUnaligned(fromByteOffset: 4, as: UInt32.self))),
                port: UInt16(bigEndian: raw.loadUnaligned(fromByteOffset: 2, as: UInt16.self))
            )
        case AF_INET6:
            self.init(
                high: UInt64(bigEndian: raw.loadUnaligned(fromByteOffset: 8, as: UInt64.self)),
                low: UInt64(bigEndian: raw.loadUnaligned(fromByteOffset: 16, as: UInt64.self)),
                port: UInt16(bigEndian: raw.loadUnaligned(fromByteOffset: 2, as: UInt16.self)),
                scope: raw.loadUnaligned(fromByteOffset: 24, as: UInt32.self)
            )
        default:
            return nil
        }
    }

    package var ip: IPAddress { IPAddress(high: self.high, low: self.low) }

    /// The same address and port for NIO. Allocates; not for the way of a datagram.
    package var socketAddress: SocketAddress {
        if self.ip.isIPv4 {
            return withUnsafeTemporaryAllocation(of: sockaddr_in.self, capacity: 1) { target in
                let raw = UnsafeMutableRawBufferPointer(target)
                raw.initializeMemory(as: UInt8.self, repeating: 0)
                raw.storeBytes(of: sa_family_t(AF_INET), as: sa_family_t.self)
                raw.storeBytes(of: self.port.bigEndian, toByteOffset: 2, as: UInt16.self)
                raw.storeBytes(of: UInt32(truncatingIfNeeded: self.low).bigEndian, toByteOffset: 4, as: UInt32.self)
                return SocketAddress(target[0])
            }
        }
        return withUnsafeTemporaryAllocation(of: sockaddr_in6.self, capacity: 1) { target in
            let raw = UnsafeMutableRawBufferPointer(target)
            raw.initializeMemory(as: UInt8.self, repeating: 0)
            raw.storeBytes(of: sa_family_t(AF_INET6), as: sa_family_t.self)
            raw.storeBytes(of: self.port.bigEndian, toByteOffset: 2, as: UInt16.self)
            raw.storeBytes(of: self.high.bigEndian, toByteOffset: 8, as: UInt64.self)
            raw.storeBytes(of: self.low.bigEndian, toByteOffset: 16, as: UInt64.self)
            raw.storeBytes(of: self.scope, toByteOffset: 24, as: UInt32.self)
            return SocketAddress(target[0])
        }
    }
}

extension PeerAddress {
    /// Each datagram is looked up by it: three whole words are hashed faster than four numbers.
    package func hash(into hasher: inout Hasher) {
        hasher.combine(self.high)
        hasher.combine(self.low)
        hasher.combine(UInt64(self.scope) << 16 | UInt64(self.port))
    }
}

extension PeerAddress: CustomStringConvertible {
    /// `192.0.2.1:49152` or `[2001:db8::1]:49152`, as the audit journal writes it.
    package var description: String {
        let ip = self.ip
        if ip.isIPv4 { return "\(ip):\(self.port)" }
        return self.scope == 0 ? "[\(ip)]:\(self.port)" : "[\(ip)%\(self.scope)]:\(self.port)"
    }
}
