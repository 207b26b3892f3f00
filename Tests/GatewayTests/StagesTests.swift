import CoAP
import DTLS
import NIOCore
import Testing

@testable import Gateway

/// What several datagrams of one turn of the loop bring.
@Suite("Stages of a turn", .timeLimit(.minutes(1)))
struct StagesTests {
    /// Lets the device say what it wants to nobody, and brings all of it in one turn.
    private func turn(_ stage: MovesStage, _ device: MovingDevice, _ body: () throws -> Void) async throws {
        let (gateway, nobody) = (device.gateway, try TestSocket())
        device.gateway = nobody.address
        let before = device.sent.count
        try body()
        device.gateway = gateway
        let datagrams = device.sent[before...].map { ByteBuffer(bytes: $0) }
        let (sessions, from) = (stage.sessions, device.socket.address)
        let remote = try SocketAddress(ipAddress: "\(from.ip)", port: Int(from.port))
        try await sessions.loop.submit {
            for datagram in datagrams { sessions.datagram(datagram, from: from, remote: remote, listener: 0) }
            sessions.readComplete(listener: 0)
        }.get()
    }

    @Test("Several messages of one device in one turn are answered in their order")
    func order() async throws {
        let stage = try await MovesStage()
        let device = try await stage.device()
        try await self.turn(stage, device) { for number in 1...5 { try device.request(.get, ["nowhere-\(number)"]) } }
        var answered: [UInt16] = []
        for _ in 1...5 {
            let answer = try await device.next()
            #expect(answer.code == .notFound)
            answered.append(answer.messageID)
        }
        #expect(answered == [1, 2, 3, 4, 5])
        try await stage.stop()
    }

    @Test("What a device has said before its close_notify counts, also when both come in one turn")
    func lastWords() async throws {
        // A socket that rests would make the device's request wait, and there is nobody left to wait for it.
        let stage = try await MovesStage(adjust: { $0.pool.rest = .zero })
        let device = try await stage.device()
        try await self.turn(stage, device) {
            try device.request(.post, ["bs"], query: ["ep=\(StagedRecords.meter(1))"])
            device.close()
        }
        #expect(try await stage.bootstrap.next().code == .post)
        let counters = await stage.counters
        #expect(counters.sessionsClosed == 1)
        #expect(counters.bootstrapsRequested == 1)
        try await stage.stop()
    }

    @Test("More than a turn may hold is worked off in between, and all of it counts")
    func fullStage() async throws {
        let stage = try await MovesStage()
        let device = try await stage.device()
        let payload = [UInt8](repeating: 7, count: 900)
        let count = 2 * StagedMessages<DeviceSession>.limit / payload.count
        let before = await stage.counters.datagramsToDevices
        try await self.turn(stage, device) {
            for number in 0..<count {
                let request = CoAPRequest(.post, path: ["nowhere"], payload: payload)
                try device.send(
                    CoAPMessage(
                        type: .confirmable, code: .post, messageID: UInt16(number), token: CoAPToken(UInt64(number)),
                        options: request.options, payload: payload
                    )
                )
            }
        }
        let after = await stage.counters.datagramsToDevices
        #expect(after - before == count)
        try await stage.stop()
    }
}
