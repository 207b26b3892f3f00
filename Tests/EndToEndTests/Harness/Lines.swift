internal import Synchronization

/// The lines that a program writes, as they come.
final class Lines: Sendable {
    private struct Waiter {
        var takesUnfinished: Bool
        var matches: @Sendable (String) -> Bool
        var promise: Promise<String?>
    }

    private struct State {
        var complete: [String] = []
        var rest: [UInt8] = []
        var isEnded = false
        var waiters: [Waiter] = []

        mutating func takeWaiters(for line: String, isFinished: Bool) -> [Waiter] {
            // Each is asked once a line, as some count.
            var taken: [Waiter] = []
            var others: [Waiter] = []
            for waiter in self.waiters {
                if (isFinished || waiter.takesUnfinished) && waiter.matches(line) {
                    taken.append(waiter)
                } else {
                    others.append(waiter)
                }
            }
            self.waiters = others
            return taken
        }
    }

    private let state = Mutex(State())

    var all: [String] { self.state.withLock { $0.complete } }

    func append(_ bytes: some Sequence<UInt8>) {
        for byte in bytes {
            if byte == UInt8(ascii: "\n") {
                self.endLine()
            } else {
                self.state.withLock { $0.rest.append(byte) }
            }
        }
        let (rest, waiters) = self.state.withLock { state in
            let rest = String(decoding: state.rest, as: UTF8.self)
            return (rest, rest.isEmpty ? [] : state.takeWaiters(for: rest, isFinished: false))
        }
        for waiter in waiters { waiter.promise.fulfill(rest) }
    }

    func end() {
        if self.state.withLock({ !$0.rest.isEmpty }) { self.endLine() }
        let waiters = self.state.withLock { state in
            state.isEnded = true
            defer { state.waiters = [] }
            return state.waiters
        }
        for waiter in waiters { waiter.promise.fulfill(nil) }
    }

    private func endLine() {
        let (line, waiters) = self.state.withLock { state in
            let line = String(decoding: state.rest, as: UTF8.self)
            state.rest = []
            state.complete.append(line)
            return (line, state.takeWaiters(for: line, isFinished: true))
        }
        for waiter in waiters { waiter.promise.fulfill(line) }
    }

    /// The first line of all so far and of those to come that matches; nil when none does before the end or the limit.
    ///
    /// - Parameter takesUnfinished: also a line whose end has not come yet, as prompts and payloads have none.
    func first(
        within limit: Duration, takesUnfinished: Bool = false, where matches: @Sendable @escaping (String) -> Bool
    ) async -> String? {
        let promise = Promise<String?>()
        let known: String?? = self.state.withLock { state in
            let rest = String(decoding: state.rest, as: UTF8.self)
            if let line = state.complete.first(where: matches) ?? (takesUnfinished && matches(rest) ? rest : nil) {
                return .some(line)
            }
            if state.isEnded { return .some(nil) }
            state.waiters.append(Waiter(takesUnfinished: takesUnfinished, matches: matches, promise: promise))
            return nil
        }
        if let known { return known }
        return await promise.value(within: limit) ?? nil
    }
}
