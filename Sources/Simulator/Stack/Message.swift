internal import CCoAPStack

/// A CoAP code: a method or a response, written as in the specification, `2.04`.
struct Code: Equatable, CustomStringConvertible {
    let rawValue: UInt8

    init(rawValue: UInt8) { self.rawValue = rawValue }

    /// The code `class.detail`, for example `Code(2, 4)`.
    init(_ codeClass: UInt8, _ detail: UInt8) { self.rawValue = codeClass << 5 | detail & 0x1F }

    /// Reads `4.03`; nil when the text is anything else.
    init?(_ text: String) {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 2, let codeClass = UInt8(parts[0]), let detail = UInt8(parts[1]), codeClass < 8,
            detail < 32
        else { return nil }
        self.init(codeClass, detail)
    }

    static let get = Code(0, 1)
    static let post = Code(0, 2)
    static let put = Code(0, 3)
    static let delete = Code(0, 4)
    static let fetch = Code(0, 5)
    static let iPatch = Code(0, 7)
    static let created = Code(2, 1)
    static let deleted = Code(2, 2)
    static let changed = Code(2, 4)
    static let content = Code(2, 5)
    static let badRequest = Code(4, 0)
    static let unauthorized = Code(4, 1)
    static let forbidden = Code(4, 3)
    static let notFound = Code(4, 4)
    static let methodNotAllowed = Code(4, 5)
    static let notAcceptable = Code(4, 6)
    static let unsupportedContentFormat = Code(4, 15)

    var isSuccess: Bool { self.rawValue >> 5 == 2 }

    var description: String {
        switch self {
        case .get: "GET"
        case .post: "POST"
        case .put: "PUT"
        case .delete: "DELETE"
        case .fetch: "FETCH"
        case .iPatch: "iPATCH"
        default:
            "\(self.rawValue >> 5)." + (self.rawValue & 0x1F < 10 ? "0" : "") + "\(self.rawValue & 0x1F)"
        }
    }
}

/// The media types that the roles here send and understand.
enum ContentFormat {
    static let text: UInt16 = 0
    static let linkFormat: UInt16 = 40
    static let octets: UInt16 = 42
    static let senMLJSON: UInt16 = 110
    static let senMLCBOR: UInt16 = 112
    static let tlv: UInt16 = 11542
}

/// A request or a response as a value: what libcoap parsed, or what it shall send.
struct Message {
    struct Option: Equatable {
        var number: UInt16
        var value: [UInt8]
    }

    var code: Code
    var isConfirmable = true
    var messageID: Int32 = 0
    var token: [UInt8] = []
    var options: [Option] = []
    var payload: [UInt8] = []
    /// A request that is to go out, and to be answered, in blocks of this size; nil leaves it to libcoap.
    var blockSize: Int?

    init(_ code: Code) { self.code = code }

    /// A request for the resource at `path`, `/3/0/0`.
    init(_ code: Code, path: String) {
        self.init(code)
        for segment in path.split(separator: "/") {
            self.options.append(Option(number: UInt16(COAP_OPTION_URI_PATH), value: Array(segment.utf8)))
        }
    }

    var path: String { "/" + self.texts(COAP_OPTION_URI_PATH).joined(separator: "/") }
    var queries: [String] { self.texts(COAP_OPTION_URI_QUERY) }
    var location: String { "/" + self.texts(COAP_OPTION_LOCATION_PATH).joined(separator: "/") }
    var contentFormat: UInt16? { self.number(COAP_OPTION_CONTENT_FORMAT).map { UInt16(truncatingIfNeeded: $0) } }
    var accepts: UInt16? { self.number(COAP_OPTION_ACCEPT).map { UInt16(truncatingIfNeeded: $0) } }
    var observe: UInt32? { self.number(COAP_OPTION_OBSERVE) }

    /// The value of the query parameter `name=value`.
    func query(_ name: String) -> String? {
        self.queries.first { $0.hasPrefix(name + "=") }.map { String($0.dropFirst(name.utf8.count + 1)) }
    }

    mutating func add(_ number: Int32, _ text: String) {
        self.options.append(Option(number: UInt16(truncatingIfNeeded: number), value: Array(text.utf8)))
    }

    /// Adds an unsigned integer in as few bytes as it needs.
    mutating func add(_ number: Int32, integer: UInt32) {
        var bytes: [UInt8] = []
        for shift in stride(from: 24, through: 0, by: -8) {
            let byte = UInt8(truncatingIfNeeded: integer >> UInt32(shift))
            if byte != 0 || !bytes.isEmpty { bytes.append(byte) }
        }
        self.options.append(Option(number: UInt16(truncatingIfNeeded: number), value: bytes))
    }

