internal import CoAP
internal import Timing

/// CoAP's decoder, and the message layer in both roles: datagrams of the peer between requests, answers and waiting of our
/// own.
enum MessageLayerEntry {
    static func run(_ input: UnsafeRawBufferPointer) throws(Finding) {
        try Self.decode(input)
        var cursor = InputCursor(input)
        var play = Play(configuration: cursor.byte())
        while !cursor.isAtEnd { try play.step(&cursor) }
    }

    /// What was decoded comes out of the encoder as a message that means the same, and no longer than it was.
    static func decode(_ datagram: UnsafeRawBufferPointer) throws(Finding) {
        guard let message = try? CoAPCodec.decode(datagram) else { return }
        let encoded = CoAPCodec.encode(message)
        try Finding.check(encoded.count <= datagram.count, "an encoded message is longer than what was decoded")
        let again = encoded.withUnsafeBytes { try? CoAPCodec.decode($0) }
        try Finding.check(again == message, "a message differs after encoding")
        for policy in [OptionPolicy.endpoint, .proxy] {
            if message.code.isRequest {
                _ = policy.screen(CoAPRequest(message.code, options: message.options, payload: message.payload))
            } else {
                _ = policy.screen(CoAPResponse(message.code, options: message.options, payload: message.payload))
            }
        }
    }

    private struct Play {
        var layer: MessageLayer
        var now = Instant(nanoseconds: 0)
        var requests: [MessageLayer.RequestID] = []
        var exchanges: [MessageLayer.ExchangeID] = []
        /// What the layer sent last: answers can be made of it that fit.
        var sent: [UInt8] = []

        init(configuration: UInt8) {
            self.layer = MessageLayer(
                parameters: TransmissionParameters(),
                options: configuration & 1 == 0 ? .endpoint : .proxy,
                seed: UInt64(configuration)
            )
        }

        mutating func step(_ cursor: inout InputCursor) throws(Finding) {
            var events: [MessageLayer.Event] = []
            let operation = cursor.byte()
            switch operation & 0x0f {
            case 0...4: try self.receive(Array(cursor.bytes()), into: &events)
            case 5:
                // An answer to what was sent last: its message ID, and its token where it has one.
                var datagram = Array(cursor.bytes())
                if datagram.count >= 4, self.sent.count >= 4 {
                    datagram.replaceSubrange(2..<4, with: self.sent[2..<4])
                    let token = self.sent.dropFirst(4).prefix(Int(self.sent[0] & 0x0f))
                    if operation & 0x10 != 0 {
                        datagram[0] = datagram[0] & 0xf0 | UInt8(truncatingIfNeeded: token.count)
                        datagram.insert(contentsOf: token, at: 4)
                    }
                }
                try self.receive(datagram, into: &events)
            case 6: self.now += .milliseconds(cursor.number())
            case 7: self.layer.handleDeadline(now: self.now, into: &events)
            case 8:
                if let due = self.layer.deadline { self.now = max(self.now, due) }
                self.layer.handleDeadline(now: self.now, into: &events)
            case 9:
                guard let id = self.requests.last else { break }
                let detail = cursor.byte()
                let response = CoAPResponse(
                    CoAPCode([2, 4, 5, 2][Int(detail >> 6)], detail & 0x1f), observe: operation & 0x10 == 0 ? nil : 1,
                    payload: Array(cursor.bytes())
                )
                self.layer.respond(to: id, response, now: self.now, into: &events)
            case 10:
                guard let id = self.requests.first else { break }
                self.layer.notify(
                    id, CoAPResponse(.content, observe: UInt32(cursor.byte())), confirmable: operation & 0x10 != 0,
                    now: self.now, into: &events
                )
            case 11:
                let request = CoAPRequest(
                    .get, path: ["3"], observe: operation & 0x20 == 0 ? nil : 0, isConfirmable: operation & 0x10 != 0
                )
                self.exchanges.append(self.layer.send(request, now: self.now, into: &events))
            case 12: self.exchanges.append(self.layer.ping(now: self.now, into: &events))
            case 13: if let id = self.exchanges.last { self.layer.cancel(id) }
            case 14: if let id = self.requests.last { self.layer.reset(id, now: self.now, into: &events) }
            default: self.rareStep(operation >> 4, into: &events)
            }
            try self.take(events)
        }

        private mutating func rareStep(_ operation: UInt8, into events: inout [MessageLayer.Event]) {
            switch operation {
            case 0: self.layer.abandonExchanges()
            case 1: self.layer.beginAssociation()
            case 2: self.layer.rejectsRequests.toggle()
            case 3: _ = self.layer.adopt(self.layer.takeObservations())
            case 4: if let id = self.requests.last { self.layer.forget(id) }
            case 5: if let id = self.requests.last { self.layer.acknowledge(id, into: &events) }
            case 6:
                if let id = self.requests.last {
                    self.layer.postponeAcknowledgement(of: id, until: self.now + .seconds(5))
                }
            case 7: if let id = self.exchanges.last { self.layer.repeatRequest(id, into: &events) }
            case 8: self.exchanges.append(self.layer.sendOnce(CoAPRequest(.get), now: self.now, into: &events))
            default:
                if let id = self.requests.last {
                    self.layer.disown(
                        id, otherwise: CoAPResponse(.serviceUnavailable), now: self.now, into: &events
                    )
                }
            }
        }

        private mutating func receive(_ datagram: [UInt8], into events: inout [MessageLayer.Event]) throws(Finding) {
            var caught: [MessageLayer.Event] = []
            datagram.withUnsafeBytes { self.layer.receive($0, now: self.now, into: &caught) }
            events += caught
            // Nothing answers an acknowledgement or a reset by one of the same kind: two peers would go on for ever.
            guard let first = datagram.first, datagram.count >= 4, first >> 6 == 1, first >> 4 & 3 >= 2 else { return }
            for case .transmit(let bytes) in caught {
                try Finding.check(
                    bytes[0] >> 4 & 3 < 2, "an acknowledgement or a reset is answered by another one"
                )
            }
        }

        private mutating func take(_ events: [MessageLayer.Event]) throws(Finding) {
            for event in events {
                switch event {
                case .transmit(let bytes):
                    self.sent = bytes
                    let isMessage = bytes.withUnsafeBytes { (try? CoAPCodec.decode($0)) != nil }
                    try Finding.check(isMessage, "the layer sends what is no message")
                case .request(let id, let request):
                    _ = (request.uriPath, request.uriQuery, request.contentFormat, request.accept, request.observe)
                    self.requests.append(id)
                case .response(_, let response), .notification(_, let response, _):
                    _ = (response.locationPath, response.maxAge, response.contentFormat)
                default: break
                }
            }
            let held = self.layer.statistics
            try Finding.check(
                held.openRequests <= MessageLayer.Limit.openRequests
                    && held.openExchanges <= MessageLayer.Limit.openExchanges
                    && held.observers <= MessageLayer.Limit.observations
                    && held.observations <= MessageLayer.Limit.observations
                    && held.unacknowledgedMessages <= MessageLayer.Limit.queuedMessages + 1
                    && held.rememberedMessages <= 64,
                "the layer holds more than its limits: \(held)"
            )
        }
    }
}
