/// A first ClientHello of DTLS 1.2 that offers the suite of every LwM2M device, and the same again with a cookie.
struct ClientHello {
    private let random: [UInt8]

    init(using generator: inout some RandomNumberGenerator) {
        self.random = (0..<32).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
    }

    func datagram(cookie: [UInt8] = []) -> [UInt8] {
        // TLS_PSK_WITH_AES_128_CCM_8, no compression, extended master secret.
        let extensions: [UInt8] = [0x00, 0x17, 0x00, 0x00]
        let body: [UInt8] =
            [0xFE, 0xFD] + self.random + [0, UInt8(cookie.count)] + cookie + [0x00, 0x02, 0xC0, 0xA8, 0x01, 0x00]
            + Self.two(extensions.count) + extensions
        let sequence: UInt8 = cookie.isEmpty ? 0 : 1
        let fragment: [UInt8] =
            [1, 0] + Self.two(body.count) + [0, sequence, 0, 0, 0, 0] + Self.two(body.count) + body
        return [22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, sequence] + Self.two(fragment.count) + fragment
    }

    /// The cookie of a HelloVerifyRequest; nil for any other datagram.
    static func cookie(of datagram: [UInt8]) -> [UInt8]? {
        // Record header 13, handshake header 12, version 2, length 1.
        guard datagram.count > 28, datagram[0] == 22, datagram[13] == 3 else { return nil }
        let length = Int(datagram[27])
        return datagram.count == 28 + length ? Array(datagram[28...]) : nil
    }

    private static func two(_ count: Int) -> [UInt8] { [UInt8(count >> 8 & 0xFF), UInt8(count & 0xFF)] }
}
