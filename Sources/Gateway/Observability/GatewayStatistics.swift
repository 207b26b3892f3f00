/// What a running gateway is doing and what it has done: a snapshot for metrics and for people.
///
/// Taken on the event loop when somebody asks; nothing of it costs the data path more than a counter.
package struct GatewayStatistics: Sendable {
    /// Sessions of devices, by what they are there for.
    package struct Sessions: Sendable, Equatable {
        /// A bootstrap is under way.
        package var bootstrapping = 0
        /// They carry a registration.
        package var registered = 0
        /// Nothing of both at the moment.
        package var idle = 0
    }

    /// One socket of the gateway's own.
    package struct Socket: Sendable {
        package var listener: BoundListener
        package var counters: Listener.Counters
    }

    package var counters: GatewayCounters
    package var sessions: Sessions
    /// Handshakes that have not proved themselves.
    package var halfOpen: Int
    /// With a session or without.
    package var registrations: Int
    package var sockets: [Socket]
    /// The sum of those that are no more since a reload: totals over sockets never go back.
    package var formerSockets = Listener.Counters()
    package var pool: UpstreamPool.Counters
    package var upstreams: [UpstreamPool.Statistics]
    /// It takes no new bootstraps any more.
    package var isDraining: Bool
    package var load = LoadStatistics()
}

extension DeviceSessions {
    /// Takes time in proportion to the number of sessions: about a millisecond for 50,000.
    package var occupancy: (sessions: GatewayStatistics.Sessions, halfOpen: Int, registrations: Int, isDraining: Bool) {
        var sessions = GatewayStatistics.Sessions()
        for session in self.byICCID.values.joined() {
            if session.bootstrap?.isRunning ?? false {
                sessions.bootstrapping += 1
            } else if let registration = session.registration, registration.relay.isRegistered {
                sessions.registered += 1
            } else {
                sessions.idle += 1
            }
        }
        let registrations = self.registrations.values.reduce(0) { $0 + $1.count { $0.relay.isRegistered } }
        return (sessions, self.halfOpen, registrations, self.isDraining)
    }
}
