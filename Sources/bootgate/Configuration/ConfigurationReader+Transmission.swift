package import CoAP
package import Gateway

/// The timers of both legs, as `coap` of the file has them.
package struct TransmissionPolicy: Sendable, Equatable {
    package var device: TransmissionParameters
    package var upstream: TransmissionParameters
    package var handshake: GatewayConfiguration.HandshakeTimers

    package init(
        device: TransmissionParameters = TransmissionParameters(),
        upstream: TransmissionParameters = TransmissionParameters(),
        handshake: GatewayConfiguration.HandshakeTimers = GatewayConfiguration.HandshakeTimers()
    ) {
        self.device = device
        self.upstream = upstream
        self.handshake = handshake
    }
}

extension ConfigurationReader {
    /// Names of sets of values that fit each other; a single value beside one of them overrides it.
    private enum Profile: String, CaseIterable {
        case standard
        case narrowband = "nb-iot"

        var transmission: TransmissionParameters { self == .narrowband ? .narrowband : TransmissionParameters() }

        var handshake: GatewayConfiguration.HandshakeTimers {
            self == .narrowband ? .narrowband : GatewayConfiguration.HandshakeTimers()
        }
    }

    /// `coap`: for both legs, then for one of them. The profile of a leg replaces all that was said for both.
    func transmission(_ node: ConfigurationNode) -> TransmissionPolicy? {
        guard let fields = node.mapping() else { return nil }
        var policy = TransmissionPolicy()
        let profile = fields.read("profile") { $0.choice(Profile.self) }
        if let profile { policy.handshake = profile.handshake }
        let common = self.parameters(fields, profile, TransmissionParameters())
        policy.device = common
        policy.upstream = common
        fields.read("device") { field in
            guard let leg = field.mapping() else { return }
            let profile = leg.read("profile") { $0.choice(Profile.self) }
            policy.device = self.parameters(leg, profile, common)
            policy.handshake = self.handshake(leg, profile?.handshake ?? policy.handshake)
            leg.finish()
        }
        fields.read("upstream") { field in
            guard let leg = field.mapping() else { return }
            let profile = leg.read("profile") { $0.choice(Profile.self) }
            policy.upstream = self.parameters(leg, profile, common)
            leg.finish()
        }
        fields.finish()
        return policy
    }

    private func handshake(
        _ fields: MappingReader, _ base: GatewayConfiguration.HandshakeTimers
    ) -> GatewayConfiguration.HandshakeTimers {
        var timers = base
        timers.retransmission =
            fields.read("handshake-retransmit") { $0.duration(atLeast: .milliseconds(100)) } ?? base.retransmission
        timers.limit = fields.read("handshake-timeout") { $0.duration(atLeast: .seconds(1)) } ?? base.limit
        if let node = fields.node("handshake-timeout") ?? fields.node("handshake-retransmit"),
            timers.limit < timers.retransmission * 3
        {
            node.warning(
                "handshakes end after \(Notation.text(timers.limit)) and repeat after "
                    + "\(Notation.text(timers.retransmission)); two datagrams lost in a row end them")
        }
        return timers
    }

    private func parameters(
        _ fields: MappingReader, _ profile: Profile?, _ common: TransmissionParameters
    ) -> TransmissionParameters {
        let base = profile?.transmission ?? common
        var parameters = base
        parameters.acknowledgementTimeout =
            fields.read("ack-timeout") { $0.duration(atLeast: .milliseconds(100), atMost: .seconds(600)) }
            ?? base.acknowledgementTimeout
        parameters.randomFactor = fields.read("ack-random-factor") { $0.number(1...3) } ?? base.randomFactor
        parameters.maximumRetransmissions =
            fields.read("max-retransmit") { $0.integer(0...20) } ?? base.maximumRetransmissions
        parameters.blockSize =
            fields.read("block-size") { field in
                field.name(among: ["16", "32", "64", "128", "256", "512", "1024"]).flatMap { Int($0) }
            } ?? base.blockSize
        parameters.stretchLifetimes()
        parameters.exchangeLifetime =
            fields.read("exchange-lifetime") { field in
                let lifetime = field.duration(atLeast: .seconds(1))
                let needed = max(.seconds(247), parameters.derivedExchangeLifetime)
                if let lifetime, lifetime < needed {
                    field.warning(
                        "\(field.path) is below \(needed.components.seconds)s; a late duplicate may be taken for a "
                            + "new message")
                }
                return lifetime
            } ?? parameters.exchangeLifetime
        return parameters
    }
}

extension TransmissionPolicy {
    /// What counts, a line for each leg, for people.
    package var summary: [String] {
        func leg(_ name: String, _ parameters: TransmissionParameters) -> String {
            let count = parameters.maximumRetransmissions
            return "\(name)ack-timeout \(Self.text(parameters.acknowledgementTimeout)) to "
                + "\(Self.text(parameters.acknowledgementTimeout * parameters.randomFactor)), "
                + "\(count) \(count == 1 ? "repetition" : "repetitions"), given up after at most "
                + "\(Self.text(parameters.transmitWait)); blocks of \(parameters.blockSize); exchanges remembered for "
                + Self.text(parameters.exchangeLifetime)
        }
        return [
            leg("device leg         ", self.device), leg("upstream leg       ", self.upstream),
            "device handshakes  repeated after \(Self.text(self.handshake.retransmission)), given up after "
                + Self.text(self.handshake.limit),
        ]
    }

    /// In seconds with at most one decimal.
    private static func text(_ duration: Duration) -> String {
        let tenths = Int64((duration / .milliseconds(100)).rounded())
        return tenths.isMultiple(of: 10) ? "\(tenths / 10)s" : "\(tenths / 10).\(tenths % 10)s"
    }
}
