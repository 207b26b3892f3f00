import Testing
import Timing

@testable import Gateway

@Suite("When the pool shakes hands, and what follows")
struct UpstreamSessionStateMachineTests {
    private func pool(
        _ security: PoolStateMachine.Security..., change: (inout PoolStateMachine.Settings) -> Void = { _ in }
    ) -> PoolHarness {
        PoolHarness(change, upstreams: security.count, security: { security[$0] })
    }

    // MARK: - Leases

    @Test("A lease is granted when its handshake is done, and not before")
    func grantedAfterHandshake() throws {
        var pool = self.pool(.shared)
        let lease = try pool.wait(PoolHarness.device(1))
        #expect(pool.securing.count == 1)
        // Longer than a lease may wait for a socket: it has one.
        pool.advance(.seconds(10))
        #expect(pool.refused.isEmpty && pool.leased[lease] == nil)
        pool.finishHandshake()
        #expect(pool.leased[lease] != nil)
    }

    @Test("Idle sockets cost the server no session")
    func idleWithoutSession() {
        let pool = self.pool(.shared, .perLease)
        #expect(pool.open.count == 4)
        #expect(pool.securing.isEmpty)
    }

    @Test("The session of a fixed pair serves the next device at once")
    func sharedSessionIsReused() throws {
        var pool = self.pool(.shared, change: { $0.minimumIdle = 0 })
        let first = try pool.takeSecurely(PoolHarness.device(1))
        pool.release(first.lease, .clean)
        let second = try pool.take(PoolHarness.device(2))
        #expect(second.socket == first.socket)
        #expect(pool.securing.isEmpty)
    }

    @Test("A session of a fixed pair that was quiet for a minute is made anew before the next lease")
    func sharedSessionRests() throws {
        var pool = self.pool(.shared, change: { $0.minimumIdle = 0 })
        let first = try pool.takeSecurely(PoolHarness.device(1))
        pool.release(first.lease, .clean)
        pool.advance(PoolStateMachine.sharedSessionRest)
        let second = try pool.takeSecurely(PoolHarness.device(2))
        #expect(second.socket == first.socket)
    }

    @Test("The session of a device ends with its lease", arguments: [LeaseEnd.clean, .unclean])
    func sessionEndsWithLease(end: LeaseEnd) throws {
        var pool = self.pool(.perLease)
        let device = try pool.takeSecurely(PoolHarness.device(1))
        #expect(pool.secured == [device.socket])
        pool.release(device.lease, end)
        #expect(pool.secured.isEmpty)
        #expect(pool.machine.sockets[device.socket.slot].session.stage == .none)
    }

    @Test("The session of a device lives until the server has the last answer")
    func sessionSettles() throws {
        var pool = self.pool(.perLease)
        let device = try pool.takeSecurely(PoolHarness.device(1))
        pool.release(device.lease, .clean, isSettled: false)
        #expect(pool.secured == [device.socket])
        pool.machine.settled(device.socket, isAcknowledged: true, hasMessageIDs: true, now: pool.now)
        pool.run()
        #expect(pool.secured.isEmpty)
    }

    @Test("A device that comes back to its parked socket finds its session there; it ends with the quarantine")
    func parkedSession() throws {
        var pool = self.pool(.perLease)
        let first = try pool.takeSecurely(PoolHarness.device(1))
        pool.release(first.lease, .parked)
        let second = try pool.take(PoolHarness.device(1))
        #expect(second.socket == first.socket)
        pool.release(second.lease, .parked)
        pool.advance(.seconds(300))
        #expect(pool.secured.isEmpty)
        #expect(pool.state(first.socket) == .idle(since: pool.now))
    }

    @Test("A lease that is given up during its handshake leaves nothing, and its port rests")
    func releasedDuringHandshake() throws {
        var pool = self.pool(.shared)
        let lease = try pool.wait(PoolHarness.device(1))
        let socket = try #require(pool.securing.first)
        pool.release(lease, .parked)
        #expect(pool.closed == [socket])
        #expect(pool.securing.isEmpty && pool.machine.leases.isEmpty)
        #expect(pool.machine.hotPorts.count == 1)
    }

    @Test("A stop refuses the leases whose handshakes are under way")
    func stopped() throws {
        var pool = self.pool(.shared)
        let lease = try pool.wait(PoolHarness.device(1))
        pool.machine.stop()
        pool.run()
        #expect(pool.refused.map(\.lease) == [lease])
        #expect(pool.refused.map(\.cause) == [.shutdown])
    }

    // MARK: - Handshakes that fail

