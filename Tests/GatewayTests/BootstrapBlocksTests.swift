import CoAP
import Testing
import Timing

@testable import Gateway

/// Bodies in blocks between a bootstrap server and a device, over real sockets on loopback (RFC 7959).
@Suite("Bodies in blocks on the bootstrap leg", .timeLimit(.minutes(1)))
struct BootstrapBlocksTests {
    private static func stage(deviceBlocks: Int = 256, serverBlocks: Int = 512, body: Int = 65_536) async throws
        -> MovesStage
    {
        try await MovesStage { configuration in
            configuration.deviceTransmission.blockSize = deviceBlocks
            configuration.upstreamTransmission.blockSize = serverBlocks
            configuration.upstreamTransmission.piggybackWait = .seconds(20)
            configuration.limits.body = body
        }
    }

    /// A device whose Bootstrap-Request was accepted.
    private func begin(_ stage: MovesStage) async throws -> MovingDevice {
        let device = try await stage.device()
        try await self.ask(device, stage)
        return device
    }

    private func ask(_ device: MovingDevice, _ stage: MovesStage) async throws {
        try device.request(.post, ["bs"], query: ["ep=\(StagedRecords.meter(1))"])
        let request = try await stage.bootstrap.next()
        #expect(request.code == .post)
        try stage.bootstrap.answer(.changed, to: request)
        #expect(try await device.next().code == .changed)
    }

