import Testing
import bootgate

/// A file with something wrong, and all that is said about it.
struct BrokenFile: Sendable, CustomTestStringConvertible {
    let name: String
    let text: String
    let expected: [String]

    init(_ name: String, _ text: String, _ expected: String...) {
        self.name = name
        self.text = text
        self.expected = expected
    }

    /// The minimal configuration with something below it, from line 10 on.
    init(_ name: String, after addition: String, _ expected: String...) {
        self.name = name
        self.text = minimalConfiguration + addition + "\n"
        self.expected = expected
    }

    /// The minimal configuration with one part replaced.
    init(_ name: String, replacing part: String, with other: String, _ expected: String...) {
        self.name = name
        self.text = minimalConfiguration.replacing(part, with: other)
        self.expected = expected
    }

    var testDescription: String { self.name }
}

@Suite("Every mistake of a configuration file is told with its place and its remedy")
struct BrokenConfigurationTests {
    @Test("The minimal configuration has neither mistake nor warning")
    func minimal() {
        #expect(complaints(minimalConfiguration) == [])
    }

    @Test("A broken file gets exactly these lines", arguments: Self.files)
    func broken(_ file: BrokenFile) {
        #expect(complaints(file.text) == file.expected)
    }

    static let files: [BrokenFile] =
        Self.structure + Self.values + Self.routes + Self.secrets + Self.publications
        + Self.journalAndAdmin

    static let structure: [BrokenFile] = [
        BrokenFile("empty", "", "f.yaml:1:1: the file is empty; listeners, bootstrap and servers are needed"),
        BrokenFile(
            "a list",
            "- 1\n",
            "f.yaml:1:1: the file is no mapping; expected keys such as listeners, bootstrap and servers"
        ),
        BrokenFile(
            "no YAML",
            "listeners: [\n  a\nservers: {}\n",
            "f.yaml:3:8: no valid YAML: did not find expected ',' or ']' (while parsing a flow sequence that begins in line 1)"
        ),
        BrokenFile(
            "nothing that is needed",
            "drain: 30s\n",
            "f.yaml:1:1: listeners is missing; write a list such as [ \"coaps://[::]:5684\" ]",
            "f.yaml:1:1: bootstrap is missing; write its upstreams and account",
            "f.yaml:1:1: servers is missing; name each LwM2M server that the bootstrap server writes"
        ),
        BrokenFile(
            "mistyped keys",
            after: "drian: 30s\ncoap: { maxRetransmit: 3 }\nweather: fine",
            "f.yaml:10:1: unknown key drian; did you mean 'drain'?",
            "f.yaml:11:9: unknown key coap.maxRetransmit; did you mean 'max-retransmit'?",
            "f.yaml:12:1: unknown key weather; known here: admin, audit, bootstrap, coap, credentials, drain, dtls, "
                + "limits, listeners, log, mode, pool, records, servers, state, unmatched"
        ),
        BrokenFile(
            "a key twice",
            after: "drain: 30s\ndrain: 40s",
            "f.yaml:10:1: 'drain' is given more than once in one mapping; keep one of them"
        ),
        BrokenFile(
            "nested too deep",
            String(repeating: "[", count: 200_000),
            "f.yaml:1:65: the file is nested too deep; expected a configuration"
        ),
        BrokenFile(
            "blocks nested too deep",
            String(repeating: "- ", count: 100_000),
            "f.yaml:1:128: the file is nested too deep; expected a configuration"
        ),
        BrokenFile(
            "too long", String(repeating: "# \n", count: 400_000),
            "f.yaml:1:1: the file is longer than 1 MiB; expected a configuration"),
    ]

