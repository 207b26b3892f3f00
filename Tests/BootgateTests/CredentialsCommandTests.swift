import Foundation
import Testing

@Suite("Credentials and publication on the command line")
struct CredentialsCommandTests {
    private static let iccid = "8944500000000000014"

    @Test(
        "64 for what does not go together",
        arguments: [
            ["revoke"], ["revoke", Self.iccid, "--identity", "x"], ["revoke", "--identity", "x", "--server", "meters"],
            ["list", "--state", "used"], ["list", "--after", "x"], ["list", "--limit", "0"],
            ["list", "--limit", "10001"],
        ])
    func usage(arguments: [String]) throws {
        let result = try Workplace().runBare(["credentials"] + arguments + ["--config", "bootgate.yaml"])
        #expect(result.status == 64)
        #expect(!result.complaints.isEmpty)
    }

    @Test("65 for a SIM and an identity that nobody knows, with what to do")
    func unknown() throws {
        let place = try Workplace()
        for arguments in [[Self.iccid], ["--identity", "nobody"]] {
            let result = try place.runBare(["credentials", "revoke"] + arguments + ["--config", "bootgate.yaml"])
            #expect(result.status == 65)
            #expect(result.complaints.contains("bootgate"))
        }
    }

    @Test("A SIM's credentials can be revoked, all or for one server, and the journal will be told")
    func revoke() throws {
        let place = try Workplace()
        #expect(try place.run("sim", "add", "iccid=\(Self.iccid)", "key=generate").status == 0)
        #expect(try place.run("credentials", "revoke", Self.iccid).output == "credentials of \(Self.iccid) revoked\n")
        let result = try place.run("credentials", "revoke", Self.iccid, "--server", "meters")
        #expect(result.output == "credentials of \(Self.iccid) for meters revoked\n")
        #expect(try place.run("credentials", "list", "--grants", "--state", "active", "--json").output.isEmpty)
    }

    @Test("65 for a server that nobody knows: nothing looks revoked that is not")
    func mistypedServer() throws {
        let place = try Workplace()
        #expect(try place.run("sim", "add", "iccid=\(Self.iccid)", "key=generate").status == 0)
        let result = try place.run("credentials", "revoke", Self.iccid, "--server", "metres")
        #expect(result.status == 65)
        #expect(result.output.isEmpty)
        #expect(result.complaints.contains("metres"))
    }

    @Test(
        "78 for a token or certificate that is missing or no good, before anything listens",
        arguments: ["check", "serve"])
    func publication(command: String) throws {
        for publish in [
            "{ webhook: \"https://127.0.0.1:1\", token: { file: nowhere } }",
            "{ webhook: \"https://127.0.0.1:1\", ca: bootgate.yaml }",
            "{ webhook: \"https://127.0.0.1:1\", certificate: c.pem, key: { env: BOOTGATE_TEST_NO_SUCH_KEY } }",
        ] {
            let place = try Workplace(
                configuration: Workplace.configuration.replacing(
                    "relay: { to: \"coap://127.0.0.1:5693\" }", with: "publish: \(publish)"))
            let result = try place.run(command)
            #expect(result.status == 78, "\(publish)")
            #expect(!result.output.contains("ready"))
            #expect(result.complaints.contains("publish"), "\(result.complaints)")
        }
    }
}
