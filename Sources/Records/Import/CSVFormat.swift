/// Comma-separated values (RFC 4180): the first row names the fields; a cell in quotation marks may hold commas, line
/// ends and doubled quotation marks; lines end in LF or CRLF; empty lines are skipped.
///
/// A machine over bytes: it holds one row at a time, so a file may come in pieces of any size.
struct CSVFormat: ImportFormat {
    /// A row longer than this is a quotation mark that nobody closed.
    static let rowLimit = 64 * 1024

    private enum State { case cellStart, plain, quoted, quoteInQuoted, carriageReturn }

    private var state = State.cellStart
    private var cell: [UInt8] = []
    private var cells: [[UInt8]] = []
    private var rowSize = 0
    private var line = 1
    private var rowLine = 1
    private var defect: String?
    private var columns: [SIMField]?
    private var isAtStart = true
    private var mark: [UInt8] = []

    init() {}

    mutating func rows(from piece: [UInt8]) throws(RecordsError) -> [ImportRow] {
        var rows: [ImportRow] = []
        for byte in piece {
            if self.isAtStart, self.isMark(byte) { continue }
            try self.take(byte, &rows)
        }
        if piece.isEmpty {
            if self.state == .quoted { self.defect = "a quotation mark is not closed" }
            if self.state != .cellStart || !self.cells.isEmpty || !self.cell.isEmpty { try self.endRow(&rows) }
            guard self.columns != nil else {
                throw RecordsError(.badData, "the file is empty", remedy: "begin it with a line of field names")
            }
        }
        return rows
    }

    /// A byte order mark is no part of the first name.
    private mutating func isMark(_ byte: UInt8) -> Bool {
        let expected: [UInt8] = [0xEF, 0xBB, 0xBF]
        guard self.mark.count < 3, byte == expected[self.mark.count] else {
            self.isAtStart = false
            return false
        }
        self.mark.append(byte)
        return true
    }

    private mutating func take(_ byte: UInt8, _ rows: inout [ImportRow]) throws(RecordsError) {
        self.rowSize += 1
        guard self.rowSize <= Self.rowLimit else {
            throw RecordsError(
                .badData,
                "line \(self.rowLine): the row has more than \(Self.rowLimit) bytes",
                remedy: "look for a quotation mark that is not closed"
            )
        }
        if self.state == .carriageReturn {
            self.state = .cellStart
            if byte == 0x0A { return try self.endLine(&rows) }
            self.defect = "a carriage return stands inside a line"
        }
        switch (self.state, byte) {
        case (.quoted, UInt8(ascii: "\"")): self.state = .quoteInQuoted
        case (.quoted, _):
            if byte == 0x0A { self.line += 1 }
            self.cell.append(byte)
        case (.quoteInQuoted, UInt8(ascii: "\"")):
            self.cell.append(byte)
            self.state = .quoted
        case (_, UInt8(ascii: ",")): self.endCell()
        case (_, 0x0D): self.state = .carriageReturn
        case (_, 0x0A): try self.endLine(&rows)
        case (.cellStart, UInt8(ascii: "\"")) where self.cell.isEmpty: self.state = .quoted
        case (.quoteInQuoted, _):
            self.defect = "something stands behind a closing quotation mark"
            self.state = .plain
        case (.plain, UInt8(ascii: "\"")), (.cellStart, UInt8(ascii: "\"")):
            self.defect = "a quotation mark stands inside a cell without one in front"
        default:
            self.cell.append(byte)
            self.state = .plain
        }
    }

    private mutating func endCell() {
        self.cells.append(self.cell)
        self.cell.removeAll(keepingCapacity: true)
        self.state = .cellStart
    }

    private mutating func endLine(_ rows: inout [ImportRow]) throws(RecordsError) {
        self.line += 1
        try self.endRow(&rows)
        self.rowLine = self.line
    }

    private mutating func endRow(_ rows: inout [ImportRow]) throws(RecordsError) {
        self.endCell()
        let (cells, defect) = (self.cells, self.defect)
        self.cells.removeAll(keepingCapacity: true)
        self.rowSize = 0
        self.defect = nil
        if cells.count == 1, cells[0].isEmpty, defect == nil { return }
        guard let columns = self.columns else {
            self.columns = try Self.header(cells, defect, line: self.rowLine)
            return
        }
        rows.append(ImportRow(line: self.rowLine, fields: Self.fields(cells, columns, defect)))
    }

    private static func fields(
        _ cells: [[UInt8]],
        _ columns: [SIMField],
        _ defect: String?
    ) -> Result<SIMFields, RecordsError> {
        if let defect {
            return .failure(
                RecordsError(.badData, defect, remedy: "put the cell in quotation marks and double those in it")
            )
        }
        guard cells.count == columns.count else {
            return .failure(
                RecordsError(
                    .badData,
                    "\(cells.count) cells under \(columns.count) field names",
                    remedy: "put cells with commas in quotation marks"
                )
            )
        }
        var fields = SIMFields()
        for (cell, column) in zip(cells, columns) {
            guard let text = String(validating: cell, as: UTF8.self) else {
                return .failure(
                    RecordsError(.badData, "\(column.rawValue): not UTF-8", remedy: "save the file as UTF-8")
                )
            }
            fields[column] = text.trimmingSpaces()
        }
        return .success(fields)
    }

    private static func header(_ cells: [[UInt8]], _ defect: String?, line: Int) throws(RecordsError) -> [SIMField] {
        let known = SIMField.allCases.map(\.rawValue).joined(separator: ", ")
        var columns: [SIMField] = []
        for cell in cells {
            let name = String(decoding: cell, as: UTF8.self).trimmingSpaces().lowercased()
            guard defect == nil, let field = SIMField(rawValue: name) else {
                // What stands there is not shown: without a header it is a record, and may be a key.
                throw RecordsError(
                    .badData,
                    "line \(line): name \(columns.count + 1) is no field name",
                    remedy: "begin the file with a line of field names: \(known)"
                )
            }
            guard !columns.contains(field) else {
                throw RecordsError(.badData, "line \(line): \(name) stands twice", remedy: "name each field once")
            }
            columns.append(field)
        }
        guard columns.contains(.iccid) else {
            throw RecordsError(.badData, "line \(line): no column is called iccid", remedy: "add it")
        }
        return columns
    }
}
