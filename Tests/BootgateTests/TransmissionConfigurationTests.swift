import CoAP
import Gateway
import Testing
import bootgate

@Suite("The timers of each leg come from the configuration")
struct TransmissionConfigurationTests {
    private static func gateway(_ coap: String) throws -> GatewayConfiguration {
        let reading = ConfigurationReader.read(minimalConfiguration + "coap: \(coap)\n", folder: "")
        #expect(reading.diagnostics == [])
        return try #require(reading.configuration).gateway
    }

    @Test("The NB-IoT profile of the device leg leaves the upstream leg alone")
    func narrowbandDevices() throws {
        let gateway = try Self.gateway("{ device: { profile: nb-iot } }")
        #expect(gateway.deviceTransmission == .narrowband)
        #expect(gateway.deviceHandshake == .narrowband)
        #expect(gateway.upstreamTransmission == TransmissionParameters())
        #expect(gateway.deviceTransmission.acknowledgementTimeout == .milliseconds(9500))
        #expect(gateway.deviceTransmission.blockSize == 256)
        #expect(gateway.deviceHandshake.retransmission == .seconds(9))
    }

    @Test("Single values override a profile, and the profile of a leg replaces what was said for both")
    func overrides() throws {
        let gateway = try Self.gateway(
            "{ ack-timeout: 3s, max-retransmit: 2, device: { profile: nb-iot, block-size: 64, handshake-retransmit: 5s } }"
        )
        #expect(gateway.deviceTransmission.acknowledgementTimeout == .milliseconds(9500))
        #expect(gateway.deviceTransmission.maximumRetransmissions == 4)
        #expect(gateway.deviceTransmission.blockSize == 64)
        #expect(gateway.deviceHandshake.retransmission == .seconds(5))
        #expect(gateway.deviceHandshake.limit == .seconds(180))
        #expect(gateway.upstreamTransmission.acknowledgementTimeout == .seconds(3))
    }

    @Test("A profile for both legs can be taken back for one of them")
    func standardUpstream() throws {
        let gateway = try Self.gateway("{ profile: nb-iot, upstream: { profile: standard } }")
        #expect(gateway.deviceTransmission == .narrowband && gateway.deviceHandshake == .narrowband)
        #expect(gateway.upstreamTransmission == TransmissionParameters())
    }

    @Test(
        "Exchanges are remembered as long as the timers demand (RFC 7252, 4.8.2)",
        arguments: [
            ("{ ack-timeout: 2s }", 247.0), ("{ ack-timeout: 300ms }", 247), ("{ profile: nb-iot }", 423.25),
            ("{ ack-timeout: 4s, ack-random-factor: 1 }", 264), ("{ max-retransmit: 5 }", 295),
            ("{ profile: nb-iot, max-retransmit: 3 }", 423.25), ("{ exchange-lifetime: 300s }", 300),
            ("{ max-retransmit: 20 }", 86_400),
        ] as [(String, Double)])
    func lifetime(coap: String, seconds: Double) throws {
        let parameters = try Self.gateway(coap).deviceTransmission
        #expect(parameters.exchangeLifetime / .seconds(1) == seconds)
        #expect(parameters.nonLifetime >= .seconds(145))
    }

    @Test("What makes no sense is said, with what would")
    func mistakes() {
        let text =
            minimalConfiguration + """
                coap:
                  profile: nbiot
                  ack-random-factor: 0.5
                  ack-timeout: 1h
                  upstream: { handshake-timeout: 9s }
                  device: { profile: nb-iot, exchange-lifetime: 300s, handshake-timeout: 10s }

                """
        #expect(
            complaints(text) == [
                "f.yaml:11:12: coap.profile is 'nbiot'; expected one of: standard, nb-iot; did you mean 'nb-iot'?",
                "f.yaml:12:22: coap.ack-random-factor is '0.5'; expected a number from 1.0 to 3.0",
                "f.yaml:13:16: coap.ack-timeout is 1h; expected at most 10m",
                "f.yaml:14:15: unknown key coap.upstream.handshake-timeout; known here: ack-random-factor, "
                    + "ack-timeout, block-size, exchange-lifetime, max-retransmit, profile",
                "f.yaml:15:49: warning: coap.device.exchange-lifetime is below 423s; a late duplicate may be taken "
                    + "for a new message",
                "f.yaml:15:74: warning: handshakes end after 10s and repeat after 9s; two datagrams lost in a row end "
                    + "them",
            ])
    }

    @Test("The values that count are shown, a line for each leg and one for handshakes")
    func summary() {
        let policy = TransmissionPolicy(device: .narrowband, handshake: .narrowband)
        #expect(
            policy.summary == [
                "device leg         ack-timeout 9.5s to 14.3s, 4 repetitions, given up after at most 441.8s; "
                    + "blocks of 256; exchanges remembered for 423.3s",
                "upstream leg       ack-timeout 2s to 3s, 4 repetitions, given up after at most 93s; "
                    + "blocks of 512; exchanges remembered for 247s",
                "device handshakes  repeated after 9s, given up after 180s",
            ])
    }
}
