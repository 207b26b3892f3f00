import CoAP
import Testing
import Timing

@Suite("Bodies of requests that come in blocks (RFC 7959, section 2.5)")
struct BlockReceiverTests {
    @Test("Nothing is handed up before the last block, and then the whole body")
    func atomic() {
        let script = ReceiverScript()
        let bytes = body(150)
        let first = script.answer(request(block1: (0, true, 64), contentFormat: 11542, payload: Array(bytes[0..<64])))
        #expect(first?.code == .continue && first?.options.written(.block1) == "0/1/64")
        let second = script.answer(
            request(block1: (1, true, 64), contentFormat: 11542, payload: Array(bytes[64..<128])))
        #expect(second?.code == .continue && second?.options.written(.block1) == "1/1/64")
        let whole = script.whole(request(block1: (2, false, 64), contentFormat: 11542, payload: Array(bytes[128...])))
        #expect(whole == CoAPRequest(.put, path: ["3", "0"], contentFormat: 11542, payload: bytes))
        let final = script.respond(CoAPResponse(.changed))
        #expect(final.code == .changed && final.options.written(.block1) == "2/0/64")
        #expect(script.receiver.heldBytes == 0 && script.receiver.openRequests == 0)
    }

    @Test("Messages without block options pass as they are, with the same buffers")
    func plain() {
        let script = ReceiverScript()
        let plain = request(payload: body(1_100))
        let whole = script.whole(plain)
        #expect(whole == plain)
        let buffer = plain.payload.withUnsafeBufferPointer { $0.baseAddress }
        #expect(whole?.payload.withUnsafeBufferPointer { $0.baseAddress } == buffer)
        let answer = CoAPResponse(.content, payload: body(64))
        let passed = script.respond(answer)
        #expect(passed == answer)
        #expect(
            passed.payload.withUnsafeBufferPointer { $0.baseAddress }
                == answer.payload.withUnsafeBufferPointer { $0.baseAddress }
        )
        #expect(script.receiver.deadline == nil)
    }

    @Test("Block number 0 with nothing to follow is a whole body")
    func singleBlock() {
        let script = ReceiverScript()
        let whole = script.whole(request(block1: (0, false, 32), size1: 20, payload: body(20)))
        #expect(whole == request(payload: body(20)))
        #expect(script.respond(CoAPResponse(.changed)).options.written(.block1) == "0/0/32")
    }

    @Test("A block option with the reserved size, or one that is too long, gets 4.00")
    func malformed() {
        let script = ReceiverScript()
        for number in [CoAPOptionNumber.block1, .block2] {
            for value in [[UInt8(0x0F)], [0x07], [1, 2, 3, 4]] {
                var broken = request(payload: body(16))
                broken.options.append(number, value)
                #expect(script.answer(broken)?.code == .badRequest)
            }
        }
    }

    @Test("A block whose length is not its size gets 4.00")
    func wrongLength() {
        let script = ReceiverScript()
        #expect(script.answer(request(block1: (0, true, 64), payload: body(63)))?.code == .badRequest)
        #expect(script.answer(request(block1: (0, true, 64), payload: body(65)))?.code == .badRequest)
        #expect(script.answer(request(block1: (0, true, 64)))?.code == .badRequest)
        #expect(script.answer(request(block1: (0, false, 64), payload: body(65)))?.code == .badRequest)
        #expect(script.receiver.heldBytes == 0)
    }

    @Test("The server asks for smaller blocks, and the rest comes in them from the right place")
    func smallerSize() {
        var limits = BlockLimits()
        limits.acceptedBlock = 32
        let script = ReceiverScript(limits: limits)
        let bytes = body(150)
        let first = script.answer(request(block1: (0, true, 128), payload: Array(bytes[0..<128])))
        #expect(first?.options.written(.block1) == "0/1/32")
        #expect(script.whole(request(block1: (4, false, 32), payload: Array(bytes[128...])))?.payload == bytes)
    }

    @Test("The client may change to smaller blocks in the middle by itself")
    func clientGetsSmaller() {
        let script = ReceiverScript()
        let bytes = body(100)
        _ = script.answer(request(block1: (0, true, 64), payload: Array(bytes[0..<64])))
        let second = script.answer(request(block1: (4, true, 16), payload: Array(bytes[64..<80])))
        #expect(second?.code == .continue && second?.options.written(.block1) == "4/1/16")
        #expect(script.whole(request(block1: (5, false, 32), payload: []))?.payload == nil, "5 * 32 is not 80")
        #expect(script.whole(request(block1: (5, false, 16), payload: Array(bytes[80..<90])))?.payload.count == 90)
    }

    @Test("A missing block gets 4.08, and the sender may go on from what is there")
    func missingBlock() {
        let script = ReceiverScript()
        let bytes = body(192)
        #expect(script.answer(request(block1: (1, true, 64), payload: body(64)))?.code == .requestEntityIncomplete)
        _ = script.answer(request(block1: (0, true, 64), payload: Array(bytes[0..<64])))
        let late = request(block1: (2, false, 64), payload: Array(bytes[128...]))
        #expect(script.answer(late)?.code == .requestEntityIncomplete)
        #expect(script.answer(request(block1: (1, true, 64), payload: Array(bytes[64..<128])))?.code == .continue)
        #expect(script.whole(late)?.payload == bytes)
    }

    @Test("A block that comes again is acknowledged again; with another content the transfer has failed")
    func repeatedBlock() {
        let script = ReceiverScript()
        let bytes = body(192)
        let second = request(block1: (1, true, 64), payload: Array(bytes[64..<128]))
        _ = script.answer(request(block1: (0, true, 64), payload: Array(bytes[0..<64])))
        #expect(script.answer(second)?.code == .continue)
        #expect(script.answer(second)?.code == .continue)
        #expect(script.receiver.heldBytes == 128)
        #expect(script.answer(request(block1: (1, true, 64), payload: body(64)))?.code == .requestEntityIncomplete)
        #expect(script.receiver.heldBytes == 0)
        let last = request(block1: (2, false, 64), payload: Array(bytes[128...]))
        #expect(script.answer(last)?.code == .requestEntityIncomplete)
    }

    @Test("Block number 0 begins again")
    func restart() {
        let script = ReceiverScript()
        _ = script.answer(request(block1: (0, true, 64), payload: body(64, from: 900)))
        _ = script.answer(request(block1: (1, true, 64), payload: body(64, from: 964)))
        #expect(script.answer(request(block1: (0, true, 64), payload: body(64)))?.code == .continue)
        #expect(script.whole(request(block1: (1, false, 64), payload: body(10, from: 64)))?.payload.count == 74)
    }

    @Test("A whole request for the same resource ends an unfinished transfer with it")
    func wholeSupersedes() {
        let script = ReceiverScript()
        _ = script.answer(request(block1: (0, true, 64), payload: body(64)))
        #expect(script.whole(request(payload: [1])) != nil)
        let late = script.answer(request(block1: (1, false, 64), payload: [2]))
        #expect(late?.code == .requestEntityIncomplete)
    }

    @Test("Blocks with another Content-Format are not of the same body: 4.08, and the transfer is over")
    func changedFormat() {
        let script = ReceiverScript()
        _ = script.answer(request(block1: (0, true, 64), contentFormat: 11542, payload: body(64)))
        let other = request(block1: (1, false, 64), contentFormat: 112, payload: [1])
        #expect(script.answer(other)?.code == .requestEntityIncomplete)
        let same = request(block1: (1, false, 64), contentFormat: 11542, payload: [1])
        #expect(script.answer(same)?.code == .requestEntityIncomplete)
    }

    @Test("A body above the limit gets 4.13 with Size1: when announced, when sent whole, and when it grows too large")
    func tooLarge() {
        var limits = BlockLimits()
        limits.body = 100
        let script = ReceiverScript(limits: limits)
        let announced = script.answer(request(block1: (0, true, 64), size1: 101, payload: body(64)))
        let whole = script.answer(request(payload: body(101)))
        #expect(script.answer(request(block1: (0, true, 64), size1: 100, payload: body(64)))?.code == .continue)
        let grown = script.answer(request(block1: (1, false, 64), payload: body(37)))
        for refusal in [announced, whole, grown] {
            #expect(refusal?.code == .requestEntityTooLarge && refusal?.options.uint(.size1) == 100)
        }
        #expect(script.receiver.heldBytes == 0)
        _ = script.answer(request(block1: (0, true, 64), payload: body(64)))
        #expect(script.whole(request(block1: (1, false, 64), payload: body(36)))?.payload.count == 100)
    }

    @Test("Transfers with different resources or different Request-Tags overlap without mixing (RFC 9175)")
    func overlapping() {
        let script = ReceiverScript()
        let transfers: [(path: [String], tag: [UInt8]?)] = [
            (["3", "0"], nil), (["3", "1"], nil), (["3", "0"], [1]), (["3", "0"], []),
        ]
        for (index, transfer) in transfers.enumerated() {
            let first = request(
                path: transfer.path, block1: (0, true, 16), tag: transfer.tag, payload: body(16, from: index)
            )
            #expect(script.answer(first)?.code == .continue)
        }
        for (index, transfer) in transfers.enumerated().reversed() {
            let last = request(path: transfer.path, block1: (1, false, 16), tag: transfer.tag, payload: [UInt8(index)])
            #expect(script.whole(last)?.payload == body(16, from: index) + [UInt8(index)])
        }
    }

    @Test("Blocks of another method or with another Request-Tag do not continue a transfer")
    func otherTransfer() {
        let script = ReceiverScript()
        _ = script.answer(request(block1: (0, true, 16), tag: [7], payload: body(16)))
        for stray in [
            request(.post, block1: (1, false, 16), tag: [7]), request(block1: (1, false, 16), tag: [8]),
            request(block1: (1, false, 16)), request(block1: (1, false, 16), tag: [7, 7]),
        ] {
            #expect(script.answer(stray)?.code == .requestEntityIncomplete)
        }
        #expect(script.whole(request(block1: (1, false, 16), tag: [7], payload: [1]))?.payload.count == 17)
    }

    @Test("An unfinished body is forgotten after its lifetime, which each block renews")
    func expiry() {
        let script = ReceiverScript()
        _ = script.answer(request(block1: (0, true, 16), payload: body(16)))
        script.now += .seconds(246)
        #expect(script.answer(request(block1: (1, true, 16), payload: body(16)))?.code == .continue)
        #expect(script.receiver.deadline == script.now + .seconds(247))
        script.now += .seconds(247)
        let late = script.answer(request(block1: (2, false, 16), payload: [1]))
        #expect(late?.code == .requestEntityIncomplete)
        #expect(script.receiver.heldBytes == 0 && script.receiver.deadline == nil)
    }

    @Test("The transfer that rested longest gives way to a new one, by number and by size")
    func bounds() {
        var limits = BlockLimits()
        limits.transfers = 2
        limits.body = 1_024
        var script = ReceiverScript(limits: limits)
        for resource in ["a", "b", "c"] {
            script.now += .seconds(1)
            _ = script.answer(request(path: [resource], block1: (0, true, 16), payload: body(16)))
        }
        #expect(script.answer(request(path: ["a"], block1: (1, false, 16)))?.code == .requestEntityIncomplete)
        #expect(script.whole(request(path: ["b"], block1: (1, false, 16))) != nil)
        limits.transfers = 100
        script = ReceiverScript(limits: limits)
        for resource in 0..<200 {
            script.now += .seconds(1)
            _ = script.answer(request(path: ["\(resource)"], block1: (0, true, 1024), payload: body(1_024)))
            #expect(script.receiver.heldBytes <= 2 * 1_024)
        }
    }

    @Test("Requests that never get a response do not pile up")
    func forgottenRequests() {
        let script = ReceiverScript()
        for _ in 0..<200 { #expect(script.whole(request(payload: [1])) != nil) }
        #expect(script.receiver.openRequests <= MessageLayer.Limit.openRequests + 1)
        script.receiver.removeAll()
        #expect(script.receiver.openRequests == 0)
    }
}

