import Testing
import Timing

@testable import Gateway

@Suite("How many upstream sockets there are, and where they lead")
struct UpstreamPoolBoundsTests {
    // MARK: - Bounds

    @Test("There are never more sockets than allowed, and the next device waits for one to come back")
    func maximumSockets() throws {
        var pool = PoolHarness()
        var leases: [LeaseID] = []
        for number in 0..<16 { leases.append(try pool.take(PoolHarness.device(number)).lease) }
        #expect(pool.machine.socketCount == 16)
        let lease = try pool.wait(PoolHarness.device(16))
        pool.release(leases[3], .clean)
        #expect(pool.leased[lease] != nil)
        #expect(pool.machine.socketCount == 16)
    }

    @Test("Registrations leave the bootstraps' share alone, in quarantine too")
    func bootstrapReserve() throws {
        var pool = PoolHarness()
        var leases: [LeaseID] = []
        for number in 0..<12 { leases.append(try pool.take(PoolHarness.registered(number)).lease) }
        #expect(pool.acquire(PoolHarness.registered(12)) == .refused(.limit, retryAfter: .seconds(30)))
        pool.release(leases[0], .unclean)
        #expect(pool.acquire(PoolHarness.registered(12)) == .refused(.limit, retryAfter: .seconds(30)))
        for number in 0..<4 { _ = try pool.take(PoolHarness.device(number)) }
        pool.release(leases[1], .clean)
        _ = try pool.take(PoolHarness.registered(12))
    }

    @Test("Where all sockets are in use, one that another upstream does not need makes room")
    func eviction() throws {
        var pool = PoolHarness({ $0.maximumSockets = 4 }, upstreams: 2)
        #expect(pool.machine.socketCount == 4)
        _ = try pool.take(PoolHarness.device(1), from: [0])
        _ = try pool.take(PoolHarness.device(2), from: [0])
        let third = try pool.wait(PoolHarness.device(3), from: [0])
        #expect(pool.leased[third] != nil)
        #expect(pool.machine.socketCount == 4)
        #expect(pool.machine.upstreams[1].idleCount == 1)
    }

    @Test("Idle sockets above the minimum are closed when their ports can serve anybody")
    func idleTrimming() throws {
        var pool = PoolHarness()
        var leases: [LeaseID] = []
        for number in 0..<6 { leases.append(try pool.take(PoolHarness.device(number)).lease) }
        for lease in leases { pool.release(lease, .clean) }
        #expect(pool.machine.upstreams[0].idleCount == 8)
        pool.advance(.seconds(299))
        #expect(pool.machine.upstreams[0].idleCount == 8)
        pool.advance(.seconds(1))
        #expect(pool.machine.upstreams[0].idleCount == 2)
        #expect(pool.open.count == 2)
    }

    @Test("Local addresses are used evenly, and each for no more sockets than it has ports")
    func localAddresses() throws {
        let first = IPAddress(ipv4: 0xC000_0201)
        let second = IPAddress(ipv4: 0xC000_0202)
        var pool = PoolHarness({
            $0.minimumIdle = 0
            $0.localAddresses = [first, IPAddress("2001:db8::1")!, second]
            $0.portsPerAddress = 2
        })
        pool.opensAtOnce = false
        for number in 0..<5 { _ = try pool.wait(PoolHarness.device(number)) }
        #expect(pool.opening.map(\.local) == [first, second, first, second])
    }

    @Test("A local address that gives no port rests, and the others are used")
    func localAddressFails() throws {
        let first = IPAddress(ipv4: 0xC000_0201)
        let second = IPAddress(ipv4: 0xC000_0202)
        var pool = PoolHarness({
            $0.minimumIdle = 0
            $0.localAddresses = [first, second]
        })
        pool.opensAtOnce = false
        _ = try pool.wait(PoolHarness.device(1))
        pool.machine.openFailed(pool.opening.removeFirst().socket, .localAddress, now: pool.now)
        pool.run()
        #expect(pool.opening.map(\.local) == [second])
    }

