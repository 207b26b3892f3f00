/// The type of a message; the raw values are those of the header (RFC 7252, section 3).
package enum CoAPMessageType: UInt8, Sendable, CaseIterable {
    /// CON: repeated until it is acknowledged or reset.
    case confirmable = 0
    /// NON: sent once.
    case nonConfirmable = 1
    /// ACK: empty, or with the piggybacked response.
    case acknowledgement = 2
    /// RST: the receiver cannot make use of the message, or answers a ping.
    case reset = 3
}

/// One CoAP message as it is on the wire (RFC 7252, section 3).
package struct CoAPMessage: Sendable, Equatable {
    package var type: CoAPMessageType
    package var code: CoAPCode
    package var messageID: UInt16
    package var token: CoAPToken
    package var options: CoAPOptions
    /// Empty without a payload.
    package var payload: [UInt8]

    package init(
        type: CoAPMessageType,
        code: CoAPCode,
        messageID: UInt16,
        token: CoAPToken = .empty,
        options: CoAPOptions = CoAPOptions(),
        payload: [UInt8] = []
    ) {
        self.type = type
        self.code = code
        self.messageID = messageID
        self.token = token
        self.options = options
        self.payload = payload
    }
}
