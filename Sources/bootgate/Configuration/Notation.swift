/// The notations of the configuration file for times and amounts.
enum Notation {
    /// `500ms`, `30s`, `5m`, `24h`, `7d`: a whole number and its unit.
    static func duration(_ text: String) -> Duration? {
        guard let (number, unit) = Self.split(text) else { return nil }
        let seconds: Int64
        switch unit {
        case "ms": return .milliseconds(number)
        case "s": seconds = 1
        case "m": seconds = 60
        case "h": seconds = 3600
        case "d": seconds = 86_400
        default: return nil
        }
        let (total, overflow) = number.multipliedReportingOverflow(by: seconds)
        // Ten thousand years, far inside what clocks can add to now.
        return overflow || total > 315_360_000_000 ? nil : .seconds(total)
    }

    /// `64KiB`, `2MiB`, `1GiB`, `512B`: a whole number and its unit.
    static func size(_ text: String) -> Int? {
        guard let (number, unit) = Self.split(text) else { return nil }
        let bytes: Int64
        switch unit {
        case "B": bytes = 1
        case "KiB": bytes = 1 << 10
        case "MiB": bytes = 1 << 20
        case "GiB": bytes = 1 << 30
        default: return nil
        }
        let (total, overflow) = number.multipliedReportingOverflow(by: bytes)
        return overflow ? nil : Int(total)
    }

    /// A duration as the file would have it, in its largest whole unit.
    static func text(_ duration: Duration) -> String {
        let (seconds, attoseconds) = duration.components
        let milliseconds = attoseconds / 1_000_000_000_000_000
        guard milliseconds == 0 else { return "\(seconds * 1000 + milliseconds)ms" }
        for (unit, length) in [("d", Int64(86_400)), ("h", 3600), ("m", 60)]
        where seconds >= length && seconds.isMultiple(of: length) {
            return "\(seconds / length)\(unit)"
        }
        return "\(seconds)s"
    }

    private static func split(_ text: String) -> (Int64, String)? {
        let digits = text.utf8.prefix { $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") }
        guard digits.count <= 15, let number = Int64(String(Substring(digits))) else { return nil }
        return (number, String(text.dropFirst(digits.count)))
    }
}