    static let values: [BrokenFile] = [
        BrokenFile(
            "durations",
            after: "drain: 30\npool: { wait: 2 s, quarantine: 60s }\ncredentials: { overlap: none, max-age: 0s }",
            "f.yaml:10:8: drain is '30'; expected a duration such as 500ms, 30s, 24h or 7d",
            "f.yaml:11:15: pool.wait is '2 s'; expected a duration such as 500ms, 30s, 24h or 7d",
            "f.yaml:11:32: pool.quarantine is 60s; expected at least 247s, the time for which a server may still send "
                + "what was meant for the device before",
            "f.yaml:12:25: credentials.overlap is 'none'; expected a duration such as 500ms, 30s, 24h or 7d",
            "f.yaml:12:40: credentials.max-age is '0s'; expected a duration such as 24h or 400d, or none"
        ),
        BrokenFile(
            "numbers",
            after: "credentials: { key-bytes: 8, identity-length: \"29\" }\nlimits: { sessions: many, half-open: -1 }",
            "f.yaml:10:27: credentials.key-bytes is '8'; expected a whole number from 16 to 64",
            "f.yaml:10:47: credentials.identity-length is in quotes; expected a whole number from 16 to 128 without them",
            "f.yaml:11:21: limits.sessions is 'many'; expected a whole number from 1 to 10000000",
            "f.yaml:11:38: limits.half-open is '-1'; expected a whole number from 1 to 1000000"
        ),
        BrokenFile(
            "numbers beyond all bounds",
            after: "limits: { half-open: 99999999999999999999999 }\ndrain: 999999999999999d",
            "f.yaml:10:22: limits.half-open is '99999999999999999999999'; expected a whole number from 1 to 1000000",
            "f.yaml:11:8: drain is '999999999999999d'; expected a duration such as 500ms, 30s, 24h or 7d"
        ),
        BrokenFile(
            "kinds",
            after: "pool: 8\ndtls: { suites: TLS, connection-id: yes }\nlog:\nlimits: []",
            "f.yaml:10:7: pool is '8'; expected a mapping",
            "f.yaml:11:17: dtls.suites is 'TLS'; expected a list of cipher suites such as [ TLS_PSK_WITH_AES_128_CCM_8 ]",
            "f.yaml:11:37: dtls.connection-id is 'yes'; expected true or false",
            "f.yaml:12:5: log is nothing; expected a mapping",
            "f.yaml:13:9: limits is a list; expected a mapping"
        ),
        BrokenFile(
            "names",
            after: "log: { level: Info, format: xml }\nmode: observe\nunmatched: drop",
            "f.yaml:10:15: log.level is 'Info'; expected one of: trace, debug, info, notice, warning, error, critical; "
                + "did you mean 'info'?",
            "f.yaml:10:29: log.format is 'xml'; expected one of: json, text",
            "f.yaml:11:7: mode is 'observe'; expected one of: enforce, audit",
            "f.yaml:12:12: unmatched is 'drop'; expected one of: refuse, keep"
        ),
        BrokenFile(
            "suites",
            after: "dtls: { suites: [TLS_PSK_WITH_AES_128_CCM, TLS_PSK_WITH_AES_128_CCM, TLS_PSK_WITH_AES_128_GCM] }",
            "f.yaml:10:17: warning: dtls.suites lacks TLS_PSK_WITH_AES_128_CCM_8; many devices have no other suite",
            "f.yaml:10:44: dtls.suites[1] is in the list already; keep one of them",
            "f.yaml:10:70: dtls.suites[2] is 'TLS_PSK_WITH_AES_128_GCM', which is no suite known here; expected an IANA "
                + "name such as TLS_PSK_WITH_AES_128_CCM_8; did you mean 'TLS_PSK_WITH_AES_128_CCM'?"
        ),
        BrokenFile(
            "addresses",
            after: "pool: { from: [10.0.0.1, 10.0.0.1, edge.example.net, \"::\"] }",
            "f.yaml:10:26: pool.from[1] is in the list already; keep one of them",
            "f.yaml:10:36: pool.from[2] is 'edge.example.net'; expected an IP address such as 192.0.2.1 or 2001:db8::1",
            "f.yaml:10:54: pool.from[3] is no address of this machine; name one"
        ),
        BrokenFile(
            "block sizes",
            after: "coap: { block-size: 500, device: { ack-timeout: 1ms }, upstream: { exchange-lifetime: 10s } }",
            "f.yaml:10:21: coap.block-size is '500'; expected one of: 16, 32, 64, 128, 256, 512, 1024",
            "f.yaml:10:49: coap.device.ack-timeout is 1ms; expected at least 100ms",
            "f.yaml:10:87: warning: coap.upstream.exchange-lifetime is below 247s; a late duplicate may be taken for a "
                + "new message"
        ),
        BrokenFile(
            "control characters are not echoed",
            after: "mode: \"\\e[31m\\u202Ex\"",
            "f.yaml:10:7: mode is '?[31m?x'; expected one of: enforce, audit"
        ),
    ]

