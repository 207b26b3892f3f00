import Testing
import Timing

@testable import Gateway

/// Random events in random order against the machine, with its promises checked after every step. A failure names the
/// seed and the step.
@Suite("The pool keeps its promises whatever happens")
struct UpstreamPoolSimulationTests {
    @Test("Invariants hold after every step of a random life", arguments: Array(1...48) as [UInt64])
    func randomLife(seed: UInt64) {
        var random = SplitMix64(state: seed)
        var pool = PoolHarness(
            {
                $0.minimumIdle = Int.random(in: 0...4, using: &random)
                $0.maximumSockets = Int.random(in: 4...24, using: &random)
                $0.bootstrapReserve = 3
                $0.maximumWaiting = 6
                $0.maximumOpening = Int.random(in: 1...6, using: &random)
            },
            upstreams: 3,
            seed: seed,
            security: { [.none, .shared, .perLease][($0 + Int(seed % 4)) % 3] }
        )
        pool.opensAtOnce = false
        for step in 0..<1500 {
            Self.act(&pool, &random)
            pool.run()
            if let problem = Self.violation(pool) {
                Issue.record("seed \(seed), step \(step): \(problem)")
                return
            }
        }
        // In the end everything comes back by itself.
        for lease in pool.leased.keys { pool.release(lease, .unclean) }
        for lease in pool.waiting { pool.release(lease, .unclean) }
        while !pool.opening.isEmpty || !pool.securing.isEmpty {
            pool.finishOpening()
            pool.failHandshake(.unanswered)
            pool.run()
        }
        for _ in 0..<4 {
            pool.advance(.seconds(400))
            while !pool.opening.isEmpty {
                pool.finishOpening()
                pool.run()
            }
        }
        for socket in pool.probes { pool.machine.probeEnded(socket, now: pool.now) }
        while !pool.securing.isEmpty { pool.failHandshake(.unanswered) }
        pool.run()
        #expect(pool.machine.registrationCount == 0, "seed \(seed)")
        #expect(pool.machine.parked.isEmpty, "seed \(seed)")
        #expect(pool.machine.leases.isEmpty, "seed \(seed)")
    }

