import Foundation
import Gateway
import Logging
import Records
import Testing

@testable import bootgate

@Suite("Log-and-audit mode on the command line")
struct AuditModeCommandTests {
    private static let watching = "mode: audit\n" + Workplace.configuration

    private func place(_ events: [AuditEvent], configuration: String = watching) throws -> Workplace {
        let place = try Workplace(configuration: configuration)
        let journal = try AuditJournal(
            AuditConfiguration(
                state: place.path("state"), node: "edge-1", signingKey: .file(place.path("audit.key"))),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        )
        journal.record(events)
        journal.close()
        return place
    }

    @Test("check says what the mode does and both of its exceptions")
    func check() throws {
        let result = try Workplace(configuration: Self.watching).run("check")
        #expect(result.status == 0)
        for text in [
            "mode               audit: nothing is refused that can be let through", "no credential is minted",
            "exception: the bootstrap account leads back to this gateway", "audit.keep-devices: true",
            "exception: a device over DTLS without a record", "reported as not observable",
        ] { #expect(result.output.contains(text), "\(text)") }
        let json = try Workplace(configuration: Self.watching).run("check", "--json").output
        #expect(json.contains("\"mode\":\"audit\"") && json.contains("\"keep-devices\":true"))
        let enforcing = try Workplace().run("check")
        #expect(enforcing.output.contains("mode               enforce") && !enforcing.output.contains("exception"))
    }

    @Test("keep-devices: false is warned of in mode audit; in enforce it means nothing")
    func keepDevices() {
        let told = complaints("mode: audit\naudit: { keep-devices: false }\n" + minimalConfiguration)
        #expect(
            told.count == 1 && told.first?.hasPrefix("f.yaml:1:7: warning: mode: audit without audit.keep-d") == true)
        #expect(
            complaints("audit: { keep-devices: true }\n" + minimalConfiguration).isEmpty, "it stays after the switch")
        let reading = ConfigurationReader.read("mode: audit\n" + minimalConfiguration, folder: "/")
        #expect(reading.configuration?.gateway.mode == .audit(keepDevices: true) && reading.diagnostics.isEmpty)
    }

    @Test("The mode changes with a restart only, keep-devices with a reload too")
    func reload() throws {
        func read(_ text: String) throws -> BootgateConfiguration {
            try #require(ConfigurationReader.read(text + minimalConfiguration, folder: "/").configuration)
        }
        let watching = try read("mode: audit\n")
        let leaving = try read("mode: audit\naudit: { keep-devices: false }\n")
        #expect(watching.changes(to: try read("")).needsRestart == ["mode"])
        #expect(watching.changes(to: leaving).all == ["audit.keep-devices"])
        #expect(watching.changes(to: leaving).needsRestart.isEmpty)
    }

    @Test("Who watches need not name servers; who enforces has to")
    func servers() {
        let text = minimalConfiguration.components(separatedBy: "servers:")[0]
        let reading = ConfigurationReader.read("mode: audit\n" + text, folder: "/")
        #expect(reading.configuration?.gateway.servers.isEmpty == true, "\(reading.diagnostics)")
        #expect(complaints(text).contains { $0.contains("servers is missing") })
    }

    @Test("The report names what enforce would do, and writes unknown devices in the form of an import")
    func report() throws {
        let mode = AuditEvent.Field("mode", .text("audit"))
        let would = AuditEvent.Field("outcome", .text("would-refuse"))
        func stranger(_ endpoint: String, _ address: String) -> AuditEvent {
            AuditEvent(
                .bootstrapRefused, time: 1_700_000_000_000_000, cause: .unauthorized, endpoint: endpoint,
                peer: "\(address):40000", detail: [would, mode])
        }
        let place = try self.place([
            stranger(SIMCommandTests.iccid, "192.0.2.7"), stranger("a \"b\", c", "192.0.2.8"),
            stranger("=1+1", "192.0.2.9"),
            AuditEvent(
                .bootstrapRefused, time: 1_700_000_000_000_000, cause: .noRouteForServer, endpoint: "a",
                detail: [.init("reason", .text("no entry of servers is for short server ID 7")), would, mode]),
        ])
        let result = try place.run("audit", "report")
        #expect(result.status == 0)
        for text in [
            "4 records, 4 of them in mode audit", "enforce would have refused:", "unauthorized: 3 times, 3 devices",
            "what to do: add the source address", "the configuration lacks:\n  no entry of servers is for short",
            "devices without a record:", "address 192.0.2.7  ep \(SIMCommandTests.iccid)",
        ] { #expect(result.output.contains(text), "\(text)") }

        let csv = try place.run("audit", "report", "--csv", "-").output
        #expect(
            Set(csv.split(separator: "\n")) == [
                "iccid,endpoint,address", "\(SIMCommandTests.iccid),\(SIMCommandTests.iccid),192.0.2.7",
                ",\"a \"\"b\"\", c\",192.0.2.8", ",,192.0.2.9",
            ])
        let json = try JSONSerialization.jsonObject(
            with: Data(try place.run("audit", "report", "--json").output.utf8))
        let refusals = (json as? [String: Any])?["refusals"] as? [[String: Any]]
        #expect(refusals?.first?["outcome"] as? String == "would-refuse" && refusals?.first?["times"] as? Int == 3)
        let empty = try place.run("audit", "report", "--since", "1h")
        #expect(empty.status == 0 && empty.output == "no records in this time\n")

        // What is complete can be imported as it is.
        try place.write("devices.csv", csv.split(separator: "\n").filter { !$0.hasPrefix(",") }.joined(separator: "\n"))
        #expect(try place.run("sim", "import", place.path("devices.csv")).status == 0)
        #expect(try place.run("sim", "show", SIMCommandTests.iccid).output.contains("192.0.2.7"))
    }

    @Test("A device that came from several addresses is one row of the report's file, which an import takes as it is")
    func severalAddresses() throws {
        func stranger(_ endpoint: String, _ peer: String) -> AuditEvent {
            AuditEvent(
                .bootstrapRefused, time: 1_700_000_000_000_000, cause: .unauthorized, endpoint: endpoint, peer: peer)
        }
        let (first, second) = (SIMCommandTests.iccid, "8944500000000000022")
        let place = try self.place([
            stranger(first, "192.0.2.7:40000"), stranger(first, "[2001:db8::7]:40000"),
            stranger(first, "192.0.2.7:40001"), stranger(second, "192.0.2.8:1"), stranger(first, "192.0.2.9:1"),
        ])
        let written = try place.run("audit", "report", "--csv", place.path("devices.csv"))
        #expect(written.status == 0 && written.complaints.contains("2 devices in"))
        let text = try String(contentsOfFile: place.path("devices.csv"), encoding: .utf8)
        #expect(
            text.split(separator: "\n") == [
                "iccid,endpoint,address", "\(first),\(first),192.0.2.7 2001:db8::7 192.0.2.9",
                "\(second),\(second),192.0.2.8",
            ])
        let imported = try place.run("sim", "import", place.path("devices.csv"))
        #expect(imported.status == 0, "\(imported.complaints)")
        let shown = try place.run("sim", "show", first).output
        for address in ["192.0.2.7", "2001:db8::7", "192.0.2.9"] { #expect(shown.contains(address), "\(shown)") }
    }

    @Test("Key files of the same name have names of their own in a backup")
    func keysOfOneName() throws {
        let place = try Workplace(
            configuration: Workplace.configuration.replacing("records.key", with: "one/my.key")
                .replacing("audit.key", with: "two/my.key"))
        for folder in ["one", "two"] {
            try FileManager.default.createDirectory(atPath: place.path(folder), withIntermediateDirectories: false)
        }
        #expect(try place.run("sim", "add", "iccid=\(SIMCommandTests.iccid)", "key=generate").status == 0)
        let journal = try AuditJournal(
            AuditConfiguration(
                state: place.path("state"), node: "edge-1", signingKey: .file(place.path("two/my.key"))),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        )
        journal.close()
        let result = try place.run("backup", "--with-keys", place.path("copy"))
        #expect(result.status == 0, "\(result.complaints)")
        #expect(result.complaints.contains("\(place.path("two/my.key")) is keys/audit-my.key in it"))
        for (source, name) in [
            ("one/my.key", "my.key"), ("two/my.key", "audit-my.key"), ("two/my.key.pub", "audit-my.key.pub"),
        ] {
            #expect(
                try Data(contentsOf: URL(fileURLWithPath: place.path("copy/keys/\(name)")))
                    == Data(contentsOf: URL(fileURLWithPath: place.path(source))), "\(name)")
        }
    }

    @Test("A backup says what is not in it; with the keys beside it a gateway finds everything")
    func backup() throws {
        let place = try self.place([AuditEvent(.gatewayStarted, time: 0)], configuration: Workplace.configuration)
        #expect(try place.run("sim", "add", "iccid=\(SIMCommandTests.iccid)", "key=generate").status == 0)
        let plain = try place.run("backup", place.path("plain"))
        #expect(plain.status == 0 && plain.output.contains("3 files"))
        #expect(plain.complaints.contains("not in it: \(place.path("records.key")), \(place.path("audit.key"))"))
        let full = try place.run("backup", "--with-keys", place.path("full"))
        #expect(full.status == 0 && full.output.contains("6 files"))
        #expect(try place.run("backup", place.path("full")).status == 73)

        let restored = try Workplace()
        let files = FileManager.default
        try files.copyItem(atPath: place.path("full"), toPath: restored.path("state"))
        for name in ["records.key", "audit.key", "audit.key.pub"] {
            try files.moveItem(atPath: restored.path("state/keys/\(name)"), toPath: restored.path(name))
        }
        #expect(try restored.run("sim", "show", SIMCommandTests.iccid).status == 0)
        #expect(try restored.run("audit", "verify").status == 0)
    }

    @Test("69 when a newer program has written a store")
    func newerStore() throws {
        let place = try Workplace()
        #expect(try place.run("sim", "list").status == 0)
        let shell = Process()
        shell.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        shell.arguments = [
            "python3", "-c",
            "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); c.execute(\"INSERT INTO grdb_migrations VALUES ('99')\"); "
                + "c.commit()", place.path("state/sims.db"),
        ]
        try shell.run()
        shell.waitUntilExit()
        try #require(shell.terminationStatus == 0)
        let before = try Data(contentsOf: URL(fileURLWithPath: place.path("state/sims.db")))
        for command in [["sim", "list"], ["serve"]] {
            let result = try place.runBare(command + ["--config", place.path("bootgate.yaml")])
            #expect(result.status == 69 && result.complaints.contains("newer version"))
        }
        #expect(try Data(contentsOf: URL(fileURLWithPath: place.path("state/sims.db"))) == before)
    }
}

@Suite("The configurations in deploy")
struct DeployTests {
    private static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appendingPathComponent("deploy")

    static var configurations: [String] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: Self.folder.path)) ?? []
        return names.map { "\(Self.folder.path)/\($0)/bootgate.yaml" }
            .filter { FileManager.default.fileExists(atPath: $0) }.sorted()
    }

    @Test(
        "bootgate check takes each of them without a warning, and each has a unit and a guide",
        arguments: configurations)
    func check(path: String) throws {
        let result = try Workplace().runBare(["check", "--config", path])
        // The addresses in it are those of another machine.
        let warnings = result.complaints.split(separator: "\n").filter { !$0.contains("this machine has no address") }
        #expect(result.status == 0 && warnings.isEmpty, "\(warnings)")
        let folder = URL(fileURLWithPath: path).deletingLastPathComponent().path
        for name in ["bootgate.service", "README.md"] {
            #expect(FileManager.default.fileExists(atPath: "\(folder)/\(name)"), "\(folder)/\(name)")
        }
    }

    @Test("There are three")
    func count() { #expect(Self.configurations.count == 3, "\(Self.configurations)") }
}
