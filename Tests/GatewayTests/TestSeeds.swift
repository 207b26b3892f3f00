import Synchronization

@testable import Gateway

/// Seeds of message layers that are the same in every run.
final class TestSeeds: Sendable {
    private let state: Mutex<(generator: SplitMix64, drawn: Int)>

    init(_ seed: UInt64) { self.state = Mutex((SplitMix64(state: seed), 0)) }

    /// How many were asked for.
    var drawn: Int { self.state.withLock { $0.drawn } }

    func next() -> UInt64 {
        self.state.withLock { state in
            state.drawn += 1
            return state.generator.next()
        }
    }
}
