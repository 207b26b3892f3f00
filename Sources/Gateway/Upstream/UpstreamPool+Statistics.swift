internal import Timing

extension UpstreamPool {
    /// What one upstream's sockets are doing: for `pool_leases`, `upstream_up` and the status page.
    package struct Statistics: Sendable, Equatable {
        package var upstream: GatewayConfiguration.Upstream
        /// Whether this is the registration leg's pool of the upstream.
        package var isRelay: Bool
        /// It answers, as far as is known.
        package var isUp: Bool
        /// It has been for long enough to be preferred to those behind it in the list.
        package var isSteady = true
        package var opening = 0
        package var idle = 0
        /// Somebody's, with a handshake under way.
        package var securing = 0
        package var leased = 0
        /// Waiting for the acknowledgement of a last answer.
        package var settling = 0
        /// Waiting until message IDs may be used again.
        package var resting = 0
        package var quarantined = 0
        /// Leases without a socket yet.
        package var waiting = 0
    }

    /// How long the device waits that waits longest for a socket: 1 is as long as it may.
    func queueShare(now: Instant) -> Double { self.machine.queueShare(now: now) }

    /// Counts anew; takes time in proportion to the number of sockets.
    package func statistics() -> [Statistics] {
        var all = self.upstreams.indices.map { id in
            Statistics(
                upstream: self.upstreams[id],
                isRelay: self.routeOf[id].isRelay,
                isUp: self.machine.upstreams[id].address != nil && self.machine.upstreams[id].health.isUp,
                isSteady: self.machine.upstreams[id].health.isSteady(now: .now),
                waiting: self.machine.upstreams[id].waitingCount
            )
        }
        for socket in self.machine.sockets {
            switch socket.state {
            case .free: continue
            case .opening: all[socket.upstream].opening += 1
            case .idle, .probing: all[socket.upstream].idle += 1
            case .securing: all[socket.upstream].securing += 1
            case .leased: all[socket.upstream].leased += 1
            case .settling: all[socket.upstream].settling += 1
            case .resting: all[socket.upstream].resting += 1
            case .quarantined: all[socket.upstream].quarantined += 1
            }
        }
        return all.indices.filter { !self.isGone(all[$0], $0) }.map { all[$0] }
    }
}
