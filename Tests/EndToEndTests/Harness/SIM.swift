internal import Synchronization

/// A SIM of a test: a number that no other test has, and a key.
struct SIM: Sendable {
    let iccid: String
    /// In hexadecimal. The bytes are printable, because some clients take keys as text only.
    let key: String
    let keyText: String

    private static let count = Atomic(0)

    init() {
        let number = Self.count.add(1, ordering: .relaxed).newValue
        let digits = "894450090120" + String(repeating: "0", count: 6 - "\(number)".count) + "\(number)"
        self.iccid = digits + "\(Self.checkDigit(digits))"
        self.keyText = String((0..<16).map { _ in Character(Unicode.Scalar(UInt8.random(in: 0x61...0x7A))) })
        self.key = hexadecimal(self.keyText.utf8)
    }

    /// The last digit of an ICCID (Luhn): from the right, every second digit counts twice.
    private static func checkDigit(_ digits: String) -> Int {
        let sum = digits.reversed().enumerated().reduce(0) { sum, entry in
            let digit = entry.element.wholeNumberValue ?? 0
            let value = entry.offset.isMultiple(of: 2) ? digit * 2 : digit
            return sum + (value > 9 ? value - 9 : value)
        }
        return (10 - sum % 10) % 10
    }
}

func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
    bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
}
