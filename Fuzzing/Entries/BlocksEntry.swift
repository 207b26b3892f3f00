internal import CoAP
internal import Timing

/// Bodies in blocks: requests of a peer as they are put together, and a request of ours whose answers a peer makes up.
enum BlocksEntry {
    static func run(_ input: UnsafeRawBufferPointer) throws(Finding) {
        var cursor = InputCursor(input)
        let configuration = cursor.byte()
        if configuration & 1 == 0 {
            var play = ReceiverPlay(configuration)
            while !cursor.isAtEnd { try play.step(&cursor) }
        } else {
            try Self.send(configuration, &cursor)
        }
    }

    /// What the peer's body consists of, by transfer and place: a body that was put together wrongly has other bytes.
    private static func content(_ transfer: UInt8, _ range: Range<Int>) -> [UInt8] {
        range.map { UInt8(truncatingIfNeeded: ($0 &* 167 &+ ($0 >> 8) &* 31) ^ Int(transfer) &* 89) }
    }

    private struct ReceiverPlay {
        var layer: MessageLayer
        var receiver: BlockReceiver
        let limits: BlockLimits
        var now = Instant(nanoseconds: 0)
        var messageID: UInt16 = 0
        /// Only as long as all came from the peer whose contents are known.
        var isHonest = true
        var open: [MessageLayer.RequestID] = []

        init(_ configuration: UInt8) {
            var limits = BlockLimits()
            limits.body = configuration & 2 == 0 ? 2048 : 100
            limits.transfers = configuration & 4 == 0 ? 4 : 1
            limits.acceptedBlock = configuration & 8 == 0 ? 1024 : 64
            self.limits = limits
            self.receiver = BlockReceiver(blockSize: configuration & 16 == 0 ? 1024 : 16, limits: limits)
            self.layer = MessageLayer(parameters: TransmissionParameters(), options: .endpoint, seed: 1)
        }

        mutating func step(_ cursor: inout InputCursor) throws(Finding) {
            let operation = cursor.byte()
            switch operation & 7 {
            case 0:
                self.isHonest = false
                try self.receive(Array(cursor.bytes()))
            case 1:
                self.now += .seconds(Int(cursor.byte()))
                self.receiver.expire(now: self.now)
            case 2: try self.respond(payload: cursor.number() % (self.limits.body + 1))
            case 3:
                // Nobody answers a request any more after that.
                self.receiver.removeAll()
                self.open = []
            default: try self.receive(self.block(operation, &cursor))
            }
            try Finding.check(
                self.receiver.heldBytes <= 4 * self.limits.body && self.receiver.openRequests <= 33,
                "\(self.receiver.heldBytes) bytes and \(self.receiver.openRequests) requests are held"
            )
        }

        /// A datagram with a block of one of four transfers.
        private mutating func block(_ operation: UInt8, _ cursor: inout InputCursor) -> [UInt8] {
            let transfer = operation >> 3 & 3
            let place = cursor.number()
            let shape = cursor.byte()
            let szx = shape & 7
            var options = CoAPOptions()
            options.append(.uriPath, string: "\(transfer & 1)")
            if operation & 0x80 != 0 { options.append(.block2, uint: UInt32(cursor.number())) }
            let size = 16 << Int(min(szx, 6))
            let start = (place & 0xff) * size
            var end = start + size
            if shape & 8 == 0 { end = start + min(size, Int(cursor.byte()) * 4) }
            if operation & 0x20 == 0 {
                options.append(.block1, uint: UInt32(place & 0xff) << 4 | UInt32(shape & 8) | UInt32(szx))
            }
            if shape & 0x10 != 0 { options.append(.size1, uint: UInt32(cursor.number())) }
            if transfer & 2 != 0 { options.append(.requestTag, [transfer]) }
            self.messageID &+= 1
            let code: CoAPCode = shape & 0x20 == 0 ? .put : operation & 0x40 == 0 ? .fetch : .get
            return CoAPCodec.encode(
                CoAPMessage(
                    type: .nonConfirmable, code: code, messageID: self.messageID, options: options,
                    payload: operation & 0x20 == 0 ? BlocksEntry.content(transfer, start..<end) : []
                )
            )
        }

        private mutating func receive(_ datagram: [UInt8]) throws(Finding) {
            var events: [MessageLayer.Event] = []
            datagram.withUnsafeBytes { self.layer.receive($0, now: self.now, into: &events) }
            for case .request(let id, let request) in events {
                switch self.receiver.receive(id, request, now: self.now) {
                case .answer(let response):
                    try self.check(response)
                    self.layer.respond(to: id, response, now: self.now, into: &events)
                case .whole(let whole):
                    try self.check(whole)
                    self.open.append(id)
                }
            }
        }

