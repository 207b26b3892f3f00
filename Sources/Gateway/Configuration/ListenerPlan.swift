/// What becomes of the listening sockets when the configuration is read again: which ones stay, which are made, which go.
///
/// A value that decides; ``RunningGateway/reload(to:)`` binds and closes. A socket is what it is bound to: an entry of the
/// configuration that comes to the same address and port in another form keeps the socket, so that no datagram is lost.
package struct ListenerPlan: Sendable, Equatable {
    /// A socket of today.
    package struct Bound: Sendable, Equatable {
        /// Its place in the table of sockets.
        package var slot: Int
        /// Index of its entry among the entries of today.
        package var entry: Int
        /// What is bound, a port that the system chose included.
        package var address: PeerAddress

        package init(slot: Int, entry: Int, address: PeerAddress) {
            self.slot = slot
            self.entry = entry
            self.address = address
        }
    }

    /// A socket that stays, and the entry among the new ones that it belongs to from now on.
    package struct Kept: Sendable, Equatable {
        package var slot: Int
        package var entry: Int
    }

    /// A socket to be made. Port 0: the system chooses one for all of the entry's new sockets.
    package struct Added: Sendable, Equatable {
        package var entry: Int
        package var address: PeerAddress
    }

    package var kept: [Kept] = []
    package var added: [Added] = []
    /// Slots whose sockets go.
    package var removed: [Int] = []
    /// What cannot be done while the gateway runs, in words for the operator.
    package var obstacles: [String] = []

    /// - Parameters:
    ///   - old: the entries of today.
    ///   - new: the entries to come.
    ///   - expand: the addresses that an entry stands for at the moment; their ports are not looked at.
    package init(
        bound: [Bound], old: [GatewayConfiguration.Listener], new: [GatewayConfiguration.Listener],
        expand: (GatewayConfiguration.Listener) -> [PeerAddress]
    ) {
        var free = bound
        let continued = Self.continued(old, new)
        // An entry that stays keeps all of its sockets: an address of a wildcard that is away at the moment may come back.
        for (index, origin) in continued.enumerated() where origin != nil {
            self.kept += free.filter { $0.entry == origin }.map { Kept(slot: $0.slot, entry: index) }
            free.removeAll { $0.entry == origin }
        }
        for (index, entry) in new.enumerated() {
            let own = bound.filter { socket in self.kept.contains { $0.entry == index && $0.slot == socket.slot } }
            let port = own.first?.address.port ?? entry.port
            for address in expand(entry) {
                let isOwn = own.contains { $0.address.ip == address.ip && $0.address.scope == address.scope }
                // One address has one socket, unless the system chooses its port each time.
                if continued[index] != nil, isOwn || !entry.isWildcard { continue }
                let wanted = PeerAddress(address.ip, port: port, scope: address.scope)
                guard port != 0, let place = free.firstIndex(where: { $0.address == wanted }) else {
                    self.added.append(Added(entry: index, address: wanted))
                    continue
                }
                let socket = free.remove(at: place)
                if old[socket.entry].security != entry.security {
                    self.obstacles.append("listeners: \(wanted) changes between coap and coaps")
                }
                self.kept.append(Kept(slot: socket.slot, entry: index))
            }
        }
        self.removed = free.map(\.slot)
    }

    /// For each new entry the old one that it goes on with: the same address, port and security, in the same order.
    private static func continued(
        _ old: [GatewayConfiguration.Listener], _ new: [GatewayConfiguration.Listener]
    ) -> [Int?] {
        var left = Array(old.enumerated())
        return new.map { entry in
            let place = left.firstIndex {
                $0.element.security == entry.security && $0.element.address == entry.address
                    && $0.element.port == entry.port
            }
            return place.map { left.remove(at: $0).offset }
        }
    }
}

extension GatewayConfiguration.Listener {
    /// Whether the entry stands for every address of the host, of both families or of IPv4.
    package var isWildcard: Bool {
        self.address.high == 0 && self.address.low == 0 || self.address == IPAddress(ipv4: 0)
    }
}
