/// A response without what belongs to one leg only.
package struct CoAPResponse: Sendable, Equatable {
    package var code: CoAPCode
    package var options: CoAPOptions
    /// The representation, or for an error a short text for people. The text may reach a device: no keys, no addresses.
    package var payload: [UInt8]

    package init(_ code: CoAPCode, options: CoAPOptions, payload: [UInt8] = []) {
        self.code = code
        self.options = options
        self.payload = payload
    }

    /// - Parameter maxAge: seconds; with 5.03 and 4.29 the time to wait before the next try.
    package init(
        _ code: CoAPCode,
        maxAge: UInt32? = nil,
        contentFormat: UInt16? = nil,
        observe: UInt32? = nil,
        payload: [UInt8] = []
    ) {
        var options = CoAPOptions()
        if let observe {
            options.append(.observe, uint: observe)
        }
        if let contentFormat {
            options.append(.contentFormat, uint: UInt32(contentFormat))
        }
        if let maxAge {
            options.append(.maxAge, uint: maxAge)
        }
        self.init(code, options: options, payload: payload)
    }

    /// An error with a text for people: UTF-8 without a Content-Format option (RFC 7252, section 5.5.2).
    package init(_ code: CoAPCode, diagnostic: String, maxAge: UInt32? = nil) {
        self.init(code, maxAge: maxAge, payload: Array(diagnostic.utf8))
    }

    package var contentFormat: UInt16? {
        get { self.options.uint(.contentFormat).flatMap(UInt16.init(exactly:)) }
        set { self.options.set(.contentFormat, uint: newValue.map(UInt32.init)) }
    }

    /// Seconds; nil means the default of 60.
    package var maxAge: UInt32? {
        get { self.options.uint(.maxAge) }
        set { self.options.set(.maxAge, uint: newValue) }
    }

    /// The sequence number of a notification: 24 bits that count up (RFC 7641, section 3.4).
    package var observe: UInt32? {
        get { self.options.uint(.observe) }
        set { self.options.set(.observe, uint: newValue) }
    }

    /// Where Register and Create put the new resource. Nil if a segment is not UTF-8.
    package var locationPath: [String]? { self.options.strings(.locationPath) }
}
