/// The number at the beginning of some text, by the grammar of RFC 8259. Integers are exact to 64 bits.
struct JSONNumber {
    /// In bytes.
    let length: Int
    /// Nil for an integer that is written out and has more than 64 bits.
    let scalar: Scalar?

    /// Nil when the text begins with no number.
    init?(_ text: ArraySlice<UInt8>) {
        var reader = Reader(rest: text)
        let isNegative = reader.take(UInt8(ascii: "-"))
        let isZero = reader.rest.first == UInt8(ascii: "0")
        let wholeDigits = reader.takeDigits()
        guard wholeDigits > 0, !isZero || wholeDigits == 1 else { return nil }
        var exponent = 0
        var isPlain = true
        if reader.take(UInt8(ascii: ".")) {
            let digits = reader.takeDigits()
            guard digits > 0 else { return nil }
            exponent -= digits
            isPlain = false
        }
        if reader.take(UInt8(ascii: "e")) || reader.take(UInt8(ascii: "E")) {
            let isDown = reader.take(UInt8(ascii: "-"))
            if !isDown { _ = reader.take(UInt8(ascii: "+")) }
            guard let power = reader.takePower() else { return nil }
            exponent += isDown ? -power : power
            isPlain = false
        }
        self.length = text.count - reader.rest.count
        self.scalar =
            reader.significand.scalar(isNegative: isNegative, exponent: exponent) ?? (isPlain ? nil : .fraction)
    }

    /// Digits without the zeros at both ends, as far as 64 bits hold them.
    private struct Significand {
        private var magnitude: UInt64 = 0
        /// Zeros since the last digit that is none.
        private var zeros = 0
        private var isTooLarge = false

        mutating func append(_ digit: UInt8) {
            guard digit > 0 else {
                self.zeros += 1
                return
            }
            self.isTooLarge = self.isTooLarge || !Self.scale(&self.magnitude, by: self.zeros + 1)
            let (sum, overflow) = self.magnitude.addingReportingOverflow(UInt64(digit))
            self.isTooLarge = self.isTooLarge || overflow
            self.magnitude = sum
            self.zeros = 0
        }

        /// Nil when the number is no integer of 64 bits.
        func scalar(isNegative: Bool, exponent: Int) -> Scalar? {
            if self.magnitude == 0, !self.isTooLarge { return .unsigned(0) }
            var magnitude = self.magnitude
            let power = exponent + self.zeros
            guard !self.isTooLarge, power >= 0, Self.scale(&magnitude, by: power) else { return nil }
            if !isNegative { return .unsigned(magnitude) }
            return magnitude <= Int64.min.magnitude ? .negative(Int64(truncatingIfNeeded: 0 &- magnitude)) : nil
        }

        /// Multiplies by a power of ten; false when 64 bits do not hold the product.
        private static func scale(_ magnitude: inout UInt64, by power: Int) -> Bool {
            if magnitude == 0 { return true }
            // 10^19 is the highest power of ten in 64 bits.
            guard power <= 19 else { return false }
            for _ in 0..<power {
                let (product, overflow) = magnitude.multipliedReportingOverflow(by: 10)
                guard !overflow else { return false }
                magnitude = product
            }
            return true
        }
    }

    private struct Reader {
        var rest: ArraySlice<UInt8>
        var significand = Significand()

        mutating func take(_ byte: UInt8) -> Bool {
            guard self.rest.first == byte else { return false }
            self.rest = self.rest.dropFirst()
            return true
        }

        /// How many there are.
        mutating func takeDigits() -> Int {
            var count = 0
            for byte in self.rest {
                guard 0x30...0x39 ~= byte else { break }
                self.significand.append(byte - 0x30)
                count += 1
            }
            self.rest = self.rest.dropFirst(count)
            return count
        }

        /// The digits of an exponent, of which a million is as good as any more.
        mutating func takePower() -> Int? {
            var count = 0
            var power = 0
            for byte in self.rest {
                guard 0x30...0x39 ~= byte else { break }
                power = min(power * 10 + Int(byte - 0x30), 1_000_000)
                count += 1
            }
            self.rest = self.rest.dropFirst(count)
            return count > 0 ? power : nil
        }
    }
}
