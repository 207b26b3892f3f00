import Foundation
import LwM2M
import Testing

@Suite("Factory data on the command line")
struct ProvisionTests {
    static let iccid = "8944500000000000014"
    static let key = "00112233445566778899aabbccddeeff"

    static let configuration = Workplace.configuration.replacing(
        "account: { plain: \"coap://127.0.0.1:5683\" }",
        with: "account: { secure: \"coaps://edge.example.net\", plain: \"coap://[2001:db8::1]:5700\" }"
    )

    /// A place with one SIM; more fields as the test needs them.
    static func place(_ fields: String...) throws -> Workplace {
        let place = try Workplace(configuration: Self.configuration)
        let arguments = ["sim", "add", "iccid=\(Self.iccid)"] + fields
        let result = try place.runBare(arguments + ["--config", place.path("bootgate.yaml")])
        try #require(result.status == 0, "\(result.complaints)")
        return place
    }

    /// The command's exit code, its output as it is, and what it said beside.
    static func provision(
        _ place: Workplace,
        _ arguments: String...
    ) throws -> (status: Int32, output: [UInt8], complaints: String) {
        let configuration = ["--config", place.path("bootgate.yaml")]
        let process = try place.process(["sim", "provision", Self.iccid] + arguments + configuration)
        try process.run()
        process.waitUntilExit()
        let output = try Data(contentsOf: URL(fileURLWithPath: place.path("output")))
        let complaints = try String(contentsOfFile: place.path("complaints"), encoding: .utf8)
        return (process.terminationStatus, Array(output), complaints)
    }

    static func line(_ place: Workplace, _ arguments: String...) throws -> String {
        let configuration = ["--config", place.path("bootgate.yaml")]
        let result = try place.runBare(["sim", "provision", Self.iccid] + arguments + configuration)
        #expect(result.status == 0, "\(result.complaints)")
        return result.output
    }

    @Test(
        "A document holds the bootstrap account of the device, and the way to it is said to show the key",
        arguments: [("tlv", ContentFormat.tlv), ("senml-cbor", .senMLCBOR), ("senml-json", .senMLJSON)]
    )
    func documents(name: String, format: ContentFormat) throws {
        let place = try Self.place("key=\(Self.key)", "identity=meter 7", "endpoint=urn:dev:os:meter-7")
        let result = try Self.provision(place, "--format", name, "--instance", "3")
        #expect(result.status == 0)
        #expect(result.complaints.contains("the key of SIM \(Self.iccid)"))
        #expect(!result.complaints.contains(Self.key))
        guard case .instances(let instances) = try PayloadCodec.decode(result.output, format, at: LwM2MPath(0)) else {
            Issue.record("no instances")
            return
        }
        let account = try SecurityAccount(try #require(instances.first))
        #expect(instances.count == 1)
        #expect(account.instanceID == 3)
        #expect(account.isBootstrapServer)
        #expect(account.uri == "coaps://edge.example.net:5684")
        #expect(account.securityMode == .preSharedKey)
        #expect(account.publicKeyOrIdentity == Array("meter 7".utf8))
        let key = instances.first?.resources.first { $0.id == 5 }
        #expect(key?.value == .single((0..<16).map { UInt8($0 * 17) }))
        #expect(account.shortServerID == nil)

        let digits = try Self.line(place, "--format", name, "--instance", "3", "--hex")
        let expected = name == "senml-json" ? Array(result.output.dropLast()) : result.output
        #expect(digits == expected.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() + "\n")
    }

    @Test("The table is the default and names every resource")
    func table() throws {
        let place = try Self.place("key=\(Self.key)")
        let table = try Self.line(place)
        #expect(
            table.split(separator: "\n").map { $0.split(separator: " ", omittingEmptySubsequences: true).last ?? "" }
                == ["VALUE", "coaps://edge.example.net:5684", "true", "(PSK)", Self.iccid[...], Self.key[...]]
        )
        #expect(try Self.line(place, "--format", "table") == table)
    }

