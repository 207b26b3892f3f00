import DTLS
import Foundation
import Testing

@Suite("The command ends with the exit code that scripts rely on")
struct ExitCodeTests {
    @Test("0 with the version on standard output")
    func version() throws {
        let result = try Workplace().runBare(["--version"])
        #expect(result.status == 0)
        #expect(result.output.wholeMatch(of: /\d+\.\d+\.\d+\n/) != nil)
        #expect(result.complaints.isEmpty)
    }

    @Test("0 with help for every command", arguments: ["serve", "check", "demo", "sim", "credentials", "audit"])
    func help(command: String) throws {
        let result = try Workplace().runBare([command, "--help"])
        #expect(result.status == 0)
        #expect(result.output.contains("USAGE: bootgate \(command)"))
    }

    @Test("64 for wrong usage", arguments: [["--nonsense"], ["sim", "fly"], ["sim", "show"], ["serve", "--config"]])
    func usage(arguments: [String]) throws {
        let result = try Workplace().runBare(arguments)
        #expect(result.status == 64)
        #expect(result.output.isEmpty)
        #expect(!result.complaints.isEmpty)
    }

    @Test("64 for a file to import whose format nobody can know")
    func importUsage() throws {
        let place = try Workplace()
        try place.write("sims.txt", "")
        #expect(try place.run("sim", "import", place.path("sims.txt")).status == 64)
    }

    @Test("78 for a configuration that is not there")
    func noConfiguration() throws {
        let result = try Workplace().runBare(["check", "--config", "nowhere.yaml"])
        #expect(result.status == 78)
        #expect(result.output.isEmpty)
        #expect(result.complaints.contains("nowhere.yaml"))
    }

    @Test(
        "78 for a mistake, from every command that reads the file", arguments: [["check"], ["serve"], ["sim", "list"]])
    func brokenConfiguration(arguments: [String]) throws {
        let place = try Workplace(configuration: Workplace.configuration + "drian: 30s\n")
        let result = try place.runBare(arguments + ["--config", "bootgate.yaml"])
        #expect(result.status == 78)
        #expect(result.output.isEmpty)
        #expect(result.complaints == "bootgate.yaml:13:1: unknown key drian; did you mean 'drain'?\n")
    }

    @Test("78 for a records key that is not the one of the stores")
    func otherKey() throws {
        let place = try Workplace()
        #expect(try place.run("sim", "list").status == 0)
        try FileManager.default.removeItem(atPath: place.path("records.key"))
        let result = try place.run("sim", "list")
        #expect(result.status == 78)
        #expect(result.complaints.contains("records.key"))
    }

    @Test("78 for a secret in an environment variable that is not set")
    func noVariable() throws {
        let text = Workplace.configuration.replacing(
            "{ file: records.key }", with: "{ env: BOOTGATE_TEST_NO_SUCH_KEY }")
        #expect(try Workplace(configuration: text).run("sim", "list").status == 78)
    }

