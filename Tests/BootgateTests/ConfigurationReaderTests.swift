import CoAP
import DTLS
import Foundation
import Gateway
import LwM2M
import Records
import Testing
import bootgate

@Suite("A configuration file becomes the values that the gateway runs with")
struct ConfigurationReaderTests {
    static let full = """
        mode: enforce
        state: state
        records: { key: { env: RECORDS_KEY }, identity: "{device-id}-{iccid}", endpoint: "urn:imei:{imei}" }
        listeners:
          - coaps://[::]:5684
          - { bind: "coap://10.0.0.1", connection-id: false }
        bootstrap:
          upstreams: [ "coap://10.1.0.10", { uri: "coap://[2001:db8::1]:5700" } ]
          account: { secure: "coaps://edge.example.net", plain: "coap://edge.example.net" }
        servers:
          meters:
            match: { uri: "coap://10.1.0.20:5683", ssid: 1111 }
            device: { secure: "coaps://edge.example.net", plain: "coap://10.1.0.20" }
            relay: { to: "coap://10.1.0.20" }
        unmatched: refuse
        credentials: { key-bytes: 16, identity-length: 24, use-within: 24h, overlap: 3d, max-age: 30d }
        dtls: { suites: [TLS_PSK_WITH_AES_128_GCM_SHA256, TLS_PSK_WITH_AES_128_CCM_8], connection-id: false }
        coap: { ack-timeout: 3s, block-size: 256, device: { ack-timeout: 4s, block-size: 64 }, upstream: { max-retransmit: 2 } }
        pool: { min-idle: 2, wait: 500ms, rest: 250ms, quarantine: 5m, from: [10.1.0.1, 10.1.0.2] }
        limits: { sessions: 100, half-open: 10, unanswered-per-source: 5, sessions-per-sim: 2, body: 4KiB }
        audit: { durability: batched, signing-key: { file: /etc/keys/audit.key }, checkpoint: { every: 1m, records: 50 } }
        log: { level: debug, format: text }
        drain: 1m

        """

