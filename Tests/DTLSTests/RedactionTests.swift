import DTLS
import Secrets
import Testing
import Timing

/// Traps T44 and T45: no way of printing a DTLS value shows a key.
@Suite("Redaction")
struct RedactionTests {
    private static let keyText = "Kq9vX2mZ7rTb4wYd"

    /// Key bytes as anyone would print them.
    private static var spellings: [String] {
        let bytes = Array(Self.keyText.utf8)
        let digits = Array("0123456789abcdef")
        let hexadecimal = bytes.map { String([digits[Int($0 >> 4)], digits[Int($0 & 15)]]) }.joined()
        return [
            String(Self.keyText.prefix(6)), String(hexadecimal.prefix(12)), "S3E5dlgy",
            bytes.prefix(4).map(String.init).joined(separator: ", "),
        ]
    }

    private static func expectSilent(_ value: some Any) {
        var dumped = ""
        dump(value, to: &dumped)
        for text in ["\(value)", String(describing: value), String(reflecting: value), dumped] {
            for spelling in Self.spellings {
                #expect(!text.lowercased().contains(spelling.lowercased()), "\(type(of: value))")
            }
            #expect(!text.contains("8988303000001234567"), "\(type(of: value)) shows the identity")
        }
    }

    @Test("No DTLS value prints a key or a whole identity, in any phase")
    func nothingPrinted() throws {
        let key = Secret(Array(Self.keyText.utf8))
        let link = try LossyLink(key: key)
        link.store[LossyLink.identity] = key
        func look() {
            Self.expectSilent(link.client)
            Self.expectSilent(link.serverContext)
            Self.expectSilent(link.clientContext)
            if let server = link.server { Self.expectSilent(server) }
            for outcome in link.serverOutcomes + link.clientOutcomes { Self.expectSilent(outcome) }
        }
        look()
        link.run(for: .seconds(1)) { !$0.lookUps.isEmpty }
        #expect(link.server?.phase == .handshaking)
        look()
        #expect(link.run(for: .seconds(5)) { $0.isEstablished })
        look()
        link.closeClient()
        link.run(for: .seconds(1))
        look()
        Self.expectSilent(CookieGate(now: link.now))
        Self.expectSilent(DTLSOutcome.keyNeeded(LossyLink.identity))
        for error in [DTLSError.keyLength(99), .staleHello, .noSuite([.pskAES128CCM]), .tooLong(maximum: 9)] {
            Self.expectSilent(error)
        }
    }

    @Test("A session says who and in which phase, and no more")
    func description() throws {
        let link = try LossyLink()
        #expect(link.client.description == "DTLSSession(client, 8988…4567, handshaking)")
        #expect(link.run(for: .seconds(5)) { $0.isEstablished })
        #expect(link.server?.description == "DTLSSession(server, 8988…4567, established)")
    }
}
