import Admin
import Records
import Testing

@testable import bootgate

@Suite("Where monitoring reads, as the configuration says it")
struct AdminConfigurationTests {
    private func read(_ admin: String) throws -> BootgateConfiguration.Admin {
        let reading = ConfigurationReader.read(minimalConfiguration + admin, folder: "/etc/bootgate")
        #expect(reading.diagnostics == [])
        return try #require(reading.configuration).admin
    }

    @Test("Without the key nothing listens")
    func none() throws { #expect(try self.read("") == BootgateConfiguration.Admin()) }

    @Test("Address, tokens and who may read metrics reach their values")
    func everything() throws {
        let admin = try self.read(
            """
            admin:
              listen: "[::1]:8684"
              metrics: open
              tokens:
                - { name: prometheus, role: viewer, token: { file: viewer.token } }
                - { name: ops, role: operator, token: { env: OPS_TOKEN } }
            """)
        #expect(admin.address == .init(host: "::1", port: 8684))
        #expect(admin.metricsAreOpen)
        #expect(admin.tokens.map(\.name) == ["prometheus", "ops"])
        #expect(admin.tokens.map(\.role) == [.viewer, .operator])
        #expect(admin.tokens.map(\.source) == [.file("/etc/bootgate/viewer.token"), .environment("OPS_TOKEN")])
    }

    @Test(
        "What nobody can read, and what crosses a network in clear, is said",
        arguments: [
            (
                #"{ metrics: open }"#,
                "admin has no `listen`, so nothing uses the rest of it; write one such as 127.0.0.1:8684", true
            ),
            (
                #"{ listen: "127.0.0.1:8684" }"#,
                "admin has no tokens, so nobody can read /metrics; write `metrics: open`, or a token of a viewer", true
            ),
            (
                #"{ listen: "192.0.2.1:8684", metrics: open }"#,
                "admin.listen is no loopback address; without TLS, tokens would cross the network in clear", false
            ),
            (
                #"{ listen: localhost, metrics: open }"#,
                "admin.listen is 'localhost'; expected an address and port such as 127.0.0.1:8684", false
            ),
            (
                #"{ listen: "127.0.0.1", metrics: open }"#,
                "admin.listen is '127.0.0.1'; expected an address and port such as 127.0.0.1:8684", false
            ),
            (
                #"{ listen: "127.0.0.1:8684", metrics: all }"#,
                "admin.metrics is 'all'; expected one of: open, token", false
            ),
        ])
    func complaints(admin: String, message: String, isWarning: Bool) {
        let reading = ConfigurationReader.read(minimalConfiguration + "admin: \(admin)\n", folder: "/etc/bootgate")
        let expected = isWarning ? Diagnostic.Severity.warning : .mistake
        #expect(reading.diagnostics.contains { $0.message == message && $0.severity == expected })
        #expect((reading.configuration == nil) == !isWarning)
    }
}
