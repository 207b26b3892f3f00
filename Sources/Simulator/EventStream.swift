internal import Crypto
internal import Glibc

/// A value in an event, as JSON has it.
enum EventValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral {
    case text(String)
    case integer(Int64)
    case boolean(Bool)
    case list([String])

    init(stringLiteral value: String) { self = .text(value) }
    init(integerLiteral value: Int64) { self = .integer(value) }
    init(booleanLiteral value: Bool) { self = .boolean(value) }

    var json: String {
        switch self {
        case .text(let text): Self.quoted(text)
        case .integer(let number): String(number)
        case .boolean(let value): value ? "true" : "false"
        case .list(let texts): "[" + texts.map(Self.quoted).joined(separator: ",") + "]"
        }
    }

    fileprivate var plain: String {
        switch self {
        case .text(let text): text
        case .list(let texts): texts.joined(separator: " ")
        default: self.json
        }
    }

    private static func quoted(_ text: String) -> String {
        var out = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": out += "\\\""
            case "\\": out += "\\\\"
            case "\n": out += "\\n"
            case _ where scalar.value < 0x20 || scalar.value == 0x7F:
                let digits = String(scalar.value, radix: 16)
                out += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: out.unicodeScalars.append(scalar)
            }
        }
        return out + "\""
    }
}

/// Writes what happens: one JSON object a line on standard output, and a sentence on standard error for people who ask.
struct EventStream {
    let role: String
    let isVerbose: Bool

    /// Fields without a value are left out.
    func report(_ event: String, _ fields: KeyValuePairs<String, EventValue?> = [:]) {
        var line = "{\"event\":\(EventValue.text(event).json)"
        var sentence = "\(self.role): \(event)"
        for case (let key, let value?) in fields {
            line += ",\(EventValue.text(key).json):\(value.json)"
            sentence += "  \(key) \(value.plain)"
        }
        Self.write(line + "}\n", to: STDOUT_FILENO)
        if self.isVerbose { Self.write(sentence + "\n", to: STDERR_FILENO) }
    }

    private static func write(_ text: String, to descriptor: Int32) {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let written = bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if written < 0 {
                if errno == EINTR { continue }
                return
            }
            bytes = bytes.dropFirst(written)
        }
    }
}

/// Bytes from the network as a person can read them: as text where they are printable, in hexadecimal elsewhere.
func readable(_ bytes: [UInt8]) -> String {
    if bytes.allSatisfy({ 0x20 <= $0 && $0 < 0x7F }) { return String(decoding: bytes, as: UTF8.self) }
    return "0x" + hexadecimal(bytes)
}

func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
}

/// Names a key without showing it: the first 8 hexadecimal digits of its SHA-256.
func fingerprint(_ key: [UInt8]) -> String { hexadecimal(SHA256.hash(data: key).prefix(4)) }
