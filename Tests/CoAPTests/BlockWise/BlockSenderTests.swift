import CoAP
import Testing

@Suite("Requests that go out in blocks (RFC 7959, section 2.5)")
struct BlockSenderTests {
    private func put(_ count: Int) -> CoAPRequest {
        CoAPRequest(.put, path: ["3", "0"], contentFormat: 11542, payload: body(count))
    }

    @Test("A body that fits goes out as it is, and so does its response, with the same buffers")
    func fits() {
        let put = self.put(64)
        var sender = BlockSender(put, blockSize: 64)
        let first = sender.start()
        #expect(first == put && !sender.isSplit)
        #expect(
            first.payload.withUnsafeBufferPointer { $0.baseAddress }
                == put.payload.withUnsafeBufferPointer { $0.baseAddress }
        )
        let answer = response(.changed, contentFormat: 11542, payload: [1])
        #expect(sender.receive(answer) == .finished(answer))
    }

    @Test("A larger body goes out block by block; the first says how large it is")
    func blocks() throws {
        var sender = BlockSender(self.put(150), blockSize: 64)
        let first = sender.start()
        #expect(first.options.written(.block1) == "0/1/64" && first.options.uint(.size1) == 150)
        #expect(first.contentFormat == 11542 && first.uriPath == ["3", "0"] && !first.options.contains(.requestTag))
        let second = try sender.next(response(.continue, block1: (0, true, 64)))
        #expect(second.options.written(.block1) == "1/1/64" && !second.options.contains(.size1))
        let third = try sender.next(response(.continue, block1: (1, true, 64)))
        #expect(third.options.written(.block1) == "2/0/64" && third.contentFormat == 11542)
        #expect(first.payload + second.payload + third.payload == body(150))
        let end = sender.receive(response(.changed, block1: (2, false, 64)))
        #expect(end == .finished(CoAPResponse(.changed)))
    }

    @Test("A Request-Tag is on every message of the transfer (RFC 9175)")
    func requestTag() throws {
        var sender = BlockSender(self.put(100), blockSize: 64, requestTag: 5)
        #expect(sender.start().options.first(.requestTag).map(Array.init) == [5])
        let second = try sender.next(response(.continue, block1: (0, true, 64)))
        #expect(second.options.first(.requestTag).map(Array.init) == [5])
    }

    @Test("The server asks for smaller blocks: the next one begins where the last one ended")
    func smallerSize() throws {
        var sender = BlockSender(self.put(150), blockSize: 64)
        _ = sender.start()
        let second = try sender.next(response(.continue, block1: (0, true, 16)))
        #expect(second.options.written(.block1) == "4/1/16")
        let third = try sender.next(response(.continue, block1: (4, true, 64)))
        #expect(third.options.written(.block1) == "5/1/16", "and it does not go up again")
    }

    @Test("4.13 with a Block1 hint: again from the start in blocks of that size, also for a body sent whole")
    func tooLargeWithHint() throws {
        var sender = BlockSender(self.put(150), blockSize: 64)
        _ = sender.start()
        _ = try sender.next(response(.continue, block1: (0, true, 64)))
        let again = try sender.next(response(.requestEntityTooLarge, block1: (1, true, 32)))
        #expect(again.options.written(.block1) == "0/1/32" && again.options.uint(.size1) == 150)
        sender = BlockSender(self.put(150), blockSize: 1024)
        #expect(!sender.start().options.contains(.block1))
        let split = try sender.next(response(.requestEntityTooLarge, block1: (0, false, 16)))
        #expect(split.options.written(.block1) == "0/1/16")
    }

    @Test("T29 4.13 without a hint: down in size as long as the body itself may be acceptable")
    func tooLargeWithoutHint() throws {
        var sender = BlockSender(self.put(600), blockSize: 1024)
        _ = sender.start()
        #expect(try sender.next(response(.requestEntityTooLarge)).options.written(.block1) == "0/1/512")
        #expect(try sender.next(response(.requestEntityTooLarge, size1: 600)).options.written(.block1) == "0/1/256")
        #expect(try sender.next(response(.requestEntityTooLarge)).options.written(.block1) == "0/1/128")
        #expect(try sender.next(response(.requestEntityTooLarge)).options.written(.block1) == "0/1/64")
        #expect(sender.receive(CoAPResponse(.requestEntityTooLarge)) == .finished(CoAPResponse(.requestEntityTooLarge)))
    }

    @Test("4.13 with a Size1 below the body is the end")
    func bodyTooLarge() {
        var sender = BlockSender(self.put(600), blockSize: 512)
        _ = sender.start()
        let refusal = response(.requestEntityTooLarge, size1: 599)
        #expect(sender.receive(refusal) == .finished(refusal))
    }

    @Test("4.13 in the middle without a hint is the end")
    func tooLargeInTheMiddle() throws {
        var sender = BlockSender(self.put(600), blockSize: 256)
        _ = sender.start()
        _ = try sender.next(response(.continue, block1: (0, true, 256)))
        #expect(sender.receive(CoAPResponse(.requestEntityTooLarge)) == .finished(CoAPResponse(.requestEntityTooLarge)))
    }

    @Test("4.08: once again from the start")
    func incomplete() throws {
        var sender = BlockSender(self.put(150), blockSize: 64)
        _ = sender.start()
        _ = try sender.next(response(.continue, block1: (0, true, 64)))
        let again = try sender.next(response(.requestEntityIncomplete, block1: (1, true, 64)))
        #expect(again.options.written(.block1) == "0/1/64")
        _ = try sender.next(response(.continue, block1: (0, true, 64)))
        let end = sender.receive(CoAPResponse(.requestEntityIncomplete))
        #expect(end == .finished(CoAPResponse(.requestEntityIncomplete)))
    }

    @Test("A device without Block1 gets the body whole if one message can carry it, and is not asked twice")
    func withoutBlocks() throws {
        var sender = BlockSender(self.put(600), blockSize: 512)
        _ = sender.start()
        let whole = try sender.next(CoAPResponse(.badOption))
        #expect(whole == self.put(600))
        let refusal = response(.requestEntityTooLarge, block1: (0, false, 64))
        #expect(sender.receive(refusal) == .finished(CoAPResponse(.requestEntityTooLarge)))
        sender = BlockSender(self.put(1_025), blockSize: 512)
        _ = sender.start()
        #expect(sender.receive(CoAPResponse(.badOption)) == .finished(CoAPResponse(.badOption)))
    }

    @Test("An error at any block is the response to the request")
    func error() throws {
        var sender = BlockSender(self.put(150), blockSize: 64)
        _ = sender.start()
        _ = try sender.next(response(.continue, block1: (0, true, 64)))
        let end = sender.receive(response(.methodNotAllowed, block1: (1, true, 64)))
        #expect(end == .finished(CoAPResponse(.methodNotAllowed)))
    }

    @Test("A server that carries out each block by itself is served to the end (RFC 7959, section 2.3)")
    func stateless() throws {
        var sender = BlockSender(self.put(100), blockSize: 64)
        _ = sender.start()
        let second = try sender.next(response(.changed, block1: (0, false, 64)))
        #expect(second.options.written(.block1) == "1/0/64")
        #expect(sender.receive(response(.changed, block1: (1, false, 64))) == .finished(CoAPResponse(.changed)))
    }

    @Test("Answers that make no sense end the transfer: success for a part, 2.31 to the last block, a wrong number")
    func nonsense() throws {
        var sender = BlockSender(self.put(100), blockSize: 64)
        _ = sender.start()
        #expect(sender.receive(CoAPResponse(.changed)) == .failed(.malformed))
        sender = BlockSender(self.put(100), blockSize: 64)
        _ = sender.start()
        #expect(sender.receive(response(.continue, block1: (1, true, 64))) == .failed(.malformed))
        sender = BlockSender(self.put(100), blockSize: 64)
        _ = sender.start()
        _ = try sender.next(response(.continue))
        #expect(sender.receive(response(.continue, block1: (1, true, 64))) == .failed(.malformed))
        sender = BlockSender(self.put(10), blockSize: 64)
        _ = sender.start()
        #expect(sender.receive(response(.continue)) == .failed(.malformed))
    }
}

