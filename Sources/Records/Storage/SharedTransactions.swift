internal import Foundation
internal import GRDB
internal import Gateway
internal import Synchronization

/// Lets accesses to one file that come together share a transaction, and, where they write, one flush to disk.
///
/// One thread does the work, so nothing here blocks an event loop or the cooperative pool. The first access that comes
/// after a pause waits for the window to pass; those that come while a transaction runs make up the next one. If a shared
/// transaction fails, each access is tried on its own, so that a bad one does not take the others with it. Where the
/// file itself is at fault (no room, a lock that another process keeps) they all fail at once: none would fare better
/// alone, and each would wait for the lock anew.
///
/// `Context` is what accesses get to work with: the statements of the connection. It is made by the first transaction,
/// used inside transactions alone, and gone before the connection is closed.
final class SharedTransactions<Context>: Sendable {
    /// One access. `attempt` runs inside the transaction and returns what to do once that has ended.
    private struct Entry: Sendable {
        let attempt: @Sendable (Context) throws -> @Sendable () -> Void
        let fail: @Sendable (any Error) -> Void
    }

    private struct State {
        var entries: [Entry] = []
        var isClosed = false
        var failure: RecordsError?
    }

    private let file: StoreFile
    private let connection: any DatabaseWriter
    private let kind: Database.TransactionKind
    private let window: Duration
    private let context: @Sendable (Database) throws -> Context
    private let state = Mutex(State())
    private let work = DispatchSemaphore(value: 0)
    private let ended = DispatchSemaphore(value: 0)

    /// - Parameters:
    ///   - window: at most 5 ms.
    ///   - context: called inside the first transaction.
    init(
        file: StoreFile,
        connection: any DatabaseWriter,
        kind: Database.TransactionKind,
        window: Duration,
        context: @escaping @Sendable (Database) throws -> Context
    ) {
        self.file = file
        self.connection = connection
        self.kind = kind
        self.window = min(max(window, .zero), .milliseconds(5))
        self.context = context
        let thread = Thread { [self] in self.run() }
        thread.name = "records"
        thread.start()
    }

    /// Runs `body` in the next shared transaction and returns when that has ended; what it wrote is on disk then.
    func run<T: Sendable>(_ body: @escaping @Sendable (Context) throws -> T) async throws -> T {
        try await withCheckedThrowingContinuation { continuation in
            let entry = Entry(
                attempt: { context in
                    let result = try body(context)
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

    /// Why the file could not be written; nil: the last change reached it.
    var failure: RecordsError? { self.state.withLock { $0.failure } }

    /// Does what waits, then ends the thread. Safe to call twice.
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
        var context: Context?
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
            if !entries.isEmpty { self.commit(entries, &context) }
            if isClosed { break }
        }
        // Statements must be gone before their connection is.
        context = nil
        self.ended.signal()
    }

    private func commit(_ entries: [Entry], _ context: inout Context?) {
        do {
            let (completions, hasWritten) = try self.connection.writeWithoutTransaction { db in
                let changes = db.totalChangesCount
                var completions: [@Sendable () -> Void] = []
                completions.reserveCapacity(entries.count)
                try self.transaction(in: db) {
                    let statements = try context ?? self.context(db)
                    context = statements
                    for entry in entries { completions.append(try entry.attempt(statements)) }
                }
                return (completions, db.totalChangesCount != changes)
            }
            // One that finds nothing to change says nothing about the disk.
            if hasWritten { self.state.withLock { $0.failure = nil } }
            for complete in completions { complete() }
        } catch {
            let failure = self.file.explain(error)
            if StoreFile.isAtFault(error) {
                self.state.withLock { $0.failure = failure }
                for entry in entries { entry.fail(failure) }
            } else if entries.count == 1 {
                entries[0].fail(failure)
            } else {
                for entry in entries { self.commit([entry], &context) }
            }
        }
    }

    private func transaction(in db: Database, _ body: () throws -> Void) throws {
        guard self.kind == .deferred else {
            return try db.inTransaction(self.kind) {
                try body()
                return .commit
            }
        }
        // Reads alone, with nothing to lose: begun and ended without parsing, which would cost as much as a look-up.
        defer {
            try? db.cachedStatement(sql: "COMMIT").run(in: db) { _ in }
            if db.isInsideTransaction { try? db.rollback() }
        }
        try db.cachedStatement(sql: "BEGIN").run(in: db) { _ in }
        try body()
    }
}