    @Test("77 for a key that other users can read")
    func openKey() throws {
        let place = try Workplace()
        try place.write("records.key", String(repeating: "ab", count: 32))
        try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: place.path("records.key"))
        let result = try place.run("sim", "list")
        #expect(result.status == 77)
        #expect(result.complaints.contains("chmod 600"))
        #expect(!result.complaints.contains("abab"))
        // With the same eyes as `serve`.
        #expect(try place.run("check").status == 77)
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: place.path("records.key"))
        #expect(try place.run("check").status == 0)
        try place.write("records.key", "no key")
        #expect(try place.run("check").status == 65)
    }

    @Test("65 where a key was to come on standard input and none has: the SIM keeps its own")
    func emptyInput() throws {
        let place = try Workplace()
        let iccid = SIMCommandTests.iccid
        #expect(try place.run("sim", "add", "iccid=\(iccid)", "key=generate").status == 0)
        #expect(try place.run("sim", "set", iccid, "key=-").status == 65)
        #expect(try place.run("sim", "show", iccid).output.contains(/key +set/))
    }

    @Test("A list that is cut short says so, as JSON too, and no limit is cut in silence")
    func cutList() throws {
        let place = try Workplace()
        for iccid in [SIMCommandTests.iccid, "8944500000000000022"] {
            #expect(try place.run("sim", "add", "iccid=\(iccid)", "key=generate").status == 0)
        }
        for more in [[], ["--json"]] {
            let result = try place.runBare(["sim", "list", "--limit", "1", "--config", "bootgate.yaml"] + more)
            #expect(result.complaints == "more with --after \(SIMCommandTests.iccid)\n")
        }
        for limit in ["0", "10001"] {
            #expect(try place.run("sim", "list", "--limit", limit).status == 64)
        }
    }

    @Test("69 at once from status where no gateway runs")
    func noGateway() throws {
        let result = try Workplace().run("status")
        #expect(result.status == 69)
        #expect(result.complaints.contains("bootgate serve"))
    }

    @Test("73 for a state folder that cannot be made")
    func noState() throws {
        let place = try Workplace()
        try place.write("state", "a file, no folder")
        #expect(try place.run("sim", "list").status == 73)
    }

    @Test("0 from check for a good file, 69 where the linked library cannot serve its listeners")
    func check() throws {
        let plain = try Workplace().run("check")
        #expect(plain.status == 0)
        #expect(plain.output.hasSuffix("the configuration is good\n"))
        #expect(plain.complaints.isEmpty)
        let json = try Workplace().run("check", "--json")
        #expect(json.output.hasPrefix("{") && json.output.contains("\"servers\":[\"meters\"]"))

        let text = Workplace.configuration.replacing("coap://127.0.0.1:0", with: "coaps://127.0.0.1:0")
            .replacing("plain: \"coap:", with: "secure: \"coaps:")
        let place = try Workplace(configuration: text)
        let secure = try place.run("check")
        if let obstacle = DTLSLibrary.serverObstacle() {
            #expect(secure.status == 69)
            #expect(secure.complaints.contains(obstacle))
            #expect(try place.run("serve").status == 69)
        } else {
            #expect(secure.status == 0)
        }
    }

    @Test("73 for results that cannot be written")
    func fullDisk() throws {
        let place = try Workplace()
        let full = try #require(FileHandle(forWritingAtPath: "/dev/full"))
        let process = try place.process(["check", "--config", place.path("bootgate.yaml")], output: full)
        try process.run()
        process.waitUntilExit()
        #expect(process.terminationStatus == 73)
    }

    @Test("Check leaves no trace: it makes neither key nor store")
    func checkMakesNothing() throws {
        let place = try Workplace()
        _ = try place.run("check")
        let names = try FileManager.default.contentsOfDirectory(atPath: place.folder.path)
        #expect(Set(names) == ["bootgate.yaml", "output", "complaints"])
    }
}

@Suite("SIM records on the command line")
struct SIMCommandTests {
    static let iccid = "8944500000000000014"
    static let key = "00112233445566778899aabbccddeeff"

    /// What must never be seen of the key: its digits and its Base64 form.
    static func showsKey(_ text: String) -> Bool {
        text.lowercased().contains(Self.key) || text.contains("ABEiM0RVZneImaq7zN3u/w")
    }

    @Test("A record is added, shown, listed, changed and removed, and its key is never seen")
    func life() throws {
        let place = try Workplace()
        var seen = ""
        func run(_ arguments: String...) throws -> CommandResult {
            let result = try place.runBare(arguments + ["--config", place.path("bootgate.yaml")])
            #expect(result.status == 0, "\(arguments): \(result.complaints)")
            seen += result.output + result.complaints
            return result
        }
        #expect(try run("sim", "add", "iccid=\(Self.iccid)", "key=\(Self.key)").output == "\(Self.iccid) added\n")
        #expect(try run("sim", "show", Self.iccid).output.contains("key             set\n"))
        let json = try run("sim", "list", "--json").output
        let object = try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: String]
        #expect(object?["iccid"] == Self.iccid)
        #expect(object?["status"] == "active")
        #expect(try run("sim", "set", Self.iccid, "endpoint-policy=replace").output == "\(Self.iccid) changed\n")
        #expect(try run("sim", "suspend", Self.iccid).output == "\(Self.iccid) is now suspended\n")
        #expect(try run("sim", "suspend", Self.iccid).output == "\(Self.iccid) is suspended\n")
        #expect(try run("sim", "list", "--status", "active").output.split(separator: "\n").count == 1)
        #expect(try run("sim", "resume", Self.iccid).output == "\(Self.iccid) is now active\n")
        #expect(try run("sim", "retire", Self.iccid).output == "\(Self.iccid) is now retired\n")
        _ = try run("credentials", "list")
        #expect(try run("sim", "remove", Self.iccid).output == "\(Self.iccid) removed\n")
        #expect(!Self.showsKey(seen))

