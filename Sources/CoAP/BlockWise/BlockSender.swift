/// Block-wise transfer in the role of the client (RFC 7959, RFC 9175): one request of ours, between whoever makes it and
/// the message layer of the peer.
///
/// A large request goes out in blocks, a large response is put together; the owner sends what ``start()`` and
/// ``receive(_:)`` say, each as a message of its own, and gets the whole response at the end. So there is no timer here: the
/// message layer has one for each message, and a transfer may take as long as its blocks arrive.
///
/// The peer chooses smaller blocks at any time (2.31 or 4.13 with a Block1 option, a response in smaller blocks). A peer that
/// refuses without saying what it wants gets another try: with smaller blocks after 4.13 (T29), once from the start
/// after 4.08 or a response that changed midway, once in one message after 4.02, which is what a peer without Block1 says.
///
/// A request and a response that fit in one message cost no allocation.
package struct BlockSender: Sendable {
    package enum Step: Sendable, Equatable {
        /// Send this next.
        case send(CoAPRequest)
        /// The whole response, without options of a transfer.
        case finished(CoAPResponse)
        case failed(Failure)
    }

    /// What is wrong with the blocks of the peer: for a gateway 5.02.
    package enum Failure: Sendable, Equatable {
        /// They contradict the rules or each other.
        case malformed
        /// The response is larger than the largest body that is put together here.
        case tooLarge
        /// The response changed while it was read, and again in the second try.
        case changed
    }

    /// A 4.13 without a hint is followed down to blocks of this size.
    private static let smallestGuess = 64

    let request: CoAPRequest
    /// Size exponent of the blocks to be sent; smaller ones are taken from the peer at any time.
    var szx: UInt8
    /// Size exponent of the blocks to be asked for.
    let responseExponent: UInt8
    let maximumBody: Int
    let requestTag: UInt8?
    /// The request goes out in blocks.
    package private(set) var isSplit: Bool
    /// The block that is at the peer.
    private var outstanding = 0..<0
    /// The response, when it came in blocks.
    var response: PartialResponse?
    /// A second try from the start was made.
    var hasRestarted = false
    /// The peer does not know Block1.
    private var refusesBlocks = false

    /// - Parameters:
    ///   - request: without options of a transfer, its body below 16 MiB.
    ///   - blockSize: largest body that is sent in one message, a power of two from 16 to 1024.
    ///   - maximumBody: largest response that is put together, in bytes.
    ///   - requestTag: tells this transfer from an unfinished one with the same resource (RFC 9175, section 3.4). Nil when
    ///     there can be none: an option less.
    package init(
        _ request: CoAPRequest, blockSize: Int, maximumBody: Int = BlockLimits().body, requestTag: UInt8? = nil
    ) {
        self.request = request
        self.szx = BlockOption.sizeExponent(of: blockSize)
        self.responseExponent = self.szx
        self.maximumBody = maximumBody
        self.requestTag = requestTag
        self.isSplit = request.payload.count > 16 << Int(self.szx)
    }

    /// What to send first.
    package mutating func start() -> CoAPRequest {
        self.isSplit ? self.block(at: 0) : self.request
    }

    /// Takes the response to what was sent last.
    package mutating func receive(_ response: CoAPResponse) -> Step {
        if self.response != nil { return self.addToResponse(response) }
        if response.code == .requestEntityTooLarge, let exponent = self.smallerExponent(after: response) {
            self.szx = exponent
            self.isSplit = true
            return .send(self.block(at: 0))
        }
        guard self.isSplit else { return self.beginResponse(response) }
        return self.receiveForBlock(response)
    }

    // MARK: - Blocks of the request

    private mutating func block(at offset: Int) -> CoAPRequest {
        let end = min(offset + 16 << Int(self.szx), self.request.payload.count)
        let more = end < self.request.payload.count
        self.outstanding = offset..<end
        var options = self.request.options
        options.append(.block1, uint: BlockOption.uint(at: offset, more: more, szx: self.szx))
        if offset == 0 { options.append(.size1, uint: UInt32(clamping: self.request.payload.count)) }
        if let requestTag { options.append(.requestTag, CollectionOfOne(requestTag)) }
        return CoAPRequest(
            self.request.code, options: options, payload: Array(self.request.payload[offset..<end]),
            isConfirmable: self.request.isConfirmable
        )
    }

    private mutating func receiveForBlock(_ response: CoAPResponse) -> Step {
        let isLast = self.outstanding.upperBound == self.request.payload.count
        switch response.code {
        case .continue: return isLast ? .failed(.malformed) : self.goOn(after: response)
        case let code where code.isSuccess && !isLast:
            // A peer that carries out each block by itself says so with the option (RFC 7959, section 2.3). Without the
            // option it has taken a part for the whole.
            return response.options.contains(.block1) ? self.goOn(after: response) : .failed(.malformed)
        case .requestEntityIncomplete where self.outstanding.lowerBound > 0 && !self.hasRestarted:
            self.hasRestarted = true
            return .send(self.block(at: 0))
        case .badOption
        where self.outstanding.lowerBound == 0 && self.request.payload.count <= BlockOption.largestBlock:
            self.isSplit = false
            self.refusesBlocks = true
            return .send(self.request)
        default: return self.beginResponse(response)
        }
    }

    /// The next block, in the size that the peer wants. What it has got so far counts, in whatever size it came.
    private mutating func goOn(after response: CoAPResponse) -> Step {
        do throws(MalformedBlock) {
            if let block = try response.options.block(.block1) {
                guard block.num == UInt32(clamping: self.outstanding.lowerBound >> (Int(self.szx) + 4)) else {
                    return .failed(.malformed)
                }
                self.szx = min(self.szx, block.szx)
            }
        } catch {
            return .failed(.malformed)
        }
        return .send(self.block(at: self.outstanding.upperBound))
    }

    /// The block size to begin again with after 4.13; nil when the body itself is too large.
    private func smallerExponent(after response: CoAPResponse) -> UInt8? {
        let total = self.request.payload.count
        guard !self.refusesBlocks, total > 16 else { return nil }
        // Smaller than now, and small enough to make a difference.
        let largest = self.isSplit ? Int(self.szx) - 1 : Int(min(self.szx, BlockOption.sizeExponent(of: total - 1)))
        guard largest >= 0 else { return nil }
        if let value = response.options.first(.block1), let hint = BlockOption(value), hint.szx <= largest {
            return hint.szx
        }
        if let limit = response.options.uint(.size1), limit < UInt32(clamping: total) { return nil }
        guard self.outstanding.lowerBound == 0, 16 << largest >= Self.smallestGuess else { return nil }
        return UInt8(largest)
    }
}
