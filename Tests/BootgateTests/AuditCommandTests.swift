import Foundation
import Gateway
import Logging
import Records
import Testing

@Suite("The audit journal on the command line")
struct AuditCommandTests {
    /// A place with a journal of three records of a gateway that has stopped.
    private func place() throws -> Workplace {
        let place = try Workplace()
        let journal = try AuditJournal(
            AuditConfiguration(
                state: place.path("state"), node: "edge-1", signingKey: .file(place.path("audit.key"))
            ),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
        )
        journal.record([
            AuditEvent(.gatewayStarted, time: 1_700_000_000_000_000),
            AuditEvent(
                .bootstrapRefused, time: 1_700_000_100_000_000, cause: .suspended, iccid: SIMCommandTests.iccid,
                peer: "192.0.2.1:49152", session: 7
            ),
            AuditEvent(.gatewayStopped, time: 1_700_000_200_000_000),
        ])
        journal.close()
        return place
    }

    @Test("Search finds by all conditions, and says 64 for what it does not understand")
    func search() throws {
        let place = try self.place()
        let all = try place.run("audit", "search", "--json")
        #expect(all.status == 0 && all.output.split(separator: "\n").count == 3)
        let found = try place.run(
            "audit", "search", "--event", "bootstrap.*", "--cause", "suspended", "--peer", "192.0.2.0/24", "--session",
            "7",
            "--since", "2023-11-14T22:13:21Z", "--until", "1h", "--text", "49152", "--iccid", SIMCommandTests.iccid
        )
        #expect(found.status == 0 && found.output.contains("bootstrap.refused  cause: suspended"))
        #expect(try place.run("audit", "search", "--limit", "1").output.split(separator: "\n").count == 1)
        #expect(try place.run("audit", "search", "--since", "1h").output.isEmpty)
        for arguments in [
            ["--since", "soon"], ["--peer", "somewhere"], ["--limit", "0"], ["--since", "1h", "--until", "2h"],
        ] {
            let result = try place.runBare(
                ["audit", "search", "--config", place.path("bootgate.yaml")] + arguments)
            #expect(result.status == 64, "\(arguments)")
        }
    }

    @Test("Export copies the journal byte for byte, makes an anchor, and never overwrites an export")
    func export() throws {
        let place = try self.place()
        let journal = try String(contentsOfFile: place.path("state/audit/00000001.jsonl"), encoding: .utf8)
        #expect(try place.run("audit", "export").output == journal)
        let csv = try place.run("audit", "export", "--format", "csv").output
        #expect(csv.hasPrefix("seq,time,node,event,") && csv.split(separator: "\r\n").count == 5)
        let out = place.path("copy.jsonl")
        #expect(try place.run("audit", "export", "--out", out).status == 0)
        #expect(try String(contentsOfFile: out, encoding: .utf8) == journal)
        #expect(try place.run("audit", "export", "--out", out).status == 73)
        #expect(try place.run("audit", "verify", "--file", out).status == 0)

        let anchor = place.path("anchor.json")
        let anchored = try place.run("audit", "export", "--anchor", anchor)
        #expect(anchored.status == 0 && anchored.output.isEmpty)
        let held = try place.run("audit", "verify", "--anchor", anchor)
        #expect(held.status == 0 && held.output.contains("holds the anchor, record 4"))
        try FileManager.default.removeItem(atPath: place.path("state/audit/00000001.jsonl"))
        try place.write("state/audit/00000001.jsonl", "")
        let cut = try place.run("audit", "verify", "--anchor", anchor)
        #expect(cut.status == 65 && cut.complaints.contains("does not hold the exported checkpoint 4"))
        #expect(try place.run("audit", "verify", "--anchor", place.path("bootgate.yaml")).status == 65)
        #expect(try place.run("audit", "export", "--anchor", anchor).status == 65)
    }
}
