internal import Foundation
internal import Testing

/// Servers behind the gateway that demand DTLS: the simulator's, on libcoap with OpenSSL, which share no code with the
/// gateway.
@Suite("Servers over DTLS behind the gateway")
struct SecureUpstreamTests {
    private static let key = "00112233445566778899aabbccddeeff"
    private static let otherKey = "ffeeddccbbaa99887766554433221100"

    /// A bootstrap server that demands DTLS, a plain LwM2M server, and a gateway in front of them.
    private func stage(
        _ stage: Stage, key: String = Self.key, arguments: [String] = [], more: [String] = []
    ) async throws -> (gateway: Gateway, bootstrap: Stage.Server, management: Stage.Server) {
        let management = try await stage.managementServer()
        let bootstrap = try await self.bootstrapServer(
            stage, for: management.uri, ["--psk", "edge-1=\(Self.key)"] + arguments)
        let file = try stage.keyFile("upstream.key", key)
        let upstream = "{ uri: \"\(bootstrap.uri)\", identity: edge-1, key: { file: \(file) } }"
        let gateway = try await stage.gateway(.init(upstreams: [upstream] + more, server: management.uri))
        return (gateway, bootstrap, management)
    }

    private func bootstrapServer(_ stage: Stage, for server: String, _ arguments: [String]) async throws -> Stage.Server
    {
        try await stage.bootstrapServer(
            [
                "--server-uri", server, "--account-uri", "coap://192.0.2.1:5683", "--ssid", "1111", "--account-ssid",
                "2222",
            ]
                + arguments)
    }

    private func bootstrap(_ sim: SIM, _ stage: Stage, at gateway: Gateway) async throws {
        let device = try stage.device(stage.credentials(sim, at: gateway) + ["--bootstrap-only"])
        #expect(try await device.exit(within: .seconds(60)) == 0)
        try await gateway.record("bootstrap.finished", of: sim)
    }

    // MARK: - The bootstrap leg

    @Test("Devices bootstrap over one session of a fixed pair, one after another")
    func fixedPair() async throws {
        try await Stage.run { stage in
            let (gateway, bootstrap, _) = try await self.stage(stage)
            for _ in 0..<12 { try await self.bootstrap(try await stage.addSIM(to: gateway), stage, at: gateway) }
            let requests = bootstrap.program.output.events("request")
            #expect(requests.count == 12)
            #expect(requests.allSatisfy { $0.text("identity") == "edge-1" })
            // Fewer sessions than devices: each socket has one, and the sockets are used again.
            let sessions = Set(bootstrap.program.output.events("connected").compactMap { $0.text("peer") })
            #expect(sessions.count < 12)
            #expect(bootstrap.program.output.events("connected").count == sessions.count)
        }
    }

    @Test("A device is shown to the bootstrap server with its own identity and key, in a session of its own")
    func perDevice() async throws {
        try await Stage.run { stage in
            let management = try await stage.managementServer()
            let sims = (0..<3).map { _ in SIM() }
            let keys = sims.flatMap { ["--psk", "\($0.iccid)=\($0.key)"] }
            let bootstrap = try await self.bootstrapServer(stage, for: management.uri, keys)
            let upstream = "{ uri: \"\(bootstrap.uri)\", credentials: per-device }"
            let gateway = try await stage.gateway(
                .init(upstreams: [upstream], server: management.uri, more: "pool: { min-idle: 1 }"))
            for sim in sims { try await stage.sim(["add", "iccid=\(sim.iccid)", "key=\(sim.key)"], at: gateway) }
            for sim in sims + sims { try await self.bootstrap(sim, stage, at: gateway) }
            let requests = bootstrap.program.output.events("request")
            #expect(requests.map { $0.text("identity") } == (sims + sims).map(\.iccid))
            #expect(bootstrap.program.output.events("connected").count == 6)
        }
    }

