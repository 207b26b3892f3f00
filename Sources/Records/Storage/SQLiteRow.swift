internal import Foundation
internal import GRDB
internal import GRDBSQLite

/// The row on which a statement stands: columns by number, read straight from SQLite.
///
/// GRDB's own rows first make a table of the column names, which costs a look-up of the data path more than the look-up
/// itself. Everything else, connections, transactions and arguments, stays GRDB's.
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

extension Statement {
    /// Lends the first row to `body`; nil when there is none.
    func withFirstRow<T>(
        _ arguments: StatementArguments,
        in db: Database,
        _ body: (SQLiteRow) throws -> T
    ) throws -> T? {
        var result: T?
        try self.withRows(arguments, in: db) { row in
            result = try body(row)
            return false
        }
        return result
    }

    /// Lends each row to `body` until that returns false. The statement is reset in any case: one that is not keeps its
    /// read transaction open.
    func withRows(
        _ arguments: StatementArguments,
        in db: Database,
        _ body: (SQLiteRow) throws -> Bool
    ) throws {
        try self.setArguments(arguments)
        defer { sqlite3_reset(self.sqliteStatement) }
        while true {
            switch sqlite3_step(self.sqliteStatement) {
            case SQLITE_ROW:
                guard try body(SQLiteRow(statement: self.sqliteStatement)) else { return }
            case SQLITE_DONE: return
            case let code: throw DatabaseError(resultCode: ResultCode(rawValue: code), message: db.lastErrorMessage)
            }
        }
    }
}
