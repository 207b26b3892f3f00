internal import Timing

extension BlockReceiver {
    /// A response that does not fit in one block, kept until the peer has asked for the rest of it.
    struct ServedBody: Sendable {
        /// Method and options of the request that it answers.
        let code: CoAPCode
        let options: CoAPOptions
        /// With its ETag, and without options of a transfer.
        let response: CoAPResponse
        var touched: Instant

        var body: [UInt8] { self.response.payload }

        func answers(_ code: CoAPCode, _ options: CoAPOptions) -> Bool {
            self.code == code && self.options.agrees(with: options) { $0.namesTransfer || $0 == .accept }
        }

        /// One block, nil for one behind the end.
        func block(at offset: Int, szx: UInt8) -> CoAPResponse? {
            guard offset < self.body.count else { return nil }
            let end = min(offset &+ 16 << Int(szx), self.body.count)
            let more = end < self.body.count
            var response = CoAPResponse(self.response.code, options: self.response.options)
            response.options.append(.block2, uint: BlockOption.uint(at: offset, more: more, szx: szx))
            if offset == 0 { response.options.append(.size2, uint: UInt32(clamping: self.body.count)) }
            response.payload = Array(self.body[offset..<end])
            return response
        }
    }

    /// A block of a response that is held; nil if none is.
    mutating func serve(_ block: BlockOption, of request: CoAPRequest, now: Instant) -> CoAPResponse? {
        guard let index = self.served.firstIndex(where: { $0.answers(request.code, request.options) }) else {
            return nil
        }
        self.served[index].touched = now
        return self.served[index].block(at: block.offset, szx: block.szx) ?? Self.behindTheEnd
    }

    private static var behindTheEnd: CoAPResponse { CoAPResponse(.badRequest, diagnostic: "block behind the end") }

    /// The response itself if it fits, else the block of it that the request asks for.
    mutating func slice(_ response: CoAPResponse, for open: Open, now: Instant) -> CoAPResponse {
        // Whatever an older request for this resource got is not what the peer will ask for now.
        if !self.served.isEmpty { self.served.removeAll { $0.answers(open.code, open.options) } }
        let wanted = open.block2
        // Beyond the first block the peer has settled for a size, and its numbers count in that.
        let szx = wanted.map { $0.num > 0 ? $0.szx : min($0.szx, self.servedExponent) } ?? self.servedExponent
        guard response.payload.count > 16 << Int(szx) || (wanted?.num ?? 0) > 0 else {
            return Self.whole(response, szx: wanted == nil ? nil : szx, saysSize: open.options.contains(.size2))
        }
        guard response.code.isSuccess || wanted?.num ?? 0 == 0 else { return response }
        let body = ServedBody(code: open.code, options: open.options, response: Self.tagged(response), touched: now)
        self.served.append(body)
        self.makeRoom()
        return body.block(at: wanted?.offset ?? 0, szx: szx) ?? Self.behindTheEnd
    }

    /// A response that fits. Who asked for blocks or for the size gets to know both.
    private static func whole(_ response: CoAPResponse, szx: UInt8?, saysSize: Bool) -> CoAPResponse {
        guard szx != nil || saysSize else { return response }
        var response = response
        if let szx { response.options.append(.block2, uint: UInt32(szx)) }
        if saysSize { response.options.append(.size2, uint: UInt32(clamping: response.payload.count)) }
        return response
    }

    /// All blocks of one body carry the same ETag, so that the peer notices when the body changes in between
    /// (RFC 7959, section 2.4). Where the response has none, its content makes one.
    private static func tagged(_ response: CoAPResponse) -> CoAPResponse {
        guard !response.options.contains(.eTag) else { return response }
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in response.payload { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
        var tagged = response
        tagged.options.append(.eTag, CoAPToken(hash).bytes)
        return tagged
    }

    private mutating func makeRoom() {
        while self.served.count > 1,
            self.served.count > self.limits.transfers
                || self.served.reduce(0, { $0 + $1.body.count }) > self.limits.totalBytes,
            let oldest = self.served.indices.min(by: { self.served[$0].touched < self.served[$1].touched })
        {
            self.served.remove(at: oldest)
        }
    }
}
