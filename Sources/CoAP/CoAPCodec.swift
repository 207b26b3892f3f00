import CCoAP

/// Messages to datagrams and back.
///
/// The options go through libcoap's `coap_opt_parse` and `coap_opt_encode`, straight from and into the datagram. Its
/// `coap_pdu_parse` is not used: it refuses a whole request for an elective option with a wrong length, which has to be
/// ignored instead (RFC 7252, section 5.4.3), writes a line to the standard error for each such datagram, and in newer
/// versions accepts extended tokens. Header, token and payload marker are checked here, on every version alike.
///
/// Decoding costs at most two allocations (options, payload), encoding one.
package enum CoAPCodec {
    private static let header = 4
    private static let payloadMarker: UInt8 = 0xff

    package static func decode(_ datagram: UnsafeRawBufferPointer) throws(CoAPFormatError) -> CoAPMessage {
        guard datagram.count >= Self.header else {
            throw CoAPFormatError(reason: .truncatedHeader)
        }
        guard datagram[0] >> 6 == 1, let type = CoAPMessageType(rawValue: datagram[0] >> 4 & 3) else {
            throw CoAPFormatError(reason: .version)
        }
        let code = CoAPCode(rawValue: datagram[1])
        let messageID = UInt16(datagram[2]) << 8 | UInt16(datagram[3])

        func malformed(_ reason: CoAPFormatError.Reason) -> CoAPFormatError {
            CoAPFormatError(reason: reason, type: type, messageID: messageID)
        }

        let tokenEnd = Self.header &+ Int(datagram[0] & 0x0f)
        guard tokenEnd <= datagram.count, let token = CoAPToken(datagram[Self.header..<tokenEnd]) else {
            throw malformed(.token)
        }
        if code.isEmpty {
            guard datagram.count == Self.header else {
                throw malformed(.emptyWithContent)
            }
            return CoAPMessage(type: type, code: code, messageID: messageID)
        }

        guard let (options, length) = Self.decodeOptions(UnsafeRawBufferPointer(rebasing: datagram[tokenEnd...])) else {
            throw malformed(.option)
        }
        var payload: [UInt8] = []
        let marker = tokenEnd &+ length
        if marker < datagram.count {
            guard marker &+ 1 < datagram.count else {
                throw malformed(.emptyPayload)
            }
            payload = Array(datagram[(marker &+ 1)...])
        }
        return CoAPMessage(
            type: type,
            code: code,
            messageID: messageID,
            token: token,
            options: options,
            payload: payload
        )
    }

    /// The options at the start of `bytes`, and the number of bytes up to the payload marker or the end.
    ///
    /// Nil if they are malformed. The first walk checks and measures, the second fills a buffer of just that size.
    private static func decodeOptions(_ bytes: UnsafeRawBufferPointer) -> (CoAPOptions, Int)? {
        var count = 0
        var room = 0
        var number: UInt32 = 0
        var length = 0
        while length < bytes.count, bytes[length] != Self.payloadMarker {
            guard let (option, size) = Self.option(in: bytes, at: length) else { return nil }
            number &+= UInt32(option.delta)
            guard number <= UInt32(UInt16.max) else { return nil }
            room &+= CoAPOptions.entryHeader &+ option.length
            length &+= size
            count &+= 1
        }
        guard count > 0 else { return (CoAPOptions(), 0) }

        let storage = Self.bytes(upTo: room) { buffer, written in
            var offset = 0
            var number: UInt16 = 0
            while offset < length, let (option, size) = Self.option(in: bytes, at: offset) {
                number &+= option.delta
                buffer[written] = UInt8(number >> 8)
                buffer[written &+ 1] = UInt8(number & 0xff)
                buffer[written &+ 2] = UInt8(truncatingIfNeeded: option.length >> 8)
                buffer[written &+ 3] = UInt8(truncatingIfNeeded: option.length)
                written &+= CoAPOptions.entryHeader
                if option.length > 0 {
                    let value = UnsafeBufferPointer(start: option.value, count: option.length)
                    _ = UnsafeMutableBufferPointer(rebasing: buffer[written...]).initialize(from: value)
                    written &+= option.length
                }
                offset &+= size
            }
        }
        return (CoAPOptions(storage: storage, lastNumber: UInt16(number), count: count), length)
    }

    /// The option at an offset, and its size with its header. Nil if it is malformed or cut off.
    private static func option(in bytes: UnsafeRawBufferPointer, at offset: Int) -> (coap_option_t, size: Int)? {
        guard let base = bytes.baseAddress else { return nil }
        var option = coap_option_t()
        let start = (base + offset).assumingMemoryBound(to: UInt8.self)
        let size = coap_opt_parse(start, bytes.count &- offset, &option)
        guard size > 0, size <= bytes.count &- offset else { return nil }
        // The parser lets a two-byte delta, which stands for its value plus 269, wrap around to a small one.
        if start[0] >> 4 == 14, Int(start[1]) << 8 | Int(start[2]) > Int(UInt16.max) - 269 {
            return nil
        }
        return (option, size)
    }

    package static func encode(_ message: CoAPMessage) -> [UInt8] {
        Self.encode(
            message.type,
            message.code,
            messageID: message.messageID,
            token: message.token,
            options: message.options,
            payload: message.payload
        )
    }

    /// What `fill` writes into room for `capacity` bytes, in no more memory than it needs. The library's initializers with a
    /// capacity are not specialized for bytes: each looks up the type of its buffer, which costs more than this copy.
    @inline(__always)
    private static func bytes(
        upTo capacity: Int, _ fill: (UnsafeMutableBufferPointer<UInt8>, _ count: inout Int) -> Void
    ) -> [UInt8] {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: capacity) { room in
            var count = 0
            fill(room, &count)
            return [UInt8](UnsafeBufferPointer(rebasing: room[..<count]))
        }
    }

    /// An empty message: the empty ACK, RST and ping.
    package static func encodeEmpty(_ type: CoAPMessageType, messageID: UInt16) -> [UInt8] {
        [0x40 | type.rawValue << 4, 0, UInt8(messageID >> 8), UInt8(messageID & 0xff)]
    }

    package static func encode(
        _ type: CoAPMessageType,
        _ code: CoAPCode,
        messageID: UInt16,
        token: CoAPToken,
        options: CoAPOptions,
        payload: [UInt8]
    ) -> [UInt8] {
        // The encoded header of an option has at most five bytes, that of an entry four.
        let capacity =
            Self.header + token.count + options.storedBytes + options.count
            + (payload.isEmpty ? 0 : 1 + payload.count)
        return Self.bytes(upTo: capacity) { buffer, count in
            buffer[0] = 0x40 | type.rawValue << 4 | UInt8(token.count)
            buffer[1] = code.rawValue
            buffer[2] = UInt8(messageID >> 8)
            buffer[3] = UInt8(messageID & 0xff)
            count = Self.header
            for index in 0..<token.count {
                buffer[count] = token[index]
                count &+= 1
            }
            var last: UInt16 = 0
            options.forEachRaw { number, value in
                if let start = buffer.baseAddress {
                    count &+= coap_opt_encode(
                        start + count,
                        capacity &- count,
                        number &- last,
                        value.baseAddress,
                        value.count
                    )
                }
                last = number
            }
            if !payload.isEmpty {
                buffer[count] = Self.payloadMarker
                count &+= 1
                payload.withUnsafeBufferPointer { source in
                    _ = UnsafeMutableBufferPointer(rebasing: buffer[count...]).initialize(from: source)
                }
                count &+= payload.count
            }
        }
    }
}
