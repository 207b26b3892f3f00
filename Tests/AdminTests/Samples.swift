import DTLS
import LwM2M
import Records
import Testing

@testable import Admin
@testable import Gateway

/// A gateway as monitoring may find it.
enum Samples {
    static func upstream(_ uri: String, isRelay: Bool = false, isUp: Bool = true) throws -> UpstreamPool.Statistics {
        UpstreamPool.Statistics(
            upstream: .init(uri: try ServerURI(uri)), isRelay: isRelay, isUp: isUp, idle: 8, leased: 2,
            waiting: 1)
    }

    /// One that has done a little of everything.
    static func gateway() throws -> GatewayStatistics {
        var counters = GatewayCounters()
        counters.bootstrapsRequested = 3
        counters.bootstrapsFinished.add(.dtls)
        counters.bootstrapFailed(.unauthorized, .plain)
        counters.bootstrapTimes.record(nanoseconds: 1_500_000_000)
        counters.handshakesCompleted = 1
        counters.handshakeSuites[.pskAES128CCM8] = 1
        counters.handshakeTimes.record(nanoseconds: 40_000_000)
        counters.handshakeFailed(.unauthorized)
        counters.registrationsRefused[.limit] = 1
        counters.wouldRefuse[.suspended] = 6
        counters.datagramsFromDevices = 20
        counters.datagramsToDevices = 19
        counters.retransmissions = 4
        counters.drop("device_duplicate")
        var pool = UpstreamPool.Counters()
        pool.datagramsIn = 10
        pool.datagramsOut = 11
        pool.retransmissions = 5
        pool.waits.record(nanoseconds: 0)
        let listener = BoundListener(
            security: .dtls, address: PeerAddress(try #require(IPAddress("127.0.0.1")), port: 5684))
        return GatewayStatistics(
            counters: counters, sessions: .init(bootstrapping: 1, registered: 2, idle: 3), halfOpen: 7,
            registrations: 4, sockets: [.init(listener: listener, counters: .init())], pool: pool,
            upstreams: [
                try Self.upstream("coap://10.1.0.10:5683"),
                try Self.upstream("coap://10.1.0.20:5683", isRelay: true, isUp: false),
            ],
            isDraining: false
        )
    }

    static func observation(_ change: (inout Observation) -> Void = { _ in }) throws -> Observation {
        var journal = AuditJournal.Statistics()
        journal.written = 9
        journal.lag = .milliseconds(2500)
        var observation = Observation(
            version: "1.2.3", wolfSSL: "5.9.2", gateway: try Self.gateway(), journal: journal,
            credentials: [.active: 5], storesAnswer: true, uptime: 61.5
        )
        observation.reloads.refused = 8
        change(&observation)
        return observation
    }
}
