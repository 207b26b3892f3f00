import Testing

@testable import bootgate

@Suite("What differs between two configurations")
struct ReloadChangesTests {
    private static func changes(_ old: String, _ new: String) throws -> (all: [String], needsRestart: [String]) {
        func read(_ text: String) throws -> BootgateConfiguration {
            try #require(ConfigurationReader.read(text, folder: "/etc/bootgate").configuration)
        }
        return try read(old).changes(to: read(new))
    }

    @Test("The same file changes nothing, whatever its comments")
    func nothing() throws {
        let changes = try Self.changes(minimalConfiguration, "# a comment\n" + minimalConfiguration)
        #expect(changes.all.isEmpty && changes.needsRestart.isEmpty)
    }

    @Test(
        "What can change while the gateway runs is named as the file names it",
        arguments: [
            ("unmatched: keep", "unmatched"), ("credentials: { key-bytes: 32 }", "credentials"),
            ("dtls: { suites: [TLS_PSK_WITH_AES_128_CCM_8] }", "dtls"),
            ("coap: { device: { ack-timeout: 3s } }", "coap.device"),
            ("coap: { device: { handshake-timeout: 60s } }", "coap.device"),
            ("coap: { upstream: { ack-timeout: 3s } }", "coap.upstream"), ("pool: { min-idle: 3 }", "pool"),
            ("limits: { half-open: 10 }", "limits"), ("drain: 5s", "drain"), ("log: { level: debug }", "log"),
            ("audit: { keep: 30d }", "audit.keep"), ("audit: { durability: strict }", "audit.durability"),
            ("audit: { checkpoint: { every: 1s } }", "audit.checkpoint"),
        ])
    func reloadable(line: String, name: String) throws {
        let changes = try Self.changes(minimalConfiguration, minimalConfiguration + line + "\n")
        #expect(changes.all == [name])
        #expect(changes.needsRestart.isEmpty)
    }

    @Test(
        "What cannot is named as well, and needs a restart",
        arguments: [
            ("state: /srv/bootgate", "state"), ("records: { key: { env: KEY } }", "records.key"),
            ("records: { identity: \"{imei}\" }", "records.identity"),
            ("records: { endpoint: \"urn:{imei}\" }", "records.endpoint"),
            ("audit: { signing-key: { env: KEY } }", "audit.signing-key"),
            ("audit: { syslog: { to: \"udp://127.0.0.1:514\" } }", "audit.syslog"),
            ("admin: { listen: \"127.0.0.1:8684\", metrics: open }", "admin.listen"),
        ])
    func fixed(line: String, name: String) throws {
        let changes = try Self.changes(minimalConfiguration, minimalConfiguration + line + "\n")
        #expect(changes.needsRestart == [name])
        #expect(changes.all.contains(name))
    }

    @Test("Servers are told apart by name: changed, new and gone")
    func servers() throws {
        let changed = minimalConfiguration.replacing("10.1.0.20", with: "10.1.0.21")
        #expect(try Self.changes(minimalConfiguration, changed).all == ["servers.meters"])
        let more =
            minimalConfiguration
            + "  valves: { match: { ssid: 3 }, device: { secure: \"coaps://a:1\" }, relay: { to: \"coap://b:1\" } }\n"
        #expect(try Self.changes(minimalConfiguration, more).all == ["servers.valves"])
        #expect(try Self.changes(more, minimalConfiguration).all == ["servers.valves"])
        let told = minimalConfiguration.replacing(
            "relay: { to: \"coap://10.1.0.20:5683\" }", with: "publish: { leshan: \"http://127.0.0.1:1\" }")
        let slower = told.replacing("127.0.0.1:1\"", with: "127.0.0.1:1\", timeout: 9s")
        #expect(try Self.changes(told, slower).all == ["servers.meters"])
    }
}
