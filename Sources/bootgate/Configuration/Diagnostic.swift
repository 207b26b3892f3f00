/// A place in the configuration file, both counted from 1, the column in Unicode scalars.
package struct FilePosition: Hashable, Sendable, Comparable {
    package var line: Int
    package var column: Int

    package init(line: Int, column: Int) {
        self.line = line
        self.column = column
    }

    package static func < (left: FilePosition, right: FilePosition) -> Bool {
        (left.line, left.column) < (right.line, right.column)
    }
}

/// One thing to say about the configuration file: what is wrong, then what would be right.
package struct Diagnostic: Hashable, Sendable {
    package enum Severity: Sendable {
        /// The gateway does not start with it.
        case mistake
        /// It starts, but the operator should know.
        case warning
    }

    package var severity: Severity
    package var position: FilePosition
    package var message: String

    package init(_ severity: Severity, at position: FilePosition, _ message: String) {
        self.severity = severity
        self.position = position
        self.message = message
    }

    /// `FILE:LINE:COLUMN: MESSAGE`, the form that editors jump to; a warning says so before its message.
    package func line(file: String) -> String {
        let mark = self.severity == .warning ? "warning: " : ""
        return "\(file):\(self.position.line):\(self.position.column): \(mark)\(self.message)"
    }
}

/// Gathers everything there is to say about one file, so that one run shows all of it.
final class DiagnosticCollector {
    /// A file that is nonsense from end to end is not worth more lines than this.
    static let limit = 100
    /// Nodes that a reading may visit: aliases can make a small file stand for a huge tree.
    private var nodesLeft = 20_000

    private(set) var diagnostics: [Diagnostic] = []

    func mistake(at position: FilePosition, _ message: String) { self.add(.mistake, position, message) }

    func warning(at position: FilePosition, _ message: String) { self.add(.warning, position, message) }

    private func add(_ severity: Diagnostic.Severity, _ position: FilePosition, _ message: String) {
        let diagnostic = Diagnostic(severity, at: position, message)
        guard self.diagnostics.count < Self.limit, !self.diagnostics.contains(diagnostic) else { return }
        self.diagnostics.append(diagnostic)
    }

    /// Whether another node may be read. Says once why not.
    func visit(at position: FilePosition) -> Bool {
        self.nodesLeft -= 1
        if self.nodesLeft == 0 {
            self.mistake(
                at: position, "the file stands for more than 20000 values; write fewer aliases or fewer entries")
        }
        return self.nodesLeft > 0
    }

    /// In the order of the file.
    var sorted: [Diagnostic] { self.diagnostics.sorted { $0.position < $1.position } }
}
