import Foundation
import Testing

/// The page that lists the traps of a bootstrap speaks of tests; it has to be true.
@Suite("The table of traps")
struct TrapTableTests {
    private static let checkout = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    /// Lines of the table, by the number of their trap.
    private static func rows() throws -> [Int: String] {
        let page = Self.checkout.appendingPathComponent("Sources/Gateway/Documentation.docc/Traps.md")
        var rows: [Int: String] = [:]
        for line in try String(contentsOf: page, encoding: .utf8).split(separator: "\n") {
            guard let number = try /^\| T(\d+) \|/.firstMatch(in: line).flatMap({ Int($0.1) }) else { continue }
            #expect(rows[number] == nil, "T\(number) is there twice")
            rows[number] = String(line)
        }
        return rows
    }

    /// Sources of the tests, by the name of their file.
    private static func sources() throws -> [String: String] {
        let folder = Self.checkout.appendingPathComponent("Tests")
        let files = try #require(FileManager.default.enumerator(at: folder, includingPropertiesForKeys: nil))
        var sources: [String: String] = [:]
        for case let file as URL in files where file.pathExtension == "swift" {
            sources[file.deletingPathExtension().lastPathComponent] = try String(contentsOf: file, encoding: .utf8)
        }
        return sources
    }

    @Test("Each of the 48 has a line, and each line names tests that exist and have its number")
    func complete() throws {
        let rows = try Self.rows()
        let sources = try Self.sources()
        #expect(rows.keys.sorted() == Array(1...48))
        for (number, row) in rows {
            let tests = row.matches(of: /`(\w+)` "([^"]+)"/)
            #expect(!tests.isEmpty, "T\(number) has no test")
            for test in tests {
                let (file, name) = (String(test.1), String(test.2))
                #expect(sources[file]?.contains("\"\(name)\"") == true, "\(file) has no test \"\(name)\"")
                #expect(name.contains(try Regex("\\bT\(number)\\b")), "\"\(name)\" is no test of T\(number)")
            }
        }
    }
}
