/// The times and counts of the message layer (RFC 7252, section 4.8); the defaults are the RFC's.
package struct TransmissionParameters: Sendable, Equatable {
    /// ACK_TIMEOUT: the first timeout is drawn between this and 1.5 times this, then doubled.
    package var acknowledgementTimeout: Duration = .seconds(2)
    /// MAX_RETRANSMIT: transmissions after the first.
    package var maximumRetransmissions: Int = 4
    /// How long an exchange is remembered: duplicates are answered from memory, message IDs are not used again.
    package var exchangeLifetime: Duration = .seconds(247)
    /// How long a NON message is remembered.
    package var nonLifetime: Duration = .seconds(145)
    /// How long an answer may take before the request is acknowledged with an empty ACK (T8).
    package var piggybackWait: Duration = .seconds(1)
    /// How long a request that was acknowledged may wait for its separate response.
    package var responseTimeout: Duration = .seconds(93)
    /// Largest body that is sent in one message, a power of two from 16 to 1024.
    package var blockSize: Int = 512

    package init() {}
}
