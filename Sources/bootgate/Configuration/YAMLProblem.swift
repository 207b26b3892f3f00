internal import Yams

/// Puts a failure of the YAML parser in the form of all other mistakes.
enum YAMLProblem {
    static func describe(_ error: YamlError) -> (FilePosition, String) {
        let start = FilePosition(line: 1, column: 1)
        switch error {
        case .scanner(let context, let problem, let mark, _), .parser(let context, let problem, let mark, _),
            .composer(let context, let problem, let mark, _):
            // The mark often stands where the parser gave up, which is after the cause: say where it began, too.
            let began = context.map { " (\($0.text) that begins in line \($0.mark.line))" } ?? ""
            return (Self.position(mark), "no valid YAML: \(problem)\(began)")
        case .duplicatedKeysInMapping(let names, let context):
            let names = names.map { "'\(ConfigurationNode.shown($0))'" }.joined(separator: ", ")
            return (Self.position(context.mark), "\(names) is given more than once in one mapping; keep one of them")
        case .reader(let problem, let offset, _, let yaml):
            return (Self.position(ofCharacter: offset ?? 0, in: yaml), "no valid YAML: \(problem)")
        default:
            return (start, "no valid YAML")
        }
    }

    private static func position(_ mark: Mark) -> FilePosition { FilePosition(line: mark.line, column: mark.column) }

    private static func position(ofCharacter offset: Int, in text: String) -> FilePosition {
        var position = FilePosition(line: 1, column: 1)
        for character in text.prefix(offset) {
            if character.isNewline {
                position = FilePosition(line: position.line + 1, column: 1)
            } else {
                position.column += 1
            }
        }
        return position
    }
}

/// Bounds how deep a file nests before a recursive parser sees it.
enum Nesting {
    static let limit = 64

    /// Where the file nests too deep. Braces are counted as they stand, comments and quotes included: that errs only in
    /// files that no person writes. Blocks nest by indentation, so that the column of a line bounds their depth.
    static func tooDeep(in text: String) -> FilePosition? {
        var open = 0
        for (number, line) in text.utf8.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
            .enumerated()
        {
            let indentation = line.prefix { " -?:\t".utf8.contains($0) }.count
            if indentation > 2 * self.limit { return FilePosition(line: number + 1, column: 2 * self.limit) }
            for (column, byte) in line.enumerated() {
                switch byte {
                case UInt8(ascii: "["), UInt8(ascii: "{"): open += 1
                case UInt8(ascii: "]"), UInt8(ascii: "}"): open = max(0, open - 1)
                default: break
                }
                if open > self.limit { return FilePosition(line: number + 1, column: column + 1) }
            }
        }
        return nil
    }
}
