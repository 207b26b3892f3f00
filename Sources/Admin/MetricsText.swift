/// Writes metrics in Prometheus's text format (version 0.0.4): families in the order in which they are added, each with its
/// help and type once. Pure.
struct MetricsText {
    enum Kind: String { case counter, gauge, histogram }

    /// A label of one sample; values are escaped here.
    typealias Label = (name: String, value: String)

    private(set) var text = ""

    /// Begins a family. Its samples follow.
    mutating func family(_ name: String, _ kind: Kind, _ help: String) {
        self.text += "# HELP bootgate_\(name) \(help)\n# TYPE bootgate_\(name) \(kind.rawValue)\n"
    }

    mutating func sample(_ name: String, _ labels: [Label] = [], _ value: some BinaryInteger) {
        self.line(name, labels, "\(value)")
    }

    mutating func sample(_ name: String, _ labels: [Label] = [], _ value: Double) {
        self.line(name, labels, Self.number(value))
    }

    /// A family with one sample.
    mutating func single(_ name: String, _ kind: Kind, _ help: String, _ value: some BinaryInteger) {
        self.family(name, kind, help)
        self.sample(name, value)
    }

    /// A whole histogram: `counts` has one entry more than `bounds`, none of them cumulative.
    mutating func histogram(_ name: String, _ help: String, bounds: [Double], counts: [UInt64], sum: Double) {
        self.family(name, .histogram, help)
        var total: UInt64 = 0
        for (bound, count) in zip(bounds, counts) {
            total &+= count
            self.line("\(name)_bucket", [("le", Self.number(bound))], "\(total)")
        }
        total &+= counts.count > bounds.count ? counts[bounds.count] : 0
        self.line("\(name)_bucket", [("le", "+Inf")], "\(total)")
        self.line("\(name)_sum", [], Self.number(sum))
        self.line("\(name)_count", [], "\(total)")
    }

    private mutating func sample(_ name: String, _ value: some BinaryInteger) { self.line(name, [], "\(value)") }

    private mutating func line(_ name: String, _ labels: [Label], _ value: String) {
        self.text += "bootgate_\(name)"
        if !labels.isEmpty {
            self.text += "{"
            self.text += labels.map { "\($0.name)=\"\(Self.escaped($0.value))\"" }.joined(separator: ",")
            self.text += "}"
        }
        self.text += " \(value)\n"
    }

    /// Without an exponent or a needless fraction where that is exact.
    private static func number(_ value: Double) -> String {
        value == value.rounded() && abs(value) < 1e15 ? "\(Int64(value))" : "\(value)"
    }

    private static func escaped(_ value: String) -> String {
        var escaped = ""
        for character in value.unicodeScalars {
            switch character {
            case "\\": escaped += "\\\\"
            case "\"": escaped += "\\\""
            case "\n": escaped += "\\n"
            default: escaped.unicodeScalars.append(character)
            }
        }
        return escaped
    }
}
