import Records
import Testing

@testable import bootgate

@Suite("Text from outside on a terminal")
struct TerminalTests {
    @Test(
        "What could move a cursor, or turn a line round, is replaced",
        arguments: [
            "\u{1B}[2J", "\u{9B}31m", "\u{9D}0;x\u{9C}", "\u{7F}", "\u{2028}", "\u{202E}", "\u{2066}", "\u{200F}",
        ])
    func printable(text: String) {
        let shown = Terminal.printable("a\(text)b – ü")
        #expect(!shown.unicodeScalars.contains { $0.isControl })
        #expect(shown.hasPrefix("a?") && shown.hasSuffix("b – ü"))
    }
}
