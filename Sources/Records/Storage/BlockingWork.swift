internal import Dispatch

/// A thread for accesses that block: a store that hangs must hold up nothing but what needs it, and the threads that
/// tasks share are few. Monitoring answers on them.
struct BlockingWork: Sendable {
    private let queue: DispatchQueue

    init(label: String) { self.queue = DispatchQueue(label: label) }

    /// Runs `body` after what was asked for before.
    func run<T: Sendable>(_ body: @escaping @Sendable () throws -> T) async throws -> T {
        try await withCheckedThrowingContinuation { continuation in
            self.queue.async { continuation.resume(with: Result(catching: body)) }
        }
    }
}
