package import Gateway
package import Records

/// Everything that is known of a gateway at one moment, from all its parts.
package struct Observation: Sendable {
    package var version: String
    package var wolfSSL: String
    /// Nil until the listeners are bound, and after they are closed.
    package var gateway: GatewayStatistics?
    package var journal: AuditJournal.Statistics
    /// One-time credentials by state; nil while the store does not answer.
    package var credentials: [OneTimeCredential.State: Int]?
    /// Whether the stores answered just now.
    package var storesAnswer: Bool
    /// Whether credentials can be written: false once a write has failed, until one goes well again.
    package var storesTakeChanges: Bool
    /// Seconds since the process started to serve.
    package var uptime: Double
    package var reloads = Reloads()

    /// How often the configuration was read again since the start.
    package struct Reloads: Sendable, Equatable {
        package var applied = 0
        /// It had mistakes, or could not be carried out, and nothing changed.
        package var refused = 0

        package init() {}
    }

    package init(
        version: String, wolfSSL: String, gateway: GatewayStatistics?, journal: AuditJournal.Statistics,
        credentials: [OneTimeCredential.State: Int]?, storesAnswer: Bool,
        storesTakeChanges: Bool = true, uptime: Double
    ) {
        self.version = version
        self.wolfSSL = wolfSSL
        self.gateway = gateway
        self.journal = journal
        self.credentials = credentials
        self.storesAnswer = storesAnswer
        self.storesTakeChanges = storesTakeChanges
        self.uptime = uptime
    }

    /// Why no device should be sent here; empty: it is ready.
    var obstacles: [String] {
        var obstacles: [String] = []
        if let gateway {
            if gateway.isDraining { obstacles.append("the gateway is stopping") }
            let bootstrap = gateway.upstreams.filter { !$0.isRelay }
            if !bootstrap.contains(where: \.isUp) { obstacles.append("no bootstrap server is reachable") }
        } else {
            obstacles.append("the listeners are not bound")
        }
        if !self.storesAnswer { obstacles.append("the stores do not answer") }
        if !self.storesTakeChanges { obstacles.append("the stores take no changes") }
        if self.journal.failure != nil { obstacles.append("the audit journal takes no records") }
        return obstacles
    }
}