        let gone = try place.run("sim", "show", Self.iccid)
        #expect(gone.status == 65)
        for name in ["sims.db", "sims.db-wal", "credentials.db"] {
            let file = try? Data(contentsOf: URL(fileURLWithPath: place.path("state/\(name)")))
            let raw = Data((0..<16).map { UInt8($0 * 17) })
            #expect(file?.range(of: raw) == nil && file?.range(of: Data(Self.key.utf8)) == nil, "\(name)")
        }
    }

    @Test("A generated key is shown once, when it is made")
    func generatedKey() throws {
        let place = try Workplace()
        let added = try place.run("sim", "add", "iccid=\(Self.iccid)", "key=generate")
        let match = try #require(added.output.firstMatch(of: #/key ([0-9a-f]{32})/#))
        let shown = try place.run("sim", "show", Self.iccid).output + place.run("sim", "list", "--json").output
        #expect(!shown.contains(String(match.1)))
    }

    @Test("65 for a wrong check digit, a short key, a second record; none of them repeats the key")
    func badData() throws {
        let place = try Workplace()
        let short = String(Self.key.dropLast(4))
        let digit = try place.run("sim", "add", "iccid=8944500000000000015", "key=\(Self.key)")
        let length = try place.run("sim", "add", "iccid=\(Self.iccid)", "key=\(short)")
        _ = try place.run("sim", "add", "iccid=\(Self.iccid)", "key=\(Self.key)")
        let twice = try place.run("sim", "add", "iccid=\(Self.iccid)", "key=\(Self.key)")
        for result in [digit, length, twice] {
            #expect(result.status == 65)
            #expect(result.output.isEmpty)
            #expect(!result.complaints.isEmpty)
            #expect(!result.complaints.contains(short))
        }
    }

    @Test("An import is all or nothing, names each bad row by its line, and never repeats a key")
    func importing() throws {
        let place = try Workplace()
        try place.write("bad.csv", "iccid,key\n\(Self.iccid),\(Self.key)\n8944500000000000015,\(Self.key)\n")
        let bad = try place.run("sim", "import", place.path("bad.csv"))
        #expect(bad.status == 65)
        #expect(bad.complaints.contains("bad.csv:3: "))
        #expect(!Self.showsKey(bad.complaints + bad.output))
        #expect(try place.run("sim", "show", Self.iccid).status == 65)

        try place.write("good.csv", "iccid,key\n\(Self.iccid),\(Self.key)\n")
        let dry = try place.run("sim", "import", "--dry-run", place.path("good.csv"))
        #expect(dry.status == 0)
        #expect(dry.output == "dry run: 1 added, 0 changed, 0 as they were\n")
        #expect(try place.run("sim", "show", Self.iccid).status == 65)
        #expect(try place.run("sim", "import", place.path("good.csv")).output == "1 added, 0 changed, 0 as they were\n")
        #expect(try place.run("sim", "import", place.path("good.csv")).output == "0 added, 0 changed, 1 as they were\n")
        #expect(try place.run("sim", "show", Self.iccid).status == 0)
    }

    @Test("No escape sequence of a record reaches the terminal")
    func escapes() throws {
        let place = try Workplace()
        _ = try place.run("sim", "add", "iccid=\(Self.iccid)", "note=\u{1B}[31mred")
        let shown = try place.run("sim", "show", Self.iccid).output + place.run("sim", "list").output
        #expect(!shown.contains("\u{1B}"))
    }
}
