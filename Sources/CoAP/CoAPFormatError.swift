/// A datagram that is not a CoAP message, with as much of its header as could be read.
///
/// The peer is at fault. Type and message ID say whether a RST is due (RFC 7252, sections 3 and 4.2).
package struct CoAPFormatError: Error, Equatable {
    package enum Reason: Sendable, Equatable {
        /// Fewer than four bytes: there is no header.
        case truncatedHeader
        /// A version other than 1: the datagram is ignored without an answer.
        case version
        /// Token length 9 to 15, or the datagram ends within the token.
        case token
        /// Code 0.00 with a token, an option or a payload.
        case emptyWithContent
        /// A reserved or truncated option header, a truncated value, or a number above 65,535.
        case option
        /// A payload marker without a payload.
        case emptyPayload
    }

    package var reason: Reason
    /// Nil if the header is missing or has another version.
    package var type: CoAPMessageType?
    /// Nil if the header is missing or has another version.
    package var messageID: UInt16?

    package init(reason: Reason, type: CoAPMessageType? = nil, messageID: UInt16? = nil) {
        self.reason = reason
        self.type = type
        self.messageID = messageID
    }
}
