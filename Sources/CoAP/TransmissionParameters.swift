/// The times and counts of the message layer (RFC 7252, section 4.8); the defaults are the RFC's. NSTART is 1 always.
package struct TransmissionParameters: Sendable, Equatable {
    /// ACK_TIMEOUT: the first timeout is drawn between this and ``randomFactor`` times this, then doubled.
    package var acknowledgementTimeout: Duration = .seconds(2)
    /// ACK_RANDOM_FACTOR, 1 to 3.
    package var randomFactor: Double = 1.5
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

extension TransmissionParameters {
    /// For links such as NB-IoT, where a round trip may take ten seconds and each long datagram many of them.
    package static var narrowband: TransmissionParameters {
        var parameters = TransmissionParameters()
        parameters.acknowledgementTimeout = .milliseconds(9500)
        parameters.blockSize = 256
        parameters.responseTimeout = .seconds(300)
        parameters.stretchLifetimes()
        return parameters
    }

    /// MAX_TRANSMIT_SPAN: from the first transmission of a message to its last.
    package var transmitSpan: Duration {
        self.acknowledgementTimeout * (Double((1 << self.doublings) - 1) * self.randomFactor)
    }

    /// MAX_TRANSMIT_WAIT: from the first transmission of a message until it is given up.
    package var transmitWait: Duration {
        self.acknowledgementTimeout * (Double((2 << self.doublings) - 1) * self.randomFactor)
    }

    /// EXCHANGE_LIFETIME as the other values make it, with a MAX_LATENCY of 100 s (section 4.8.2); a day at most.
    package var derivedExchangeLifetime: Duration {
        min(self.transmitSpan + .seconds(200) + self.acknowledgementTimeout, .seconds(86_400))
    }

    /// Makes ``exchangeLifetime`` and ``nonLifetime`` as long as the other values demand. Never shortens what is there.
    package mutating func stretchLifetimes() {
        let standard = TransmissionParameters()
        // Shorter timers are no reason for a longer memory than the one that was chosen.
        guard self.derivedExchangeLifetime > standard.derivedExchangeLifetime else { return }
        self.exchangeLifetime = max(self.exchangeLifetime, self.derivedExchangeLifetime)
        self.nonLifetime = max(self.nonLifetime, min(self.transmitSpan + .seconds(100), .seconds(86_400)))
    }

    /// No configuration has more; bounds the shift.
    private var doublings: Int { min(max(self.maximumRetransmissions, 0), 20) }
}