    @Test(
        "A handshake that fails counts against an upstream with a fixed pair, and says why",
        arguments: [
            (PoolStateMachine.HandshakeFailure.refused, FailureCause.upstreamHandshake),
            (.unanswered, .upstreamSilent), (.unreachable, .upstreamUnreachable),
        ])
    func failureCounts(failure: PoolStateMachine.HandshakeFailure, cause: FailureCause) throws {
        var pool = self.pool(.shared)
        let lease = try pool.wait(PoolHarness.device(1))
        pool.failHandshake(failure)
        #expect(pool.refused.map(\.lease) == [lease])
        #expect(pool.refused.map(\.cause) == [cause])
        #expect(!pool.machine.upstreams[0].health.isUp)
        guard case .refused(.upstreamUnreachable, let retryAfter) = pool.acquire(PoolHarness.device(2)) else {
            Issue.record("the next device is not kept away")
            return
        }
        #expect(retryAfter >= .seconds(1))
    }

    @Test("The back-off grows with each handshake that fails, although the server answers each hello")
    func backoffGrows() throws {
        var pool = self.pool(.shared)
        var waits: [Duration] = []
        for number in 1...6 {
            _ = try pool.wait(PoolHarness.device(number))
            for socket in pool.securing { pool.machine.handshakeAnswered(socket) }
            pool.failHandshake(.refused)
            guard case .down(let until) = pool.machine.upstreams[0].health.state else {
                Issue.record("still up after failure \(number)")
                return
            }
            waits.append(until - pool.now)
            pool.now = until
        }
        #expect(waits[5] > waits[0] * 8)
        #expect(try #require(waits.max()) <= .seconds(75))
    }

    @Test("The next upstream in order of preference serves a device whose handshake failed")
    func nextUpstream() throws {
        var pool = self.pool(.shared, .none)
        let lease = try pool.wait(PoolHarness.device(1), from: [0, 1])
        pool.failHandshake(.unanswered)
        let socket = try #require(pool.leased[lease])
        #expect(pool.machine.sockets[socket.slot].upstream == 1)
        #expect(try pool.machine.sockets[pool.take(PoolHarness.device(2), from: [0, 1]).socket.slot].upstream == 1)
    }

    @Test("A device's own key that is refused is no trouble of the other devices")
    func refusedDevice() throws {
        var pool = self.pool(.perLease)
        _ = try pool.wait(PoolHarness.device(1))
        pool.failHandshake(.refused)
        #expect(pool.refused.map(\.cause) == [.upstreamHandshake])
        #expect(pool.machine.upstreams[0].health.isUp)
        _ = try pool.takeSecurely(PoolHarness.device(2))
    }

    @Test("Silence is the server's trouble, whoever asks")
    func silentToDevice() throws {
        var pool = self.pool(.perLease)
        _ = try pool.wait(PoolHarness.device(1))
        pool.failHandshake(.unanswered)
        #expect(pool.refused.map(\.cause) == [.upstreamSilent])
        #expect(!pool.machine.upstreams[0].health.isUp)
    }

