internal import Timing

extension BlockReceiver {
    /// A request body of which the first blocks are there.
    struct IncomingBody: Sendable {
        let code: CoAPCode
        /// Of the first block. The later ones have to agree with it.
        let options: CoAPOptions
        var body: [UInt8]
        var touched: Instant

        /// The request names the same transfer: method, resource and Request-Tag.
        func isFor(_ request: CoAPRequest) -> Bool {
            self.code == request.code && self.options.agrees(with: request.options) { $0.namesTransfer }
        }

        /// Where blocks differ in anything but their place, they do not belong to one body.
        func agrees(with request: CoAPRequest) -> Bool {
            self.options.agrees(with: request.options) { $0.staysInTransfer }
        }

        /// Whether a block that came before comes again, just as it was.
        func holds(_ payload: [UInt8], at offset: Int) -> Bool {
            offset &+ payload.count <= self.body.count
                && self.body[offset..<offset &+ payload.count].elementsEqual(payload)
        }
    }

    /// The answer to a body that is larger than what is put together here (RFC 7959, section 2.9.3).
    var tooLarge: CoAPResponse {
        var response = CoAPResponse(.requestEntityTooLarge)
        response.options.append(.size1, uint: UInt32(clamping: self.limits.body))
        return response
    }

    /// One block of a body that does not fit in it alone.
    mutating func add(
        _ block: BlockOption, of request: CoAPRequest, id: MessageLayer.RequestID, block2: BlockOption?, now: Instant
    ) -> Verdict {
        let known = self.incoming.firstIndex { $0.isFor(request) }
        if block.num == 0 { return self.begin(block, of: request, inPlaceOf: known, now: now) }
        guard let index = known else { return .answer(CoAPResponse(.requestEntityIncomplete)) }
        let held = self.incoming[index].body.count
        guard self.incoming[index].agrees(with: request) else {
            self.incoming.remove(at: index)
            return .answer(CoAPResponse(.requestEntityIncomplete))
        }
        if block.offset < held {
            // Sent again, because its answer was lost for good. Another content means another body.
            guard block.more, self.incoming[index].holds(request.payload, at: block.offset) else {
                self.incoming.remove(at: index)
                return .answer(CoAPResponse(.requestEntityIncomplete))
            }
            self.incoming[index].touched = now
            return .answer(self.goOn(after: block))
        }
        // A block is missing. What is there stays, so that the sender may go on from there.
        guard block.offset == held else { return .answer(CoAPResponse(.requestEntityIncomplete)) }
        guard held + request.payload.count <= self.limits.body else {
            self.incoming.remove(at: index)
            return .answer(self.tooLarge)
        }
        self.incoming[index].body += request.payload
        self.incoming[index].touched = now
        guard !block.more else {
            self.makeRoom()
            return .answer(self.goOn(after: block))
        }
        let body = self.incoming.remove(at: index)
        var whole = CoAPRequest(
            request.code, options: body.options, payload: body.body, isConfirmable: request.isConfirmable
        )
        self.remember(Open(id: id, code: request.code, options: body.options, block1: block, block2: block2))
        whole.options.removeAll { number, _ in number.isOfTransfer }
        return .whole(whole)
    }

    /// The first block begins a transfer, also in the place of an older one (RFC 7959, section 2.5).
    private mutating func begin(
        _ block: BlockOption, of request: CoAPRequest, inPlaceOf older: Int?, now: Instant
    ) -> Verdict {
        if let older { self.incoming.remove(at: older) }
        let announced = request.options.uint(.size1).map(Int.init) ?? 0
        guard max(announced, request.payload.count) <= self.limits.body else { return .answer(self.tooLarge) }
        self.incoming.append(
            IncomingBody(code: request.code, options: request.options, body: request.payload, touched: now)
        )
        self.makeRoom()
        return .answer(self.goOn(after: block))
    }

    /// 2.31, with the size that the sender should use from now on.
    private func goOn(after block: BlockOption) -> CoAPResponse {
        let szx = min(block.szx, BlockOption.sizeExponent(of: self.limits.acceptedBlock))
        var response = CoAPResponse(.continue)
        response.options.append(.block1, uint: block.num << 4 | 8 | UInt32(szx))
        return response
    }

    /// The bodies that rested longest give way until the rest is within the bounds; the one just touched stays.
    private mutating func makeRoom() {
        while self.incoming.count > 1,
            self.incoming.count > self.limits.transfers
                || self.incoming.reduce(0, { $0 + $1.body.count }) > self.limits.totalBytes,
            let oldest = self.incoming.indices.min(by: { self.incoming[$0].touched < self.incoming[$1].touched })
        {
            self.incoming.remove(at: oldest)
        }
    }
}