@Suite("Bodies of responses that go out in blocks (RFC 7959, section 2.4)")
struct BlockServingTests {
    private let content = CoAPResponse(.content, contentFormat: 11542, payload: body(150))

    @Test("A large response comes in blocks with one ETag, and Size2 in the first")
    func blocks() throws {
        let script = ReceiverScript()
        let first = try #require(script.exchange(request(.get), self.content))
        #expect(first.code == .content && first.options.written(.block2) == "0/1/64")
        #expect(first.options.uint(.size2) == 150 && first.contentFormat == 11542)
        let second = try #require(script.answer(request(.get, block2: (1, false, 64))))
        let third = try #require(script.answer(request(.get, block2: (2, false, 64))))
        #expect(second.options.written(.block2) == "1/1/64" && third.options.written(.block2) == "2/0/64")
        #expect(first.payload + second.payload + third.payload == self.content.payload)
        let tag = try #require(first.options.first(.eTag))
        #expect(second.options.first(.eTag) == tag && third.options.first(.eTag) == tag)
        #expect(second.contentFormat == 11542)
    }

    @Test("Another body has another ETag, and an ETag of the response stays")
    func eTags() throws {
        let script = ReceiverScript()
        let first = try #require(script.exchange(request(.get), self.content))
        let again = try #require(script.exchange(request(.get), self.content))
        let other = try #require(script.exchange(request(.get), CoAPResponse(.content, payload: body(150, from: 1))))
        #expect(first.options.first(.eTag) == again.options.first(.eTag))
        #expect(first.options.first(.eTag) != other.options.first(.eTag))
        let own = try #require(script.exchange(request(.get), response(.content, eTag: [9], payload: body(65))))
        #expect(own.options.first(.eTag).map(Array.init) == [9])
    }

