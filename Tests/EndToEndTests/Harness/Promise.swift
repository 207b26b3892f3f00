internal import Synchronization

/// A value that comes once, from any thread, and that tests wait for with a limit.
final class Promise<Value: Sendable>: Sendable {
    private struct State {
        var value: Value?
        var waiters: [UInt64: CheckedContinuation<Value?, Never>] = [:]
        var nextWaiter: UInt64 = 0
    }

    private let state = Mutex(State())

    /// The first value counts.
    func fulfill(_ value: Value) {
        let waiters = self.state.withLock { state in
            if state.value == nil { state.value = value }
            defer { state.waiters = [:] }
            return state.waiters.values
        }
        for waiter in waiters { waiter.resume(returning: value) }
    }

    /// The value, or nil when it has not come within the limit.
    func value(within limit: Duration) async -> Value? {
        let number = self.state.withLock { state in
            defer { state.nextWaiter += 1 }
            return state.nextWaiter
        }
        let alarm = Task {
            try await Task.sleep(for: limit)
            self.state.withLock { $0.waiters.removeValue(forKey: number) }?.resume(returning: nil)
        }
        defer { alarm.cancel() }
        return await withCheckedContinuation { continuation in
            let value: Value? = self.state.withLock { state in
                if state.value == nil { state.waiters[number] = continuation }
                return state.value
            }
            if let value { continuation.resume(returning: value) }
        }
    }
}