    static let routes: [BrokenFile] = [
        BrokenFile(
            "listeners",
            replacing: "[\"coaps://127.0.0.1:0\"]",
            with: "[coaps://edge.example.net, \"udp://127.0.0.1:1\", \"coaps://[::1]:99999\", 5684, {}]",
            "f.yaml:1:13: listeners[0] names the host 'edge.example.net'; a listener is bound to an address of this "
                + "machine, or to [::] or 0.0.0.0 for all of them",
            "f.yaml:1:39: listeners[1] is 'udp://127.0.0.1:1'; expected an address such as coaps://[::]:5684 or "
                + "coap://192.0.2.1:5683",
            "f.yaml:1:60: listeners[2] is 'coaps://[::1]:99999'; expected an address such as coaps://[::]:5684 or "
                + "coap://192.0.2.1:5683",
            "f.yaml:1:83: listeners[3] is '5684'; expected an address such as coaps://[::]:5684 or "
                + "coap://192.0.2.1:5683",
            "f.yaml:1:89: listeners[4].bind is missing; write an address such as coaps://[::]:5684"
        ),
        BrokenFile(
            "one port for two",
            replacing: "[\"coaps://127.0.0.1:0\"]",
            with: "[\"coaps://127.0.0.1:5684\", \"coaps://127.0.0.1\"]",
            "f.yaml:1:39: listeners[1] has the address and port of listeners[0]; give each its own"
        ),
        BrokenFile(
            "no listener",
            replacing: "[\"coaps://127.0.0.1:0\"]",
            with: "[]",
            "f.yaml:1:12: listeners is empty; write a list such as [ \"coaps://[::]:5684\" ]"
        ),
        BrokenFile(
            "plain arrivals without plain addresses",
            replacing: "\"coaps://127.0.0.1:0\"",
            with: "\"coap://0.0.0.0:5683\"",
            "f.yaml:1:13: warning: listeners[0] takes plain CoAP on every address, where source addresses can be forged; "
                + "bind it to the address of the operator's private network",
            "f.yaml:3:3: bootstrap.account has no plain address, but there is a coap listener; write plain",
            "f.yaml:6:3: warning: servers.meters.device has no plain address; devices that come over plain CoAP are "
                + "refused this server: write plain, or remove the listener"
        ),
        BrokenFile(
            "a plain listener on a public address",
            """
            listeners: [{ bind: "coap://203.0.113.5", server: metres }]
            bootstrap:
              upstreams: ["coap://10.1.0.10"]
              account: { plain: "coap://edge.example.net" }
            servers:
              meters:
                match: { ssid: 1111 }
                device: { plain: "coap://edge.example.net" }
                relay: { to: "coap://10.1.0.20" }
            """,
            "f.yaml:1:13: listeners[0].server is 'metres', which is no entry in servers; did you mean 'meters'?",
            "f.yaml:1:21: warning: listeners[0].bind takes plain CoAP on a public address, where source addresses can be "
                + "forged; bind it to the address of the operator's private network"
        ),
        BrokenFile(
            "two relays behind one plain port",
            """
            listeners: ["coap://127.0.0.1"]
            bootstrap:
              upstreams: ["coap://10.1.0.10"]
              account: { plain: "coap://edge.example.net" }
            servers:
              one: { match: { ssid: 1 }, device: { plain: "coap://edge.example.net" }, relay: { to: "coap://10.1.0.20" } }
              two: { match: { ssid: 2 }, device: { plain: "coap://edge.example.net" }, relay: { to: "coap://10.1.0.21" } }
            """,
            "f.yaml:1:13: listeners[0] could carry registrations to one, two; on a plain port only one can be told: "
                + "write { bind: …, server: NAME }"
        ),
        BrokenFile(
            "upstreams",
            replacing: "[\"coap://10.1.0.10:5683\"]",
            with: "[\"coap+tcp://10.1.0.10\", \"coap://0.0.0.0:5683\", \"coap://a b\"]",
            "f.yaml:3:15: bootstrap.upstreams[0] is 'coap+tcp://10.1.0.10': the scheme 'coap+tcp' is not carried over UDP; "
                + "use coap or coaps",
            "f.yaml:3:39: bootstrap.upstreams[1] is the address of no machine; write the address at which it is reached",
            "f.yaml:3:62: bootstrap.upstreams[2] is 'coap://a b': byte 0x20 at position 8 cannot stand in a URI; use ASCII, "
                + "without spaces"
        ),
        BrokenFile(
            "schemes of the account",
            replacing: "{ secure: \"coaps://edge.example.net:5684\" }\nservers",
            with: "{ secure: \"coap://edge.example.net\", plain: \"coaps://edge.example.net\" }\nservers",
            "f.yaml:4:22: bootstrap.account.secure has the scheme coap; expected a URI such as coaps://edge.example.net:5684",
            "f.yaml:4:56: bootstrap.account.plain has the scheme coaps; expected a URI such as coap://edge.example.net:5683"
        ),
        BrokenFile(
            "servers",
            """
            listeners: ["coaps://127.0.0.1"]
            bootstrap:
              upstreams: ["coap://10.1.0.10"]
              account: { secure: "coaps://edge.example.net" }
            servers:
              "a b": {}
              empty: { match: {}, device: {} }
              past: { match: { ssid: 1 }, device: { secure: "coaps://lwm2m.example.net" } }
              twin: { match: { ssid: 1 }, device: { secure: "coaps://edge.example.net" }, relay: { to: "coap://10.1.0.20" } }
              wide: { match: { ssid: 65535 }, device: { secure: "coaps://edge.example.net" }, relay: {} }
            """,
            "f.yaml:6:3: the name 'a b' is not made of letters, digits, '.', '_' and '-'",
            "f.yaml:7:10: warning: servers.empty has neither relay nor publish; its devices register past this gateway "
                + "with a key that the server does not know: write relay: { to: \"coap://HOST:PORT\" }",
            "f.yaml:7:19: servers.empty.match has neither uri nor ssid; write at least one of them, as the bootstrap "
                + "server does",
            "f.yaml:7:31: servers.empty.device has neither secure nor plain; write at least one of them",
            "f.yaml:8:9: warning: servers.past has neither relay nor publish; its devices register past this gateway "
                + "with a key that the server does not know: write relay: { to: \"coap://HOST:PORT\" }",
            "f.yaml:9:3: servers.twin matches the same accounts as servers.past; keep one",
            "f.yaml:10:26: servers.wide.match.ssid is '65535'; expected a whole number from 1 to 65534",
            "f.yaml:10:90: servers.wide.relay.to is missing; write the server's own address, such as coap://10.1.0.20:5683"
        ),
        BrokenFile(
            "no servers",
            replacing: """
                  meters:
                    match: { ssid: 1111 }
                    device: { secure: "coaps://edge.example.net:5684" }
                    relay: { to: "coap://10.1.0.20:5683" }

                """,
            with: "  {}\n",
            "f.yaml:6:3: servers is empty; name each LwM2M server that the bootstrap server writes"
        ),
    ]

