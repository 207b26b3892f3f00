import Foundation
import Gateway
import LwM2M
import Records
import Secrets
import Testing
import bootgate

@Suite("What the gateway shows to servers over DTLS is read with its place, and checked")
struct UpstreamConfigurationTests {
    private static func file(
        upstream: String, relay: String = "{ to: \"coap://10.1.0.20\" }", match: String = "{ ssid: 1 }"
    )
        -> String
    {
        """
        listeners: ["coaps://127.0.0.1:0"]
        bootstrap:
          upstreams: [\(upstream)]
          account: { secure: "coaps://edge.example.net:5684" }
        servers:
          meters:
            match: \(match)
            device: { secure: "coaps://edge.example.net:5684" }
            relay: \(relay)

        """
    }

    @Test("A fixed pair and the devices' own credentials reach the upstreams in their order")
    func bootstrapServers() throws {
        let text = Self.file(
            upstream: """
                coap://10.1.0.10, { uri: "coaps://10.1.0.11", identity: edge-1, key: { file: up.key } },
                    { uri: "coaps://10.1.0.12:5700", credentials: per-device }
                """)
        #expect(complaints(text) == [])
        let configuration = try #require(ConfigurationReader.read(text, folder: "/etc/bootgate").configuration)
        let upstreams = configuration.gateway.bootstrap.upstreams
        #expect(
            upstreams.map(\.uri.description) == [
                "coap://10.1.0.10:5683", "coaps://10.1.0.11:5684", "coaps://10.1.0.12:5700",
            ])
        #expect(upstreams[0].credentials == nil)
        guard case .fixed(let pair)? = upstreams[1].credentials else {
            Issue.record("no fixed pair")
            return
        }
        #expect(pair.identity == PSKIdentity("edge-1"))
        #expect(upstreams[2].credentials == .perDevice)
        #expect(configuration.upstreamKeys.map(\.source) == [.file("/etc/bootgate/up.key")])
        #expect(configuration.upstreamKeys.map(\.path) == ["bootstrap.upstreams[1].key"])
    }

    @Test("T40: packs are asked for only at bootstrap servers that are said to know them")
    func packs() throws {
        let text = Self.file(
            upstream:
                "coap://10.1.0.10, { uri: \"coap://10.1.0.11\", packs: true }, { uri: \"coap://10.1.0.12\", packs: false }"
        )
        #expect(complaints(text) == [])
        let configuration = try #require(ConfigurationReader.read(text, folder: "").configuration)
        #expect(configuration.gateway.bootstrap.upstreams.map(\.packs) == [false, true, false])
        let wrong = Self.file(upstream: "coap://10.1.0.10", relay: "{ to: \"coap://10.1.0.20\", packs: true }")
        #expect(complaints(wrong).contains { $0.contains("packs") })
    }

    @Test("A relay takes written credentials, or a fixed pair with a warning")
    func relays() throws {
        let written = Self.file(
            upstream: "coap://10.1.0.10", relay: "{ to: \"coaps://10.1.0.20\", credentials: written }",
            match: "{ uri: \"coaps://10.1.0.20\" }")
        #expect(complaints(written) == [])
        let configuration = try #require(ConfigurationReader.read(written, folder: "").configuration)
        #expect(configuration.gateway.servers.first?.relay?.credentials == .written)

        let fixed = Self.file(
            upstream: "coap://10.1.0.10", relay: "{ to: \"coaps://10.1.0.20\", identity: edge-1, key: { env: UP } }")
        #expect(
            complaints(fixed) == [
                "f.yaml:9:12: warning: servers.meters.relay: all devices register with one identity; a server that binds "
                    + "endpoint names to identities refuses them: for such a one write credentials: written"
            ])
    }

    @Test("Keys are read when the gateway starts, each into its own upstream")
    func keys() throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        for (name, digits) in [("up.key", "000102030405060708090a0b0c0d0e0f\n"), ("relay.key", "0102030405060708")] {
            _ = FileManager.default.createFile(
                atPath: folder.appendingPathComponent(name).path, contents: Data(digits.utf8),
                attributes: [.posixPermissions: 0o600])
        }
        let text = Self.file(
            upstream: "{ uri: \"coaps://10.1.0.11\", identity: edge-1, key: { file: up.key } }",
            relay: "{ to: \"coaps://10.1.0.11\", identity: edge-2, key: { file: relay.key } }")
        var configuration = try #require(ConfigurationReader.read(text, folder: folder.path).configuration)
        let warnings = try configuration.readUpstreamKeys()
        #expect(warnings.count == 1)
        #expect(warnings.first?.contains("8 bytes") == true)
        let first = PreSharedKey(identity: try #require(PSKIdentity("edge-1")), key: Secret([UInt8](0...15)))
        let second = PreSharedKey(identity: try #require(PSKIdentity("edge-2")), key: Secret([UInt8](1...8)))
        #expect(configuration.gateway.bootstrap.upstreams.map(\.credentials) == [.fixed(first)])
        #expect(configuration.gateway.servers.map(\.relay?.credentials) == [.fixed(second)])
    }

    @Test("A key that is missing, not hexadecimal or open to others ends the start, and never shows")
    func badKeys() throws {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let path = folder.appendingPathComponent("up.key").path
        let text = Self.file(upstream: "{ uri: \"coaps://10.1.0.11\", identity: edge-1, key: { file: \(path) } }")
        var configuration = try #require(ConfigurationReader.read(text, folder: "").configuration)

        func failure() -> RecordsError? {
            do {
                _ = try configuration.readUpstreamKeys()
                return nil
            } catch { return error }
        }
        #expect(failure()?.kind == .configuration)
        for (digits, permissions, kind) in [
            ("not a key", 0o600, RecordsError.Kind.badData), ("", 0o600, .badData),
            (String(repeating: "ab", count: 65), 0o600, .badData), ("abababab", 0o644, .notPermitted),
        ] {
            _ = FileManager.default.createFile(
                atPath: path, contents: Data(digits.utf8), attributes: [.posixPermissions: permissions])
            let error = failure()
            #expect(error?.kind == kind)
            #expect(error?.description.contains("abab") == false)
            try FileManager.default.removeItem(atPath: path)
        }
    }

    @Test("A broken upstream gets exactly these lines", arguments: Self.brokenFiles)
    func broken(_ file: BrokenFile) {
        #expect(complaints(file.text) == file.expected)
    }

    static let brokenFiles: [BrokenFile] = [
        BrokenFile(
            "a plain listener where every server wants the device's key",
            """
            listeners: ["coap://127.0.0.1:0"]
            bootstrap:
              upstreams: [{ uri: "coaps://10.1.0.11", credentials: per-device }]
              account: { plain: "coap://edge.example.net" }
            servers:
              meters: { match: { ssid: 1 }, device: { plain: "coap://10.1.0.20" }, relay: { to: "coap://10.1.0.20" } }
            """,
            "f.yaml:3:3: warning: every bootstrap server is shown the SIM's own key; devices without one that come over the "
                + "coap listener get 5.03: give their records a key, or one server an identity and a key of its own"
        ),
        BrokenFile(
            "a URI alone", Self.file(upstream: "\"coaps://10.1.0.11\""),
            "f.yaml:3:15: bootstrap.upstreams[0] is reached over DTLS, and nothing says with which key; write { uri: "
                + "\"coaps://10.1.0.11:5684\", identity: NAME, key: { file: PATH } } or { uri: \"coaps://10.1.0.11:5684\", "
                + "credentials: per-device }"
        ),
        BrokenFile(
            "nothing beside the URI", Self.file(upstream: "{ uri: \"coaps://10.1.0.11\" }"),
            "f.yaml:3:15: bootstrap.upstreams[0] is reached over DTLS, and nothing says with which key; write identity: "
                + "NAME and key: { file: PATH }, or credentials: per-device"
        ),
        BrokenFile(
            "an identity alone", Self.file(upstream: "{ uri: \"coaps://10.1.0.11\", identity: a }"),
            "f.yaml:3:15: bootstrap.upstreams[0] has an identity and no key; write key: { file: PATH }"
        ),
        BrokenFile(
            "a key alone", Self.file(upstream: "{ uri: \"coaps://10.1.0.11\", key: { env: K } }"),
            "f.yaml:3:48: bootstrap.upstreams[0].key is a key without an identity; write identity: NAME"
        ),
        BrokenFile(
            "a key in the file", Self.file(upstream: "{ uri: \"coaps://10.1.0.11\", identity: a, key: 0011 }"),
            "f.yaml:3:61: bootstrap.upstreams[0].key: a secret is never in this file, which is read and copied by many; "
                + "write { file: PATH } or { env: NAME }"
        ),
        BrokenFile(
            "both kinds",
            Self.file(
                upstream: "{ uri: \"coaps://10.1.0.11\", identity: a, key: { env: K }, credentials: per-device }"),
            "f.yaml:3:86: bootstrap.upstreams[0].credentials: either the devices' own credentials or one identity with its "
                + "key; remove one of the two"
        ),
        BrokenFile(
            "the other leg's word", Self.file(upstream: "{ uri: \"coaps://10.1.0.11\", credentials: written }"),
            "f.yaml:3:56: bootstrap.upstreams[0].credentials is 'written'; expected one of: per-device"
        ),
        BrokenFile(
            "credentials over coap", Self.file(upstream: "{ uri: \"coap://10.1.0.11\", credentials: per-device }"),
            "f.yaml:3:55: bootstrap.upstreams[0].credentials: a server over coap:// is shown no credentials; remove it, or "
                + "write its coaps:// address"
        ),
        BrokenFile(
            "a relay without credentials",
            Self.file(upstream: "coap://10.1.0.10", relay: "{ to: \"coaps://10.1.0.20\" }"),
            "f.yaml:9:12: servers.meters.relay is reached over DTLS, and nothing says with which key; write identity: NAME "
                + "and key: { file: PATH }, or credentials: written"
        ),
        BrokenFile(
            "written credentials of accounts that have none",
            Self.file(
                upstream: "coap://10.1.0.10", relay: "{ to: \"coaps://10.1.0.20\", credentials: written }",
                match: "{ uri: \"coap://10.1.0.20\" }"),
            "f.yaml:9:12: servers.meters.match.uri is coap://10.1.0.20:5683, but relay.credentials: written needs accounts "
                + "with a key, and those have coaps:// addresses; write the address as the bootstrap server does"
        ),
        BrokenFile(
            "an identity that cannot be",
            Self.file(
                upstream:
                    "{ uri: \"coaps://10.1.0.11\", identity: \(String(repeating: "x", count: 129)), key: { env: K } }"),
            "f.yaml:3:53: bootstrap.upstreams[0].identity: expected a PSK identity of 1 to 128 bytes, without a NUL"
        ),
    ]
}
