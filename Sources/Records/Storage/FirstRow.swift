internal import GRDB

/// Lends the first row of a query to `body` without copying it; nil when there is none.
///
/// A row of a cursor reads straight from the statement, which the cursor resets when it goes away, so the cursor has to
/// outlive the row. It must not live longer either: a statement that was not reset keeps its read transaction open.
func withFirstRow<T>(
    _ statement: Statement,
    _ arguments: StatementArguments,
    _ body: (Row) throws -> T
) throws -> T? {
    let cursor = try Row.fetchCursor(statement, arguments: arguments)
    return try withExtendedLifetime(cursor) {
        guard let row = try cursor.next() else { return nil }
        return try body(row)
    }
}
