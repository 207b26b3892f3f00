package import Timing

/// Block-wise transfer in the role of the server (RFC 7959, RFC 9175): between the message layer of one peer and whoever
/// answers the peer's requests.
///
/// Requests go in as they come; out comes a whole request, or what to answer at once. A body is handed up when its last
/// block is there and not before. Responses go through on their way back: a large one is kept, and served block by block.
///
/// A value without I/O. What it holds is bounded by ``BlockLimits``; a transfer that rests for a lifetime is forgotten with
/// the next call. Requests without a block option whose response fits in one block cost no allocation, as long as they come
/// one at a time.
package struct BlockReceiver: Sendable {
    package enum Verdict: Sendable, Equatable {
        /// A request with its whole body and without the options of the transfer. Ends with ``respond(to:_:now:)``.
        case whole(CoAPRequest)
        /// The answer to this message: the transfer goes on, or it has failed.
        case answer(CoAPResponse)
    }

    /// A request that was handed up and has no response yet: what its response depends on.
    struct Open: Sendable {
        let id: MessageLayer.RequestID
        let code: CoAPCode
        let options: CoAPOptions
        let block1: BlockOption?
        let block2: BlockOption?
    }

    let limits: BlockLimits
    /// Size exponent of the blocks of responses.
    let servedExponent: UInt8
    /// The only open request, as a rule; it needs no allocation.
    private var current: Open?
    private var others: [Open] = []
    /// Bodies that are being received.
    var incoming: [IncomingBody] = []
    /// Bodies that are being served.
    var served: [ServedBody] = []

    /// - Parameter blockSize: largest body of a response that goes out in one message, a power of two from 16 to 1024.
    package init(blockSize: Int, limits: BlockLimits = BlockLimits()) {
        self.servedExponent = BlockOption.sizeExponent(of: blockSize)
        self.limits = limits
    }

    /// When ``expire(now:)`` has something to do; nil while nothing is held.
    package var deadline: Instant? {
        let oldest = (self.incoming.map(\.touched) + self.served.map(\.touched)).min()
        return oldest.map { $0 + self.limits.lifetime }
    }

    /// Bytes of all bodies that are held.
    package var heldBytes: Int {
        self.incoming.reduce(0) { $0 + $1.body.count } + self.served.reduce(0) { $0 + $1.body.count }
    }

    /// Requests that were handed up and have no response yet.
    package var openRequests: Int { self.others.count + (self.current == nil ? 0 : 1) }

    /// Forgets transfers that have rested for a lifetime. Every other call does this too.
    package mutating func expire(now: Instant) {
        if self.incoming.isEmpty && self.served.isEmpty { return }
        self.incoming.removeAll { $0.touched + self.limits.lifetime <= now }
        self.served.removeAll { $0.touched + self.limits.lifetime <= now }
    }

    // MARK: - Requests

    /// Takes a request as the message layer reports it. The ID is for ``respond(to:_:now:)``.
    package mutating func receive(
        _ id: MessageLayer.RequestID, _ request: CoAPRequest, now: Instant
    ) -> Verdict {
        self.expire(now: now)
        let block1: BlockOption?
        let block2: BlockOption?
        do throws(MalformedBlock) {
            block1 = try request.options.block(.block1)
            block2 = try request.options.block(.block2)
        } catch {
            return .answer(CoAPResponse(.badRequest, diagnostic: "malformed block option"))
        }
        if let block1 {
            guard block1.fits(request.payload.count) else {
                return .answer(CoAPResponse(.badRequest, diagnostic: "block of another size than it says"))
            }
            if block1.num > 0 || block1.more {
                return self.add(block1, of: request, id: id, block2: block2, now: now)
            }
        }
        guard request.payload.count <= self.limits.body else { return .answer(self.tooLarge) }
        if let block2, block2.num > 0 {
            if let answer = self.serve(block2, of: request, now: now) { return .answer(answer) }
            // Only what changes nothing may be asked for again to get at the rest of its response.
            guard request.code == .get || request.code == .fetch else {
                return .answer(CoAPResponse(.requestEntityIncomplete))
            }
        }
        if !self.incoming.isEmpty { self.incoming.removeAll { $0.isFor(request) } }
        self.remember(Open(id: id, code: request.code, options: request.options, block1: block1, block2: block2))
        guard request.options.contains(where: { number, _ in number.isOfTransfer }) else { return .whole(request) }
        var whole = request
        whole.options.removeAll { number, _ in number.isOfTransfer }
        return .whole(whole)
    }

    mutating func remember(_ open: Open) {
        if self.current == nil {
            self.current = open
        } else {
            // The message layer holds no more open requests than this; older ones have got no response and never will.
            if self.others.count >= MessageLayer.Limit.openRequests { self.others.removeFirst() }
            self.others.append(open)
        }
    }

    private mutating func take(_ id: MessageLayer.RequestID) -> Open? {
        if self.current?.id == id { return self.current.take() }
        guard let index = self.others.firstIndex(where: { $0.id == id }) else { return nil }
        return self.others.remove(at: index)
    }

    // MARK: - Responses

    /// What to answer to a request that was handed up: the response itself, or its first block.
    ///
    /// - Parameter response: without options of a transfer. A request that is not known keeps it as it is.
    package mutating func respond(
        to id: MessageLayer.RequestID, _ response: CoAPResponse, now: Instant
    ) -> CoAPResponse {
        self.expire(now: now)
        guard let open = self.take(id) else { return response }
        var answer = self.slice(response, for: open, now: now)
        if let block1 = open.block1 {
            let szx = min(block1.szx, BlockOption.sizeExponent(of: self.limits.acceptedBlock))
            answer.options.append(.block1, uint: block1.num << 4 | UInt32(szx))
        }
        return answer
    }

    /// Drops all transfers and open requests: the peer is gone, or the next conversation with it begins.
    package mutating func removeAll() {
        self.current = nil
        self.others = []
        self.incoming = []
        self.served = []
    }
}