    private static func act(_ pool: inout PoolHarness, _ random: inout SplitMix64) {
        let sockets = pool.open.sorted { ($0.slot, $0.generation) < ($1.slot, $1.generation) }
        let leases = pool.leased.keys.sorted { $0.rawValue < $1.rawValue }
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<8:
            guard !pool.securing.isEmpty else { return }
            pool.securing.shuffle(using: &random)
            pool.machine.handshakeAnswered(pool.securing[0])
            let failures: [PoolStateMachine.HandshakeFailure?] = [
                nil, nil, .refused, .unanswered, .unreachable, .unable,
            ]
            if let failure = failures.randomElement(using: &random) ?? nil {
                pool.failHandshake(failure)
            } else {
                pool.finishHandshake()
            }
        case 8..<30:
            let number = Int.random(in: 0..<12, using: &random)
            let owner = Bool.random(using: &random) ? PoolHarness.device(number) : PoolHarness.registered(number)
            let first = Int.random(in: 0..<3, using: &random)
            _ = pool.acquire(owner, from: [first, (first + 1) % 3])
        case 30..<50:
            guard let lease = leases.randomElement(using: &random) else { return }
            let end = [LeaseEnd.clean, .unclean, .parked].randomElement(using: &random) ?? .clean
            pool.release(
                lease,
                end,
                isSettled: Int.random(in: 0..<4, using: &random) > 0,
                hasMessageIDs: Int.random(in: 0..<8, using: &random) > 0
            )
        case 50..<66:
            pool.finishOpening(port: Int.random(in: 0..<4, using: &random) == 0 ? 20_001 : nil)
        case 66..<70:
            guard !pool.opening.isEmpty else { return }
            let failures: [PoolStateMachine.OpenFailure] = [.unreachable, .localAddress, .resources]
            let failure = failures.randomElement(using: &random) ?? .resources
            pool.machine.openFailed(pool.opening.removeFirst().socket, failure, now: pool.now)
        case 70..<78:
            guard let socket = sockets.randomElement(using: &random) else { return }
            pool.machine.received(socket, now: pool.now)
            if let kept = pool.kept[socket], kept.until > pool.now {
                pool.kept[socket]?.until = pool.now + pool.machine.settings.quarantine
            }
        case 78..<80:
            guard let socket = sockets.randomElement(using: &random) else { return }
            pool.machine.strayRequest(socket, now: pool.now)
        case 80..<83:
            guard let socket = sockets.randomElement(using: &random) else { return }
            pool.open.remove(socket)
            pool.kept[socket] = nil
            pool.machine.closed(socket, isUnreachable: Bool.random(using: &random), now: pool.now)
        case 83..<85:
            guard let socket = sockets.randomElement(using: &random) else { return }
            pool.machine.refused(socket, now: pool.now)
        case 85..<87:
            guard let socket = sockets.randomElement(using: &random) else { return }
            pool.machine.requested(socket)
            pool.machine.timedOut(socket, now: pool.now)
        case 87..<90:
            for socket in sockets {
                pool.machine.settled(
                    socket,
                    isAcknowledged: Bool.random(using: &random),
                    hasMessageIDs: true,
                    now: pool.now
                )
            }
        case 90..<91:
            guard let socket = sockets.randomElement(using: &random) else { return }
            switch Int.random(in: 0..<3, using: &random) {
            case 0: pool.machine.sessionDenied(socket, now: pool.now)
            case 1:
                if pool.secured.remove(socket) != nil { pool.machine.sessionEnded(socket, now: pool.now) }
            default: _ = pool.transmit(socket, isConfirmable: Bool.random(using: &random))
            }
        case 91..<92:
            guard let lease = pool.waiting.min(by: { $0.rawValue < $1.rawValue }) else { return }
            pool.release(lease, .unclean)
        case 92..<93:
            let upstream = Int.random(in: 0..<3, using: &random)
            let port = UInt16.random(in: 5683...5684, using: &random)
            pool.machine.resolved(upstream, to: PoolHarness.address(upstream, port: port), now: pool.now)
        case 93..<95:
            for socket in pool.probes { pool.machine.probeEnded(socket, now: pool.now) }
            pool.probes = []
        default:
            let spans: [Duration] = [.milliseconds(1), .milliseconds(700), .seconds(3), .seconds(60), .seconds(301)]
            pool.advance(spans.randomElement(using: &random) ?? .seconds(1))
        }
    }

    private static func violation(_ pool: PoolHarness) -> String? {
        let machine = pool.machine
        var total = 0
        var registrations = 0
        var opening = 0
        var idle = [0, 0, 0]
        var leased: Set<LeaseID> = []
        for (slot, socket) in machine.sockets.enumerated() where socket.state != .free {
            total += 1
            if socket.holdsRegistration { registrations += 1 }
            switch socket.state {
            case .opening: opening += 1
            case .idle: idle[socket.upstream] += 1
            case .leased(let lease):
                if !leased.insert(lease).inserted { return "one lease has two sockets" }
                guard let entry = machine.leases[lease] else { return "a socket is leased to nobody" }
                let id = PoolStateMachine.SocketID(slot: slot, generation: socket.generation)
                if entry.place != .socket(id) { return "lease and socket disagree" }
                if entry.owner.isRegistration != socket.holdsRegistration { return "counted for the wrong leg" }
            case .quarantined(_, parkedBy: let owner?):
                if machine.parked[owner]?.slot != slot { return "a parked socket is not in the index" }
            case .securing(let lease):
                guard let entry = machine.leases[lease] else { return "a handshake for nobody" }
                let id = PoolStateMachine.SocketID(slot: slot, generation: socket.generation)
                if entry.place != .securing(id) { return "lease and handshake disagree" }
                if socket.session.stage != .establishing { return "waits for no handshake" }
                if entry.owner.isRegistration != socket.holdsRegistration { return "counted for the wrong leg" }
            case .free, .probing, .settling, .resting, .quarantined: break
            }
            let id = PoolStateMachine.SocketID(slot: slot, generation: socket.generation)
            if socket.session.isLive != pool.secured.contains(id) { return "session and books differ" }
            if (socket.session.stage == .establishing) != pool.securing.contains(id) {
                return "handshake and books differ"
            }
            switch (machine.upstreams[socket.upstream].security, socket.state) {
            case (.none, _) where socket.session.stage != .none: return "a session of a plain upstream"
            case (.perLease, .idle), (.perLease, .resting), (.perLease, .quarantined(_, parkedBy: nil)):
                if socket.session.stage != .none { return "a device's session outlives its lease" }
            default: break
            }
        }
        let waiting = machine.leases.values.filter { if case .waiting = $0.place { true } else { false } }
        if waiting.count != machine.waitingCount { return "waiting count" }
        if Set(machine.leases.keys) != Set(pool.leased.keys).union(pool.waiting) { return "leases and books differ" }
        if leased != Set(pool.leased.keys) { return "leased sockets and books differ" }
        registrations += waiting.filter { $0.owner.isRegistration }.count
        if registrations != machine.registrationCount { return "registration count" }
        if total != machine.socketCount || total > machine.settings.maximumSockets { return "socket count \(total)" }
        if opening != machine.openingCount || opening > machine.settings.maximumOpening { return "opening count" }
        if opening != pool.opening.count { return "openings and books differ" }
        for upstream in 0..<3 {
            if machine.upstreams[upstream].idleCount != idle[upstream] { return "idle count" }
            if idle[upstream] > 0 && machine.upstreams[upstream].waitingCount > 0 {
                return "waits beside an idle socket"
            }
        }
        if waiting.count > machine.settings.maximumWaiting { return "too many wait" }
        return nil
    }
}
