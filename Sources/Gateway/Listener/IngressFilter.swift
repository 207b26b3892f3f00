/// Decides before any look-up or allocation whether a datagram from a device may go further.
///
/// A forged source costs nothing to send, and an answer to some sources makes the system fail the send in a way that
/// closes the socket (port 0: EINVAL, 255.255.255.255: EACCES). Others would make the gateway send to many hosts at
/// once. So such datagrams are never answered, and the simplest way not to answer is not to look at them.
package struct IngressFilter: Sendable {
    /// Why a datagram was dropped: the label of a counter.
    package enum DropReason: Int, Sendable, CaseIterable {
        case sourcePortZero
        case unspecifiedSource
        case multicastSource
        case broadcastSource
        case empty
        /// It filled the receive buffer, so it may have been cut.
        case oversize

        package var name: String {
            switch self {
            case .sourcePortZero: "source_port_zero"
            case .unspecifiedSource: "unspecified_source"
            case .multicastSource: "multicast_source"
            case .broadcastSource: "broadcast_source"
            case .empty: "empty"
            case .oversize: "oversize"
            }
        }
    }

    /// Room for one datagram, in bytes; what fills it is dropped.
    let sliceSize: Int
    /// Broadcast addresses of the interfaces; 255.255.255.255 counts without being named.
    let broadcasts: Set<IPAddress>
    /// Last bytes of ``broadcasts``: nearly every source has another one, and needs no look-up.
    private let lastBytes: [Bool]

    init(sliceSize: Int, broadcasts: Set<IPAddress> = []) {
        self.sliceSize = sliceSize
        self.broadcasts = broadcasts
        var lastBytes = [Bool](repeating: false, count: 256)
        for address in broadcasts { lastBytes[Int(address.low & 0xFF)] = true }
        self.lastBytes = lastBytes
    }

    /// Nil when the datagram may go further. `size` is what was read, in bytes.
    func dropReason(from peer: PeerAddress, size: Int) -> DropReason? {
        if peer.port == 0 { return .sourcePortZero }
        if size == 0 { return .empty }
        if size >= self.sliceSize { return .oversize }
        let ip = peer.ip
        if ip.isIPv4 {
            let bits = UInt32(truncatingIfNeeded: ip.low)
            // 0.0.0.0/8 is "this network": nobody's source (RFC 1122, 3.2.1.3).
            if bits >> 24 == 0 { return .unspecifiedSource }
            if bits >> 28 == 0xE { return .multicastSource }
            if bits == .max { return .broadcastSource }
        } else {
            if ip.high == 0 && ip.low == 0 { return .unspecifiedSource }
            if ip.high >> 56 == 0xFF { return .multicastSource }
        }
        if self.lastBytes[Int(ip.low & 0xFF)] && self.broadcasts.contains(ip) { return .broadcastSource }
        return nil
    }
}
