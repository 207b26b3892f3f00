package import Foundation
internal import Gateway
internal import LwM2M
internal import Records

/// What `bootgate status` shows, as `/v1/status` says it.
package struct GatewayStatus: Codable, Sendable, Equatable {
    package struct Upstream: Codable, Sendable, Equatable {
        package var uri: String
        package var leg: String
        package var isUp: Bool
        package var leased: Int
        package var idle: Int
        package var quarantined: Int
        package var waiting: Int
    }

    package var version: String
    package var wolfSSL: String
    package var uptimeSeconds: Double
    package var isReady: Bool
    /// Why it is not ready.
    package var obstacles: [String]
    package var listeners: [String] = []
    package var bootstrapsFinished = 0
    /// By cause.
    package var bootstrapsFailed: [String: Int] = [:]
    package var bootstrapping = 0
    package var sessions = 0
    package var halfOpen = 0
    package var registrations = 0
    /// 0 is normal; see ``OverloadGovernor/Level``.
    package var overloadLevel = 0
    /// What has led to it.
    package var overloadMeasure: String?
    package var upstreams: [Upstream] = []
    package var auditWritten: UInt64
    package var auditWaiting: Int
    package var auditLost: UInt64
    /// Why the journal takes no records at the moment.
    package var auditFailure: String?

    init(_ observation: Observation) {
        self.version = observation.version
        self.wolfSSL = observation.wolfSSL
        self.uptimeSeconds = observation.uptime
        self.obstacles = observation.obstacles
        self.isReady = observation.obstacles.isEmpty
        self.auditWritten = observation.journal.written
        self.auditWaiting = observation.journal.waiting
        self.auditLost = observation.journal.lost
        self.auditFailure = observation.journal.failure
        guard let gateway = observation.gateway else { return }
        self.listeners = gateway.sockets.map(\.listener.description)
        self.bootstrapsFinished = gateway.counters.bootstrapsFinished.total
        self.bootstrapsFailed = Dictionary(
            uniqueKeysWithValues: gateway.counters.bootstrapsFailed.map { ($0.key.rawValue, $0.value.total) })
        self.bootstrapping = gateway.sessions.bootstrapping
        self.sessions = gateway.sessions.bootstrapping + gateway.sessions.registered + gateway.sessions.idle
        self.halfOpen = gateway.halfOpen
        self.registrations = gateway.registrations
        self.overloadLevel = gateway.load.level.rawValue
        self.overloadMeasure = gateway.load.measure?.rawValue
        self.upstreams = gateway.upstreams.map { upstream in
            Upstream(
                uri: upstream.upstream.uri.description, leg: upstream.isRelay ? "registration" : "bootstrap",
                isUp: upstream.isUp, leased: upstream.leased, idle: upstream.idle,
                quarantined: upstream.quarantined, waiting: upstream.waiting
            )
        }
    }

    package init(json: some DataProtocol) throws {
        self = try JSONDecoder().decode(Self.self, from: Data(json))
    }

    package func json() throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(self), as: UTF8.self) + "\n"
    }
}
