internal import Glibc
internal import Timing

/// How many upstream sockets, and so how many devices at once, this host allows.
package struct PoolCapacity: Sendable, Equatable {
    /// Files that this process may have open.
    package var descriptors: Int
    /// Of these, so many are for everything that is not an upstream socket: listeners, stores, journal, logs.
    package var reservedDescriptors = 256
    /// Ports that the system hands out by itself, for each local address.
    package var portsPerAddress: Int
    /// Local addresses that are used upstream; at least one.
    package var addresses: Int

    package init(descriptors: Int, portsPerAddress: Int, addresses: Int) {
        self.descriptors = descriptors
        self.portsPerAddress = portsPerAddress
        self.addresses = max(1, addresses)
    }

    /// Capacity of this host with the limit of open files as it is now.
    ///
    /// - Parameter addresses: number of entries of `pool.from`; 0 means the system's choice, which is one address.
    package static func current(addresses: Int) -> PoolCapacity {
        var limit = rlimit()
        let isKnown = getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0
        return PoolCapacity(
            descriptors: isKnown ? Int(clamping: limit.rlim_cur) : 1024,
            portsPerAddress: self.ephemeralPorts(in: Self.read("/proc/sys/net/ipv4/ip_local_port_range")),
            addresses: addresses
        )
    }

    /// Sockets that ports allow.
    package var sockets: Int { max(1, min(self.descriptors - self.reservedDescriptors, self.ports)) }
    /// Sockets that ports alone would allow.
    package var ports: Int {
        let (ports, overflow) = self.portsPerAddress.multipliedReportingOverflow(by: self.addresses)
        return overflow ? .max : ports
    }
    /// Sockets that registrations cannot take.
    package var bootstrapReserve: Int { self.sockets / 8 }

    /// The size of a port range as the system writes it, `32768\t60999`; the usual size if it cannot be read.
    static func ephemeralPorts(in text: String) -> Int {
        let bounds = text.split(whereSeparator: \.isWhitespace).compactMap { Int($0) }
        guard bounds.count == 2, (0...65_535).contains(bounds[0]), (bounds[0]...65_535).contains(bounds[1]) else {
            return 28_232
        }
        return bounds[1] - bounds[0] + 1
    }

    private static func read(_ path: String) -> String {
        guard let file = fopen(path, "r") else { return "" }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 64)
        let count = fread(&bytes, 1, bytes.count, file)
        return String(decoding: bytes.prefix(count), as: UTF8.self)
    }
}
