/// The number at the beginning of some text, by the grammar of RFC 8259. Integers are exact to 64 bits.
struct JSONNumber {
    /// In bytes.
    let length: Int
    private let isNegative: Bool
    /// Digits without sign and point, and without zeros in front.
    private let digits: [UInt8]
    /// The power of ten that `digits` stand for; kept within bounds, because nothing beyond them is an integer.
    private let exponent: Int
    private let isPlain: Bool

    /// Nil when the text begins with no number.
    init?(_ text: ArraySlice<UInt8>) {
        var rest = text
        self.isNegative = rest.first == UInt8(ascii: "-")
        if self.isNegative { rest.removeFirst() }
        let whole = Self.takeDigits(from: &rest)
        guard let first = whole.first, first != UInt8(ascii: "0") || whole.count == 1 else { return nil }
        var digits = Array(whole)
        var exponent = 0
        var isPlain = true
        if rest.first == UInt8(ascii: ".") {
            rest.removeFirst()
            let fraction = Self.takeDigits(from: &rest)
            guard !fraction.isEmpty else { return nil }
            digits += fraction
            exponent -= fraction.count
            isPlain = false
        }
        if rest.first == UInt8(ascii: "e") || rest.first == UInt8(ascii: "E") {
            rest.removeFirst()
            let isDown = rest.first == UInt8(ascii: "-")
            if isDown || rest.first == UInt8(ascii: "+") { rest.removeFirst() }
            let power = Self.takeDigits(from: &rest)
            guard !power.isEmpty else { return nil }
            let size = power.reduce(0) { min($0 * 10 + Int($1 - UInt8(ascii: "0")), 1_000_000) }
            exponent += isDown ? -size : size
            isPlain = false
        }
        self.length = text.count - rest.count
        self.digits = Array(digits.drop { $0 == UInt8(ascii: "0") })
        self.exponent = exponent
        self.isPlain = isPlain
    }

    /// Nil for an integer that is written out and has more than 64 bits.
    var scalar: Scalar? {
        guard !self.digits.isEmpty else { return .unsigned(0) }
        let zeros = self.digits.reversed().prefix { $0 == UInt8(ascii: "0") }.count
        let significant = self.digits.dropLast(zeros)
        let (power, overflow) = self.exponent.addingReportingOverflow(zeros)
        // 64 bits have at most 20 decimal digits.
        guard !overflow, power >= 0, significant.count <= 20, power <= 20 - significant.count else {
            return self.beyond
        }
        var magnitude: UInt64 = 0
        for digit in significant.map({ UInt64($0 - UInt8(ascii: "0")) }) + [UInt64](repeating: 0, count: power) {
            let (product, tooLarge) = magnitude.multipliedReportingOverflow(by: 10)
            let (sum, stillTooLarge) = product.addingReportingOverflow(digit)
            guard !tooLarge, !stillTooLarge else { return self.beyond }
            magnitude = sum
        }
        guard self.isNegative else { return .unsigned(magnitude) }
        guard magnitude <= Int64.min.magnitude else { return self.beyond }
        return .negative(Int64(truncatingIfNeeded: 0 &- magnitude))
    }

    private var beyond: Scalar? { self.isPlain ? nil : .fraction }

    private static func takeDigits(from text: inout ArraySlice<UInt8>) -> ArraySlice<UInt8> {
        let digits = text.prefix { 0x30...0x39 ~= $0 }
        text = text.dropFirst(digits.count)
        return digits
    }
}
