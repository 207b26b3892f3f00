import Testing
import Timing

@testable import Gateway

@Suite("Signs of life of an upstream")
struct UpstreamHealthTests {
    private let start = Instant(nanoseconds: 0)

    private func health(interval: Duration? = .seconds(10), returnAfter: Duration = .seconds(10)) -> UpstreamHealth {
        var health = UpstreamHealth()
        health.settings.interval = interval
        health.settings.returnAfter = returnAfter
        health.begin(now: self.start)
        return health
    }

    /// Makes it go down and come back.
    private func outage(_ health: inout UpstreamHealth, at now: Instant) {
        _ = health.failed(now: now, jitter: 0.5)
        _ = health.heard(now: now)
    }

    @Test("A quiet server is asked after the interval, and again after the next; traffic makes the question needless")
    func idleProbes() {
        var health = self.health()
        var asked: [Int] = []
        for second in 1...60 {
            let now = self.start + .seconds(second)
            if health.takeProbe(now: now) {
                asked.append(second)
                _ = health.heard(now: now)
                health.pingAnswered()
            }
            if (30...40).contains(second) { _ = health.heard(now: now) }
        }
        #expect(asked == [10, 20, 30, 50, 60])
    }

    @Test("Without an interval only a server that is down is asked")
    func noIdleProbes() {
        var health = self.health(interval: nil)
        #expect(health.deadline == nil)
        var isAsked = health.takeProbe(now: self.start + .seconds(3600))
        #expect(!isAsked)
        _ = health.failed(now: self.start, jitter: 0.5)
        isAsked = health.takeProbe(now: self.start + .seconds(1))
        #expect(isAsked)
    }

    @Test("In doubt it is asked soon, and the third ping in a row without an answer takes it out")
    func unanswered() {
        var health = self.health()
        _ = health.heard(now: self.start)
        health.pingAnswered()
        var now = self.start
        var isDown = health.pingUnanswered(now: now, jitter: 0.5)
        #expect(!isDown)
        now = now + UpstreamHealth.doubtInterval
        #expect(health.deadline == now)
        isDown = health.pingUnanswered(now: now, jitter: 0.5)
        #expect(!isDown && health.isUp)
        isDown = health.pingUnanswered(now: now, jitter: 0.5)
        #expect(isDown && !health.isUp)
    }

    @Test("A server that speaks but has never answered a ping is not judged by pings")
    func ignoresPings() {
        var health = self.health()
        _ = health.heard(now: self.start)
        for _ in 0..<20 {
            let isDown = health.pingUnanswered(now: self.start, jitter: 0.5)
            #expect(!isDown)
        }
        #expect(health.isUp && health.ignoresPings)
        health.pingAnswered()
        #expect(!health.ignoresPings)
    }

    @Test("A server that is down is asked as often as one that is quiet, at least")
    func asksWhileDown() {
        var health = self.health()
        var now = self.start
        for _ in 0..<12 {
            _ = health.failed(now: now, jitter: 0.999)
            let due = health.deadline
            #expect(due.map { now.duration(to: $0) <= .seconds(10) } == true)
            now = due ?? now
        }
    }

    @Test("After an outage it is preferred again only when it has been well for a while; used it may be at once")
    func returns() {
        var health = self.health()
        #expect(health.isSteady(now: self.start))
        self.outage(&health, at: self.start)
        #expect(health.isUp)
        #expect(!health.isSteady(now: self.start + .seconds(9)))
        #expect(health.isSteady(now: self.start + .seconds(10)))
        // Until then it is watched closely.
        #expect(health.deadline == self.start + UpstreamHealth.doubtInterval)
    }

    @Test("Each relapse doubles that time, up to five minutes; a long good time makes it short again")
    func relapses() {
        var health = self.health()
        var now = self.start
        for expected in [10, 20, 40, 80, 160, 300, 300] {
            self.outage(&health, at: now)
            #expect(!health.isSteady(now: now + .seconds(expected) - .milliseconds(1)))
            now = now + .seconds(expected)
            #expect(health.isSteady(now: now), "after \(expected) s")
            now = now - .seconds(expected) + .seconds(1)
        }
        now = now + .seconds(3600)
        self.outage(&health, at: now)
        #expect(health.isSteady(now: now + .seconds(10)))
    }
}

@Suite("Which upstream is asked, and which is preferred")
struct UpstreamPreferenceTests {
    private static func pool(upstreams: Int = 2, security: PoolStateMachine.Security = .none) -> PoolHarness {
        PoolHarness(
            {
                $0.health.interval = .seconds(10)
                $0.health.returnAfter = .seconds(10)
                $0.maximumSockets = 64
            }, upstreams: upstreams, security: { _ in security })
    }