    @Test("A wrong key upstream: the device gets 5.03, the journal the cause, the log what to do")
    func wrongKey() async throws {
        try await Stage.run { stage in
            let (gateway, bootstrap, _) = try await self.stage(stage, key: Self.otherKey)
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(sim, at: gateway) + ["--bootstrap-only"])
            #expect(try await device.exit(within: .seconds(60)) == 1)
            #expect(try await device.event("failed").text("code") == "5.03")
            try await gateway.record("bootstrap.failed", of: sim, cause: "upstream handshake failed")
            #expect(try await gateway.remedy(for: "upstream handshake failed").contains("key"))
            let entry = try await gateway.program.logged("the upstream") {
                $0.text("message") == "no DTLS session with an upstream"
            }
            #expect(entry.text("upstream") == bootstrap.uri)
            #expect(!entry.description.contains(Self.otherKey))
            #expect(bootstrap.program.output.events("request").isEmpty)
        }
    }

    @Test("A device whose own key the server does not know is refused; the others are not")
    func wrongDeviceKey() async throws {
        try await Stage.run { stage in
            let management = try await stage.managementServer()
            let known = SIM()
            let unknown = SIM()
            let bootstrap = try await self.bootstrapServer(
                stage, for: management.uri,
                ["--psk", "\(known.iccid)=\(known.key)", "--psk", "\(unknown.iccid)=\(Self.otherKey)"])
            let gateway = try await stage.gateway(
                .init(
                    upstreams: ["{ uri: \"\(bootstrap.uri)\", credentials: per-device }"], server: management.uri))
            for sim in [known, unknown] {
                try await stage.sim(["add", "iccid=\(sim.iccid)", "key=\(sim.key)"], at: gateway)
            }
            let device = try stage.device(stage.credentials(unknown, at: gateway) + ["--bootstrap-only"])
            #expect(try await device.exit(within: .seconds(60)) == 1)
            try await gateway.record("bootstrap.failed", of: unknown, cause: "upstream handshake failed")
            try await self.bootstrap(known, stage, at: gateway)
        }
    }

    @Test("A server that nobody hears: the device gets 5.04, or the next server serves it")
    func silentServer() async throws {
        try await Stage.run { stage in
            let silent = try UDPSocket(from: stage.address)
            let management = try await stage.managementServer()
            let file = try stage.keyFile("upstream.key", Self.key)
            let dead = "{ uri: \"coaps://\(stage.address):\(silent.port)\", identity: edge-1, key: { file: \(file) } }"
            let gateway = try await stage.gateway(.init(upstreams: [dead], server: management.uri))
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(sim, at: gateway) + ["--bootstrap-only"])
            #expect(try await device.exit(within: .seconds(60)) == 1)
            #expect(try await device.event("failed").text("code") == "5.04")
            try await gateway.record("bootstrap.failed", of: sim, cause: "upstream silent")
        }
        try await Stage.run { stage in
            let silent = try UDPSocket(from: stage.address)
            let management = try await stage.managementServer()
            let file = try stage.keyFile("upstream.key", Self.key)
            let dead = "{ uri: \"coaps://\(stage.address):\(silent.port)\", identity: edge-1, key: { file: \(file) } }"
            let second = try await self.bootstrapServer(stage, for: management.uri, [])
            let gateway = try await stage.gateway(.init(upstreams: [dead, second.uri], server: management.uri))
            try await self.bootstrap(try await stage.addSIM(to: gateway), stage, at: gateway)
        }
    }

    @Test("A bootstrap server that starts again between two devices gets a new session on the old port")
    func restartedBootstrapServer() async throws {
        try await Stage.run { stage in
            let (gateway, bootstrap, management) = try await self.stage(stage, more: [])
            let sim = try await stage.addSIM(to: gateway)
            // Every socket of the pool has a session.
            for _ in 0..<10 { try await self.bootstrap(sim, stage, at: gateway) }
            bootstrap.program.signal(SIGKILL)
            _ = try await bootstrap.program.exit(within: .seconds(10))
            let place = bootstrap.uri.replacingOccurrences(of: "coaps://", with: "")
            let again = try await self.bootstrapServer(
                stage, for: management.uri, ["--psk", "edge-1=\(Self.key)", "--listen", place])
            for _ in 0..<3 {
                let device = try stage.device(stage.credentials(sim, at: gateway) + ["--bootstrap-only"])
                #expect(try await device.exit(within: .seconds(60)) == 0)
            }
            let before = Set(bootstrap.program.output.events("connected").compactMap { $0.text("peer") })
            let after = again.program.output.events("connected").compactMap { $0.text("peer") }
            #expect(after.contains { before.contains($0) })
        }
    }

    // MARK: - The registration leg

    /// A LwM2M server that binds names to identities, and a gateway that registers devices with what upstream writes.
    private func written(
        _ stage: Stage, operations: [String] = ["--read", "/3/0/0"], writes: Bool = true, plain: Bool = false
    ) async throws -> (gateway: Gateway, bootstrap: Stage.Server, management: Stage.Server) {
        let management = try await stage.managementServer(["--psk", "*=\(Self.key)", "--bind-identities"] + operations)
        let credentials = writes ? ["--server-identity", "{endpoint}", "--server-key", Self.key] : []
        let uri = writes ? management.uri : management.uri.replacingOccurrences(of: "coaps://", with: "coap://")
        let bootstrap = try await self.bootstrapServer(stage, for: uri, credentials)
        var settings = Stage.Settings(upstreams: [bootstrap.uri], server: management.uri)
        settings.relayCredentials = ", credentials: written"
        settings.matchesURI = writes
        settings.carriesPlainRegistrations = plain
        return (try await stage.gateway(settings), bootstrap, management)
    }

    @Test(
        "A device registers with a server that demands DTLS, with what the bootstrap server wrote for it and never saw")
    func writtenCredentials() async throws {
        try await Stage.run { stage in
            let (gateway, _, management) = try await self.written(stage)
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(sim, at: gateway) + ["--once"])
            #expect(try await device.exit(within: .seconds(60)) == 0)
            let registered = try await management.program.event("registered") { $0.text("endpoint") == sim.iccid }
            #expect(registered.text("identity") == sim.iccid)
            try await management.program.event("answered") { $0.text("code") == "2.05" }
            try await management.program.event("deregistered")
            let account = try #require(device.output.events("account").first { $0.boolean("bootstrap") == false })
            #expect(account.text("uri") == gateway.secure)
            #expect(account.text("identity") != sim.iccid)
            // What upstream wrote shows in the journal by its fingerprint alone.
            try await gateway.record("bootstrap.written", of: sim)
            let journal = gateway.journal.output.all.joined()
            #expect(!journal.contains(Self.key))
        }
    }

    @Test("A plain device registers with a server that demands DTLS, and gets no key; so after a start of the gateway")
    func plainWithWrittenCredentials() async throws {
        try await Stage.run { stage in
            let (gateway, _, management) = try await self.written(stage, plain: true)
            let sim = try await stage.addSIM(to: gateway, ["address=\(stage.address)"])
            let arguments = ["--endpoint", sim.iccid, "--bind", stage.address]
            let file = stage.folder.appendingPathComponent("account").path
            let device = try stage.device(
                ["--bootstrap", gateway.plain, "--save-account", file, "--once"] + arguments)
            #expect(try await device.exit(within: .seconds(60)) == 0)
            let registered = try await management.program.event("registered") { $0.text("endpoint") == sim.iccid }
            #expect(registered.text("identity") == sim.iccid)
            try await management.program.event("answered") { $0.text("code") == "2.05" }
            try await management.program.event("deregistered")
            let account = try #require(device.output.events("account").first { $0.boolean("bootstrap") == false })
            #expect(account.text("uri") == gateway.plain)
            #expect(account.integer("mode") == 3 && account.integer("keyBytes") == 0 && account.text("identity") == nil)

            gateway.program.signal(SIGKILL)
            _ = try await gateway.program.exit(within: .seconds(10))
            _ = try await stage.restart(gateway)
            let returning = try stage.device(["--account", file, "--once"] + arguments)
            #expect(try await returning.exit(within: .seconds(60)) == 0)
            #expect(
                management.program.output.events("registered").map { $0.text("identity") } == [sim.iccid, sim.iccid])
        }
    }

    @Test("What upstream wrote is there again after a start of the gateway")
    func writtenSurvivesRestart() async throws {
        try await Stage.run { stage in
            let (gateway, _, management) = try await self.written(stage)
            let sim = try await stage.addSIM(to: gateway)
            let file = stage.folder.appendingPathComponent("account").path
            let device = try stage.device(
                stage.credentials(sim, at: gateway) + ["--bootstrap-only", "--save-account", file])
            #expect(try await device.exit(within: .seconds(60)) == 0)
            try await gateway.record("bootstrap.finished", of: sim)
            gateway.program.signal(SIGKILL)
            _ = try await gateway.program.exit(within: .seconds(10))
            _ = try await stage.restart(gateway)
            for _ in 0..<2 {
                let returning = try stage.device(["--account", file, "--endpoint", sim.iccid, "--once"])
                #expect(try await returning.exit(within: .seconds(60)) == 0)
            }
            #expect(
                management.program.output.events("registered").map { $0.text("identity") } == [sim.iccid, sim.iccid])
            // Encrypted at rest: the key is in no file of the state.
            let key = try #require(Self.bytes(Self.key))
            for name in try FileManager.default.contentsOfDirectory(atPath: "\(stage.folder.path)/state")
            where name.hasPrefix("credentials.db") {
                let data = try Data(contentsOf: URL(fileURLWithPath: "\(stage.folder.path)/state/\(name)"))
                #expect(data.range(of: Data(key)) == nil)
            }
        }
    }

    private static func bytes(_ hexadecimal: String) -> [UInt8]? {
        let digits = hexadecimal.compactMap(\.hexDigitValue)
        guard digits.count == hexadecimal.count else { return nil }
        return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }

    @Test("Written credentials that the server does not know: the device gets 5.03, the journal the cause")
    func wrongWrittenKey() async throws {
        try await Stage.run { stage in
            let management = try await stage.managementServer(["--psk", "*=\(Self.key)"])
            let bootstrap = try await self.bootstrapServer(
                stage, for: management.uri, ["--server-identity", "{endpoint}", "--server-key", Self.otherKey])
            var settings = Stage.Settings(upstreams: [bootstrap.uri], server: management.uri)
            settings.relayCredentials = ", credentials: written"
            let gateway = try await stage.gateway(settings)
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(sim, at: gateway) + ["--once"])
            #expect(try await device.exit(within: .seconds(60)) == 1)
            #expect(try await device.event("failed").text("code") == "5.03")
            try await gateway.record("registration.refused", of: sim, cause: "upstream handshake failed")
            #expect(management.program.output.events("registered").isEmpty)
        }
    }

    @Test("A bootstrap server that starts again in the middle of a bootstrap: it fails, the next one works")
    func restartedInTheMiddle() async throws {
        try await Stage.run { stage in
            let (gateway, bootstrap, management) = try await self.stage(stage, arguments: ["--stop-after", "2"])
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(
                stage.credentials(sim, at: gateway) + ["--bootstrap-only", "--patience", "3"])
            try await bootstrap.program.event("answered") { $0.integer("step") == 2 }
            bootstrap.program.signal(SIGKILL)
            _ = try await bootstrap.program.exit(within: .seconds(10))
            let place = bootstrap.uri.replacingOccurrences(of: "coaps://", with: "")
            _ = try await self.bootstrapServer(
                stage, for: management.uri, ["--psk", "edge-1=\(Self.key)", "--listen", place])
            #expect(try await device.exit(within: .seconds(60)) == 1)
            try await gateway.record("bootstrap.failed", of: sim)
            try await self.bootstrap(sim, stage, at: gateway)
        }
    }

    @Test("An account without a key is refused where the relay needs one")
    func nothingWritten() async throws {
        try await Stage.run { stage in
            let (gateway, bootstrap, _) = try await self.written(stage, writes: false)
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(
                stage.credentials(sim, at: gateway) + ["--bootstrap-only", "--patience", "3"])
            #expect(try await device.exit(within: .seconds(60)) == 1)
            try await gateway.record("bootstrap.refused", of: sim, cause: "no route for server")
            try await bootstrap.program.event("aborted")
        }
    }

    @Test("A fixed pair registers devices with a server that does not bind names to identities")
    func fixedRelay() async throws {
        try await Stage.run { stage in
            let management = try await stage.managementServer(["--psk", "edge-1=\(Self.key)", "--read", "/3/0/0"])
            let bootstrap = try await self.bootstrapServer(
                stage, for: management.uri, ["--server-identity", "x", "--server-key", Self.otherKey])
            let file = try stage.keyFile("relay.key", Self.key)
            var settings = Stage.Settings(upstreams: [bootstrap.uri], server: management.uri)
            settings.relayCredentials = ", identity: edge-1, key: { file: \(file) }"
            let gateway = try await stage.gateway(settings)
            for _ in 0..<3 {
                let sim = try await stage.addSIM(to: gateway)
                let device = try stage.device(stage.credentials(sim, at: gateway) + ["--once"])
                #expect(try await device.exit(within: .seconds(60)) == 0)
                try await management.program.event("deregistered") { $0.text("endpoint") == sim.iccid }
            }
            #expect(management.program.output.events("registered").allSatisfy { $0.text("identity") == "edge-1" })
        }
    }

    @Test(
        "A LwM2M server that starts again in the middle of a registration gets a new session on the device's own port")
    func restartedManagementServer() async throws {
        try await Stage.run { stage in
            let (gateway, _, management) = try await self.written(stage, operations: [])
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(sim, at: gateway) + ["--once", "--stay", "8"])
            let registered = try await management.program.event("registered")
            // The server says so before its answer has left.
            try await device.event("registered")
            management.program.signal(SIGKILL)
            _ = try await management.program.exit(within: .seconds(10))
            let place = management.uri.replacingOccurrences(of: "coaps://", with: "")
            let again = try await stage.managementServer(
                ["--psk", "*=\(Self.key)", "--bind-identities", "--listen", place])
            // The device's Update meets a server that knows neither session nor registration: 4.04 comes back.
            let refused = try await again.program.event("refused", within: .seconds(60))
            #expect(refused.text("peer") == registered.text("peer"))
            _ = try await device.exit(within: .seconds(60))
        }
    }
}

