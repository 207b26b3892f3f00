import CoAP
import Foundation
import LwM2M
import Secrets
import Testing
import Timing

@testable import Gateway

/// Devices, the gateway and bootstrap servers, all of them state machines, on links that lose, repeat, delay and reorder
/// up to 40 % of the datagrams; the promises are checked after every step.
///
/// A failure names its seed. `BOOTGATE_SIMULATION_SEED=N swift test --filter BootstrapSimulationTests` lives that one life
/// again and prints what happens in it.
@Suite("Bootstraps keep their promises whatever happens")
struct BootstrapSimulationTests {
    static let seeds = 10_000
    static let seedsOfCase = 500
    static let chosen = ProcessInfo.processInfo.environment["BOOTGATE_SIMULATION_SEED"].flatMap { UInt64($0) }

    @Test("Nothing is crossed, early, active without proof or left over", arguments: 0..<(seeds / seedsOfCase))
    func lives(part: Int) {
        guard Self.chosen == nil else {
            if part == 0 { self.chosenLife() }
            return
        }
        var outcomes = SimulatedOutcomes()
        for seed in UInt64(part * Self.seedsOfCase)..<UInt64((part + 1) * Self.seedsOfCase) {
            let life = SimulatedLife(seed: seed)
            life.run()
            if let violation = life.world.violation {
                Issue.record("seed \(seed), step \(life.world.steps): \(violation)")
                return
            }
            outcomes += life.gateway.outcomes
        }
        // A simulation in which nothing happens keeps every promise.
        #expect(outcomes.finished > Self.seedsOfCase / 2)
        #expect(outcomes.registered > Self.seedsOfCase / 4)
        let met: [FailureCause] = [
            .suspended, .endpointMismatch, .upstreamRefused, .upstreamSilent, .deviceUnreachable, .superseded,
            .finishRefused, .storeUnavailable, .noRouteForServer, .deviceRefused,
        ]
        for cause in met { #expect(outcomes.failed[cause, default: 0] > 0, "\(cause) does not occur") }
    }

    private func chosenLife() {
        let life = SimulatedLife(seed: Self.chosen ?? 0, isTraced: true)
        life.run()
        #expect(life.world.violation == nil)
    }

    @Test("The same seed gives the same life")
    func repeatable() {
        let lives = (0..<2).map { _ in SimulatedLife(seed: 4711) }
        for life in lives { life.run() }
        #expect(lives[0].world.steps == lives[1].world.steps)
        #expect(lives[0].world.random.state == lives[1].world.random.state)
    }
}

/// A world with all that lives in it.
final class SimulatedLife {
    let world: SimulatedWorld
    let gateway: SimulatedGateway
    private let servers: [SimulatedServer]

    init(seed: UInt64, isTraced: Bool = false) {
        let world = SimulatedWorld(seed: seed, isTraced: isTraced)
        self.world = world
        let servers = (0..<(world.chance(30) ? 2 : 1)).map { SimulatedServer(world, index: $0) }
        self.servers = servers
        let configuration = Self.configuration(world, servers: servers.count)
        let manners = (0..<3).map { _ in
            world.chance(80) ? SimulatedDevice.Manner.good : SimulatedDevice.Manner.allCases[world.pick(0...3)]
        }
        let records = manners.indices.map { Self.record($0, manners[$0]) }
        let store = SimulatedStore(world, records: records)
        let devices = manners.indices.map {
            SimulatedDevice(
                world, index: $0, record: records[$0], manner: manners[$0],
                arrival: world.chance(75) || manners[$0] == .wrongKey ? .dtls : .plain,
                transmission: TransmissionParameters()
            )
        }
        self.gateway = SimulatedGateway(
            world, configuration: configuration, store: store, devices: devices, servers: servers
        )
        for device in devices { device.gateway = self.gateway }
        for server in servers { server.gateway = self.gateway }
    }

    func run() {
        for device in self.gateway.devices { device.begin() }
        self.plan()
        self.world.run(afterEach: self.gateway.settle)
        self.gateway.checkEnd(self.servers)
    }

    /// What the operator and the network do.
    private func plan() {
        let (world, gateway) = (self.world, self.gateway)
        let device = world.pick(0...2)
        let iccid = gateway.devices[device].record.iccid
        if world.chance(10) {
            world.after(world.milliseconds(0...120_000)) {
                world.note("the operator suspends device \(device)")
                gateway.store.suspend(device)
                gateway.judgeAnew(iccid)
            }
        } else if world.chance(10) {
            world.after(world.milliseconds(0...120_000)) {
                world.note("the operator revokes the credentials of device \(device)")
                gateway.store.revoke(iccid)
                gateway.judgeAnew(iccid)
            }
        }
        if world.chance(15) { world.after(world.milliseconds(0...120_000)) { gateway.pool.breakSocket() } }
    }

    private static func record(_ index: Int, _ manner: SimulatedDevice.Manner) -> SIMRecord {
        SIMRecord(
            iccid: "iccid-\(index)", endpoint: "meter-\(index)",
            identity: PSKIdentity("meter-\(index)") ?? Rewriting.identity,
            key: Secret([UInt8](repeating: UInt8(0x50 + index), count: 16)),
            status: manner == .suspended ? .suspended : .active
        )
    }

    private static func configuration(_ world: SimulatedWorld, servers: Int) -> GatewayConfiguration {
        let upstreams = (0..<servers).map {
            GatewayConfiguration.Upstream(uri: ServerURI(scheme: .coap, host: "10.0.0.\($0 + 1)", port: 5683))
        }
        var rule = Rewriting.meters
        rule.relay = upstreams[0]
        var configuration = GatewayConfiguration(
            listeners: [],
            bootstrap: .init(
                upstreams: upstreams,
                account: .init(
                    secure: Rewriting.uri("coaps://edge.example.net:5684"),
                    plain: Rewriting.uri("coap://edge.example.net:5683")
                )
            ),
            servers: [rule]
        )
        configuration.deviceTransmission.blockSize = world.chance(30) ? 64 : 512
        configuration.upstreamTransmission.blockSize = world.chance(30) ? 32 : 512
        return configuration
    }
}