@Suite("Responses that come in blocks (RFC 7959, section 2.4)")
struct BlockAskingTests {
    private let get = CoAPRequest(.get, path: ["3"], accept: 11542, observe: 0)
    private let bytes = body(150)

    private func block(_ number: Int, _ more: Bool, size: Int = 64, eTag: [UInt8]? = [1]) -> CoAPResponse {
        let start = number * size
        return response(
            .content, block2: (number, more, size), eTag: eTag, contentFormat: 11542,
            payload: Array(self.bytes[start..<min(start + size, 150)])
        )
    }

    @Test("All blocks make the response; Observe stays with the first request (RFC 7959, section 2.6)")
    func blocks() throws {
        var sender = BlockSender(self.get, blockSize: 64)
        #expect(sender.start() == self.get)
        let second = try sender.next(self.block(0, true))
        #expect(second.options.written(.block2) == "1/0/64" && second.accept == 11542 && second.uriPath == ["3"])
        #expect(second.observe == nil)
        #expect(try sender.next(self.block(1, true)).options.written(.block2) == "2/0/64")
        let whole = response(.content, eTag: [1], contentFormat: 11542, payload: self.bytes)
        #expect(sender.receive(self.block(2, false)) == .finished(whole))
    }

    @Test("Late negotiation: what comes in larger blocks than ours is asked for in ours")
    func lateNegotiation() throws {
        var sender = BlockSender(self.get, blockSize: 16)
        _ = sender.start()
        #expect(try sender.next(self.block(0, true)).options.written(.block2) == "4/0/16")
    }

