package import CoAP

/// What a device asks for on the registration leg, judged by method and path alone.
package enum RegistrationRequest: Sendable, Equatable {
    case register
    /// Of the registration that this device has; so is De-register.
    case update
    case deregister
    /// An Update or De-register of a location under `/rd` that this device does not have. Without a registration here it
    /// may be one that outlived the gateway's memory of it: the server knows (``location(of:)``).
    case stray
    /// Anything else that a server takes from registered devices: Send, for one.
    case other
    /// A location that is not this device's. A plain server may know registrations by their location alone, so nobody
    /// gets to name another's.
    case unknownLocation
    /// A bootstrap request in the wrong place: it would get past the rewriting of accounts.
    case bootstrap
    /// A path that two programs may read in two ways (T26).
    case malformed

    private static let rd = Array("rd".utf8)
    private static let bootstrapPaths = [Array("bs".utf8), Array("bspack".utf8)]

    /// - Parameter location: the segments of the Location-Path that Register was answered with; empty without a
    ///   registration.
    package init(_ request: CoAPRequest, location: [[UInt8]]) {
        var count = 0
        var isOwn = !location.isEmpty
        var isRegistrationPath = false
        var isBesideOwn = false
        for (number, segment) in request.options {
            if number > .uriPath { break }
            guard number == .uriPath else { continue }
            guard Self.isUnambiguous(segment) else {
                self = .malformed
                return
            }
            if count == 0 {
                if Self.bootstrapPaths.contains(where: { segment.elementsEqual($0) }) {
                    self = .bootstrap
                    return
                }
                isRegistrationPath = segment.elementsEqual(Self.rd)
                isBesideOwn = isOwn && segment.elementsEqual(location[0])
            }
            isOwn = isOwn && count < location.count && segment.elementsEqual(location[count])
            count += 1
        }
        if isRegistrationPath && count == 1 && request.code == .post {
            self = .register
        } else if isOwn && count == location.count && request.code == .post {
            self = .update
        } else if isOwn && count == location.count && request.code == .delete {
            self = .deregister
        } else if isRegistrationPath && count > 1 && (request.code == .post || request.code == .delete) {
            self = .stray
        } else if isRegistrationPath || isBesideOwn || request.code == .delete {
            self = .unknownLocation
        } else {
            self = .other
        }
    }

    /// The path of a request, as a Location-Path would have it.
    static func location(of request: CoAPRequest) -> [[UInt8]] {
        request.options.compactMap { number, segment in number == .uriPath ? Array(segment) : nil }
    }

    private static func isUnambiguous(_ segment: ArraySlice<UInt8>) -> Bool {
        let dot = UInt8(ascii: ".")
        let isDots = segment.count <= 2 && segment.allSatisfy { $0 == dot }
        return !isDots && !segment.contains(UInt8(ascii: "/"))
    }
}

/// What the query of a Register or an Update says about the life of the registration (LwM2M Core, sections 6.2.1 and
/// 6.2.2). What is not there stays as it was.
struct RegistrationParameters: Sendable, Equatable {
    /// Seconds when a Register names none.
    static let defaultLifetime: UInt32 = 86_400

    /// Seconds; 0 stands for ever.
    var lifetime: UInt32?
    /// The binding mode names the queue (version 1.0), as in `b=UQ`.
    var bindingQueues: Bool?
    /// The parameter `Q` (versions from 1.1 on).
    var hasQueueFlag = false

    init(_ request: CoAPRequest) {
        for (number, parameter) in request.options {
            if number > .uriQuery { break }
            guard number == .uriQuery else { continue }
            if parameter.starts(with: "lt=".utf8) {
                self.lifetime = UInt32(String(decoding: parameter.dropFirst(3), as: UTF8.self))
            } else if parameter.starts(with: "b=".utf8) {
                self.bindingQueues = parameter.dropFirst(2).contains(UInt8(ascii: "Q"))
            } else if parameter.elementsEqual("Q".utf8) {
                self.hasQueueFlag = true
            }
        }
    }
}

/// How a message changes on its way from one leg to the other: as little as a proxy may.
enum Passing {
    /// The most that a header with a token of eight bytes takes.
    private static let header = 12

    /// Without the options that speak of this gateway alone (spec 4.4): Uri-Host and Uri-Port name it as the server, and
    /// No-Response would make it wait for an answer that never comes. The response is the refusal of a message that has
    /// passed too many proxies (RFC 8768).
    static func request(_ request: CoAPRequest) -> Result<CoAPRequest, Refusal> {
        var passed = request
        passed.options.removeAll { number, _ in number == .uriHost || number == .uriPort || number == .noResponse }
        if let hops = request.options.first(.hopLimit)?.first {
            guard hops > 1 else {
                return .failure(Refusal(response: CoAPResponse(hops == 0 ? .badRequest : .hopLimitReached)))
            }
            passed.options.set(.hopLimit, uint: UInt32(hops) - 1)
        }
        return .success(passed)
    }

    struct Refusal: Error { let response: CoAPResponse }

    /// The body does not fit in one record to the device: the server may send it in blocks of this size (RFC 7959,
    /// section 2.9.3).
    static func tooLarge(blockSize: Int) -> CoAPResponse {
        var response = CoAPResponse(.requestEntityTooLarge)
        let exponent = UInt8(clamping: max(4, blockSize.trailingZeroBitCount) - 4)
        if let block = BlockOption(num: 0, more: false, szx: min(6, exponent)) {
            response.options.append(.block1, uint: block.uint)
        }
        return response
    }

    /// Bytes that the message takes at most.
    static func size(options: CoAPOptions, payload: [UInt8]) -> Int {
        options.encodedBytes + payload.count + self.header
    }
}