        private mutating func respond(payload count: Int) throws(Finding) {
            guard let id = self.open.popLast() else { return }
            let response = CoAPResponse(.content, payload: [UInt8](repeating: 0x55, count: count))
            let answer = self.receiver.respond(to: id, response, now: self.now)
            try self.check(answer)
            var events: [MessageLayer.Event] = []
            self.layer.respond(to: id, answer, now: self.now, into: &events)
        }

        private func check(_ response: CoAPResponse) throws(Finding) {
            try Finding.check(response.payload.count <= 1024, "an answer has \(response.payload.count) bytes")
            if let value = response.options.first(.block2) {
                let block = BlockOption(value)
                try Finding.check(block != nil, "an answer has a malformed Block2")
                try Finding.check(
                    block.map { response.payload.count <= $0.size } ?? true, "a block is larger than it says"
                )
            }
        }

        private func check(_ whole: CoAPRequest) throws(Finding) {
            try Finding.check(whole.payload.count <= self.limits.body, "a body of \(whole.payload.count) bytes")
            for option in [CoAPOptionNumber.block1, .block2, .size1, .size2] {
                try Finding.check(!whole.options.contains(option), "a whole request has the option \(option)")
            }
            guard self.isHonest, !whole.payload.isEmpty else { return }
            // Two transfers are for each path, told apart by a Request-Tag that is not handed on.
            let path = whole.uriPath?.first.flatMap { UInt8($0) } ?? 0
            let isOfOne = [path, path | 2].contains { transfer in
                whole.payload == BlocksEntry.content(transfer, 0..<whole.payload.count)
            }
            try Finding.check(isOfOne, "a body was put together wrongly")
        }
    }

    private static func send(_ configuration: UInt8, _ cursor: inout InputCursor) throws(Finding) {
        let body = Self.content(1, 0..<(cursor.number() & 0xfff))
        let size = 16 << Int(configuration >> 1 & 3) * 2
        let limit = 4096
        let request = CoAPRequest(configuration & 8 == 0 ? .put : .get, path: ["0"], payload: body)
        var sender = BlockSender(
            request, blockSize: size, maximumBody: limit, requestTag: configuration & 16 == 0 ? nil : 7
        )
        try Self.check(sender.start(), of: body)
        while !cursor.isAtEnd {
            let response: CoAPResponse
            if cursor.byte() & 1 == 0 {
                var options = CoAPOptions()
                let code = CoAPCode(rawValue: cursor.byte())
                let shape = cursor.byte()
                if shape & 1 != 0 { options.append(.eTag, [shape >> 6]) }
                if shape & 2 != 0 { options.append(.block2, uint: UInt32(cursor.number())) }
                if shape & 4 != 0 { options.append(.block1, uint: UInt32(cursor.number())) }
                if shape & 8 != 0 { options.append(.size1, uint: UInt32(cursor.number())) }
                if shape & 16 != 0 { options.append(.size2, uint: UInt32(cursor.number())) }
                let count = shape & 32 != 0 ? 16 << Int(cursor.byte() & 7) : Int(cursor.byte())
                response = CoAPResponse(code, options: options, payload: [UInt8](repeating: 9, count: count))
            } else {
                guard let message = try? CoAPCodec.decode(cursor.bytes()), message.code.isResponse else { continue }
                response = CoAPResponse(message.code, options: message.options, payload: message.payload)
            }
            switch sender.receive(response) {
            case .send(let next): try Self.check(next, of: body)
            case .finished(let whole):
                try Finding.check(
                    whole.payload.count <= max(limit, response.payload.count),
                    "a response of \(whole.payload.count) bytes"
                )
                return
            case .failed: return
            }
        }
    }

    /// Each block is a part of the body, from where it says.
    private static func check(_ request: CoAPRequest, of body: [UInt8]) throws(Finding) {
        guard let value = request.options.first(.block1) else {
            try Finding.check(
                request.payload == body || request.payload.isEmpty, "a request holds a part without saying so")
            return
        }
        guard let block = BlockOption(value) else { throw Finding("a request has a malformed Block1") }
        let end = min(block.offset + block.size, body.count)
        try Finding.check(
            block.offset < end && request.payload == Array(body[block.offset..<end])
                && block.more == (end < body.count),
            "a block is not the part of the body that it says"
        )
    }
}