    @Test("Where nobody listens, the handshake ends at once")
    func refusedByNetwork() throws {
        var pool = self.pool(.shared, .none)
        let lease = try pool.wait(PoolHarness.device(1), from: [0, 1])
        pool.machine.refused(try #require(pool.securing.first), now: pool.now)
        pool.run()
        #expect(pool.securing.isEmpty)
        #expect(pool.leased[lease] != nil)
    }

    @Test("A socket that dies during the handshake takes no lease with it")
    func closedDuringHandshake() throws {
        var pool = self.pool(.shared, .none)
        let lease = try pool.wait(PoolHarness.device(1), from: [0, 1])
        let socket = try #require(pool.securing.first)
        pool.open.remove(socket)
        pool.securing = []
        pool.machine.closed(socket, isUnreachable: true, now: pool.now)
        pool.run()
        #expect(pool.leased[lease] != nil)
        #expect(pool.broken.isEmpty)
    }

    // MARK: - In the middle of a lease

    @Test("A server that keeps silent for as long as one that has lost its session gets a handshake on the same socket")
    func silence() throws {
        var pool = self.pool(.shared)
        let device = try pool.takeSecurely(PoolHarness.device(1))
        #expect(pool.transmit(device.socket) == .now)
        pool.advance(.seconds(2))
        #expect(pool.transmit(device.socket) == .now)
        pool.advance(.seconds(4))
        #expect(pool.transmit(device.socket) == .hold)
        #expect(pool.securing == [device.socket])
        #expect(pool.transmit(device.socket) == .hold)
        pool.finishHandshake()
        #expect(pool.leased[device.lease] == device.socket)
        #expect(pool.transmit(device.socket) == .now)
    }

    @Test("Messages that need no acknowledgement prove nothing by silence, and a word of the server ends it")
    func noSilence() throws {
        var pool = self.pool(.shared)
        let device = try pool.takeSecurely(PoolHarness.device(1))
        #expect(pool.transmit(device.socket, isConfirmable: false) == .now)
        pool.advance(.seconds(60))
        #expect(pool.transmit(device.socket, isConfirmable: false) == .now)
        #expect(pool.transmit(device.socket) == .now)
        pool.advance(.seconds(3))
        pool.machine.received(device.socket, now: pool.now)
        pool.advance(.seconds(3))
        #expect(pool.transmit(device.socket) == .now)
    }

    @Test("A handshake that fails in the middle of a lease is tried again, ever later; the lease goes on")
    func renewalFails() throws {
        var pool = self.pool(.perLease)
        let device = try pool.takeSecurely(PoolHarness.device(1))
        pool.secured.remove(device.socket)
        pool.machine.sessionEnded(device.socket, now: pool.now)
        var waits: [Duration] = []
        for _ in 1...5 {
            #expect(pool.transmit(device.socket) == .hold)
            pool.failHandshake(.refused)
            #expect(pool.transmit(device.socket) == .discard)
            let retry = try #require(pool.machine.sockets[device.socket.slot].session.retryAt)
            waits.append(retry - pool.now)
            pool.now = retry
        }
        #expect(waits[4] > waits[0] * 4)
        #expect(pool.leased[device.lease] == device.socket)
        #expect(pool.broken.isEmpty)
    }

    @Test(
        "A server that closes the session gets a handshake at once if an answer is awaited, else with the next message")
    func closedByServer() throws {
        var pool = self.pool(.shared)
        let device = try pool.takeSecurely(PoolHarness.device(1))
        pool.secured.remove(device.socket)
        pool.machine.sessionEnded(device.socket, now: pool.now)
        pool.run()
        #expect(pool.securing.isEmpty)
        #expect(pool.transmit(device.socket) == .hold)
        pool.finishHandshake()
        #expect(pool.transmit(device.socket) == .now)
        pool.secured.remove(device.socket)
        pool.machine.sessionEnded(device.socket, now: pool.now)
        pool.run()
        #expect(pool.securing == [device.socket])
    }

    @Test("An alert in clear counts only while an answer is awaited")
    func clearAlert() throws {
        var pool = self.pool(.shared)
        let device = try pool.takeSecurely(PoolHarness.device(1))
        pool.machine.sessionDenied(device.socket, now: pool.now)
        pool.run()
        #expect(pool.secured == [device.socket])
        _ = pool.transmit(device.socket)
        pool.machine.sessionDenied(device.socket, now: pool.now)
        pool.run()
        #expect(pool.securing == [device.socket])
    }

    @Test("After a request that timed out the next message begins a handshake")
    func timedOut() throws {
        var pool = self.pool(.shared)
        let device = try pool.takeSecurely(PoolHarness.device(1))
        pool.machine.requested(device.socket)
        _ = pool.transmit(device.socket)
        pool.machine.timedOut(device.socket, now: pool.now)
        pool.run()
        #expect(pool.secured.isEmpty)
        #expect(pool.transmit(device.socket) == .hold)
    }

    @Test("Where nobody listens any more, the session is lost, and a bootstrap that heard nothing ends")
    func upstreamGone() throws {
        var pool = self.pool(.shared)
        let device = try pool.takeSecurely(PoolHarness.device(1))
        _ = pool.transmit(device.socket)
        pool.machine.refused(device.socket, now: pool.now)
        pool.run()
        #expect(pool.secured.isEmpty)
        #expect(pool.broken.map(\.cause) == [.upstreamUnreachable])
    }

    @Test("A socket that is nobody's never begins a handshake by itself")
    func nobodysSocket() throws {
        var pool = self.pool(.shared)
        let device = try pool.takeSecurely(PoolHarness.device(1))
        pool.release(device.lease, .unclean)
        #expect(pool.transmit(device.socket, isConfirmable: false) == .now)
        pool.secured.remove(device.socket)
        pool.machine.sessionEnded(device.socket, now: pool.now)
        #expect(pool.transmit(device.socket) == .discard)
        #expect(pool.securing.isEmpty)
    }

    // MARK: - Probes

    @Test("An upstream that was down is probed with a handshake, and is up when it succeeds")
    func probe() throws {
        var pool = self.pool(.shared)
        pool.machine.markUnreachable(0, now: pool.now)
        pool.advance(.seconds(2))
        #expect(pool.probes.isEmpty)
        #expect(pool.securing.count == 1)
        pool.finishHandshake()
        #expect(pool.machine.upstreams[0].health.isUp)
        #expect(pool.machine.upstreams[0].idleCount == 2)
    }

    @Test("A probe that fails keeps the upstream down for longer, and its socket")
    func probeFails() throws {
        var pool = self.pool(.shared)
        pool.machine.markUnreachable(0, now: pool.now)
        pool.advance(.seconds(2))
        pool.failHandshake(.refused)
        guard case .down(let until) = pool.machine.upstreams[0].health.state else {
            Issue.record("not down")
            return
        }
        #expect(until - pool.now > .seconds(1.4))
        #expect(pool.closed.isEmpty)
    }
}