    private static func answer(_ pool: inout PoolHarness) {
        for socket in pool.probes {
            pool.machine.received(socket, now: pool.now)
            pool.machine.probeEnded(socket, now: pool.now)
        }
        pool.probes = []
        pool.run()
    }

    @Test("The preferred server is used again once it has been well for a while, not with its first word")
    func returns() throws {
        var pool = Self.pool()
        let both = [0, 1]
        func upstream(_ number: Int) throws -> Int {
            let device = try pool.take(PoolHarness.device(number), from: both)
            defer { pool.release(device.lease, .clean) }
            return pool.machine.sockets[device.socket.slot].upstream
        }
        #expect(try upstream(1) == 0)
        pool.machine.markUnreachable(0, now: pool.now)
        #expect(try upstream(2) == 1)
        // The ping of the trial is answered; no device is sent there to find out.
        pool.advance(.milliseconds(1250))
        #expect(try upstream(3) == 1)
        #expect(!pool.probes.isEmpty)
        Self.answer(&pool)
        #expect(pool.machine.upstreams[0].health.isUp)
        #expect(try upstream(4) == 1)
        for _ in 0..<4 {
            pool.advance(.seconds(2))
            Self.answer(&pool)
        }
        #expect(try upstream(5) == 1)
        pool.advance(.seconds(2))
        #expect(try upstream(6) == 0)
        #expect(pool.news.map(\.upstream) == [0, 0])
        #expect(pool.news.map(\.isUp) == [false, true])
    }

    @Test("A server that is not steady yet is better than none")
    func betterThanNone() throws {
        var pool = Self.pool()
        pool.machine.markUnreachable(1, now: pool.now)
        pool.machine.markUnreachable(0, now: pool.now)
        pool.advance(.milliseconds(1250))
        let socket = try #require(pool.probes.first { pool.machine.sockets[$0.slot].upstream == 0 })
        pool.machine.received(socket, now: pool.now)
        let device = try pool.take(PoolHarness.device(1), from: [0, 1])
        #expect(pool.machine.sockets[device.socket.slot].upstream == 0)
    }

    @Test("A quiet server that stops answering pings goes down, without a device having met it")
    func silentServer() {
        var pool = Self.pool(upstreams: 1)
        pool.advance(.seconds(10))
        #expect(pool.probes.count == 1)
        Self.answer(&pool)
        for _ in 0..<40 { pool.advance(.seconds(1)) }
        #expect(!pool.machine.upstreams[0].health.isUp)
        #expect(pool.news.map(\.isUp) == [false])
        // Probes take no sockets away, and lead to no new ones.
        #expect(pool.machine.upstreams[0].idleCount + pool.machine.upstreams[0].probingCount == 2)
        #expect(pool.open.count == 2)
    }

    @Test("Over DTLS a handshake is the question; one that is not answered in time takes the server out")
    func handshakeAsProbe() {
        var pool = Self.pool(upstreams: 1, security: .shared)
        pool.advance(.seconds(10))
        #expect(pool.probes.isEmpty && pool.securing.count == 1)
        pool.advance(.seconds(4))
        #expect(!pool.machine.upstreams[0].health.isUp)
        #expect(pool.securing.isEmpty)
    }

    @Test("Inside a session that stands a ping is the question; without an answer a handshake asks once more")
    func pingInSession() {
        var pool = Self.pool(upstreams: 1, security: .shared)
        pool.advance(.seconds(10))
        pool.finishHandshake()
        pool.advance(.seconds(10))
        // The other socket has no session yet.
        pool.finishHandshake()
        pool.advance(.seconds(10))
        #expect(pool.probes.count == 1 && pool.securing.isEmpty)
        pool.advance(.seconds(4))
        #expect(pool.securing.count == 1)
        #expect(pool.machine.upstreams[0].health.isUp)
        pool.finishHandshake()
        #expect(pool.machine.upstreams[0].health.isUp)
        #expect(pool.machine.upstreams[0].idleCount == 2)
    }

    @Test("The share of the queue is that of the device that waits longest; a few devices are no queue")
    func queueShare() throws {
        var pool = PoolHarness({ $0.minimumIdle = 0 })
        pool.opensAtOnce = false
        let first = try pool.wait(PoolHarness.device(1))
        pool.now = pool.now + .milliseconds(500)
        for number in 2..<PoolStateMachine.queueLength { _ = try pool.wait(PoolHarness.device(number)) }
        #expect(pool.machine.queueShare(now: pool.now) == 0)
        _ = try pool.wait(PoolHarness.device(PoolStateMachine.queueLength))
        #expect(pool.machine.queueShare(now: pool.now) == 0.25)
        _ = try pool.wait(PoolHarness.device(PoolStateMachine.queueLength + 1))
        pool.release(first, .unclean)
        #expect(pool.machine.queueShare(now: pool.now) == 0)
    }
}
