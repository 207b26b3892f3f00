import Secrets
import Timing

@testable import Gateway

/// One life of a gateway with its devices and servers, under one seed: the clock, what is still to happen, and chance.
///
/// Everything that happens is an entry of the agenda, and after each the promises are checked. The same seed gives the
/// same life; only the one-time identities and keys differ, on which nothing here depends but by being equal or not.
final class SimulatedWorld {
    let seed: UInt64
    var random: SplitMix64
    private(set) var now = Instant(nanoseconds: 3_600_000_000_000)
    private(set) var steps = 0
    /// The first broken promise, with the time at which it was broken. Nothing happens afterwards.
    private(set) var violation: String?
    private var agenda = DeadlineHeap<() -> Void>()
    private let isTraced: Bool

    /// A life has some thousand steps; one that has this many does not end.
    private static let maximumSteps = 50_000

    init(seed: UInt64, isTraced: Bool) {
        self.seed = seed
        self.random = SplitMix64(state: seed)
        self.isTraced = isTraced
    }

    var wallClock: Int64 { self.now.nanoseconds / 1000 }

    func at(_ time: Instant, _ action: @escaping () -> Void) { self.agenda.push(action, at: max(time, self.now)) }

    func after(_ delay: Duration, _ action: @escaping () -> Void) { self.at(self.now + delay, action) }

    /// Lets things happen until nothing is left to happen. Waking for nothing is no step.
    func run(afterEach settle: () -> Void) {
        while self.violation == nil, let next = self.agenda.earliest {
            self.now = next
            guard let action = self.agenda.popDue(next) else { return }
            action()
            settle()
            self.steps += 1
            if self.steps > Self.maximumSteps { self.fail("the life does not end") }
        }
    }

    // MARK: - Chance

    func chance(_ percent: Int) -> Bool { percent > 0 && Int(self.random.next() % 100) < percent }

    func pick(_ range: ClosedRange<Int>) -> Int {
        range.lowerBound + Int(self.random.next() % UInt64(range.count))
    }

    func milliseconds(_ range: ClosedRange<Int>) -> Duration { .milliseconds(self.pick(range)) }

    // MARK: - What is told

    func fail(_ text: @autoclosure () -> String) {
        guard self.violation == nil else { return }
        self.violation = text()
        self.note("VIOLATION: \(self.violation ?? "")")
    }

    func note(_ text: @autoclosure () -> String) {
        guard self.isTraced else { return }
        let milliseconds = (self.now.nanoseconds - 3_600_000_000_000) / 1_000_000
        print("\(milliseconds / 1000).\(String(1000 + milliseconds % 1000).dropFirst()) \(text())")
    }
}

/// A deadline of one part of the world that may move. An entry of the agenda that was overtaken does nothing.
final class SimulatedAlarm {
    private unowned let world: SimulatedWorld
    private var time: Instant?
    private let action: () -> Void

    init(_ world: SimulatedWorld, _ action: @escaping () -> Void) {
        self.world = world
        self.action = action
    }

    /// Rings at `deadline` at the latest. Whoever is woken too early sets the alarm again.
    func set(_ deadline: Instant?) {
        guard let deadline else { return }
        if let time = self.time, time <= deadline { return }
        self.time = deadline
        self.world.at(deadline) { [self] in
            guard self.time == deadline else { return }
            self.time = nil
            self.action()
        }
    }
}

/// A direction of a link: loses, repeats, delays and so reorders datagrams.
struct SimulatedLink {
    /// Percent of the datagrams.
    var loss = 0
    var duplication = 0
    /// Longest delay, milliseconds. More than the distance of two datagrams reorders them.
    var delay = 20

    /// One of the links of a seed: from good ones to such as lose and repeat 40 %.
    init(_ world: SimulatedWorld) {
        switch world.pick(0...3) {
        case 0: break
        case 1: (self.loss, self.duplication, self.delay) = (world.pick(1...15), world.pick(0...10), 200)
        case 2: (self.loss, self.duplication, self.delay) = (world.pick(10...40), world.pick(0...20), 2500)
        default: (self.loss, self.duplication, self.delay) = (world.pick(0...20), world.pick(20...40), 6000)
        }
    }

    func carry(in world: SimulatedWorld, _ deliver: @escaping () -> Void) {
        if !world.chance(self.loss) { world.after(world.milliseconds(1...self.delay), deliver) }
        if world.chance(self.duplication) { world.after(world.milliseconds(1...(2 * self.delay)), deliver) }
    }
}

/// What travels between a device and the gateway. A handshake is one datagram each way that names the association; a
/// record is understood by its own association alone and counts once, as DTLS sees to it.
enum SimulatedDatagram {
    case hello(association: Int, identity: PSKIdentity, key: Secret)
    case established(association: Int)
    case record(association: Int, sequence: Int, [UInt8])
    case close(association: Int)
    case plain([UInt8])
}
