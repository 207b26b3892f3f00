internal import Foundation
internal import Testing

@Suite("Keys stay secret")
struct SecrecyTests {
    @Test("T44, T45: no key is in the state, the journal, the log or any output, in hexadecimal, base64 or as it is")
    func noKeyAnywhere() async throws {
        try await Stage.run { stage in
            let (gateway, bootstrap, management) = try await stage.everything(more: "")
            let sim = try await stage.addSIM(to: gateway)
            let file = stage.folder.appendingPathComponent("account").path
            let device = try stage.device(
                stage.credentials(sim, at: gateway) + ["--once", "--save-account", file])
            #expect(try await device.exit(within: .seconds(60)) == 0)
            let stranger = try stage.device(
                stage.credentials(sim, at: gateway, endpoint: "another") + ["--bootstrap-only"])
            #expect(try await stranger.exit(within: .seconds(60)) == 1)
            try await gateway.record("registration.closed", of: sim)
            let shown = try await stage.sim(["show", sim.iccid, "--json"], at: gateway)
            _ = try await gateway.countersAtStop()

            // Lines: URI, identity, key, short server ID.
            let account = try String(contentsOfFile: file, encoding: .utf8).split(separator: "\n")
            try #require(account.count == 4)
            let oneTimeKey = account[2]
            try #require(oneTimeKey.count == 32)
            let secrets = try [sim.key, String(oneTimeKey)].flatMap { key in try Self.forms(key) }
            try #require(secrets.count == 8)

            var haystacks: [(name: String, content: Data)] = [("bootgate sim show", Data(shown.joined().utf8))]
            for program in [gateway.program, gateway.journal, bootstrap.program, management.program, device] {
                haystacks.append(("output of \(program.name)", Data(program.output.all.joined(separator: "\n").utf8)))
                haystacks.append(("errors of \(program.name)", Data(program.errors.all.joined(separator: "\n").utf8)))
            }
            let state = stage.folder.appendingPathComponent("state")
            let files = try #require(FileManager.default.enumerator(at: state, includingPropertiesForKeys: nil))
            for case let url as URL in files {
                if let content = try? Data(contentsOf: url) { haystacks.append((url.lastPathComponent, content)) }
            }
            #expect(haystacks.contains { $0.name.hasPrefix("sims.db") && !$0.content.isEmpty })
            #expect(haystacks.contains { $0.name.hasPrefix("credentials.db") && !$0.content.isEmpty })
            for haystack in haystacks {
                for secret in secrets {
                    #expect(haystack.content.range(of: secret) == nil, "a key is in \(haystack.name)")
                }
            }
        }
    }

    /// The ways in which a key may be written: raw, hexadecimal in both cases, base64.
    private static func forms(_ key: String) throws -> [Data] {
        let digits = Array(key)
        let raw = try stride(from: 0, to: digits.count, by: 2).map { index in
            try #require(UInt8(String(digits[index...index + 1]), radix: 16))
        }
        return [
            Data(raw), Data(key.lowercased().utf8), Data(key.uppercased().utf8),
            Data(Data(raw).base64EncodedString().prefix(20).utf8),
        ]
    }
}
