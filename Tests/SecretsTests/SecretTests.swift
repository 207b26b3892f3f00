import Secrets
import Testing

@Suite("Secret")
struct SecretTests {
    private static let bytes: [UInt8] = [0xDE, 0xAD, 0xBE, 0xEF, 0x00, 0x7F, 0x80, 0xFF]

    @Test("The bytes come back as they went in, NULs included")
    func bytesComeBack() {
        let secret = Secret(Self.bytes)
        #expect(secret.count == 8)
        #expect(secret.withUnsafeBytes { Array($0) } == Self.bytes)
        let copied = Self.bytes.withUnsafeBytes { Secret(copying: $0) }
        #expect(copied == secret)
    }

    @Test("An empty secret is possible and equals only itself")
    func empty() {
        #expect(Secret([]).count == 0)
        #expect(Secret([]) == Secret(hexadecimal: ""))
        #expect(Secret([]) != Secret([0]))
    }

    @Test("A secret differs from another when any one bit does", arguments: 0..<64)
    func differsByOneBit(_ bit: Int) {
        var other = Self.bytes
        other[bit / 8] ^= 1 << UInt8(bit % 8)
        #expect(Secret(other) != Secret(Self.bytes))
    }

    @Test("A prefix is not equal to the whole")
    func prefixDiffers() {
        #expect(Secret(Self.bytes.prefix(7)) != Secret(Self.bytes))
    }

    @Test("Hexadecimal digits of either case are read")
    func hexadecimal() {
        #expect(Secret(hexadecimal: "deadBEEF007f80FF") == Secret(Self.bytes))
    }

    @Test(
        "Text that is not pairs of hexadecimal digits is refused",
        arguments: [
            "a", "abc", "0x12", "g0", "1 ", " 1", "12 34", "１２", "ab\n", "-1",
        ]
    )
    func notHexadecimal(_ text: String) {
        #expect(Secret(hexadecimal: text) == nil)
    }

    @Test("Random secrets have the wanted length and differ")
    func random() {
        let secrets = (0..<50).map { _ in Secret.random(count: 16) }
        #expect(secrets.allSatisfy { $0.count == 16 })
        for (index, secret) in secrets.enumerated() {
            #expect(!secrets.dropFirst(index + 1).contains(secret))
        }
    }

    @Test("T44: no way of printing shows a byte of it")
    func nothingPrintsIt() {
        struct Holder { let key: Secret }
        let secret = Secret(Array("correct horse!".utf8))
        var dumped = ""
        dump(Holder(key: secret), to: &dumped)
        dump(secret, to: &dumped)
        let texts = [
            secret.description, secret.debugDescription, String(reflecting: secret), "\(secret)", dumped,
            String(describing: Holder(key: secret)), String(reflecting: [secret]), "\(Optional(secret) as Any)",
        ]
        for text in texts {
            #expect(!text.contains("correct"))
            #expect(!text.lowercased().contains("636f7272"))
            #expect(!text.contains("Y29ycmVj"))
            #expect(!text.contains("99, 111"))
            #expect(text.contains("14 bytes"))
        }
        #expect(Mirror(reflecting: secret).children.isEmpty)
    }

    @Test("Copies share the bytes, which live as long as the last copy")
    func copies() {
        var copy: Secret?
        do {
            let secret = Secret(Self.bytes)
            copy = secret
        }
        #expect(copy?.withUnsafeBytes { Array($0) } == Self.bytes)
    }
}

@Suite("PSK identity")
struct PSKIdentityTests {
    @Test("1 to 128 bytes without NUL are an identity", arguments: [1, 29, 128])
    func lengths(_ count: Int) {
        #expect(PSKIdentity([UInt8](repeating: 0x31, count: count))?.bytes.count == count)
    }

    @Test(
        "Nothing, more than 128 bytes, and NULs anywhere are refused",
        arguments: [
            [], [UInt8](repeating: 0x31, count: 129), [0], [0x61, 0], [0, 0x61], [0x61, 0, 0x62],
        ] as [[UInt8]]
    )
    func refused(_ bytes: [UInt8]) {
        #expect(PSKIdentity(bytes) == nil)
    }

    /// Spec section 5.2: not normalised, not trimmed, not folded.
    @Test("Identities are compared byte by byte")
    func comparedAsBytes() {
        #expect(PSKIdentity("abc") != PSKIdentity("ABC"))
        #expect(PSKIdentity("abc") != PSKIdentity("abc "))
        #expect(PSKIdentity("e\u{301}") != PSKIdentity("\u{E9}"))
        #expect(PSKIdentity("abc") == PSKIdentity([0x61, 0x62, 0x63]))
    }

    @Test("An identity that is not UTF-8 has no text, and is an identity all the same")
    func notUTF8() {
        let identity = PSKIdentity([0xFF, 0xFE, 0x80])
        #expect(identity != nil)
        #expect(identity?.text == nil)
        #expect(identity?.description == "fffe80")
    }

    /// Trap T44.
    @Test("A long identity is printed shortened, whichever way", arguments: ["8988303000001234567"])
    func shortened(_ text: String) throws {
        let identity = try #require(PSKIdentity(text))
        var dumped = ""
        dump(identity, to: &dumped)
        for shown in [identity.description, String(reflecting: identity), "\(identity)", dumped] {
            #expect(!shown.contains(text))
            #expect(!shown.contains("303000"))
        }
        #expect(identity.description == "8988…4567")
    }

    @Test("Control characters are not printed", arguments: ["a\nb", "a\u{1B}[2J", "\u{7F}x"])
    func controlCharacters(_ text: String) throws {
        let shown = try #require(PSKIdentity(text)).description
        #expect(shown.unicodeScalars.allSatisfy { $0.value >= 0x20 && $0.value != 0x7F })
    }
}
