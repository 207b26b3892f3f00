extension MessageLayer {
    /// A request of the peer to us. Only the layer that made it understands it.
    package struct RequestID: Hashable, Sendable {
        let serial: UInt64
    }

    /// A request or ping of ours to the peer. Only the layer that made it understands it.
    package struct ExchangeID: Hashable, Sendable {
        let serial: UInt64
    }

    /// What the owner of a layer has to do or to know, in this order.
    package enum Event: Sendable, Equatable {
        /// One datagram for the peer.
        case transmit([UInt8])
        /// The datagram before went out again, because no ACK had come in time.
        case retransmitted
        /// A new request of the peer. Ends with `respond`, `reset` or `abandonExchanges`.
        case request(RequestID, CoAPRequest)
        /// The peer has sent a request again whose acknowledgement was postponed.
        case repeated(RequestID)
        /// The empty ACK: a separate response will come.
        case acknowledged(ExchangeID)
        /// The response. With Observe, to a request that carried Observe 0, notifications may follow until `cancel`;
        /// otherwise the exchange is over.
        case response(ExchangeID, CoAPResponse)
        /// A further response. One without Observe or with an error code is the last one.
        case notification(ExchangeID, CoAPResponse, isConfirmable: Bool)
        /// The RST that answers a ping. The exchange is over.
        case pong(ExchangeID)
        /// The exchange is over without a response.
        case failed(ExchangeID, Failure)
        /// A response or notification of ours reached its end.
        case settled(RequestID, Settlement)
        /// A datagram that led to nothing above this layer; a RST, ACK or refusal may have been transmitted.
        case dropped(DropReason)
    }

    /// Why a request of ours got no response.
    package enum Failure: Sendable, Equatable {
        /// No ACK after all retransmissions: the peer is gone or unreachable.
        case unacknowledged
        /// Nothing within the response timeout after the empty ACK, or after a NON request.
        case noResponse
        /// The peer sent RST: it cannot make use of the request.
        case reset
        /// The response has an option that must be understood and is not: for a gateway 5.02 (RFC 7252, section 5.7.1).
        case unusableResponse
        /// Not sent: too many requests are waiting, or all message IDs are in use.
        case overloaded
    }

    /// How a response or notification of ours ended.
    package enum Settlement: Sendable, Equatable {
        /// The peer acknowledged it.
        case delivered
        /// It went out, piggybacked or as NON; whether it arrived is not known.
        case sent
        /// No ACK after all retransmissions. An observation ends with it.
        case unacknowledged
        /// The peer sent RST. An observation ends with it.
        case reset
        /// The observation was replaced by a new request with its token.
        case superseded
        /// Not sent: all message IDs are in use.
        case overloaded
    }

    /// Why a datagram led to nothing; for counters.
    package enum DropReason: Sendable, Equatable, CaseIterable {
        /// Not a CoAP message. A CON got RST.
        case malformed
        /// A version other than 1.
        case version
        /// Class 1, 6 or 7, an ACK with a request, a RST or an ACK that is neither empty nor a response, an empty NON.
        case unexpectedCode
        /// An empty CON: got RST.
        case ping
        /// A message that was seen before: it got the same answer again, if any.
        case duplicate
        /// A response that nobody waits for. A CON, and a NON notification, got RST.
        case unexpectedResponse
        /// An ACK that matches nothing outstanding.
        case unexpectedAcknowledgement
        /// A RST that matches nothing outstanding.
        case unexpectedReset
        /// An option that must be understood and is not. A CON request got 4.02, a CON response RST.
        case optionNotUnderstood
        /// A request through a forward proxy: got 5.05.
        case proxyRequest
        /// The layer rejects requests. A CON got RST.
        case requestRejected
        /// Too many requests of the peer are open. A CON got 5.03.
        case overloaded
        /// A notification older than one that has arrived (RFC 7641, section 3.4). A CON got its ACK.
        case staleNotification
    }

    /// What a layer holds, for leak checks and gauges.
    package struct Statistics: Sendable, Equatable {
        /// Requests of the peer without a response yet.
        package var openRequests = 0
        /// Observations that the peer holds with us.
        package var observers = 0
        /// Requests of ours without a response yet.
        package var openExchanges = 0
        /// Observations that we hold with the peer.
        package var observations = 0
        /// CON messages that were not acknowledged yet, waiting ones included.
        package var unacknowledgedMessages = 0
        /// Messages in the deduplication memory, and the bytes of their answers.
        package var rememberedMessages = 0
        package var rememberedAnswerBytes = 0
    }
}
