import Crypto
import DTLS
import Foundation
import Secrets
import Testing

/// Opens the records of a session with code of its own, so that both ends being one library hides nothing.
@Suite("Format of records with a connection ID")
struct RecordFormatTests {
    /// RFC 9146, sections 4 and 5.3, with the keys derived as RFC 5246, 4279, 5487 and 7627 have it.
    @Test("A client's records are what RFC 9146 says, octet by octet, the Finished included")
    func format() throws {
        var configuration = DTLSConfiguration()
        configuration.suites = [.pskAES128GCM]
        let link = try LossyLink(
            server: configuration,
            client: configuration,
            connectionID: ConnectionIDTests.ours,
            offer: .own(ConnectionIDTests.clients)
        )
        #expect(link.run(for: .seconds(5)) { $0.isEstablished })
        try link.sendFromClient(Array("to the server".utf8))
        try link.sendFromServer(Array("to the client".utf8))
        link.run(for: .seconds(1))
        let keys = try Keys(of: link)

        let records = link.sent.flatMap { sent in Self.split(sent.bytes).map { (sent.direction, $0) } }
        let fromClient = records.filter { $0.0 == .toServer && $0.1[0] == 25 }.map(\.1)
        let fromServer = records.filter { $0.0 == .toClient && $0.1[0] == 25 }.map(\.1)
        let opened = try fromClient.map { try Self.open($0, key: keys.client, iv: keys.clientIV) }
        #expect(opened.map(\.type) == [22, 23])
        #expect(opened.first?.content.first == 20)
        #expect(opened.last?.content == Array("to the server".utf8))
        let answered = try fromServer.map { try Self.open($0, key: keys.server, iv: keys.serverIV) }
        #expect(answered.map(\.type) == [22, 23])
        #expect(answered.last?.content == Array("to the client".utf8))
    }

    // MARK: Records

    /// The records of a datagram; both ends' connection IDs have eight bytes.
    private static func split(_ datagram: [UInt8]) -> [[UInt8]] {
        var records: [[UInt8]] = []
        var rest = datagram[...]
        while let type = rest.first {
            let header = type == 25 ? 21 : 13
            let bytes = Array(rest)
            let count = Int(bytes[header - 2]) << 8 | Int(bytes[header - 1])
            records.append(Array(bytes[..<(header + count)]))
            rest = rest.dropFirst(header + count)
        }
        return records
    }

    /// Content and type of a DTLSInnerPlaintext.
    private static func open(_ record: [UInt8], key: [UInt8], iv: [UInt8]) throws -> (content: [UInt8], type: UInt8) {
        let id = Array(record[11..<19])
        let (explicit, sealed, tag) = (record[21..<29], record[29..<(record.count - 16)], record.suffix(16))
        var additional = [UInt8](repeating: 0xFF, count: 8)
        additional += [25, 8, 25, 0xFE, 0xFD]
        additional += record[3..<11]
        additional += id
        additional += [UInt8(sealed.count >> 8), UInt8(sealed.count & 0xFF)]
        let box = try AES.GCM.SealedBox(
            nonce: AES.GCM.Nonce(data: iv + explicit),
            ciphertext: sealed,
            tag: tag
        )
        var inner = Array(try AES.GCM.open(box, using: SymmetricKey(data: key), authenticating: additional))
        while inner.last == 0 { inner.removeLast() }
        let last = inner.popLast()
        let type = try #require(last)
        return (inner, type)
    }

    // MARK: Keys

    private struct Keys {
        let client: [UInt8]
        let server: [UInt8]
        let clientIV: [UInt8]
        let serverIV: [UInt8]

        /// From the handshake as it was on the wire, and the pre-shared key.
        init(of link: LossyLink) throws {
            var transcript: [UInt8] = []
            var hello: [UInt8] = []
            var serverHello: [UInt8] = []
            for sent in link.sent {
                for record in RecordFormatTests.split(sent.bytes) where record[0] == 22 && record[3...4] == [0, 0] {
                    var messages = record[13...]
                    while messages.count >= 12 {
                        let bytes = Array(messages)
                        let count = Int(bytes[1]) << 16 | Int(bytes[2]) << 8 | Int(bytes[3])
                        let message = Array(bytes[..<(12 + count)])
                        messages = messages.dropFirst(12 + count)
                        switch message[0] {
                        // Neither the first hello nor the request for the cookie counts (RFC 6347, section 4.2.1).
                        case 1:
                            hello = message
                            transcript = message
                        case 3: break
                        case 2:
                            serverHello = message
                            transcript += message
                        default: transcript += message
                        }
                    }
                }
            }
            let psk = LossyLink.key.withUnsafeBytes { Array($0) }
            let length = [UInt8(0), UInt8(psk.count)]
            let premaster = length + [UInt8](repeating: 0, count: psk.count) + length + psk
            let master = Self.prf(
                premaster,
                "extended master secret",
                Array(SHA256.hash(data: transcript)),
                count: 48
            )
            let block = Self.prf(
                master,
                "key expansion",
                Array(serverHello[14..<46]) + Array(hello[14..<46]),
                count: 40
            )
            self.client = Array(block[0..<16])
            self.server = Array(block[16..<32])
            self.clientIV = Array(block[32..<36])
            self.serverIV = Array(block[36..<40])
        }

        /// RFC 5246, section 5.
        private static func prf(_ secret: [UInt8], _ label: String, _ seed: [UInt8], count: Int) -> [UInt8] {
            let key = SymmetricKey(data: secret)
            let seed = Array(label.utf8) + seed
            var a = seed
            var output: [UInt8] = []
            while output.count < count {
                a = Array(HMAC<SHA256>.authenticationCode(for: a, using: key))
                output += Array(HMAC<SHA256>.authenticationCode(for: a + seed, using: key))
            }
            return Array(output.prefix(count))
        }
    }
}