    @Test("The server changes to smaller blocks in the middle")
    func smallerSize() throws {
        var sender = BlockSender(self.get, blockSize: 64)
        _ = sender.start()
        _ = try sender.next(self.block(0, true))
        #expect(try sender.next(self.block(2, true, size: 32)).options.written(.block2) == "3/0/32")
    }

    @Test("A response in one block is whole")
    func oneBlock() {
        var sender = BlockSender(self.get, blockSize: 64)
        _ = sender.start()
        let end = sender.receive(response(.content, block2: (0, false, 64), size2: 5, payload: body(5)))
        #expect(end == .finished(CoAPResponse(.content, payload: body(5))))
    }

    @Test("A body that changes midway is read once more, and then given up", arguments: [nil, [UInt8(2)]])
    func changed(eTag: [UInt8]?) throws {
        var sender = BlockSender(self.get, blockSize: 64)
        _ = sender.start()
        _ = try sender.next(self.block(0, true))
        #expect(try sender.next(self.block(1, true, eTag: eTag)) == self.get)
        _ = try sender.next(self.block(0, true, eTag: eTag))
        #expect(sender.receive(self.block(1, true)) == .failed(.changed))
    }

    @Test("Blocks of another format or code are of another body")
    func otherFormat() throws {
        var sender = BlockSender(CoAPRequest(.post, path: ["3"]), blockSize: 64)
        _ = sender.start()
        _ = try sender.next(self.block(0, true))
        let other = response(.content, block2: (1, false, 64), eTag: [1], contentFormat: 112, payload: [1])
        #expect(sender.receive(other) == .failed(.changed), "and a POST is not repeated")
    }

    @Test("4.08 in the middle: once again from the start; another error is the response")
    func forgotten() throws {
        var sender = BlockSender(self.get, blockSize: 64)
        _ = sender.start()
        _ = try sender.next(self.block(0, true))
        #expect(try sender.next(CoAPResponse(.requestEntityIncomplete)) == self.get)
        _ = try sender.next(self.block(0, true))
        #expect(sender.receive(CoAPResponse(.notFound)) == .finished(CoAPResponse(.notFound)))
    }

    @Test("A body above the limit ends the transfer: when announced and when it grows too large")
    func tooLarge() throws {
        var sender = BlockSender(self.get, blockSize: 64, maximumBody: 149)
        _ = sender.start()
        var first = self.block(0, true)
        first.options.append(.size2, uint: 150)
        #expect(sender.receive(first) == .failed(.tooLarge))
        sender = BlockSender(self.get, blockSize: 64, maximumBody: 149)
        _ = sender.start()
        _ = try sender.next(self.block(0, true))
        _ = try sender.next(self.block(1, true))
        #expect(sender.receive(self.block(2, false)) == .failed(.tooLarge))
    }

    @Test("Blocks that do not follow, have another length than they say, or no number, end the transfer")
    func nonsense() throws {
        var short = self.block(1, true)
        short.payload.removeLast()
        var long = self.block(2, false)
        long.payload += body(64)
        var reserved = CoAPResponse(.content, payload: [1])
        reserved.options.append(.block2, [0x0F])
        for second in [self.block(2, false), self.block(0, true), short, long, reserved, CoAPResponse(.content)] {
            var sender = BlockSender(self.get, blockSize: 64)
            _ = sender.start()
            _ = try sender.next(self.block(0, true))
            let step = sender.receive(second)
            #expect(step == .failed(.malformed) || step == .failed(.changed) || step == .send(self.get))
        }
        for first in [self.block(1, true), short, reserved] {
            var sender = BlockSender(self.get, blockSize: 64)
            _ = sender.start()
            #expect(sender.receive(first) == .failed(.malformed))
        }
    }

    @Test("Both in one exchange: after the last block of the request the response is asked for without a body")
    func combined() throws {
        var sender = BlockSender(CoAPRequest(.post, path: ["3"], contentFormat: 60, payload: body(100)), blockSize: 64)
        _ = sender.start()
        _ = try sender.next(response(.continue, block1: (0, true, 64)))
        var last = self.block(0, true)
        last.options.append(.block1, uint: 1 << 4 | 2)
        let next = try sender.next(last)
        #expect(next.code == .post && next.payload.isEmpty && next.options.written(.block2) == "1/0/64")
        #expect(!next.options.contains(.block1) && next.contentFormat == nil)
        _ = try sender.next(self.block(1, true))
        let whole = response(.content, eTag: [1], contentFormat: 11542, payload: self.bytes)
        #expect(sender.receive(self.block(2, false)) == .finished(whole))
    }
}

extension BlockSender {
    /// What is sent after this response; a failed test when nothing is.
    mutating func next(_ response: CoAPResponse) throws -> CoAPRequest {
        let step = self.receive(response)
        guard case .send(let request) = step else {
            Issue.record("nothing is sent but \(step)")
            throw Unexpected()
        }
        return request
    }

    private struct Unexpected: Error {}
}
