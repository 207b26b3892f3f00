internal import Gateway
internal import LwM2M
internal import Yams

/// One value of the file with its place, and where to complain about it.
///
/// Every reading method returns nil after it has complained; the caller goes on, so that all mistakes are found at once.
struct ConfigurationNode {
    let node: Node
    /// `bootstrap.account.secure`: how messages name the value.
    let path: String
    let context: ReadingContext

    var position: FilePosition {
        FilePosition(line: self.node.mark?.line ?? 1, column: self.node.mark?.column ?? 1)
    }

    func mistake(_ message: String) { self.context.collector.mistake(at: self.position, message) }

    func warning(_ message: String) { self.context.collector.warning(at: self.position, message) }

    /// What the value is, for "expected this, found that".
    private var kind: String {
        switch self.node {
        case .mapping: "a mapping"
        case .sequence: "a list"
        case .alias: "an alias"
        case .scalar(let scalar):
            self.isAbsent(scalar) ? "nothing" : "'\(Self.shown(scalar.string))'"
        }
    }

    /// A value that is shown in a message: short, and without anything that would upset a terminal.
    static func shown(_ text: String) -> String {
        let clean = String(
            String.UnicodeScalarView(text.unicodeScalars.prefix(61).map { $0.properties.isPrintable ? $0 : "?" }))
        return clean.unicodeScalars.count > 60 ? "\(clean.unicodeScalars.prefix(60))…" : clean
    }

    private func isAbsent(_ scalar: Node.Scalar) -> Bool {
        scalar.style == .plain && ["", "~", "null"].contains(scalar.string)
    }

    /// Complains about the kind of the value.
    func mismatch(_ expected: String) {
        self.mistake("\(self.path) is \(self.kind); expected \(expected)")
    }

    /// The characters of a scalar; `plainOnly` for numbers and the like, which stand without quotes.
    private func scalar(_ expected: String, plainOnly: Bool = false) -> String? {
        guard case .scalar(let scalar) = self.node, !self.isAbsent(scalar) else {
            self.mismatch(expected)
            return nil
        }
        if plainOnly, scalar.style != .plain {
            self.mistake("\(self.path) is in quotes; expected \(expected) without them")
            return nil
        }
        return scalar.string
    }

    // MARK: Values

    func text(_ expected: String = "a text") -> String? { self.scalar(expected) }

    func boolean() -> Bool? {
        switch self.scalar("true or false", plainOnly: true) {
        case nil: return nil
        case "true": return true
        case "false": return false
        default:
            self.mismatch("true or false")
            return nil
        }
    }

