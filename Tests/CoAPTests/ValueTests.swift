import CoAP
import Testing

@Suite("Codes, tokens, options and requests")
struct ValueTests {
    @Test("A code is written with its class and two digits of detail")
    func codeDescription() {
        #expect(CoAPCode.notFound.description == "4.04")
        #expect(CoAPCode.continue.description == "2.31")
        #expect(CoAPCode.badGateway.rawValue == 0xa2)
    }

    @Test("Every code is empty, a request, a response or reserved, and only one of them")
    func codeClasses() {
        for raw in UInt8.min...UInt8.max {
            let code = CoAPCode(rawValue: raw)
            let kinds = [code.isEmpty, code.isRequest, code.isResponse, code.isReserved]
            #expect(kinds.count { $0 } == 1, "\(code)")
        }
        #expect(CoAPCode(1, 0).isReserved && CoAPCode(6, 3).isReserved && CoAPCode(7, 31).isReserved)
    }

    @Test("A token keeps zero to eight bytes in order and refuses nine")
    func tokens() {
        for count in 0...8 {
            let bytes = (0..<count).map { UInt8($0) }
            #expect(CoAPToken(bytes)?.bytes == bytes)
        }
        #expect(CoAPToken([UInt8](repeating: 0, count: 9)) == nil)
        #expect(token(0) != token(0, 0))
        #expect(CoAPToken(0x0102_0304_0506_0708) == token(1, 2, 3, 4, 5, 6, 7, 8))
    }

    @Test("Options come out by number, repeated ones in the order of their arrival")
    func sortedOptions() {
        var options = CoAPOptions()
        options.append(.uriQuery, string: "ep=a")
        options.append(.uriPath, string: "rd")
        options.append(.contentFormat, uint: 40)
        options.append(.uriQuery, string: "lt=60")
        options.append(.uriPath, string: "5a3f")
        #expect(options.map(\.number.rawValue) == [11, 11, 12, 15, 15])
        #expect(options.strings(.uriPath) == ["rd", "5a3f"])
        #expect(options.strings(.uriQuery) == ["ep=a", "lt=60"])
        #expect(options.count == 5)
    }

    @Test("Options added in any order are the same as options added by number")
    func anyOrder() {
        for seed in UInt64(0)..<300 {
            var random = Seeded(state: seed)
            let list = (0..<10).map { _ in (UInt16.random(in: 0...5, using: &random), random.bytes(0...3)) }
            var shuffled = CoAPOptions()
            for (number, value) in list {
                shuffled.append(.init(rawValue: number), value)
            }
            var sorted = CoAPOptions()
            for number in UInt16(0)...5 {
                for (candidate, value) in list where candidate == number {
                    sorted.append(.init(rawValue: number), value)
                }
            }
            #expect(shuffled == sorted, "seed \(seed)")
        }
    }

    @Test(
        "Integers are sent in their shortest form",
        arguments: [
            (0, []), (1, [1]), (255, [255]), (256, [1, 0]), (65_536, [1, 0, 0]), (.max, [255, 255, 255, 255]),
        ]
            as [(UInt32, [UInt8])]
    )
    func shortestIntegers(value: UInt32, bytes: [UInt8]) {
        var options = CoAPOptions()
        options.append(.maxAge, uint: value)
        #expect(options.first(.maxAge).map(Array.init) == bytes)
        #expect(options.uint(.maxAge) == value)
    }

    @Test("Leading zeros of an integer are accepted, more than 32 bits are not")
    func longIntegers() {
        var options = CoAPOptions()
        options.append(.size1, [0, 0, 0, 0, 0, 7])
        #expect(options.uint(.size1) == 7)
        options.set(.size1, uint: nil)
        options.append(.size1, [1, 0, 0, 0, 0])
        #expect(options.uint(.size1) == nil)
    }

    @Test("Text that is not UTF-8 is no text")
    func invalidText() {
        var request = CoAPRequest(.get, path: ["bs"])
        #expect(request.uriPath == ["bs"])
        request.options.append(.uriPath, [0xc3, 0x28])
        #expect(request.uriPath == nil)
        #expect(CoAPRequest(.get).uriPath == [])
    }

    @Test("Options are removed and replaced by number")
    func removal() {
        var request = CoAPRequest(.get, path: ["a"], query: ["b"], contentFormat: 11542, accept: 110, observe: 0)
        #expect(request.contentFormat == 11542 && request.accept == 110 && request.observe == 0)
        request.contentFormat = 0
        request.observe = nil
        request.options.removeAll(.uriQuery)
        #expect(request.options.map(\.number) == [.uriPath, .contentFormat, .accept])
        #expect(request.contentFormat == 0)
        #expect(!request.options.contains(.observe))
    }

    @Test("The low bits of a number say critical, unsafe and no cache key")
    func optionClasses() {
        #expect(CoAPOptionNumber.uriPath.isCritical && CoAPOptionNumber.uriPath.isUnsafe)
        #expect(CoAPOptionNumber.accept.isCritical && !CoAPOptionNumber.accept.isUnsafe)
        #expect(!CoAPOptionNumber.maxAge.isCritical && CoAPOptionNumber.maxAge.isUnsafe)
        let noCacheKey: [CoAPOptionNumber] = [.size1, .size2, .echo]
        let cacheKey: [CoAPOptionNumber] = [.eTag, .contentFormat, .accept, .requestTag]
        #expect(noCacheKey.allSatisfy(\.isNoCacheKey) && !cacheKey.contains(where: \.isNoCacheKey))
        #expect(CoAPOptionNumber.uriQuery.isRepeatable && !CoAPOptionNumber.contentFormat.isRepeatable)
    }
}

@Suite("Block options")
struct BlockOptionTests {
    @Test("Number, more and size exponent come from one integer")
    func fields() throws {
        let block = try #require(BlockOption([0x01, 0x2e]))
        #expect(block.num == 18 && block.more && block.szx == 6 && block.size == 1024 && block.offset == 18 * 1024)
        #expect(block.uint == 0x12e)
        #expect(BlockOption([]) == BlockOption(num: 0, more: false, szx: 0))
        #expect(BlockOption([0xff, 0xff, 0xf6])?.num == 0xfffff)
    }

    @Test("Size exponent 7 and four bytes are refused")
    func malformed() {
        #expect(BlockOption([0x07]) == nil)
        #expect(BlockOption([0, 0, 0, 0]) == nil)
        #expect(BlockOption(num: 1 << 20, more: false, szx: 0) == nil)
    }
}
