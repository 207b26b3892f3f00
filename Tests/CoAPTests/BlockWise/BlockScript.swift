import Testing
import Timing

@testable import CoAP

/// A receiver, its requests, and a clock that only moves when told to.
final class ReceiverScript {
    var receiver: BlockReceiver
    var now = Instant.now
    private var serial: UInt64 = 0

    init(blockSize: Int = 64, limits: BlockLimits = BlockLimits()) {
        self.receiver = BlockReceiver(blockSize: blockSize, limits: limits)
    }

    var lastID: MessageLayer.RequestID { MessageLayer.RequestID(serial: self.serial) }

    func receive(_ request: CoAPRequest) -> BlockReceiver.Verdict {
        self.serial += 1
        return self.receiver.receive(self.lastID, request, now: self.now)
    }

    /// The answer to one block, nil if it made the request whole.
    func answer(_ request: CoAPRequest) -> CoAPResponse? {
        if case .answer(let response) = self.receive(request) { response } else { nil }
    }

    /// The whole request, nil if there is none yet.
    func whole(_ request: CoAPRequest) -> CoAPRequest? {
        if case .whole(let whole) = self.receive(request) { whole } else { nil }
    }

    func respond(_ response: CoAPResponse) -> CoAPResponse {
        self.receiver.respond(to: self.lastID, response, now: self.now)
    }

    /// A request, and the answer that its response becomes.
    func exchange(_ request: CoAPRequest, _ response: CoAPResponse) -> CoAPResponse? {
        switch self.receive(request) {
        case .answer(let answer): answer
        case .whole: self.respond(response)
        }
    }
}

/// Bytes that differ from block to block.
func body(_ count: Int, from first: Int = 0) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: ($0 + first) &* 31 ^ $0 >> 8) }
}

/// `PUT /3/0`, or another request, with options of a transfer.
func request(
    _ code: CoAPCode = .put, path: [String] = ["3", "0"], block1: (Int, Bool, Int)? = nil,
    block2: (Int, Bool, Int)? = nil,
    size1: UInt32? = nil, tag: [UInt8]? = nil, contentFormat: UInt16? = nil, accept: UInt16? = nil,
    payload: [UInt8] = []
) -> CoAPRequest {
    var request = CoAPRequest(code, path: path, contentFormat: contentFormat, accept: accept, payload: payload)
    if let block1 { request.options.append(.block1, uint: blockValue(block1)) }
    if let block2 { request.options.append(.block2, uint: blockValue(block2)) }
    if let size1 { request.options.append(.size1, uint: size1) }
    if let tag { request.options.append(.requestTag, tag) }
    return request
}

func response(
    _ code: CoAPCode, block1: (Int, Bool, Int)? = nil, block2: (Int, Bool, Int)? = nil, size1: UInt32? = nil,
    size2: UInt32? = nil, eTag: [UInt8]? = nil, contentFormat: UInt16? = nil, payload: [UInt8] = []
) -> CoAPResponse {
    var response = CoAPResponse(code, contentFormat: contentFormat, payload: payload)
    if let block1 { response.options.append(.block1, uint: blockValue(block1)) }
    if let block2 { response.options.append(.block2, uint: blockValue(block2)) }
    if let size1 { response.options.append(.size1, uint: size1) }
    if let size2 { response.options.append(.size2, uint: size2) }
    if let eTag { response.options.append(.eTag, eTag) }
    return response
}

/// Number, more, and the size in bytes.
private func blockValue(_ block: (Int, Bool, Int)) -> UInt32 {
    UInt32(block.0) << 4 | (block.1 ? 8 : 0) | UInt32((block.2 / 16).trailingZeroBitCount)
}

extension CoAPOptions {
    /// Number, more and size of a block option, as text that reads as in RFC 7959: `2/1/64`.
    func written(_ number: CoAPOptionNumber) -> String? {
        self.first(number).map { value in
            BlockOption(value).map { "\($0.num)/\($0.more ? 1 : 0)/\($0.size)" } ?? "malformed"
        }
    }
}
