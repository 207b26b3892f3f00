import Testing
import Timing

@testable import Gateway

@Suite("Who gets which upstream socket")
struct UpstreamPoolStateMachineTests {
    // MARK: - Leases

    @Test("The minimum of idle sockets stands ready before anybody asks, and is filled up after each lease")
    func minimumIdle() throws {
        var pool = PoolHarness()
        #expect(pool.open.count == 2)
        _ = try pool.take(PoolHarness.device(1))
        #expect(pool.open.count == 3)
        #expect(pool.machine.upstreams[0].idleCount == 2)
    }

    @Test("The socket that was used least recently goes first, so that ports and message IDs spread")
    func leastRecentlyUsedFirst() throws {
        var pool = PoolHarness()
        let first = try pool.take(PoolHarness.device(1))
        pool.release(first.lease, .clean)
        let second = try pool.take(PoolHarness.device(2))
        pool.release(second.lease, .clean)
        let third = try pool.take(PoolHarness.device(3))
        pool.release(third.lease, .clean)
        #expect(Set([first.socket, second.socket, third.socket]).count == 3)
        #expect(try pool.take(PoolHarness.device(4)).socket == first.socket)
    }

    @Test("T1: a socket that did not end cleanly goes to nobody until the quarantine has passed")
    func quarantine() throws {
        var pool = PoolHarness({ $0.minimumIdle = 1 })
        let device = try pool.take(PoolHarness.device(1))
        pool.release(device.lease, .unclean)
        pool.advance(.seconds(299))
        guard case .quarantined = pool.state(device.socket) else {
            Issue.record("left quarantine early")
            return
        }
        pool.advance(.seconds(1))
        guard case .idle = pool.state(device.socket) else {
            Issue.record("did not come back")
            return
        }
    }

    @Test("T1: after a clean end a socket rests, so that what its server still sends meets no other device")
    func rests() throws {
        var pool = PoolHarness({ $0.rest = .milliseconds(100) })
        pool.advance(.milliseconds(100))
        let device = try pool.take(PoolHarness.device(1))
        pool.release(device.lease, .clean)
        pool.advance(.milliseconds(99))
        #expect(try pool.take(PoolHarness.device(2)).socket != device.socket)
        _ = try pool.wait(PoolHarness.device(3))
        pool.advance(.milliseconds(1))
        // The one that was opened when this one was taken has rested as long, and stands before it.
        let next = try [pool.take(PoolHarness.device(4)), pool.take(PoolHarness.device(5))]
        #expect(next.map(\.socket).contains(device.socket))
    }

    @Test("T1: who waits gets a new socket, or the one that has rested; never one that still rests")
    func waitsForRest() throws {
        var pool = PoolHarness({
            $0.minimumIdle = 1
            $0.maximumSockets = 1
            $0.rest = .milliseconds(100)
        })
        pool.advance(.milliseconds(100))
        let device = try pool.take(PoolHarness.device(1))
        pool.release(device.lease, .clean)
        let second = try pool.wait(PoolHarness.device(2))
        #expect(pool.machine.deadline == pool.now + .milliseconds(100))
        pool.advance(.milliseconds(99))
        #expect(pool.machine.socket(of: second) == nil)
        pool.advance(.milliseconds(1))
        #expect(pool.machine.socket(of: second) == device.socket)
    }

    @Test("T1: a request to a socket that rests after a clean end sends it to quarantine")
    func strayWhileResting() throws {
        var pool = PoolHarness({ $0.rest = .milliseconds(100) })
        pool.advance(.milliseconds(100))
        let device = try pool.take(PoolHarness.device(1))
        pool.release(device.lease, .clean)
        pool.machine.strayRequest(device.socket, now: pool.now)
        guard case .quarantined = pool.state(device.socket) else {
            Issue.record("may go to another device")
            return
        }
    }

    @Test("The quarantine counts from the last datagram that came")
    func quarantineIsProlonged() throws {
        var pool = PoolHarness()
        let device = try pool.take(PoolHarness.device(1))
        pool.release(device.lease, .unclean)
        pool.advance(.seconds(200))
        pool.machine.received(device.socket, now: pool.now)
        pool.advance(.seconds(299))
        #expect(pool.state(device.socket) == .quarantined(until: pool.now + .seconds(1), parkedBy: nil))
        pool.advance(.seconds(1))
        #expect(pool.state(device.socket) == .idle(since: pool.now))
    }