    static let secrets: [BrokenFile] = [
        BrokenFile(
            "a secret in the file is refused and not repeated",
            after: "records: { key: 00112233445566778899aabbccddeeff }",
            "f.yaml:10:17: records.key: a secret is never in this file, which is read and copied by many; write "
                + "{ file: PATH } or { env: NAME }"
        ),
        BrokenFile(
            "two sources and none",
            after: "records: { key: { file: a, env: B } }\naudit: { signing-key: {} }",
            "f.yaml:10:17: records.key: expected one of the two, { file: PATH } or { env: NAME }",
            "f.yaml:11:23: audit.signing-key: expected one of the two, { file: PATH } or { env: NAME }"
        ),
        BrokenFile(
            "a signing key beside the journal",
            after: "state: /var/lib/bootgate\naudit: { signing-key: { file: /var/lib/bootgate/audit.key } }",
            "f.yaml:11:23: audit.signing-key lies inside state; who can rewrite the journal could sign it: put it elsewhere"
        ),
        BrokenFile(
            "patterns",
            after: "records: { identity: \"{icid}\", endpoint: meter }",
            "f.yaml:10:22: records.identity has the unknown field '{icid}'; expected one of: {iccid}, {imsi}, {imei}, "
                + "{msisdn}, {device-id}; did you mean '{iccid}'?",
            "f.yaml:10:42: records.endpoint would be the same for every record; expected a pattern such as \"{iccid}\""
        ),
    ]

