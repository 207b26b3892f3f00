/// The number of a SIM card (ITU-T E.118) in the one form that the stores use: 19 or 20 decimal digits, the Luhn check
/// digit included, without spaces, dashes or the `F` that fills the last half byte on the card.
package struct ICCID: Hashable, Sendable, CustomStringConvertible {
    package let digits: String

    /// Takes the ways in which people and card files write it: groups set off by spaces or dashes, and a trailing `F`
    /// after 19 digits.
    ///
    /// A number whose check digit is wrong is refused rather than completed: nobody can tell a missing digit from a
    /// mistyped one.
    package init(_ text: some StringProtocol) throws(RecordsError) {
        var digits: [UInt8] = []
        var isFilled = false
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: " "), UInt8(ascii: "-"), UInt8(ascii: "\t"): continue
            case UInt8(ascii: "0")...UInt8(ascii: "9") where !isFilled && digits.count < 20: digits.append(byte)
            case UInt8(ascii: "F"), UInt8(ascii: "f"):
                guard !isFilled, digits.count == 19 else { throw Self.malformed }
                isFilled = true
            default: throw Self.malformed
            }
        }
        guard digits.count == 19 || digits.count == 20 else { throw Self.malformed }
        let expected = Self.checkDigit(of: digits.dropLast())
        guard digits.last == expected else {
            throw RecordsError(
                .badData,
                "the ICCID fails the Luhn check: its last digit would have to be \(Character(Unicode.Scalar(expected)))",
                remedy: "look for a mistyped digit or a missing check digit"
            )
        }
        self.digits = String(decoding: digits, as: UTF8.self)
    }

    package var description: String { self.digits }

    private static var malformed: RecordsError {
        RecordsError(.badData, "the ICCID is not 19 or 20 digits", remedy: "write the number that is on the card")
    }

    /// Every second digit counts twice, from the last one on; sums of 10 and more count their digits.
    private static func checkDigit(of digits: some BidirectionalCollection<UInt8>) -> UInt8 {
        var sum = 0
        var isDoubled = true
        for digit in digits.reversed() {
            let value = Int(digit) - 48
            let weighted = isDoubled ? value * 2 : value
            sum += weighted > 9 ? weighted - 9 : weighted
            isDoubled.toggle()
        }
        return UInt8((10 - sum % 10) % 10) + 48
    }
}