    mutating func setPayload(_ payload: [UInt8], format: UInt16) {
        self.add(COAP_OPTION_CONTENT_FORMAT, integer: UInt32(format))
        self.payload = payload
    }

    private func texts(_ number: Int32) -> [String] {
        self.options.filter { $0.number == UInt16(truncatingIfNeeded: number) }
            .map { String(decoding: $0.value, as: UTF8.self) }
    }

    private func number(_ number: Int32) -> UInt32? {
        guard let option = self.options.first(where: { $0.number == UInt16(truncatingIfNeeded: number) }),
            option.value.count <= 4
        else { return nil }
        return option.value.reduce(0) { $0 << 8 | UInt32($1) }
    }
}

extension Message {
    /// Copies what libcoap parsed.
    init(parsed pdu: OpaquePointer) {
        self.code = Code(rawValue: UInt8(truncatingIfNeeded: coap_pdu_get_code(pdu).rawValue))
        self.isConfirmable = coap_pdu_get_type(pdu) == COAP_MESSAGE_CON
        self.messageID = coap_pdu_get_mid(pdu)
        let token = coap_pdu_get_token(pdu)
        self.token = Array(UnsafeBufferPointer(start: token.s, count: token.length))
        var iterator = coap_opt_iterator_t()
        if coap_option_iterator_init(pdu, &iterator, nil) != nil {
            while let option = coap_option_next(&iterator) {
                let value = UnsafeBufferPointer(start: coap_opt_value(option), count: Int(coap_opt_length(option)))
                self.options.append(Option(number: iterator.number, value: Array(value)))
            }
        }
        var length = 0
        var offset = 0
        var total = 0
        var data: UnsafePointer<UInt8>?
        if coap_get_data_large(pdu, &length, &data, &offset, &total) != 0 {
            self.payload = Array(UnsafeBufferPointer(start: data, count: length))
        }
    }

    /// Bodies above this go out in blocks.
    static let wholeBody = 1024

    /// Writes a request, as one message or as the first of several.
    func writeRequest(into pdu: OpaquePointer, _ session: OpaquePointer) -> Bool {
        guard let blockSize else { return self.write(into: pdu) }
        if self.payload.count > blockSize { return self.writeInBlocks(of: blockSize, into: pdu, session) }
        var message = self
        if self.code == .get {
            message.add(COAP_OPTION_BLOCK2, integer: UInt32((blockSize / 16).trailingZeroBitCount))
        }
        return message.write(into: pdu)
    }

    /// Writes a request with a body above its block size, of which libcoap then sends one block after the other.
    func writeInBlocks(of size: Int, into pdu: OpaquePointer, _ session: OpaquePointer) -> Bool {
        var first = self
        first.payload = []
        first.add(COAP_OPTION_BLOCK1, integer: 8 | UInt32((size / 16).trailingZeroBitCount))
        guard first.write(into: pdu) else { return false }
        let bytes = UnsafeMutablePointer<UInt8>.allocate(capacity: self.payload.count)
        bytes.initialize(from: self.payload, count: self.payload.count)
        return coap_add_data_large_request(
            session, pdu, self.payload.count, bytes,
            { _, pointer in pointer?.assumingMemoryBound(to: UInt8.self).deallocate() }, bytes
        ) != 0
    }

    /// Writes the answer and lets libcoap send it block by block, as the other end asks for them.
    func writeInBlocks(
        into response: OpaquePointer, to request: OpaquePointer, of resource: OpaquePointer?,
        _ query: UnsafePointer<coap_string_t>?, _ session: OpaquePointer?
    ) -> Bool {
        // libcoap keeps the bytes until the last block has gone.
        let bytes = UnsafeMutablePointer<UInt8>.allocate(capacity: self.payload.count)
        bytes.initialize(from: self.payload, count: self.payload.count)
        return coap_add_data_large_response(
            resource, session, request, response, query, self.contentFormat ?? ContentFormat.octets, -1, 0,
            self.payload.count, bytes, { _, pointer in pointer?.assumingMemoryBound(to: UInt8.self).deallocate() },
            bytes
        ) != 0
    }

    /// Writes options and payload into a message that libcoap has begun; false when it does not fit.
    func write(into pdu: OpaquePointer) -> Bool {
        // Stable by number: libcoap wants ascending options, and a path's segments must keep their order.
        let sorted = self.options.enumerated().sorted {
            ($0.element.number, $0.offset) < ($1.element.number, $1.offset)
        }
        for (_, option) in sorted {
            // The answer is the size of the encoded option, which is never 0 for one that was added.
            guard coap_add_option(pdu, option.number, option.value.count, option.value) != 0 else { return false }
        }
        return self.payload.isEmpty || coap_add_data(pdu, self.payload.count, self.payload) != 0
    }
}