    @Test("A SIM with the profile plain gets an account without identity and key, and nothing is said of one")
    func plain() throws {
        let place = try Self.place("key=\(Self.key)", "profile=plain")
        let result = try Self.provision(place, "--format", "tlv")
        #expect(result.complaints.isEmpty)
        guard case .instances(let instances) = try PayloadCodec.decode(result.output, .tlv, at: LwM2MPath(0)) else {
            Issue.record("no instances")
            return
        }
        let account = try SecurityAccount(try #require(instances.first))
        #expect(account.uri == "coap://[2001:db8::1]:5700")
        #expect(account.securityMode == .noSec)
        #expect(account.isBootstrapServer)
        #expect(instances.first?.resources.map(\.id) == [0, 1, 2])
        for format in ["table", "leshan", "anjay", "wakaama"] {
            #expect(!(try Self.line(place, "--format", format)).contains(Self.key), "\(format)")
        }
    }

    @Test(
        "Each client gets its own command line, over DTLS",
        arguments: [
            (
                "leshan",
                "java -jar leshan-client-demo.jar -b -n 'it'\\''s 7' -u edge.example.net:5684 -i 'meter 7' -p \(key)\n"
            ),
            (
                "anjay",
                "./output/bin/demo --bootstrap --server-uri coaps://edge.example.net:5684 --security-mode psk "
                    + "--endpoint-name 'it'\\''s 7' --identity 6d657465722037 --key \(key)\n"
            ),
            (
                "wakaama",
                "./lwm2mclient_tinydtls -4 -b -n 'it'\\''s 7' -h edge.example.net -p 5684 -i 'meter 7' -s \(key)\n"
            ),
        ]
    )
    func clients(name: String, line: String) throws {
        let place = try Self.place("key=\(Self.key)", "identity=meter 7", "endpoint=it's 7")
        #expect(try Self.line(place, "--format", name) == line)
    }

    @Test(
        "Each client gets its own command line, plain",
        arguments: [
            ("leshan", "java -jar leshan-client-demo.jar -b -n \(iccid) -u '[2001:db8::1]:5700'\n"),
            (
                "anjay",
                "./output/bin/demo --bootstrap --server-uri 'coap://[2001:db8::1]:5700' --security-mode nosec "
                    + "--endpoint-name \(iccid)\n"
            ),
            ("wakaama", "./lwm2mclient -b -n \(iccid) -h 2001:db8::1 -p 5700\n"),
        ]
    )
    func plainClients(name: String, line: String) throws {
        let place = try Self.place("profile=plain")
        #expect(try Self.line(place, "--format", name) == line)
    }

    @Test("What Wakaama cannot take is said")
    func wakaamaLimits() throws {
        let place = try Self.place("key=\(Self.key)00")
        let result = try Self.provision(place, "--format", "wakaama")
        #expect(result.status == 0)
        #expect(result.complaints.contains("16 bytes of key"))
        #expect(!(try Self.provision(place, "--format", "leshan")).complaints.contains("16 bytes"))
    }

    @Test("65 for a SIM that is not there or has no key, 78 for an address that is not there, 64 for wrong usage")
    func refusals() throws {
        let empty = try Workplace(configuration: Self.configuration)
        #expect(try Self.provision(empty).status == 65)

        let keyless = try Self.provision(Self.place())
        #expect(keyless.status == 65)
        #expect(keyless.complaints.contains("key=generate"))

        let place = try Workplace()
        #expect(try place.run("sim", "add", "iccid=\(Self.iccid)", "key=\(Self.key)").status == 0)
        let unreachable = try Self.provision(place)
        #expect(unreachable.status == 78)
        #expect(unreachable.complaints.contains("no secure address"))

        for arguments in [
            ["--hex"], ["--format", "tlv", "--json"], ["--format", "xml"], ["--instance", "65535"],
            ["--format", "leshan", "--hex"],
        ] {
            let result = try place.runBare(["sim", "provision", Self.iccid] + arguments)
            #expect(result.status == 64, "\(arguments)")
            #expect(result.output.isEmpty)
        }
    }

    @Test("The table is to be had as JSON")
    func tableAsJSON() throws {
        let place = try Self.place("key=\(Self.key)")
        let rows = try Self.line(place, "--json").split(separator: "\n")
        #expect(rows.contains { $0.contains("\"path\":\"/0/0/5\"") && $0.contains(Self.key) })
        let row = try Self.line(place).split(separator: "\n").first { $0.hasPrefix("/0/0/5") }
        #expect(row?.contains(Self.key) == true)
    }

    @Test("A SIM that the gateway refuses is said to be so")
    func suspended() throws {
        let place = try Self.place("key=\(Self.key)")
        #expect(try place.run("sim", "suspend", Self.iccid).status == 0)
        let result = try Self.provision(place, "--format", "tlv")
        #expect(result.status == 0)
        #expect(result.complaints.contains("is suspended"))
    }

    @Test("Binary documents are refused on a terminal, and hexadecimal ones are not", arguments: ["tlv", "senml-cbor"])
    func terminal(format: String) throws {
        let place = try Self.place("key=\(Self.key)")
        // A terminal of its own: the master of a pair, whose other end is unlocked and has a number.
        let master = open("/dev/ptmx", O_RDWR | O_NOCTTY)
        defer { close(master) }
        var (locked, number): (CInt, CInt) = (0, -1)
        try #require(ioctl(master, 0x4004_5431, &locked) == 0 && ioctl(master, 0x8004_5430, &number) == 0)
        let screen = try #require(FileHandle(forUpdatingAtPath: "/dev/pts/\(number)"))
        defer { try? screen.close() }
        func status(_ more: String...) throws -> Int32 {
            let arguments = ["sim", "provision", Self.iccid, "--format", format] + more
            let process = try place.process(arguments + ["--config", place.path("bootgate.yaml")], output: screen)
            try process.run()
            process.waitUntilExit()
            return process.terminationStatus
        }
        #expect(try status() == 64)
        #expect(try String(contentsOfFile: place.path("complaints"), encoding: .utf8).contains("--hex"))
        #expect(try status("--hex") == 0)
    }
}
