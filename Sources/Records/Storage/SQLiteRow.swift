internal import Foundation
internal import GRDB
internal import GRDBSQLite
internal import Secrets

/// The row on which a statement stands: columns by number, read straight from SQLite.
///
/// GRDB's own rows first make a table of the column names, which costs a look-up of the data path more than the look-up
/// itself. Connections, transactions and the cache of statements stay GRDB's.
///
/// Valid inside the closure that got it, and not a moment longer.
struct SQLiteRow {
    fileprivate let statement: OpaquePointer

    func isNull(_ column: Int) -> Bool { sqlite3_column_type(self.statement, Int32(column)) == SQLITE_NULL }

    /// Empty for null.
    func text(_ column: Int) -> String { self.optionalText(column) ?? "" }

    func optionalText(_ column: Int) -> String? {
        guard let start = sqlite3_column_text(self.statement, Int32(column)) else { return nil }
        let count = Int(sqlite3_column_bytes(self.statement, Int32(column)))
        return String(decoding: UnsafeBufferPointer(start: start, count: count), as: UTF8.self)
    }

    /// 0 for null.
    func integer(_ column: Int) -> Int64 { sqlite3_column_int64(self.statement, Int32(column)) }

    func optionalInteger(_ column: Int) -> Int64? { self.isNull(column) ? nil : self.integer(column) }

    /// Lends the bytes of a blob; empty for null.
    func withBlob<T>(_ column: Int, _ body: (UnsafeRawBufferPointer) throws -> T) rethrows -> T {
        // The pointer before the count: the other order may change the representation in between.
        let start = sqlite3_column_blob(self.statement, Int32(column))
        let count = Int(sqlite3_column_bytes(self.statement, Int32(column)))
        return try body(UnsafeRawBufferPointer(start: start, count: start == nil ? 0 : count))
    }
}

/// The parameters of a statement, bound one after the other straight to SQLite, which copies them.
///
/// GRDB's own arguments box every value and check the list against the statement, which costs more than the step.
struct SQLiteParameters {
    fileprivate let statement: OpaquePointer
    private var count: Int32 = 0
    /// The first failure: a value above SQLite's limits, or another number of values than of parameters.
    fileprivate var failure: Int32 = SQLITE_OK

    fileprivate init(_ statement: OpaquePointer) { self.statement = statement }

    mutating func add(_ value: Int64?) {
        self.count += 1
        if let value {
            self.note(sqlite3_bind_int64(self.statement, self.count, value))
        } else {
            self.note(sqlite3_bind_null(self.statement, self.count))
        }
    }

    mutating func add(_ text: String) {
        self.count += 1
        var text = text
        let (statement, column) = (self.statement, self.count)
        let code = text.withUTF8 { bytes in
            // Without an address the value would be null rather than empty.
            guard let start = bytes.baseAddress else { return sqlite3_bind_text(statement, column, "", 0, Self.copied) }
            return start.withMemoryRebound(to: CChar.self, capacity: bytes.count) {
                sqlite3_bind_text(statement, column, $0, Int32(clamping: bytes.count), Self.copied)
            }
        }
        self.note(code)
    }

    mutating func add(_ bytes: UnsafeRawBufferPointer) {
        self.count += 1
        if let start = bytes.baseAddress {
            let count = Int32(clamping: bytes.count)
            self.note(sqlite3_bind_blob(self.statement, self.count, start, count, Self.copied))
        } else {
            self.note(sqlite3_bind_zeroblob(self.statement, self.count, 0))
        }
    }

    mutating func add(_ identity: PSKIdentity) { identity.bytes.withUnsafeBytes { self.add($0) } }

    /// What was not bound would keep the value of the time before.
    fileprivate mutating func finish() {
        if self.count != sqlite3_bind_parameter_count(self.statement) { self.note(SQLITE_RANGE) }
    }

    private mutating func note(_ code: Int32) { if self.failure == SQLITE_OK { self.failure = code } }

    /// SQLITE_TRANSIENT, a macro that is not imported: SQLite takes a copy at once.
    private static let copied = unsafeBitCast(-1, to: sqlite3_destructor_type.self)
}

extension Statement {
    /// Lends the first row to `body`; nil when there is none.
    func withFirstRow<T>(
        in db: Database,
        binding: (inout SQLiteParameters) -> Void,
        _ body: (SQLiteRow) throws -> T
    ) throws -> T? {
        var result: T?
        try self.withRows(in: db, binding: binding) { row in
            result = try body(row)
            return false
        }
        return result
    }

    /// Runs a statement that has no rows.
    func run(in db: Database, binding: (inout SQLiteParameters) -> Void) throws {
        try self.withRows(in: db, binding: binding) { _ in false }
    }

    /// Lends each row to `body` until that returns false.
    func withRows(
        in db: Database,
        binding: (inout SQLiteParameters) -> Void,
        _ body: (SQLiteRow) throws -> Bool
    ) throws {
        var parameters = SQLiteParameters(self.sqliteStatement)
        binding(&parameters)
        parameters.finish()
        guard parameters.failure == SQLITE_OK else {
            throw DatabaseError(resultCode: ResultCode(rawValue: parameters.failure), message: db.lastErrorMessage)
        }
        try self.step(in: db, body)
    }

    /// The same with arguments whose number the statement's text decides.
    func withRows(_ arguments: StatementArguments, in db: Database, _ body: (SQLiteRow) throws -> Bool) throws {
        try self.setArguments(arguments)
        try self.step(in: db, body)
    }

    /// The first row, with such arguments.
    func withFirstRow<T>(
        _ arguments: StatementArguments, in db: Database, _ body: (SQLiteRow) throws -> T
    ) throws -> T? {
        var result: T?
        try self.withRows(arguments, in: db) { row in
            result = try body(row)
            return false
        }
        return result
    }

    /// The statement is reset in any case: one that is not keeps its read transaction open, and takes no parameters.
    private func step(in db: Database, _ body: (SQLiteRow) throws -> Bool) throws {
        let statement = self.sqliteStatement
        defer { sqlite3_reset(statement) }
        while true {
            switch sqlite3_step(statement) {
            case SQLITE_ROW:
                guard try body(SQLiteRow(statement: statement)) else { return }
            case SQLITE_DONE: return
            case let code: throw DatabaseError(resultCode: ResultCode(rawValue: code), message: db.lastErrorMessage)
            }
        }
    }
}
