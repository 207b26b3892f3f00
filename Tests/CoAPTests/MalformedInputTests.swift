import CoAP
import Testing

/// What the layer does with input that no application sees: the reactions of RFC 7252, sections 3 and 4.
@Suite("Malformed and unexpected messages")
struct MalformedInputTests {
    @Test("Another version is dropped without a word", arguments: CoAPMessageType.allCases, [0, 2, 3] as [UInt8])
    func otherVersion(type: CoAPMessageType, version: UInt8) {
        var script = Script()
        var bytes = CoAPCodec.encode(bootstrapRequest(type))
        bytes[0] = bytes[0] & 0x3f | version << 6
        #expect(script.receive(bytes) == [.dropped(.version)])
    }

    @Test("Less than a header is dropped without a word", arguments: 0..<4)
    func truncatedHeader(length: Int) {
        var script = Script()
        #expect(script.receive(Array([0x40, 1, 0, 9].prefix(length))) == [.dropped(.malformed)])
    }

    /// Bytes behind the first one: code, message ID 9, and what follows; the first byte is made of type and token length.
    private static let malformed: [(tokenLength: UInt8, rest: [UInt8])] = [
        (9, [1, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (10, [1, 0, 9] + [UInt8](repeating: 1, count: 20)),
        (13, [1, 0, 9] + [UInt8](repeating: 1, count: 20)),
        (14, [1, 0, 9] + [UInt8](repeating: 1, count: 20)),
        (15, [1, 0, 9] + [UInt8](repeating: 1, count: 20)),
        (4, [1, 0, 9, 1]),
        (0, [1, 0, 9, 0xf0]),
        (0, [1, 0, 9, 0xbf, 1]),
        (0, [1, 0, 9, 0xb4, 1]),
        (0, [1, 0, 9, 0xff]),
        (0, [0x45, 0, 9, 0xff]),
        (0, [0, 0, 9, 0xb0]),
        (1, [0, 0, 9, 7]),
        (0, [0x20, 0, 9, 0xff]),
    ]

    @Test("A malformed CON gets RST and nothing else", arguments: malformed)
    func malformedConfirmable(tokenLength: UInt8, rest: [UInt8]) {
        var script = Script()
        let events = script.receive([0x40 | tokenLength] + rest)
        #expect(events == [.transmit([0x70, 0, 0, 9]), .dropped(.malformed)])
        #expect(script.layer.isIdle && script.layer.statistics.rememberedMessages == 0)
    }

    @Test("A malformed NON, ACK or RST gets nothing", arguments: malformed, [1, 2, 3] as [UInt8])
    func malformedOthers(input: (tokenLength: UInt8, rest: [UInt8]), type: UInt8) {
        var script = Script()
        let events = script.receive([0x40 | type << 4 | input.tokenLength] + input.rest)
        #expect(events == [.dropped(.malformed)])
    }

    @Test("An empty CON is a ping and gets RST, each time")
    func ping() {
        var script = Script()
        for _ in 0..<3 {
            #expect(script.receive([0x40, 0, 0, 9]) == [.transmit([0x70, 0, 0, 9]), .dropped(.ping)])
        }
        #expect(script.receive([0x50, 0, 0, 9]) == [.dropped(.unexpectedCode)])
    }

    @Test("Class 1, 6 or 7 gets RST as CON and nothing otherwise", arguments: [1, 6, 7] as [UInt8], [0, 5] as [UInt8])
    func reservedClasses(codeClass: UInt8, detail: UInt8) {
        var script = Script()
        for type in CoAPMessageType.allCases {
            let message = CoAPMessage(
                type: type,
                code: CoAPCode(codeClass, detail),
                messageID: 9,
                token: token(1),
                payload: [1]
            )
            let reset: [Event] = type == .confirmable ? [.transmit([0x70, 0, 0, 9])] : []
            #expect(script.receive(message) == reset + [.dropped(.unexpectedCode)])
        }
    }

    @Test("A response that nobody waits for gets RST as CON and nothing as NON or ACK")
    func unexpectedResponse() {
        var script = Script()
        var message = CoAPMessage(type: .confirmable, code: .content, messageID: 9, token: token(1), payload: [1])
        #expect(script.receive(message) == [.transmit([0x70, 0, 0, 9]), .dropped(.unexpectedResponse)])
        message.type = .nonConfirmable
        #expect(script.receive(message) == [.dropped(.unexpectedResponse)])
        message.type = .acknowledgement
        #expect(script.receive(message) == [.dropped(.unexpectedResponse)])
    }

    @Test("A notification that nobody waits for gets RST also as NON, so that it stops")
    func unexpectedNotification() {
        var script = Script()
        let message = CoAPMessage(
            type: .nonConfirmable,
            code: .content,
            messageID: 9,
            token: token(1),
            options: options(adding: [(6, [5])])
        )
        #expect(script.receive(message) == [.transmit([0x70, 0, 0, 9]), .dropped(.unexpectedResponse)])
    }

    @Test("An ACK with a request and a RST that is not empty are dropped, also when the message ID matches")
    func contentWhereNoneBelongs() throws {
        var script = Script()
        let (_, events) = script.send(CoAPRequest(.get, path: ["0"]))
        let request = try #require(transmitted(events).first)
        for code in [CoAPCode.get, .post, CoAPCode(0, 31)] {
            let message = CoAPMessage(
                type: .acknowledgement,
                code: code,
                messageID: request.messageID,
                token: request.token
            )
            #expect(script.receive(message) == [.dropped(.unexpectedCode)])
        }
        for code in [CoAPCode.get, .content, .internalServerError] {
            let message = CoAPMessage(type: .reset, code: code, messageID: request.messageID, token: request.token)
            #expect(script.receive(message) == [.dropped(.unexpectedCode)])
        }
        #expect(script.layer.statistics.openExchanges == 1)
    }

    @Test("An empty ACK and a RST that match nothing are dropped")
    func unmatchedEmptyMessages() {
        var script = Script()
        #expect(script.receive(empty(.acknowledgement, 9)) == [.dropped(.unexpectedAcknowledgement)])
        #expect(script.receive(empty(.reset, 9)) == [.dropped(.unexpectedReset)])
    }

    @Test("A method without a name is handed up, for 4.05 is not the layer's to say")
    func unknownMethod() {
        var script = Script()
        let message = CoAPMessage(type: .confirmable, code: CoAPCode(0, 31), messageID: 9, token: token(1))
        #expect(requested(script.receive(message))?.request.code == CoAPCode(0, 31))
    }
}

/// RFC 7252, sections 5.4.1, 5.4.3, 5.4.5 and 5.7.
@Suite("Options that are not understood")
struct OptionPolicyTests {
    /// Number, value, and whether it is taken by an endpoint and by a proxy.
    private static let cases: [(option: (UInt16, [UInt8]), endpoint: Bool, proxy: Bool)] = [
        ((2049, [1]), false, true),  // critical, safe
        ((2051, [1]), false, false),  // critical, unsafe
        ((2050, [1]), true, false),  // elective, unsafe
        ((2048, [1]), true, true),  // elective, safe
        ((9, [1]), false, true),  // OSCORE
        ((19, [0]), false, false),  // Q-Block1
        ((31, [0]), false, false),  // Q-Block2
        ((17, [0, 0, 0]), false, true),  // Accept, too long
        ((7, [0, 0, 0]), false, false),  // Uri-Port, too long
        ((12, [0, 0, 0]), true, true),  // Content-Format, too long
        ((14, [0, 0, 0, 0, 0]), true, false),  // Max-Age, too long
        ((5, [0]), false, true),  // If-None-Match with a value
        ((3, []), false, false),  // Uri-Host without a value
        ((15, []), true, true),  // Uri-Query without a value is permitted
        ((11, [UInt8](repeating: 0x61, count: 256)), false, false),
        ((60, [1]), true, true),
        ((258, [2]), true, true),
    ]

    @Test(
        "T31: a request with an option that must be understood, OSCORE among them, gets 4.02 as CON and nothing as NON",
        arguments: cases)
    func requests(option: (UInt16, [UInt8]), endpoint: Bool, proxy: Bool) throws {
        for (policy, isTaken) in [(OptionPolicy.endpoint, endpoint), (.proxy, proxy)] {
            var script = Script(policy)
            let events = script.receive(bootstrapRequest(adding: [option]))
            let other = script.receive(bootstrapRequest(.nonConfirmable, messageID: 101, adding: [option]))
            if isTaken {
                #expect(requested(events) != nil)
                #expect(requested(other) != nil)
            } else {
                #expect(reported(events) == [.dropped(.optionNotUnderstood)])
                let answer = try #require(transmitted(events).first)
                #expect(answer.type == .acknowledgement && answer.code == .badOption)
                #expect(answer.messageID == 100 && answer.token == token(1, 2))
                #expect(other == [.dropped(.optionNotUnderstood)])
                #expect(script.layer.statistics.openRequests == 0)
            }
        }
    }

    @Test("An endpoint takes ignored options out, a proxy leaves safe ones in")
    func ignoredOptions() throws {
        let adding: [(UInt16, [UInt8])] = [(2048, [1]), (12, [0, 0, 0])]
        var endpoint = Script(.endpoint)
        let taken = try #require(requested(endpoint.receive(bootstrapRequest(adding: adding))))
        #expect(taken.request.options == options(path: "bs", query: ["ep=meter"]))
        var proxy = Script(.proxy)
        let passed = try #require(requested(proxy.receive(bootstrapRequest(adding: adding))))
        #expect(passed.request.options == bootstrapRequest(adding: adding).options)
    }

    @Test("Of an elective option that may appear once the first one counts")
    func repeatedElective() throws {
        var script = Script()
        let events = script.receive(bootstrapRequest(adding: [(12, [1]), (12, [2])]))
        let request = try #require(requested(events)?.request)
        #expect(request.contentFormat == 1)
        #expect(request.options.count { $0.number == .contentFormat } == 1)
    }

    @Test("A critical option that may appear once rejects the request when it appears twice")
    func repeatedCritical() {
        var script = Script()
        let events = script.receive(bootstrapRequest(adding: [(17, [1]), (17, [1])]))
        #expect(transmitted(events).first?.code == .badOption)
    }

    @Test("A repeated ETag is fine in a request and superfluous in a response")
    func repeatedETag() throws {
        var script = Script()
        let events = script.receive(bootstrapRequest(adding: [(4, [1]), (4, [2])]))
        #expect(requested(events)?.request.options.count { $0.number == .eTag } == 2)

        let (id, sent) = script.send(CoAPRequest(.get))
        let request = try #require(transmitted(sent).first)
        let response = CoAPMessage(
            type: .acknowledgement,
            code: .content,
            messageID: request.messageID,
            token: request.token,
            options: options(adding: [(4, [1]), (4, [2])])
        )
        #expect(
            script.receive(response) == [.response(id, CoAPResponse(.content, options: options(adding: [(4, [1])])))]
        )
    }

    @Test("A request through a forward proxy gets 5.05", arguments: [35, 39] as [UInt16])
    func forwardProxy(number: UInt16) {
        var script = Script()
        let events = script.receive(bootstrapRequest(adding: [(number, Array("coap".utf8))]))
        #expect(transmitted(events).map(\.code) == [.proxyingNotSupported])
        #expect(reported(events) == [.dropped(.proxyRequest)])
    }

    @Test("A refusal is replayed like any other answer")
    func refusalIsReplayed() {
        var script = Script()
        let message = bootstrapRequest(adding: [(2049, [])])
        let first = script.receive(message)
        #expect(script.receive(message) == [first[0], .dropped(.duplicate)])
    }

    @Test("A response with an option that must be understood is rejected, and the exchange fails")
    func responses() throws {
        for type in [CoAPMessageType.confirmable, .nonConfirmable, .acknowledgement] {
            for (policy, number) in [(OptionPolicy.endpoint, UInt16(2049)), (.proxy, 2050)] {
                var script = Script(policy)
                let (id, sent) = script.send(CoAPRequest(.get))
                let request = try #require(transmitted(sent).first)
                let response = CoAPMessage(
                    type: type,
                    code: .content,
                    messageID: type == .acknowledgement ? request.messageID : 9,
                    token: request.token,
                    options: options(adding: [(number, [])])
                )
                let reset: [Event] = type == .confirmable ? [.transmit([0x70, 0, 0, 9])] : []
                #expect(script.receive(response) == reset + [.failed(id, .unusableResponse)])
                #expect(script.layer.isIdle)
            }
        }
    }
}
