internal import GRDB
internal import Gateway

/// Tells a running gateway what changed in `sims.db`, whoever changed it: SQLite's data version is looked at a few times a
/// second, which costs a system call or two, and rows of `changes` are read only when it has moved.
struct ChangeFeed: Sendable {
    /// More rows than this at once are told as "everything".
    static let batchLimit = 1_000

    private let queue: DatabaseQueue
    private let interval: Duration

    init(file: StoreFile, interval: Duration) throws(RecordsError) {
        // Its own connection: the data version of a connection does not move with its own writes.
        self.queue = try file.reader(label: "records.changes")
        self.interval = interval
    }

    func close() throws { try self.queue.close() }

    /// Where a reader of the feed stands.
    struct Position: Sendable, Equatable {
        var dataVersion: Int64?
        var seq: Int64
    }

    /// The end of the feed.
    func end() throws -> Position {
        try self.queue.unsafeRead { db in
            // The version first: what is committed between the two reads is then seen again rather than missed.
            let version = try Self.dataVersion(db)
            return Position(dataVersion: version, seq: try Self.bounds(db).last)
        }
    }

    /// What was committed after `position`, which moves to the end.
    func next(after position: inout Position) throws -> [RecordChange] {
        let start = position
        let (end, changes) = try self.queue.unsafeRead { db in
            let version = try Self.dataVersion(db)
            guard version != start.dataVersion else { return (start, [RecordChange]()) }
            let bounds = try Self.bounds(db)
            let end = Position(dataVersion: version, seq: bounds.last)
            if bounds.last == start.seq { return (end, []) }
            let isNameable =
                bounds.last > start.seq && bounds.last - start.seq <= Int64(Self.batchLimit)
                && bounds.first <= start.seq + 1
            guard isNameable else { return (end, [.everything]) }
            let rows = try Row.fetchAll(
                try db.cachedStatement(sql: "SELECT iccid FROM changes WHERE seq > ? AND seq <= ? ORDER BY seq"),
                arguments: [start.seq, bounds.last]
            )
            var changes: [RecordChange] = []
            for row in rows {
                guard let iccid = try row.decode(String?.self, atIndex: 0) else { return (end, [.everything]) }
                if changes.last != .sim(iccid: iccid) { changes.append(.sim(iccid: iccid)) }
            }
            return (end, changes)
        }
        position = end
        return changes
    }

    /// Everything that is committed from now on. A store that does not answer is asked again; when it answers, nothing
    /// is missing.
    func changes() -> AsyncStream<RecordChange> {
        let start = try? self.end()
        let work = BlockingWork(label: "records.changes")
        return AsyncStream { continuation in
            let task = Task {
                var position = start ?? Position(dataVersion: nil, seq: -1)
                while !Task.isCancelled {
                    try? await Task.sleep(for: self.interval)
                    let news = try? await work.run { [position] in
                        var end = position
                        return (try self.next(after: &end), end)
                    }
                    guard let (changes, end) = news else { continue }
                    position = end
                    for change in changes { continuation.yield(change) }
                }
                continuation.finish()
            }
            continuation.onTermination = { _ in task.cancel() }
        }
    }

    private static func dataVersion(_ db: Database) throws -> Int64? {
        try Int64.fetchOne(try db.cachedStatement(sql: "PRAGMA data_version"))
    }

    /// The sequence numbers of the first and last row, or of the last that ever was.
    private static func bounds(_ db: Database) throws -> (first: Int64, last: Int64) {
        let statement = try db.cachedStatement(
            sql: """
                SELECT ifnull((SELECT min(seq) FROM changes), 0), \
                ifnull((SELECT max(seq) FROM changes), 0)
                """
        )
        guard let row = try Row.fetchOne(statement) else { return (0, 0) }
        return (row[0], row[1])
    }
}