    @Test("Every key reaches its value")
    func everyKey() throws {
        let reading = ConfigurationReader.read(Self.full, folder: "/srv/edge")
        #expect(reading.diagnostics == [])
        let configuration = try #require(reading.configuration)
        #expect(configuration.state == "/srv/edge/state")
        #expect(configuration.records.key == .environment("RECORDS_KEY"))
        #expect(configuration.log.level == .debug)
        #expect(configuration.log.format == .text)
        #expect(configuration.audit.signingKey == .file("/etc/keys/audit.key"))
        #expect(configuration.audit.checkpointEvery == .seconds(60))
        #expect(configuration.audit.checkpointRecords == 50)

        let gateway = configuration.gateway
        #expect(gateway.listeners.map(\.security) == [.dtls, .plain])
        #expect(gateway.listeners.map(\.port) == [5684, 5683])
        #expect(
            gateway.bootstrap.upstreams.map(\.uri.description) == [
                "coap://10.1.0.10:5683", "coap://[2001:db8::1]:5700",
            ])
        #expect(gateway.bootstrap.account.secure?.description == "coaps://edge.example.net:5684")
        #expect(gateway.servers.map(\.name) == ["meters"])
        #expect(gateway.servers.first?.matchShortServerID == 1111)
        #expect(gateway.servers.first?.relay?.uri.port == 5683)
        #expect(gateway.credentials.identityLength == 24)
        #expect(gateway.credentials.useWithin == .seconds(86_400))
        #expect(gateway.credentials.maximumAge == .seconds(30 * 86_400))
        #expect(gateway.dtls.suites == [.pskAES128GCM, .pskAES128CCM8])
        #expect(!gateway.dtls.connectionIDs)
        #expect(gateway.listeners.map(\.connectionIDs) == [nil, false])
        #expect(gateway.deviceTransmission.acknowledgementTimeout == .seconds(4))
        #expect(gateway.deviceTransmission.blockSize == 64 && gateway.upstreamTransmission.blockSize == 256)
        #expect(gateway.limits.body == 4096)
        #expect(gateway.deviceTransmission.maximumRetransmissions == 4)
        #expect(gateway.upstreamTransmission.acknowledgementTimeout == .seconds(3))
        #expect(gateway.upstreamTransmission.maximumRetransmissions == 2)
        #expect(gateway.pool.wait == .milliseconds(500))
        #expect(gateway.pool.quarantine == .seconds(300))
        #expect(gateway.pool.rest == .milliseconds(250))
        #expect(gateway.pool.from.map(\.description) == ["10.1.0.1", "10.1.0.2"])
        #expect(gateway.limits.sessions == 100)
        #expect(gateway.drain == .seconds(60))
    }

    @Test("A plain listener gets the only server whose plain address leads back to it")
    func serverOfPlainListener() throws {
        let past = try #require(ConfigurationReader.read(Self.full, folder: "").configuration)
        #expect(past.gateway.listeners.map(\.server) == [nil, nil])
        let text = Self.full.replacing("plain: \"coap://10.1.0.20\"", with: "plain: \"coap://EDGE.example.net:5683\"")
        let back = try #require(ConfigurationReader.read(text, folder: "").configuration)
        #expect(back.gateway.listeners.map(\.server) == [nil, "meters"])
    }

    @Test("What the file leaves out has the defaults of the gateway")
    func defaults() throws {
        let configuration = try #require(ConfigurationReader.read(minimalConfiguration, folder: "").configuration)
        #expect(configuration.gateway.credentials == GatewayConfiguration.CredentialPolicy())
        #expect(configuration.gateway.pool == GatewayConfiguration.PoolPolicy())
        #expect(configuration.gateway.limits == GatewayConfiguration.Limits())
        #expect(configuration.gateway.dtls == GatewayConfiguration.DTLSPolicy())
        #expect(configuration.gateway.listeners.map(\.port) == [0])
        #expect(configuration.state == "/var/lib/bootgate")
        #expect(configuration.records.key == .file("/etc/bootgate/records.key"))
    }

    @Test("`sessions: auto` is the default, and `max-age: none` is no bound")
    func words() throws {
        let text = minimalConfiguration + "limits: { sessions: auto }\ncredentials: { max-age: none }\n"
        let configuration = try #require(ConfigurationReader.read(text, folder: "").configuration)
        #expect(configuration.gateway.limits.sessions == nil)
        #expect(configuration.gateway.credentials.maximumAge == nil)
    }

    @Test("Connection IDs are on unless the file says otherwise, for all listeners or for one")
    func connectionIDs() throws {
        let silent = try #require(ConfigurationReader.read(minimalConfiguration, folder: "").configuration)
        #expect(silent.gateway.dtls.connectionIDs)
        #expect(silent.gateway.listeners.map(\.connectionIDs) == [nil])
        let reading = ConfigurationReader.read(
            Self.full.replacing("connection-id: false", with: "connection-id: true"), folder: "")
        #expect(reading.diagnostics == [])
        let loud = try #require(reading.configuration)
        #expect(loud.gateway.dtls.connectionIDs)
        #expect(loud.gateway.listeners.map(\.connectionIDs) == [nil, true])
    }

    @Test("Suites may have the names that wolfSSL and OpenSSL give them")
    func aliases() throws {
        let text = minimalConfiguration + "dtls: { suites: [PSK-AES128-CCM8, PSK-AES128-CCM] }\n"
        let configuration = try #require(ConfigurationReader.read(text, folder: "").configuration)
        #expect(configuration.gateway.dtls.suites == [.pskAES128CCM8, .pskAES128CCM])
    }

    @Test("An anchor may stand for a value that is used twice")
    func alias() throws {
        let text = minimalConfiguration.replacing("account: {", with: "account: &edge {")
            .replacing("device: { secure: \"coaps://edge.example.net:5684\" }", with: "device: *edge")
        let configuration = try #require(ConfigurationReader.read(text, folder: "").configuration)
        #expect(configuration.gateway.servers.first?.device == configuration.gateway.bootstrap.account)
    }

    @Test("Aliases of aliases do not grow without bound")
    func aliasBomb() {
        var text = "listeners: &a0 [\"coaps://127.0.0.1:0\"]\n"
        for level in 1...40 {
            let aliases = Array(repeating: "*a\(level - 1)", count: 40).joined(separator: ", ")
            text += "key\(level): &a\(level) [\(aliases)]\n"
        }
        text += "pool: { from: *a40 }\nservers: *a40\n"
        let diagnostics = ConfigurationReader.read(text, folder: "").diagnostics
        #expect(!diagnostics.isEmpty)
        #expect(diagnostics.count <= 100)
    }

    @Test("A wide file stops at a bound of values and says so")
    func manyValues() {
        let addresses = (0..<30_000).map { "10.\($0 >> 16).\($0 >> 8 & 255).\($0 & 255)" }.joined(separator: ",")
        let said = complaints(minimalConfiguration + "pool: { from: [\(addresses)] }\n")
        #expect(said.count == 1)
        #expect(
            said.first?.hasSuffix("the file stands for more than 20000 values; write fewer aliases or fewer entries")
                == true)
    }

    @Test("The configuration in deploy/edge has neither mistake nor warning")
    func deployment() throws {
        let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appendingPathComponent("deploy/edge/bootgate.yaml")
        let reading = ConfigurationReader.read(try String(contentsOf: file, encoding: .utf8), folder: "/etc/bootgate")
        #expect(reading.diagnostics == [])
        #expect(reading.configuration?.gateway.servers.map(\.name) == ["meters"])
    }

    @Test("Mutated files are read without a trap", arguments: 0..<40 as Range<UInt64>)
    func mutations(seed: UInt64) {
        var generator = SplitMix(state: seed)
        var bytes = Array(Self.full.utf8)
        for _ in 0..<Int.random(in: 1...40, using: &generator) {
            let index = Int.random(in: 0..<bytes.count, using: &generator)
            switch Int.random(in: 0..<3, using: &generator) {
            case 0: bytes[index] = UInt8.random(in: .min ... .max, using: &generator)
            case 1: bytes.remove(at: index)
            default:
                bytes.insert(Array("{}[]:,&*!|>'\"%@`#- \n\t0".utf8).randomElement(using: &generator) ?? 0, at: index)
            }
        }
        let reading = ConfigurationReader.read(String(decoding: bytes, as: UTF8.self), folder: "/")
        let hasMistake = reading.diagnostics.contains { $0.severity == .mistake }
        #expect((reading.configuration == nil) == hasMistake, "seed \(seed)")
    }
}

/// A small generator whose run a seed names.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        self.state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = self.state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