    @Test("Early negotiation: the first request asks for the size; a larger one than ours gets ours")
    func earlyNegotiation() {
        let script = ReceiverScript()
        let small = script.exchange(request(.get, block2: (0, false, 16)), self.content)
        #expect(small?.options.written(.block2) == "0/1/16" && small?.payload.count == 16)
        let large = script.exchange(request(.get, block2: (0, false, 1024)), self.content)
        #expect(large?.options.written(.block2) == "0/1/64")
        let whole = script.exchange(request(.get, block2: (0, false, 32)), CoAPResponse(.content, payload: body(32)))
        #expect(whole?.options.written(.block2) == "0/0/32" && whole?.payload.count == 32)
    }

    @Test("Late negotiation: the client goes down in the middle")
    func lateNegotiation() {
        let script = ReceiverScript()
        _ = script.exchange(request(.get), self.content)
        let next = script.answer(request(.get, block2: (4, false, 16)))
        #expect(next?.options.written(.block2) == "4/1/16")
        #expect(next?.payload == Array(self.content.payload[64..<80]))
    }

    @Test("A block behind the end gets 4.00")
    func behindTheEnd() {
        let script = ReceiverScript()
        _ = script.exchange(request(.get), self.content)
        #expect(script.answer(request(.get, block2: (3, false, 64)))?.code == .badRequest)
        #expect(script.exchange(request(.get, path: ["x"], block2: (9, false, 64)), self.content)?.code == .badRequest)
    }

