internal import Foundation
internal import GRDB
internal import Gateway
internal import Synchronization

/// Lets writes that come within a few milliseconds share one transaction and one flush to disk.
///
/// One thread does the writing, so nothing here blocks an event loop or the cooperative pool. The first write that comes
/// after a pause waits for the window to pass; those that come while a commit runs make up the next one. If a shared
/// transaction fails, each write is tried on its own, so that one bad write does not take the others with it.
final class GroupCommit: Sendable {
    /// One write. `attempt` runs inside the transaction and returns what to do once that is on disk.
    private struct Entry: Sendable {
        let attempt: @Sendable (Database) throws -> @Sendable () -> Void
        let fail: @Sendable (any Error) -> Void
    }

    private struct State {
        var entries: [Entry] = []
        var isClosed = false
    }

    private let file: StoreFile
    private let pool: DatabasePool
    private let window: Duration
    private let state = Mutex(State())
    private let work = DispatchSemaphore(value: 0)
    private let ended = DispatchSemaphore(value: 0)

    init(file: StoreFile, pool: DatabasePool, window: Duration) {
        self.file = file
        self.pool = pool
        self.window = min(max(window, .zero), .milliseconds(5))
        let thread = Thread { [self] in self.run() }
        thread.name = "records-commit"
        thread.start()
    }

    /// Runs `body` in the next shared transaction and returns when that is on disk.
    func write<T: Sendable>(_ body: @escaping @Sendable (Database) throws -> T) async throws -> T {
        try await withCheckedThrowingContinuation { continuation in
            let entry = Entry(
                attempt: { db in
                    let result = try body(db)
                    return { continuation.resume(returning: result) }
                },
                fail: { continuation.resume(throwing: $0) }
            )
            let (isFirst, isClosed) = self.state.withLock { state in
                guard !state.isClosed else { return (false, true) }
                state.entries.append(entry)
                return (state.entries.count == 1, false)
            }
            if isFirst { self.work.signal() }
            if isClosed {
                entry.fail(RecordsError(.unavailable, source: .gateway, "the store is closed", remedy: ""))
            }
        }
    }

    /// Writes what waits, then ends the thread. Safe to call twice.
    func close() {
        let wasClosed = self.state.withLock { state in
            defer { state.isClosed = true }
            return state.isClosed
        }
        guard !wasClosed else { return }
        self.work.signal()
        self.ended.wait()
    }

    private func run() {
        while true {
            self.work.wait()
            let isClosed = self.state.withLock { $0.isClosed }
            if !isClosed, self.window > .zero {
                Thread.sleep(forTimeInterval: Double(self.window.components.attoseconds) / 1e18)
            }
            let entries = self.state.withLock { state in
                defer { state.entries.removeAll(keepingCapacity: true) }
                return state.entries
            }
            if !entries.isEmpty { self.commit(entries) }
            if isClosed { break }
        }
        self.ended.signal()
    }

    private func commit(_ entries: [Entry]) {
        do {
            let completions = try self.pool.writeWithoutTransaction { db in
                var completions: [@Sendable () -> Void] = []
                completions.reserveCapacity(entries.count)
                try db.inTransaction(.immediate) {
                    for entry in entries { completions.append(try entry.attempt(db)) }
                    return .commit
                }
                return completions
            }
            for complete in completions { complete() }
        } catch {
            if entries.count == 1 {
                entries[0].fail(self.file.explain(error))
            } else {
                for entry in entries { self.commit([entry]) }
            }
        }
    }
}