    @Test("T3: the owner of a parked socket gets the very same one again; nobody else does")
    func parked() throws {
        var pool = PoolHarness()
        let device = try pool.take(PoolHarness.device(1))
        pool.release(device.lease, .parked)
        for other in 2..<6 { #expect(try pool.take(PoolHarness.device(other)).socket != device.socket) }
        #expect(try pool.take(PoolHarness.registered(1)).socket != device.socket)
        #expect(try pool.take(PoolHarness.device(1)).socket == device.socket)
        #expect(try pool.take(PoolHarness.device(1)).socket != device.socket)
    }

    @Test("An owner with two parked sockets gets the newer one; the older serves its time")
    func parkedTwice() throws {
        var pool = PoolHarness()
        let older = try pool.take(PoolHarness.device(1))
        let newer = try pool.take(PoolHarness.device(1))
        pool.release(older.lease, .parked)
        pool.release(newer.lease, .parked)
        #expect(try pool.take(PoolHarness.device(1)).socket == newer.socket)
        #expect(try pool.take(PoolHarness.device(1)).socket != older.socket)
        pool.advance(.seconds(300))
        #expect(pool.state(older.socket) == .idle(since: pool.now))
        #expect(pool.machine.parked.isEmpty)
    }

    @Test("A parked socket whose upstream is down does not keep its owner from another upstream")
    func parkedAtDownUpstream() throws {
        var pool = PoolHarness(upstreams: 2)
        let device = try pool.take(PoolHarness.device(1), from: [0, 1])
        pool.release(device.lease, .parked)
        pool.machine.markUnreachable(0, now: pool.now)
        let again = try pool.take(PoolHarness.device(1), from: [0, 1])
        #expect(pool.machine.sockets[again.socket.slot].upstream == 1)
    }

    @Test("A clean end with an unacknowledged answer becomes available with the acknowledgement")
    func settles() throws {
        var pool = PoolHarness()
        let device = try pool.take(PoolHarness.device(1))
        pool.release(device.lease, .clean, isSettled: false)
        guard case .settling = pool.state(device.socket) else {
            Issue.record("not settling")
            return
        }
        pool.machine.settled(device.socket, isAcknowledged: true, hasMessageIDs: true, now: pool.now)
        #expect(pool.state(device.socket) == .idle(since: pool.now))
    }

    @Test("A clean end whose answer is never acknowledged leads to quarantine")
    func neverSettles() throws {
        var pool = PoolHarness()
        let device = try pool.take(PoolHarness.device(1))
        pool.release(device.lease, .clean, isSettled: false)
        pool.machine.settled(device.socket, isAcknowledged: false, hasMessageIDs: true, now: pool.now)
        #expect(pool.state(device.socket) == .quarantined(until: pool.now + .seconds(300), parkedBy: nil))
        let other = try pool.take(PoolHarness.device(2))
        pool.release(other.lease, .clean, isSettled: false)
        pool.advance(.seconds(247))
        #expect(pool.state(other.socket) == .quarantined(until: pool.now + .seconds(300), parkedBy: nil))
    }

    @Test("A socket whose message IDs would repeat rests for an exchange lifetime")
    func messageIDsRest() throws {
        var pool = PoolHarness()
        let device = try pool.take(PoolHarness.device(1))
        pool.release(device.lease, .clean, hasMessageIDs: false)
        pool.advance(.seconds(246))
        #expect(pool.state(device.socket) == .resting(until: pool.now + .seconds(1)))
        pool.advance(.seconds(1))
        #expect(pool.state(device.socket) == .idle(since: pool.now))
    }

    @Test("A request to a socket that nobody has sends it to quarantine")
    func strayRequest() throws {
        var pool = PoolHarness()
        let device = try pool.take(PoolHarness.device(1))
        pool.release(device.lease, .clean)
        pool.machine.strayRequest(device.socket, now: pool.now)
        pool.run()
        #expect(pool.state(device.socket) == .quarantined(until: pool.now + .seconds(300), parkedBy: nil))
        #expect(pool.machine.upstreams[0].idleCount >= 2)
    }

    @Test("Releasing a lease twice, or one that never was, changes nothing")
    func releaseTwice() throws {
        var pool = PoolHarness()
        let device = try pool.take(PoolHarness.device(1))
        pool.release(device.lease, .clean)
        let next = try pool.take(PoolHarness.device(2))
        let before = pool.state(next.socket)
        pool.release(device.lease, .unclean)
        pool.release(LeaseID(rawValue: 999), .unclean)
        #expect(pool.state(device.socket) == .idle(since: pool.now))
        #expect(pool.state(next.socket) == before)
    }

    // MARK: - Waiting

    @Test("Those who wait get sockets in the order in which they came")
    func waitersInOrder() throws {
        var pool = PoolHarness({ $0.minimumIdle = 0 })
        pool.opensAtOnce = false
        let first = try pool.wait(PoolHarness.device(1))
        let second = try pool.wait(PoolHarness.device(2))
        let third = try pool.wait(PoolHarness.device(3))
        #expect(pool.opening.count == 3)
        pool.finishOpening()
        pool.run()
        #expect(Set(pool.leased.keys) == [first])
        pool.machine.cancelWaiting(second, now: pool.now)
        pool.waiting.remove(second)
        pool.finishOpening()
        pool.run()
        #expect(Set(pool.leased.keys) == [first, third])
    }

    @Test("Who waits longer than allowed is refused with the cause limit")
    func waitEnds() throws {
        var pool = PoolHarness({ $0.minimumIdle = 0 })
        pool.opensAtOnce = false
        let lease = try pool.wait(PoolHarness.device(1))
        #expect(pool.machine.deadline == pool.now + .seconds(2))
        #expect(pool.machine.waited(lease, now: pool.now + .milliseconds(1500)) == .milliseconds(1500))
        pool.advance(.seconds(2))
        #expect(pool.refused.map(\.lease) == [lease])
        #expect(pool.refused.map(\.cause) == [.limit])
        #expect(pool.machine.waitingCount == 0)
    }

    @Test("No more than the allowed number wait")
    func waitersAreBounded() throws {
        var pool = PoolHarness({
            $0.minimumIdle = 0
            $0.maximumWaiting = 2
        })
        pool.opensAtOnce = false
        _ = try pool.wait(PoolHarness.device(1))
        _ = try pool.wait(PoolHarness.device(2))
        #expect(pool.acquire(PoolHarness.device(3)) == .refused(.limit, retryAfter: .seconds(30)))
    }
}