    @Test("Without descriptors the pool pauses instead of trying on and on")
    func resourcesFail() throws {
        var pool = PoolHarness({ $0.minimumIdle = 1 })
        pool.opensAtOnce = false
        _ = try pool.take(PoolHarness.device(1))
        pool.machine.openFailed(pool.opening.removeFirst().socket, .resources, now: pool.now)
        pool.run()
        #expect(pool.opening.isEmpty)
        #expect(pool.machine.deadline == pool.now + .seconds(1))
        pool.advance(.seconds(1))
        #expect(pool.opening.count == 1)
    }

    // MARK: - Upstreams

    @Test("Without an address of the upstream a device is refused, not left waiting")
    func unresolved() {
        var pool = PoolHarness(upstreams: 0)
        let upstream = pool.machine.add()
        #expect(
            pool.acquire(PoolHarness.device(1), from: [upstream])
                == .refused(.upstreamUnreachable, retryAfter: .seconds(10))
        )
    }

    @Test("The next upstream serves while the first is down, and the first again once it was heard of")
    func failover() throws {
        var pool = PoolHarness(upstreams: 2)
        let old = try pool.take(PoolHarness.device(0), from: [0, 1])
        pool.machine.markUnreachable(0, now: pool.now)
        let device = try pool.take(PoolHarness.device(1), from: [0, 1])
        #expect(pool.machine.sockets[device.socket.slot].upstream == 1)
        pool.machine.received(old.socket, now: pool.now)
        let next = try pool.take(PoolHarness.device(2), from: [0, 1])
        #expect(pool.machine.sockets[next.socket.slot].upstream == 0)
    }

    @Test("When the only upstream is down, devices are told when to come back")
    func allDown() throws {
        var pool = PoolHarness()
        pool.machine.markUnreachable(0, now: pool.now)
        guard case .refused(.upstreamUnreachable, let retryAfter) = pool.acquire(PoolHarness.device(1)) else {
            Issue.record("not refused")
            return
        }
        #expect(retryAfter >= .seconds(1) && retryAfter <= .milliseconds(1250))
    }

    @Test("Those who wait for an upstream that goes down move to the next one, or are refused without one")
    func waitersMove() throws {
        var pool = PoolHarness({ $0.minimumIdle = 0 }, upstreams: 2)
        pool.opensAtOnce = false
        let lone = try pool.wait(PoolHarness.device(1), from: [0])
        let lucky = try pool.wait(PoolHarness.device(2), from: [0, 1])
        let socket = pool.opening.removeFirst().socket
        pool.machine.openFailed(socket, .unreachable, now: pool.now)
        pool.run()
        #expect(pool.refused.map(\.lease) == [lone])
        #expect(pool.refused.map(\.cause) == [.upstreamUnreachable])
        while pool.opening.contains(where: { $0.remote == PoolHarness.address(1) }) {
            pool.finishOpening()
            pool.run()
        }
        let granted = try #require(pool.leased[lucky])
        #expect(pool.machine.sockets[granted.slot].upstream == 1)
    }

    @Test("After the back-off a ping goes out and one device at a time is let through")
    func trial() throws {
        var pool = PoolHarness()
        pool.machine.markUnreachable(0, now: pool.now)
        pool.advance(.milliseconds(1250))
        #expect(pool.probes.count == 1)
        _ = try pool.take(PoolHarness.device(1))
        guard case .refused(.upstreamUnreachable, _) = pool.acquire(PoolHarness.device(2)) else {
            Issue.record("a second device was let through")
            return
        }
        let probe = try #require(pool.probes.first)
        pool.machine.received(probe, now: pool.now)
        pool.machine.probeEnded(probe, now: pool.now)
        pool.run()
        _ = try pool.take(PoolHarness.device(2))
        #expect(pool.state(probe) == .idle(since: pool.now))
    }

    @Test("A refusal ends a bootstrap that has heard nothing; others and registrations go on")
    func refusedByICMP() throws {
        var pool = PoolHarness()
        let fresh = try pool.take(PoolHarness.device(1))
        let running = try pool.take(PoolHarness.device(2))
        let registration = try pool.take(PoolHarness.registered(3))
        pool.machine.received(running.socket, now: pool.now)
        for socket in [fresh.socket, running.socket, registration.socket] {
            pool.machine.refused(socket, now: pool.now)
        }
        pool.run()
        #expect(pool.broken.map(\.lease) == [fresh.lease])
        #expect(pool.broken.map(\.cause) == [.upstreamUnreachable])
        #expect(pool.machine.lease(of: running.socket) == running.lease)
        #expect(pool.machine.lease(of: registration.socket) == registration.lease)
        #expect(!pool.machine.upstreams[0].health.isUp)
    }

    @Test("An upstream that leaves five requests in a row unanswered counts as down; one word resets the count")
    func silence() throws {
        var pool = PoolHarness({ $0.maximumSockets = 32 })
        var sockets: [PoolHarness.SocketID] = []
        for number in 0..<10 {
            sockets.append(try pool.take(PoolHarness.device(number)).socket)
            pool.machine.requested(sockets[number])
        }
        for socket in sockets[0..<4] { pool.machine.timedOut(socket, now: pool.now) }
        #expect(pool.machine.upstreams[0].health.isUp)
        pool.machine.received(sockets[4], now: pool.now)
        pool.machine.timedOut(sockets[4], now: pool.now)
        for socket in sockets[5..<9] { pool.machine.timedOut(socket, now: pool.now) }
        #expect(pool.machine.upstreams[0].health.isUp)
        pool.machine.timedOut(sockets[9], now: pool.now)
        #expect(!pool.machine.upstreams[0].health.isUp)
    }

    @Test("A new address closes idle sockets; a lease keeps the old one, and its socket is not used again")
    func addressChanges() throws {
        var pool = PoolHarness()
        let device = try pool.take(PoolHarness.device(1))
        pool.machine.resolved(0, to: PoolHarness.address(7), now: pool.now)
        pool.run()
        #expect(pool.machine.lease(of: device.socket) == device.lease)
        let other = try pool.take(PoolHarness.device(2))
        #expect(pool.machine.sockets[other.socket.slot].remote == PoolHarness.address(7))
        pool.release(device.lease, .clean)
        #expect(pool.state(device.socket) == nil)
        #expect(pool.closed.contains(device.socket))
    }

    // MARK: - Sockets that die

    @Test("A lease whose socket dies is broken, and the pool makes a new socket")
    func leasedSocketDies() throws {
        var pool = PoolHarness()
        let device = try pool.take(PoolHarness.device(1))
        pool.open.remove(device.socket)
        pool.machine.closed(device.socket, isUnreachable: false, now: pool.now)
        pool.run()
        #expect(pool.broken.map(\.lease) == [device.lease])
        #expect(pool.machine.socket(of: device.lease) == nil)
        #expect(pool.machine.upstreams[0].idleCount == 2)
    }

    @Test("A new socket that gets the port of a lost lease rests as long as the server may still write to it")
    func portsAreRemembered() throws {
        var pool = PoolHarness({ $0.minimumIdle = 1 })
        pool.opensAtOnce = false
        let device = try pool.take(PoolHarness.device(1))
        let port = try #require(pool.machine.sockets[device.socket.slot].local?.port)
        pool.open.remove(device.socket)
        pool.machine.closed(device.socket, isUnreachable: false, now: pool.now)
        pool.run()
        let socket = try #require(pool.opening.first?.socket)
        pool.finishOpening(port: port)
        #expect(pool.state(socket) == .quarantined(until: pool.now + .seconds(300), parkedBy: nil))
        pool.run()
        pool.finishOpening()
        pool.run()
        #expect(pool.machine.upstreams[0].idleCount == 1)
        pool.advance(.seconds(300))
        #expect(pool.state(socket) == .idle(since: pool.now))
        #expect(pool.machine.hotPorts.isEmpty)
    }

    @Test("Stopping refuses those who wait, breaks the live leases and closes every socket")
    func stop() throws {
        var pool = PoolHarness({ $0.maximumSockets = 2 })
        let device = try pool.take(PoolHarness.device(1))
        _ = try pool.take(PoolHarness.device(2))
        let waiter = try pool.wait(PoolHarness.device(3))
        pool.machine.stop()
        pool.run()
        #expect(pool.refused.map(\.lease) == [waiter])
        #expect(pool.refused.map(\.cause) == [.shutdown])
        #expect(pool.broken.map(\.lease).contains(device.lease))
        #expect(pool.open.isEmpty)
        #expect(pool.machine.socketCount == 0)
        #expect(pool.acquire(PoolHarness.device(4)) == .refused(.shutdown, retryAfter: .seconds(30)))
    }
}
