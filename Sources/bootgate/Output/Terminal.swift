internal import Foundation
internal import Glibc
internal import Records

/// Results go to standard output, everything else to standard error.
enum Terminal {
    /// A result. When it cannot be written, the command has not done its work and ends with 73.
    static func say(_ line: String) { self.put(Array((line + "\n").utf8)) }

    /// A result as the bytes that it is, under the same condition.
    static func put(_ bytes: [UInt8]) {
        guard !self.write(bytes, to: STDOUT_FILENO) else { return }
        self.complain("bootgate: cannot write to standard output: \(String(cString: strerror(errno)))")
        exit(ExitStatus.cannotWrite.rawValue)
    }

    /// Word to whoever may listen on standard output; nobody has to.
    static func announce(_ line: String) { _ = self.write(line + "\n", to: STDOUT_FILENO) }

    /// Everything that is no result. A reader that went away, or a full disk, must not end what runs.
    static func complain(_ line: String) { _ = self.write(line + "\n", to: STDERR_FILENO) }

    private static func write(_ text: String, to descriptor: Int32) -> Bool {
        self.write(Array(text.utf8), to: descriptor)
    }

    /// Writes all of `bytes`, with one call where the system allows, so that lines of two threads do not mix.
    private static func write(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
        var bytes = bytes[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count > 0 {
                bytes = bytes.dropFirst(count)
            } else if count < 0, errno == EINTR {
                continue
            } else {
                return false
            }
        }
        return true
    }

    /// Whether a person sees standard error: only then are there progress bars.
    static var isInteractive: Bool { isatty(STDERR_FILENO) == 1 }

    /// Whether a person sees standard output: results that are no text would garble it.
    static var isOutputTerminal: Bool { isatty(STDOUT_FILENO) == 1 }

    /// Replaces the line that standard error shows.
    static func progress(_ text: String) {
        guard self.isInteractive else { return }
        _ = self.write("\r\u{1B}[K\(text)", to: STDERR_FILENO)
    }

    /// Text from outside, fit for a terminal: control characters would move its cursor or worse.
    static func printable(_ text: String) -> String {
        String(String.UnicodeScalarView(text.unicodeScalars.map { $0.isControl ? "?" : $0 }))
    }
}

/// Rows under headings, each column as wide as its widest cell.
struct Table {
    private var rows: [[String]]

    init(_ headings: [String]) { self.rows = [headings] }

    mutating func add(_ cells: [String]) { self.rows.append(cells.map(Terminal.printable)) }

    var isEmpty: Bool { self.rows.count == 1 }

    var text: String {
        let widths = self.rows[0].indices.map { column in self.rows.map { $0[column].count }.max() ?? 0 }
        return self.rows.map { row in
            let cells = zip(row, widths).map { cell, width in cell + String(repeating: " ", count: width - cell.count) }
            return String(cells.joined(separator: "  ").reversed().drop { $0 == " " }.reversed())
        }.joined(separator: "\n")
    }
}

/// Values as JSON, for `--json`.
enum JSONText {
    static func line(_ object: [String: Any]) -> String {
        let options: JSONSerialization.WritingOptions = [.sortedKeys, .withoutEscapingSlashes]
        guard let data = try? JSONSerialization.data(withJSONObject: object, options: options) else { return "{}" }
        return String(decoding: data, as: UTF8.self)
    }
}
