extension BlockSender {
    /// A response of which the first blocks are there.
    struct PartialResponse: Sendable {
        let code: CoAPCode
        /// Of the first block. ETag and Content-Format of the later ones have to agree with it.
        let options: CoAPOptions
        var body: [UInt8]
        /// Size exponent of the block that was asked for last.
        var szx: UInt8
    }

    /// A response to the whole request: all of it, or its first block.
    mutating func beginResponse(_ response: CoAPResponse) -> Step {
        // Nothing asks for more of a body that is whole.
        guard response.code != .continue else { return .failed(.malformed) }
        let block: BlockOption
        do throws(MalformedBlock) {
            guard let first = try response.options.block(.block2) else { return .finished(Self.whole(response)) }
            block = first
        } catch {
            return .failed(.malformed)
        }
        guard block.num == 0, block.fits(response.payload.count) else { return .failed(.malformed) }
        guard block.more else { return .finished(Self.whole(response)) }
        let announced = response.options.uint(.size2).map(Int.init) ?? 0
        guard max(announced, response.payload.count) <= self.maximumBody else { return .failed(.tooLarge) }
        self.response = PartialResponse(
            code: response.code, options: response.options, body: response.payload, szx: block.szx
        )
        return self.askForRest(in: block.szx)
    }

    /// A further block of the response.
    mutating func addToResponse(_ response: CoAPResponse) -> Step {
        // Taken out while it grows: a second reference would copy it with each block.
        guard var partial = self.response.take() else { return self.beginResponse(response) }
        guard response.code.isSuccess else {
            // The peer has forgotten the transfer, or says why it cannot go on.
            return response.code == .requestEntityIncomplete && self.mayRestart
                ? self.restart() : .finished(Self.whole(response))
        }
        let block: BlockOption
        do throws(MalformedBlock) {
            guard let next = try response.options.block(.block2) else { return .failed(.malformed) }
            block = next
        } catch {
            return .failed(.malformed)
        }
        guard
            response.code == partial.code,
            partial.options.agrees(with: response.options, where: { $0 == .eTag || $0 == .contentFormat })
        else { return self.mayRestart ? self.restart() : .failed(.changed) }
        guard block.offset == partial.body.count, block.fits(response.payload.count) else { return .failed(.malformed) }
        guard partial.body.count + response.payload.count <= self.maximumBody else { return .failed(.tooLarge) }
        partial.body += response.payload
        guard block.more else {
            return .finished(
                Self.whole(CoAPResponse(partial.code, options: partial.options, payload: partial.body))
            )
        }
        self.response = partial
        return self.askForRest(in: min(block.szx, partial.szx))
    }

    /// Asks for what follows, in blocks of the size that the peer has chosen, or of ours if that is smaller
    /// (RFC 7959, section 2.4). Observe and the body stay with the first message (RFC 7959, sections 2.6 and 2.7).
    private mutating func askForRest(in szx: UInt8) -> Step {
        guard let held = self.response?.body.count else { return .failed(.malformed) }
        let szx = min(szx, self.responseExponent)
        self.response?.szx = szx
        var options = self.request.options
        options.removeAll { number, _ in number == .observe || number == .contentFormat }
        options.append(.block2, uint: BlockOption.uint(at: held, more: false, szx: szx))
        if let requestTag { options.append(.requestTag, CollectionOfOne(requestTag)) }
        return .send(CoAPRequest(self.request.code, options: options, isConfirmable: self.request.isConfirmable))
    }

    /// Only what changes nothing may be asked for twice.
    private var mayRestart: Bool { !self.hasRestarted && self.request.code == .get }

    private mutating func restart() -> Step {
        self.hasRestarted = true
        self.response = nil
        return .send(self.start())
    }

    private static func whole(_ response: CoAPResponse) -> CoAPResponse {
        let isOfTransfer = { (number: CoAPOptionNumber) in
            number == .block1 || number == .block2 || number == .size2
        }
        guard response.options.contains(where: { number, _ in isOfTransfer(number) }) else { return response }
        var whole = response
        whole.options.removeAll { number, _ in isOfTransfer(number) }
        return whole
    }
}