/// DTLS servers that know nothing of LwM2M: what they say shows how far a bootstrap came.
@Suite("DTLS servers of other makes behind the gateway")
struct ForeignUpstreamTests {
    private static let key = "00112233445566778899aabbccddeeff"

    private func gateway(_ stage: Stage, port: UInt16, identity: String) async throws -> Gateway {
        let file = try stage.keyFile("upstream.key", Self.key)
        let upstream = "{ uri: \"coaps://\(stage.address):\(port)\", identity: \(identity), key: { file: \(file) } }"
        return try await stage.gateway(.init(upstreams: [upstream], server: "coap://\(stage.address):1"))
    }

    @Test("libcoap's own server: its refusal reaches the device, code for code")
    func libcoap() async throws {
        try await Stage.run { stage in
            // It listens for DTLS one port above the one that it is told.
            var port = try stage.freePort()
            while port == .max { port = try stage.freePort() }
            let key = stride(from: 0, to: 16, by: 1).map { _ in "k" }.joined()
            let file = try stage.keyFile("libcoap.key", key.utf8.map { String($0, radix: 16) }.joined())
            let server = try stage.start(
                "coap-server", "/usr/bin/coap-server-openssl",
                ["-A", stage.address, "-p", "\(port)", "-k", key, "-h", "hint", "-v", "7"])
            let upstream = "{ uri: \"coaps://\(stage.address):\(port + 1)\", identity: edge-1, key: { file: \(file) } }"
            let gateway = try await stage.gateway(
                .init(upstreams: [upstream], server: "coap://\(stage.address):1"))
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(sim, at: gateway) + ["--bootstrap-only"])
            #expect(try await device.exit(within: .seconds(60)) == 1)
            let record = try await gateway.record("bootstrap.failed", of: sim, cause: "upstream refused")
            #expect(record.description.contains("4.0"))
            #expect(try await device.event("failed").text("code")?.hasPrefix("4.0") == true)
            server.signal(SIGKILL)
        }
    }

    @Test("OpenSSL's own server: the request arrives, and its silence is told as such")
    func openSSL() async throws {
        try await Stage.run { stage in
            let port = try stage.freePort()
            let server = try stage.start(
                "openssl s_server", "/usr/bin/openssl",
                [
                    "s_server", "-dtls1_2", "-nocert", "-psk", Self.key, "-psk_identity", "edge-1", "-cipher",
                    "PSK-AES128-CCM8:@SECLEVEL=0", "-accept", "\(stage.address):\(port)", "-naccept", "1",
                ], input: [])
            guard
                await server.output.first(within: .seconds(20), takesUnfinished: true, where: { $0.contains("ACCEPT") })
                    != nil
            else {
                throw Unexpected("openssl s_server does not listen")
            }
            let gateway = try await self.gateway(stage, port: port, identity: "edge-1")
            let sim = try await stage.addSIM(to: gateway)
            let device = try stage.device(stage.credentials(sim, at: gateway) + ["--bootstrap-only"])
            #expect(try await device.exit(within: .seconds(60)) == 1)
            #expect(
                await server.output.first(
                    within: .seconds(20), takesUnfinished: true, where: { $0.contains("ep=\(sim.iccid)") }) != nil)
            try await gateway.record("bootstrap.failed", of: sim, cause: "upstream silent")
        }
    }
}
