/// A request without what belongs to one leg only: token, message ID and repetition are the message layer's.
package struct CoAPRequest: Sendable, Equatable {
    /// The method. Methods without a name here arrive too; 4.05 is the answer to them.
    package var code: CoAPCode
    package var options: CoAPOptions
    package var payload: [UInt8]
    /// CON, repeated until it is acknowledged; otherwise NON.
    package var isConfirmable: Bool

    package init(_ code: CoAPCode, options: CoAPOptions, payload: [UInt8] = [], isConfirmable: Bool = true) {
        self.code = code
        self.options = options
        self.payload = payload
        self.isConfirmable = isConfirmable
    }

    package init(
        _ code: CoAPCode,
        path: [String] = [],
        query: [String] = [],
        contentFormat: UInt16? = nil,
        accept: UInt16? = nil,
        observe: UInt32? = nil,
        payload: [UInt8] = [],
        isConfirmable: Bool = true
    ) {
        // In the order of their numbers, so that each one only goes to the end.
        var options = CoAPOptions()
        let bytes = path.reduce(0) { $0 + $1.utf8.count } + query.reduce(0) { $0 + $1.utf8.count }
        options.reserveCapacity(options: path.count + query.count + 3, bytes: bytes + 8)
        if let observe {
            options.append(.observe, uint: observe)
        }
        for segment in path {
            options.append(.uriPath, string: segment)
        }
        if let contentFormat {
            options.append(.contentFormat, uint: UInt32(contentFormat))
        }
        for parameter in query {
            options.append(.uriQuery, string: parameter)
        }
        if let accept {
            options.append(.accept, uint: UInt32(accept))
        }
        self.init(code, options: options, payload: payload, isConfirmable: isConfirmable)
    }

    /// The segments of the path: empty for `/`; a trailing slash is one more, empty segment. Nil if one is not UTF-8.
    package var uriPath: [String]? { self.options.strings(.uriPath) }

    /// The parameters of the query, undivided (`ep=meter`). Nil if one is not UTF-8.
    package var uriQuery: [String]? { self.options.strings(.uriQuery) }

    /// Content format of the payload.
    package var contentFormat: UInt16? {
        get { self.options.uint(.contentFormat).flatMap(UInt16.init(exactly:)) }
        set { self.options.set(.contentFormat, uint: newValue.map(UInt32.init)) }
    }

    /// Content format that is wanted in the response.
    package var accept: UInt16? {
        get { self.options.uint(.accept).flatMap(UInt16.init(exactly:)) }
        set { self.options.set(.accept, uint: newValue.map(UInt32.init)) }
    }

    /// 0 registers an observation, 1 ends it (RFC 7641, section 2).
    package var observe: UInt32? {
        get { self.options.uint(.observe) }
        set { self.options.set(.observe, uint: newValue) }
    }
}