    /// Sends a body in blocks of `size`, and expects 2.31 to each but the last.
    private func write(_ body: [UInt8], to path: [String], in size: Int, _ stage: MovesStage) async throws {
        var offset = 0
        while offset < body.count {
            let end = min(offset + size, body.count)
            let block = try #require(
                BlockOption(
                    num: UInt32(offset / size), more: end < body.count, szx: UInt8((size / 16).trailingZeroBitCount)
                )
            )
            var message = stage.bootstrap.message(.put, path)
            message.options.append(.contentFormat, uint: 11542)
            message.options.append(.block1, uint: block.uint)
            message.payload = Array(body[offset..<end])
            try stage.bootstrap.send(message)
            if block.more {
                let answer = try await stage.bootstrap.next()
                #expect(answer.code == .continue && answer.options.uint(.block1) == block.uint)
            }
            offset = end
        }
    }

    /// Takes a body at the device and answers each block as a device would. `largest` asks for smaller blocks.
    private func take(_ device: MovingDevice, largest: UInt8 = 6) async throws -> (
        body: [UInt8], requests: [CoAPMessage]
    ) {
        var body: [UInt8] = []
        var requests: [CoAPMessage] = []
        while true {
            let request = try await device.next()
            requests.append(request)
            let block = request.options.first(.block1).flatMap { BlockOption($0) }
            #expect((block?.offset ?? 0) == body.count)
            body += request.payload
            var answer = Dialogue.answer(block?.more == true ? .continue : .changed, to: request)
            if let block {
                answer.options.append(
                    .block1, uint: block.num << 4 | (block.more ? 8 : 0) | UInt32(min(largest, block.szx)))
            }
            try device.send(answer)
            if block?.more != true { return (body, requests) }
        }
    }

    private static func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7 ^ $0 >> 8) }
    }

    @Test(
        "What a server writes in blocks reaches the device whole, in blocks of the device's leg",
        arguments: [16, 64, 1024])
    func written(size: Int) async throws {
        let stage = try await Self.stage()
        let device = try await self.begin(stage)
        let body = Self.bytes(3_000)
        try await self.write(body, to: ["10250", "0"], in: size, stage)
        let (taken, requests) = try await self.take(device)
        #expect(taken == body)
        #expect(requests.count == 12 && requests.dropLast().allSatisfy { $0.payload.count == 256 })
        #expect(requests.allSatisfy { !$0.options.contains(.requestTag) })
        #expect(requests.first?.options.uint(.size1) == 3_000)
        let answer = try await stage.bootstrap.next()
        #expect(answer.code == .changed && answer.options.contains(.block1))
        try await stage.stop()
    }

    @Test("T29 An account in blocks is rewritten as a whole, and goes on in blocks when it has grown beyond one")
    func account() async throws {
        let stage = try await Self.stage(deviceBlocks: 64)
        let device = try await self.begin(stage)
        try await self.write(BootstrapScript.serverAccount, to: ["0", "0"], in: 16, stage)
        let (taken, requests) = try await self.take(device, largest: 1)
        #expect(BootstrapScript.serverAccount.count < 64 && taken.count > 64)
        #expect(requests.map(\.payload.count).max() == 64)
        #expect(requests.dropFirst().allSatisfy { $0.payload.count <= 32 }, "the device asked for smaller ones")
        let text = String(decoding: taken, as: UTF8.self)
        #expect(text.contains("coaps://edge.example.net") && !text.contains("192.0.2.10"))
        #expect(try await stage.bootstrap.next().code == .changed)
        try stage.bootstrap.command(.post, ["bs"])
        let finish = try await device.next()
        try device.answer(.changed, to: finish)
        #expect(try await stage.bootstrap.next().code == .changed)
        try await stage.stop()
    }

    @Test("T29 A device that takes only smaller blocks gets them")
    func smaller() async throws {
        let stage = try await Self.stage()
        let device = try await self.begin(stage)
        let body = Self.bytes(200)
        try stage.bootstrap.command(.put, ["10250", "0"], body)
        let whole = try await device.next()
        #expect(whole.payload == body && !whole.options.contains(.block1))
        var refusal = Dialogue.answer(.requestEntityTooLarge, to: whole)
        refusal.options.append(.block1, uint: 1)
        try device.send(refusal)
        let (taken, requests) = try await self.take(device)
        #expect(taken == body && requests.first?.payload.count == 32)
        #expect(try await stage.bootstrap.next().code == .changed)
        try await stage.stop()
    }

    @Test("T35 A large answer of the device comes back whole to the server, in blocks that the server chose")
    func answered() async throws {
        let stage = try await Self.stage(deviceBlocks: 128)
        let device = try await self.begin(stage)
        let links = Array(
            ("</>;lwm2m=1.1" + (0..<60).map { ",</3/0/\($0)>" }.joined()).utf8)
        var discover = stage.bootstrap.message(.get, [])
        discover.options.append(.accept, uint: 40)
        discover.options.append(.block2, uint: 2)
        try stage.bootstrap.send(discover)
        var size = 0
        repeat {
            let request = try await device.next()
            let asked = request.options.first(.block2).flatMap { BlockOption($0) }
            #expect((asked == nil) == (size == 0), "no option that a small device might not know")
            let offset = asked?.offset ?? 0
            size = asked?.size ?? 512
            var answer = Dialogue.answer(.content, to: request)
            let more = offset + size < links.count
            let szx = UInt32((size / 16).trailingZeroBitCount)
            answer.options.append(.contentFormat, uint: 40)
            answer.options.append(.eTag, [7])
            answer.options.append(.block2, uint: UInt32(offset / size) << 4 | (more ? 8 : 0) | szx)
            answer.payload = Array(links[offset..<min(offset + size, links.count)])
            try device.send(answer)
            if !more { break }
        } while true
        #expect(size == 128, "after the first block the rest came in ours")
        var received: [UInt8] = []
        var tags: Set<[UInt8]> = []
        while true {
            let answer = try await stage.bootstrap.next()
            #expect(answer.code == .content && answer.options.uint(.contentFormat) == 40)
            let block = try #require(answer.options.first(.block2).flatMap { BlockOption($0) })
            #expect(block.size == 64 && block.offset == received.count)
            received += answer.payload
            tags.insert(Array(answer.options.first(.eTag) ?? []))
            guard block.more else { break }
            var next = stage.bootstrap.message(.get, [])
            next.options.append(.accept, uint: 40)
            next.options.append(.block2, uint: (block.num + 1) << 4 | 2)
            try stage.bootstrap.send(next)
        }
        #expect(received == links && tags.count == 1)
        try await stage.stop()
    }

    @Test("T46 A body above the limit gets 4.13 with the limit, and Finish does not pass without it")
    func tooLarge() async throws {
        let stage = try await Self.stage(body: 1_024)
        let device = try await self.begin(stage)
        var message = stage.bootstrap.message(.put, ["0"])
        message.options.append(.block1, uint: 8 | 2)
        message.options.append(.size1, uint: 1_025)
        message.payload = Self.bytes(64)
        try stage.bootstrap.send(message)
        let refusal = try await stage.bootstrap.next()
        #expect(refusal.code == .requestEntityTooLarge && refusal.options.uint(.size1) == 1_024)
        try stage.bootstrap.command(.post, ["bs"])
        #expect(try await stage.bootstrap.next().code == .notAcceptable)
        try await device.roundTrip()
        #expect(stage.audit.events.contains { $0.name == .bootstrapRefused && $0.cause == .unsupported })
        try await stage.stop()
    }

    @Test("T42 An account that stops in the middle of its blocks keeps Finish from the device")
    func unfinished() async throws {
        let stage = try await Self.stage()
        let device = try await self.begin(stage)
        var message = stage.bootstrap.message(.put, ["0", "0"])
        message.options.append(.block1, uint: 8 | 2)
        message.payload = Self.bytes(64)
        try stage.bootstrap.send(message)
        #expect(try await stage.bootstrap.next().code == .continue)
        try stage.bootstrap.command(.post, ["bs"])
        #expect(try await stage.bootstrap.next().code == .notAcceptable)
        try await device.roundTrip()
        #expect(stage.audit.events.contains { $0.name == .bootstrapRefused && $0.cause == .upstreamMalformed })
        try await stage.stop()
    }

    @Test("A later block without the first ones gets 4.08, and nothing of it reaches the device")
    func incomplete() async throws {
        let stage = try await Self.stage()
        let device = try await self.begin(stage)
        var message = stage.bootstrap.message(.put, ["0", "0"])
        message.options.append(.block1, uint: 1 << 4 | 2)
        message.payload = [1]
        try stage.bootstrap.send(message)
        #expect(try await stage.bootstrap.next().code == .requestEntityIncomplete)
        try stage.bootstrap.command(.delete, ["0"])
        #expect(try await device.next().code == .delete)
        try await stage.stop()
    }

    @Test("An answer in blocks that contradict each other is 5.02 for the server, and the bootstrap goes on")
    func malformedAnswer() async throws {
        let stage = try await Self.stage()
        let device = try await self.begin(stage)
        var read = stage.bootstrap.message(.get, ["1"])
        read.options.append(.accept, uint: 11542)
        try stage.bootstrap.send(read)
        var answer = Dialogue.answer(.content, to: try await device.next())
        answer.options.append(.block2, uint: 1 << 4 | 8 | 2)
        answer.payload = Self.bytes(64)
        try device.send(answer)
        #expect(try await stage.bootstrap.next().code == .badGateway)
        try stage.bootstrap.command(.delete, [])
        #expect(try await device.next().code == .delete)
        try await stage.stop()
    }

    @Test("T3 A device that asks again in the middle of a body gets the next ones with a Request-Tag (RFC 9175)")
    func superseded() async throws {
        let stage = try await Self.stage()
        let device = try await self.begin(stage)
        try stage.bootstrap.command(.put, ["10250", "0"], Self.bytes(600))
        let first = try await device.next()
        #expect(first.options.uint(.block1) == 8 | 4 && !first.options.contains(.requestTag))
        try await self.ask(device, stage)
        try stage.bootstrap.command(.put, ["10250", "0"], Self.bytes(300))
        let (taken, requests) = try await self.take(device)
        #expect(taken == Self.bytes(300))
        #expect(requests.allSatisfy { $0.options.contains(.requestTag) })
        try await stage.stop()
    }

    @Test("T40 A device that asks for a pack gets 5.01 at once")
    func pack() async throws {
        let stage = try await Self.stage()
        let device = try await stage.device()
        try device.request(.get, ["bspack"], query: ["ep=\(StagedRecords.meter(1))"])
        #expect(try await device.next().code == .notImplemented)
        try await stage.stop()
    }

    @Test("Timers run per message: each block gives the bootstrap its time again")
    func timers() throws {
        var script = try BootstrapScript()
        script.begin()
        let deadline = try #require(script.session.deadline)
        script.now = script.now.advanced(by: .seconds(100))
        script.session.blockPassed(now: script.now)
        #expect(script.session.deadline == deadline.advanced(by: .seconds(100)))
    }
}
