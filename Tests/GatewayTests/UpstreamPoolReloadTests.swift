import Testing
import Timing

@testable import Gateway

@Suite("The upstream pool with another configuration")
struct UpstreamPoolReloadTests {
    private static let other = IPAddress(ipv4: 0x0A00_0099)

    private static func settings(
        of pool: PoolHarness, _ change: (inout PoolStateMachine.Settings) -> Void = { _ in }
    ) -> PoolStateMachine.Settings {
        var settings = pool.machine.settings
        change(&settings)
        return settings
    }

    @Test("An upstream that is gone serves its leases to their end and keeps no other socket")
    func removedUpstream() throws {
        var pool = PoolHarness()
        let device = try pool.take(PoolHarness.device(1))
        pool.machine.reload(Self.settings(of: pool), wanted: [], now: pool.now)
        pool.run()
        #expect(pool.open == [device.socket])
        #expect(pool.machine.socket(of: device.lease) == device.socket)
        pool.release(device.lease, .clean)
        #expect(pool.open.isEmpty)
        #expect(pool.closed.contains(device.socket))
    }

    @Test("A socket that is to rest closes after its quarantine when its upstream is gone")
    func removedWhileQuarantined() throws {
        var pool = PoolHarness()
        let device = try pool.take(PoolHarness.device(1))
        pool.release(device.lease, .unclean)
        pool.machine.reload(Self.settings(of: pool), wanted: [], now: pool.now)
        pool.run()
        #expect(pool.open == [device.socket])
        pool.advance(.seconds(300))
        #expect(pool.open.isEmpty)
    }

    @Test("For a server that is down when it goes nothing is due any more")
    func removedWhileDown() {
        var pool = PoolHarness()
        pool.machine.markUnreachable(0, now: pool.now)
        pool.machine.reload(Self.settings(of: pool), wanted: [], now: pool.now)
        pool.run()
        pool.advance(.seconds(120))
        #expect(pool.machine.deadline.map { $0 > pool.now } ?? true)
    }

    @Test("One that comes back gets its idle sockets again")
    func comesBack() {
        var pool = PoolHarness()
        pool.machine.reload(Self.settings(of: pool), wanted: [], now: pool.now)
        pool.run()
        #expect(pool.open.isEmpty)
        pool.machine.reload(Self.settings(of: pool), wanted: [0], now: pool.now)
        pool.run()
        #expect(pool.open.count == pool.machine.settings.minimumIdle)
    }

    @Test("Who still asks for an upstream that is gone gets a socket, and it stays for nobody else")
    func oldOwner() throws {
        var pool = PoolHarness()
        pool.machine.reload(Self.settings(of: pool), wanted: [], now: pool.now)
        pool.run()
        let lease = try pool.wait(PoolHarness.device(1))
        #expect(pool.machine.socket(of: lease) != nil)
        pool.release(lease, .clean)
        #expect(pool.open.isEmpty)
    }

    @Test("Other local addresses count for new sockets; those of before close when they come free")
    func localAddresses() throws {
        let first = IPAddress(ipv4: 0x0A00_0001)
        var pool = PoolHarness { $0.localAddresses = [first] }
        let device = try pool.take(PoolHarness.device(1))
        pool.machine.reload(Self.settings(of: pool) { $0.localAddresses = [Self.other] }, wanted: [0], now: pool.now)
        pool.run()
        let idle = pool.open.subtracting([device.socket])
        #expect(idle.count == pool.machine.settings.minimumIdle)
        #expect(idle.allSatisfy { pool.machine.sockets[$0.slot].local?.ip == Self.other })
        #expect(pool.machine.sockets[device.socket.slot].local?.ip == first)
        pool.release(device.lease, .clean)
        #expect(!pool.open.contains(device.socket))

        // No names any more: the system's choice.
        pool.machine.reload(Self.settings(of: pool) { $0.localAddresses = [] }, wanted: [0], now: pool.now)
        pool.run()
        #expect(pool.open.count == pool.machine.settings.minimumIdle)
        #expect(pool.open.allSatisfy { pool.machine.sockets[$0.slot].localIndex == nil })
    }

    @Test("More idle sockets are made at once")
    func minimumIdle() {
        var pool = PoolHarness()
        pool.machine.reload(Self.settings(of: pool) { $0.minimumIdle = 5 }, wanted: [0], now: pool.now)
        pool.run()
        #expect(pool.open.count == 5)
    }
}