    @Test("A read whose body is not held any more is done again; anything else gets 4.08")
    func forgotten() {
        let script = ReceiverScript()
        _ = script.exchange(request(.get), self.content)
        script.now += .seconds(247)
        let again = script.exchange(request(.get, block2: (1, false, 64)), self.content)
        #expect(again?.options.written(.block2) == "1/1/64")
        #expect(again?.payload == Array(self.content.payload[64..<128]))
        #expect(script.answer(request(.post, block2: (1, false, 64)))?.code == .requestEntityIncomplete)
        #expect(
            script.exchange(request(.get, path: ["x"], block2: (1, false, 64)), CoAPResponse(.notFound))?.code
                == .notFound)
    }

    @Test("Reads of other resources and with other Accept values have bodies of their own")
    func overlapping() {
        let script = ReceiverScript()
        let other = CoAPResponse(.content, payload: body(100, from: 7))
        _ = script.exchange(request(.get, path: ["a"]), self.content)
        _ = script.exchange(request(.get, path: ["b"]), other)
        _ = script.exchange(request(.get, path: ["a"], accept: 112), other)
        #expect(script.answer(request(.get, path: ["a"], block2: (2, false, 64)))?.payload.count == 22)
        #expect(script.answer(request(.get, path: ["b"], block2: (1, false, 64)))?.payload.count == 36)
        #expect(script.answer(request(.get, path: ["a"], block2: (1, false, 64), accept: 112))?.payload.count == 36)
    }

    @Test("Both in one exchange: blocks of the request, then blocks of the response (RFC 7959, section 2.7)")
    func combined() throws {
        let script = ReceiverScript()
        _ = script.answer(request(.post, block1: (0, true, 64), payload: body(64)))
        let last = request(.post, block1: (1, false, 64), block2: (0, false, 32), payload: [1])
        let answer = try #require(script.exchange(last, self.content))
        #expect(answer.options.written(.block1) == "1/0/64" && answer.options.written(.block2) == "0/1/32")
        #expect(script.answer(request(.post, block2: (1, false, 32)))?.payload == Array(self.content.payload[32..<64]))
    }

    @Test("Who asks for the size gets it, also of a small body")
    func size2() {
        let script = ReceiverScript()
        var asking = request(.get)
        asking.options.append(.size2, uint: 0)
        #expect(script.exchange(asking, CoAPResponse(.content, payload: body(20)))?.options.uint(.size2) == 20)
    }

    @Test("Bodies that are served are bounded and end with their lifetime")
    func bounds() {
        var limits = BlockLimits()
        limits.body = 1_000
        let script = ReceiverScript(limits: limits)
        for resource in 0..<20 {
            script.now += .seconds(1)
            _ = script.exchange(request(.get, path: ["\(resource)"]), CoAPResponse(.content, payload: body(900)))
            #expect(script.receiver.heldBytes <= 2_000)
        }
        script.receiver.expire(now: script.now + .seconds(247))
        #expect(script.receiver.heldBytes == 0)
    }
}
