import Gateway
import Testing
import bootgate

@Suite("limits.overload and what goes with it in the configuration")
struct OverloadConfigurationTests {
    @Test("Thresholds are read; what is left out has its default, and an empty list switches a measure off")
    func thresholds() throws {
        let text =
            minimalConfiguration
                + """
                limits:
                  half-open-per-source: 10
                  back-off: 0s
                  overload: { half-open: [ 10%, 20% ], memory: [], lag: [ 50ms ], hold: 500ms }
                pool: { probe: none, return-after: 0s }
                """
        let gateway = try #require(ConfigurationReader.read(text, folder: "").configuration).gateway
        let overload = gateway.limits.overload
        #expect(overload.halfOpen == [10, 20])
        #expect(overload.memory.isEmpty)
        #expect(overload.lag == [.milliseconds(50)])
        #expect(overload.hold == .milliseconds(500))
        #expect(overload.receive == GatewayConfiguration.OverloadPolicy().receive)
        #expect(gateway.limits.halfOpenPerSource == 10 && gateway.limits.backOff == .zero)
        #expect(gateway.pool.probe == nil && gateway.pool.returnAfter == .zero)
        let probing = try #require(
            ConfigurationReader.read(minimalConfiguration + "pool: { probe: 3s }\n", folder: "").configuration)
        #expect(probing.gateway.pool.probe == .seconds(3))
    }

    @Test(
        "What makes no sense is said, and where",
        arguments: [
            ("half-open: [ 75%, 50% ]", "limits.overload.half-open does not rise"),
            ("queue: [ 10%, 20%, 30%, 40% ]", "has 4 thresholds; there are three levels"),
            ("memory: [ 101% ]", "is '101%'; expected a percentage from 1% to 100%"),
            ("memory: [ 50 ]", "expected a percentage from 1% to 100%"),
            ("lag: [ 1ms ]", "expected at least 10ms"), ("cpu: [ 50% ]", "unknown key limits.overload.cpu"),
        ])
    func mistakes(line: String, complaint: String) {
        let text = minimalConfiguration + "limits: { overload: { \(line) } }\n"
        let reading = ConfigurationReader.read(text, folder: "")
        #expect(reading.configuration == nil)
        #expect(reading.diagnostics.contains { $0.message.contains(complaint) }, "\(reading.diagnostics)")
    }
}
