import DTLS
import Testing
import Timing

@Suite("Handshake over a bad network")
struct LossTests {
    struct Row: CustomTestStringConvertible {
        var loss: Double
        var suite: CipherSuite
        var mtu: Int
        var testDescription: String { "loss \(self.loss), \(self.suite), mtu \(self.mtu)" }

        var configuration: DTLSConfiguration {
            var configuration = DTLSConfiguration()
            configuration.suites = [self.suite]
            configuration.mtu = self.mtu
            return configuration
        }
    }

    static let suites: [CipherSuite] = [.pskAES128CCM8, .pskAES128CBC, .ecdhePSKChaCha20, .ecdhePSKAES128GCM]

    static let table: [Row] = [0, 0.1, 0.25, 0.4].flatMap { loss in
        Self.suites.flatMap { suite in [256, 512, 1232].map { Row(loss: loss, suite: suite, mtu: $0) } }
    }

    static let smallTable: [Row] = Self.suites.flatMap { suite in
        [256, 1232].map { Row(loss: 0, suite: suite, mtu: $0) }
    }

    /// Twenty seeds per row, with half the loss as duplication and as much reordering. The limits are wider than the
    /// usual ones: at 40 % four round trips of ten get through, and the waits double.
    @Test("A handshake completes over a network that loses, repeats and reorders", arguments: Self.table)
    func lossTable(_ row: Row) throws {
        var configuration = row.configuration
        configuration.handshakeTimeout = .seconds(300)
        configuration.maximumHandshakeDatagrams = 200
        let conditions = LossyLink.Conditions(loss: row.loss, duplication: row.loss / 2, reordering: row.loss)
        for seed in 1...20 {
            let link = try LossyLink(conditions, seed: UInt64(seed), server: configuration, client: configuration)
            let completed = link.run(for: .seconds(300)) { $0.isEstablished }
            #expect(completed, "seed \(seed): \(link.clientOutcomes), \(link.serverOutcomes)")
            for sent in link.sent { #expect(sent.bytes.count <= row.mtu, "seed \(seed)") }
        }
    }

    /// The usual limits carry a handshake through one loss in seven with room to spare.
    @Test("Datagram and time limits leave room for a lossy network")
    func limitsLeaveRoom() throws {
        let conditions = LossyLink.Conditions(loss: 0.15, duplication: 0.1, reordering: 0.1)
        for seed in 1...100 {
            let link = try LossyLink(conditions, seed: UInt64(seed))
            let completed = link.run(for: .seconds(30)) { $0.isEstablished }
            #expect(completed, "seed \(seed): \(link.clientOutcomes), \(link.serverOutcomes)")
        }
    }

    /// RFC 6347, section 4.2.4. The last flight of the server is among them.
    @Test("Any one datagram of a handshake may be lost", arguments: Self.smallTable)
    func oneLost(_ row: Row) throws {
        let undisturbed = try LossyLink(server: row.configuration, client: row.configuration)
        #expect(undisturbed.run(for: .seconds(5)) { $0.isEstablished })
        for lost in undisturbed.sent.indices {
            let link = try LossyLink(server: row.configuration, client: row.configuration)
            var count = 0
            link.onWire = { _, bytes in
                defer { count += 1 }
                return count == lost ? [] : [bytes]
            }
            let completed = link.run(for: .seconds(10)) { $0.isEstablished }
            #expect(completed, "datagram \(lost): \(link.clientOutcomes), \(link.serverOutcomes)")
        }
    }

    /// RFC 6347, section 4.2.4: the wait is one second first and doubles.
    @Test("A client that nobody answers repeats its hello after 1, 2, 4, 8 seconds, then gives up")
    func clientBacksOff() throws {
        let link = try LossyLink()
        link.onWire = { _, _ in [] }
        link.run(for: .seconds(60))
        #expect(link.sent.map(\.time) == [.zero, .seconds(1), .seconds(3), .seconds(7), .seconds(15)])
        #expect(link.client.phase == .closed(.handshakeTimeout(alert: nil)))
        #expect(link.client.deadline == nil)
    }

    /// A server whose client falls silent repeats its flight on the same schedule, and forgets the client in the end.
    @Test("A server repeats its flight after 1, 2, 4, 8 seconds, then the handshake is reaped")
    func serverBacksOff() throws {
        let link = try LossyLink()
        link.onWire = { direction, bytes in
            direction == .toServer && Wire.records(bytes).first?.message == 16 ? [] : [bytes]
        }
        link.run(for: .milliseconds(200)) { $0.server != nil }
        // The client is gone.
        link.closeClient()
        let from = link.sent.count
        let begin = try #require(link.sent.last).time
        link.run(for: .seconds(60))
        #expect(link.sent[from...].map { $0.time - begin } == [.seconds(1), .seconds(3), .seconds(7), .seconds(15)])
        #expect(link.serverOutcomes == [.closed(.handshakeTimeout(alert: nil))])
        #expect(link.serverContext.handshakes == 0)
    }

    /// Two ends that disagree answer each other's repetitions at once and without end.
    @Test("A peer that repeats its hello quickly is answered at most twice a second")
    func repeatedHelloIsRateLimited() throws {
        let link = try LossyLink()
        var hello: [UInt8] = []
        link.onWire = { direction, bytes in
            if direction == .toServer { hello = bytes }
            return direction == .toClient && Wire.records(bytes).first?.message == 2 ? [] : [bytes]
        }
        link.run(for: .milliseconds(100)) { $0.server != nil }
        link.closeClient()
        let from = link.sent.count
        for _ in 0..<20 {
            link.inject(hello)
            link.run(for: .milliseconds(50))
        }
        #expect(link.sent.count - from <= 2)
        #expect(link.server?.phase == .handshaking)
    }
}