    /// A whole number in `range`.
    func integer(_ range: ClosedRange<Int>) -> Int? {
        let expected = "a whole number from \(range.lowerBound) to \(range.upperBound)"
        guard let text = self.scalar(expected, plainOnly: true) else { return nil }
        guard text.utf8.allSatisfy({ $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") }), let number = Int(text),
            range.contains(number)
        else {
            self.mismatch(expected)
            return nil
        }
        return number
    }

    /// Bytes in `range`, as a size or as a number alone.
    func size(_ range: ClosedRange<Int>) -> Int? {
        let expected = "a size such as 64KiB, from \(range.lowerBound)B to \(range.upperBound)B"
        guard let text = self.scalar(expected, plainOnly: true) else { return nil }
        let isNumber = !text.isEmpty && text.utf8.allSatisfy { $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") }
        guard let size = isNumber ? Int(text) : Notation.size(text), range.contains(size) else {
            self.mismatch(expected)
            return nil
        }
        return size
    }

    /// A decimal number in `range`.
    func number(_ range: ClosedRange<Double>) -> Double? {
        let expected = "a number from \(range.lowerBound) to \(range.upperBound)"
        guard let text = self.scalar(expected, plainOnly: true) else { return nil }
        let isPlain = text.utf8.allSatisfy {
            $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") || $0 == UInt8(ascii: ".")
        }
        guard isPlain, let number = Double(text), range.contains(number) else {
            self.mismatch(expected)
            return nil
        }
        return number
    }

    func duration(
        atLeast minimum: Duration = .zero, atMost maximum: Duration? = nil, because reason: String? = nil
    ) -> Duration? {
        let expected = "a duration such as 500ms, 30s, 24h or 7d"
        guard let text = self.scalar(expected) else { return nil }
        guard let duration = Notation.duration(text) else {
            self.mismatch(expected)
            return nil
        }
        guard duration >= minimum else {
            let why = reason.map { ", \($0)" } ?? ""
            self.mistake("\(self.path) is \(text); expected at least \(Notation.text(minimum))\(why)")
            return nil
        }
        if let maximum, duration > maximum {
            self.mistake("\(self.path) is \(text); expected at most \(Notation.text(maximum))")
            return nil
        }
        return duration
    }

    /// A duration, or `none`, which is the outer value without an inner one.
    func durationOrNone() -> Duration?? {
        if case .scalar(let scalar) = self.node, scalar.string == "none" { return .some(nil) }
        let expected = "a duration such as 24h or 400d, or none"
        guard let text = self.scalar(expected) else { return nil }
        guard let duration = Notation.duration(text), duration > .zero else {
            self.mismatch(expected)
            return nil
        }
        return duration
    }

    /// One of the names of an enumeration.
    func choice<E: RawRepresentable<String> & CaseIterable>(_: E.Type) -> E? {
        let names = E.allCases.map(\.rawValue)
        return self.name(among: names).flatMap(E.init(rawValue:))
    }

    /// One of `names`.
    func name(among names: [String]) -> String? {
        let expected = "one of: " + names.joined(separator: ", ")
        guard let text = self.scalar(expected) else { return nil }
        guard names.contains(text) else {
            let nearest = NearestName.of(text, among: names).map { "; did you mean '\($0)'?" } ?? ""
            self.mistake("\(self.path) is \(self.kind); expected \(expected)\(nearest)")
            return nil
        }
        return text
    }

    func uri(_ schemes: [ServerURI.Scheme], example: String) -> ServerURI? {
        guard let text = self.scalar("a URI such as \(example)") else { return nil }
        do throws(ServerURI.ParseError) {
            let uri = try ServerURI(text)
            guard schemes.contains(uri.scheme) else {
                self.mistake("\(self.path) has the scheme \(uri.scheme.rawValue); expected a URI such as \(example)")
                return nil
            }
            return uri
        } catch {
            self.mistake("\(self.path) is '\(Self.shown(text))': \(error)")
            return nil
        }
    }

    func address() -> IPAddress? {
        let expected = "an IP address such as 192.0.2.1 or 2001:db8::1"
        guard let text = self.scalar(expected) else { return nil }
        guard let address = IPAddress(text) else {
            self.mismatch(expected)
            return nil
        }
        return address
    }

    /// A path, made absolute from the folder of the configuration file.
    func filePath() -> String? {
        guard let text = self.scalar("a path") else { return nil }
        guard !text.utf8.contains(0) else {
            self.mismatch("a path")
            return nil
        }
        return self.context.absolute(text)
    }

    func list<T>(_ expected: String, _ element: (ConfigurationNode) -> T?) -> [T]? {
        guard case .sequence(let sequence) = self.node else {
            self.mismatch(expected)
            return nil
        }
        var values: [T] = []
        for (index, node) in sequence.enumerated() {
            let child = ConfigurationNode(node: node, path: "\(self.path)[\(index)]", context: self.context)
            guard self.context.collector.visit(at: child.position) else { return nil }
            if let value = element(child) { values.append(value) }
        }
        return values
    }

    func mapping(_ expected: String = "a mapping") -> MappingReader? { MappingReader(self, expected) }

    /// Whether the value is this word.
    func isWord(_ word: String) -> Bool { self.node.scalar?.string == word }

    var isMapping: Bool { self.node.mapping != nil }

    var isEmptyList: Bool { self.node.sequence?.isEmpty == true }
}

/// What all nodes of one file share.
struct ReadingContext {
    let collector: DiagnosticCollector
    /// Folder of the configuration file; relative paths in it start here.
    let folder: String
    /// Where secrets that the gateway needs come from.
    let keys = UpstreamKeyCollector()

    func absolute(_ path: String) -> String {
        path.hasPrefix("/") || self.folder.isEmpty ? path : "\(self.folder)/\(path)"
    }
}

extension Unicode.Scalar.Properties {
    fileprivate var isPrintable: Bool {
        switch self.generalCategory {
        case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator: false
        default: true
        }
    }
}