    static let publications: [BrokenFile] = [
        BrokenFile(
            "how servers are told of keys",
            """
            listeners: ["coaps://127.0.0.1:0"]
            bootstrap:
              upstreams: ["coap://10.1.0.10:5683"]
              account: { secure: "coaps://edge.example.net:5684" }
            servers:
              both:
                match: { ssid: 1 }
                device: { secure: "coaps://edge.example.net:5684" }
                relay: { to: "coap://10.1.0.20:5683" }
                publish: { leshan: "http://127.0.0.1:8080" }
              neither:
                match: { ssid: 2 }
                device: { secure: "coaps://one.example.net:5684" }
                publish: { token: secret, keys-per-endpoint: 2 }
              hook:
                match: { ssid: 3 }
                device: { secure: "coaps://two.example.net:5684" }
                publish: { webhook: "https://u:p@two.example.net/", leshan-format: 1, certificate: c.pem, timeout: 1ms }
              leshan:
                match: { ssid: 4 }
                device: { secure: "coaps://three.example.net:5684" }
                publish: { leshan: "ftp://three.example.net", leshan-format: 3, keys-per-endpoint: many, tokne: {} }
            """,
            "f.yaml:10:14: servers.both has both relay and publish; keep relay for a server behind this gateway, publish "
                + "for one that speaks DTLS itself",
            "f.yaml:14:14: servers.neither.publish: expected one of leshan and webhook, { leshan: \"http://HOST:PORT\" } "
                + "or { webhook: \"https://HOST/PATH\", token: { env: NAME } }",
            "f.yaml:14:23: servers.neither.publish.token: a secret is never in this file, which is read and copied by "
                + "many; write { file: PATH } or { env: NAME }",
            "f.yaml:14:50: servers.neither.publish.keys-per-endpoint is '2'; expected one of: 1, many; did you mean "
                + "'1'?",
            "f.yaml:18:14: servers.hook.publish has only one of certificate and key; mutual TLS needs both",
            "f.yaml:18:25: servers.hook.publish.webhook is no address to publish to; expected an address such as "
                + "http://10.1.0.30:8080 or https://lwm2m.example.net",
            "f.yaml:18:72: servers.hook.publish.leshan-format goes with leshan only; leave it out",
            "f.yaml:18:104: servers.hook.publish.timeout is 1ms; expected at least 100ms",
            "f.yaml:22:24: servers.leshan.publish.leshan is no address to publish to; expected an address such as "
                + "http://10.1.0.30:8080 or https://lwm2m.example.net",
            "f.yaml:22:66: servers.leshan.publish.leshan-format is '3'; expected a whole number from 1 to 2",
            "f.yaml:22:88: servers.leshan.publish.keys-per-endpoint: Leshan holds one key for each endpoint; write 1",
            "f.yaml:22:94: unknown key servers.leshan.publish.tokne; did you mean 'token'?"
        )
    ]

    static let journalAndAdmin: [BrokenFile] = [
        BrokenFile(
            "limits of the journal and of the admin address",
            """
            mode: audit
            listeners: [{ bind: "coaps://127.0.0.1" }]
            bootstrap:
              upstreams: ["coap://10.1.0.11"]
              account: { secure: "coaps://edge.example.net" }
            servers:
              trackers:
                match: { ssid: 2000 }
                device: { secure: "coaps://lwm2m.example.net:5684" }
                publish: { leshan: "http://10.1.0.30:8080" }
              meters:
                match: { ssid: 1 }
                device: { secure: "coaps://edge.example.net" }
                relay: { to: "coap://10.1.0.30" }
            audit: { durability: strict, keep: 4h, syslog: { to: "udp://syslog.example.net:514", facility: local8 } }
            admin: { listen: "0.0.0.0:8684", tokens: [{ name: ops, role: chief, token: abc }] }
            """,
            "f.yaml:10:24: warning: servers.trackers.publish.leshan sends keys in clear; use https, or a network that "
                + "nobody else is in",
            "f.yaml:15:36: audit.keep is 4h; expected at least 1d, or none",
            "f.yaml:15:54: audit.syslog.to is 'udp://syslog.example.net:514'; expected an address and port, or the path of a "
                + "socket, such as udp://127.0.0.1:514 or unix:/dev/log",
            "f.yaml:15:96: audit.syslog.facility is 'local8'; expected one of: "
                + "kern, user, mail, daemon, auth, syslog, lpr, news, uucp, cron, authpriv, ftp, ntp, audit, alert, clock, "
                + "local0, local1, local2, local3, local4, local5, local6, local7; did you mean 'local0'?",
            "f.yaml:16:18: admin.listen is no loopback address; without TLS, tokens would cross the network in clear",
            "f.yaml:16:62: admin.tokens[0].role is 'chief'; expected one of: viewer, operator",
            "f.yaml:16:76: admin.tokens[0].token: a secret is never in this file, which is read and copied by many; write "
                + "{ file: PATH } or { env: NAME }"
        )
    ]
}
