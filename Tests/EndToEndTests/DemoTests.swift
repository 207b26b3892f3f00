internal import Foundation
internal import Testing

@Suite("The demonstration")
struct DemoTests {
    @Test("bootgate demo shows a managed device, two bootstraps with their accounts and keys, and the old key refused")
    func demo() async throws {
        try await Stage.run { stage in
            let lines = try await stage.run("bootgate demo", Programs.gateway, ["demo"], within: .seconds(60))
            // Columns are two spaces or more apart.
            let rows = lines.map { line in
                line.components(separatedBy: "  ").map { $0.trimmingCharacters(in: .whitespaces) }.filter {
                    !$0.isEmpty
                }
            }
            let story = rows.filter { $0.first == "server → device" || $0.first == "device → server" }
            #expect(
                story.map { $0.dropFirst().joined(separator: ": ") } == [
                    "Read /3/0/0, manufacturer: 2.05: Bootgate", "Observe /3/0/9, battery level: 2.05: 100",
                    "Notify /3/0/9: 2.05: 99", "Notify /3/0/9: 2.05: 98", "Notify /3/0/9: 2.05: 97",
                    "Cancel the observation of /3/0/9: 2.05: 97", "Write /3/0/14, UTC offset: +01:00: 2.04",
                    "Read /3/0/14: 2.05: +01:00", "Execute /1/0/8, registration update: 2.04",
                    "Execute /1/0/9, bootstrap request: 2.04", "Read /3/0/14, UTC offset: 2.05: +01:00",
                ])
            #expect(rows.filter { $0.dropFirst().first?.hasPrefix("POST /rd/1") ?? false }.map(\.last) == ["2.04"])
            let registrations = rows.filter { $0.dropFirst().first?.hasPrefix("POST /rd?") ?? false }
            #expect(
                registrations.map { $0.dropFirst(2).joined(separator: " ") } == ["2.01 /rd/1", "2.01 /rd/2", "4.03"])

            // Two accounts for each bootstrap, before and after.
            let written = rows.filter { $0.dropFirst().first == "the server wrote" }
            #expect(written.count == 4)
            #expect(written.allSatisfy { $0[2].hasPrefix("coap://") && $0[3] == "NoSec" })
            let received = rows.filter { $0.first == "the device got" }
            #expect(received.count == 4)
            try #require(received.allSatisfy { $0.count == 5 && $0[1].hasPrefix("coaps://") && $0[2] == "PSK" })
            let (old, new) = (received[0][4], received[2][4])
            #expect(old != new)
            #expect(
                rows.first { $0.first == "key before" }?.dropFirst() == ["\(old) of \(received[0][3])", "replaced"])
            #expect(rows.first { $0.first == "key now" }?.dropFirst() == ["\(new) of \(received[2][3])", "active"])
            let replaced = rows.filter { $0.dropFirst().first == "credential.replaced" }
            #expect(replaced.count == 1)
            #expect(replaced.first?.last?.contains("key \(old)") ?? false)
            #expect(rows.contains { $0.dropFirst().first == "registration.refused" })
        }
    }

    /// What goes wrong at a far end, and what the demo says then.
    struct Sabotage: CustomTestStringConvertible {
        let testDescription: String
        /// What bash does to the arguments, `$@`, before the simulator starts.
        let script: String
        let words: [String]
    }

    @Test(
        "A demo that does not come to its end fails, and says in which part and why",
        arguments: [
            Sabotage(
                testDescription: "no simulator", script: "exit 3",
                words: ["failed in part 1.", "the LwM2M server did not start", "LwM2M server: ended with 3"]),
            Sabotage(
                testDescription: "bootstrap refused",
                script: "if [ $1 = bootstrap-server ]; then set -- \"$@\" --refuse 4.00; fi",
                words: ["failed in part 3.", "came to 'failed'", "4.00"]),
            Sabotage(
                testDescription: "registration refused",
                script: "if [ $1 = lwm2m-server ]; then set -- \"$@\" --refuse 5.03; fi",
                words: ["failed in part 4.", "came to 'failed'", "5.03"]),
            Sabotage(
                testDescription: "another value written", script: "set -- \"${@/=+01:00/=+02:00}\"",
                words: ["failed in part 4.", "brought '+02:00' instead of '+01:00'"]),
            Sabotage(
                testDescription: "no second bootstrap",
                script: "set -- \"${@/execute:\\/1\\/0\\/9/read:\\/3\\/0\\/0}\"",
                words: ["failed in part 5.", "the server was at read /3/0/0"]),
        ])
    func failure(_ sabotage: Sabotage) async throws {
        try await Stage.run { stage in
            // A link, because a program that was written a moment ago cannot always be started: another one that this
            // process starts at the same time may hold it open.
            let simulator = stage.folder.appendingPathComponent("simulator").path
            try FileManager.default.createSymbolicLink(
                atPath: simulator, withDestinationPath: try Programs.resource("simulator.bash"))
            try "\(sabotage.script)\nexec \(Programs.simulator) \"$@\"\n"
                .write(to: stage.folder.appendingPathComponent("sabotage"), atomically: true, encoding: .utf8)
            let demo = try stage.start("bootgate demo", Programs.gateway, ["demo", "--simulator", simulator])
            #expect(try await demo.exit(within: .seconds(60)) == 70)
            let said = demo.output.all.joined(separator: "\n")
            for words in sabotage.words { #expect(said.contains(words)) }
        }
    }
}
