internal import Foundation
internal import Testing

@Suite("Servers that terminate DTLS themselves")
struct PublicationTests {
    @Test("The server has the device's key before the device has its Finish", arguments: [1, 2])
    func accepted(format: Int) async throws {
        try await Stage.run { stage in
            let server = try await stage.secureServer(["--token", "tok"])
            let token = stage.folder.appendingPathComponent("token")
            try Data("tok\n".utf8).write(to: token)
            try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: token.path)
            let (gateway, bootstrap) = try await stage.publishing(
                "{ leshan: \"\(server.uri)\", leshan-format: \(format), token: { file: \(token.path) } }")
            let sim = try await stage.addSIM(to: gateway)
            let (status, key) = try await stage.bootstrap(sim, at: gateway)
            #expect(status == 0)
            #expect(try await server.history(of: sim.iccid, count: 1) == [try #require(key)])
            #expect(server.program.output.events("put").first?.text("shape") == (format == 1 ? "psk" : "tls"))
            try await bootstrap.program.event("finished") { $0.text("endpoint") == sim.iccid }
            try await gateway.record("credential.published", of: sim)
            try await gateway.record("bootstrap.finished", of: sim)
            try await gateway.record("credential.active", of: sim)

            // The next bootstrap replaces it, there and here.
            let (again, next) = try await stage.bootstrap(sim, at: gateway)
            #expect(again == 0)
            #expect(try await server.history(of: sim.iccid, count: 2) == [key, next])
            try await gateway.record("credential.replaced", of: sim, cause: "superseded by a new request")
            try await stage.verifyJournal(of: gateway)
        }
    }

    @Test(
        "Refused, unreachable, silent: the bootstrap fails closed, and the operator is told",
        arguments: Trouble.allCases)
    func failsClosed(trouble: Trouble) async throws {
        try await Stage.run { stage in
            let server = try await stage.secureServer(trouble.arguments)
            if trouble == .unreachable {
                server.program.signal(SIGKILL)
                _ = try await server.program.exit(within: .seconds(10))
            }
            let (gateway, bootstrap) = try await stage.publishing("{ leshan: \"\(server.uri)\", timeout: 500ms }")
            let sim = try await stage.addSIM(to: gateway)
            let (status, _) = try await stage.bootstrap(sim, at: gateway)
            #expect(status == 1)
            try await gateway.record("bootstrap.failed", of: sim, cause: trouble.cause)
            try await gateway.journal.event("credential.published") { $0.text("cause") == trouble.cause }
            try await gateway.remedy(for: trouble.cause)
            try await gateway.program.logged("the outcome") { $0.text("outcome") == trouble.outcome }
            #expect(bootstrap.program.output.events("finished").isEmpty)
            #expect(server.program.output.events("put").isEmpty)
        }
    }

    enum Trouble: CaseIterable, Sendable {
        case refused, unreachable, silent

        var arguments: [String] {
            switch self {
            case .refused: ["--refuse"]
            case .unreachable: []
            case .silent: ["--silent"]
            }
        }

        var cause: String {
            switch self {
            case .refused: "publication refused"
            case .unreachable: "publication unreachable"
            case .silent: "publication unanswered"
            }
        }

        var outcome: String {
            switch self {
            case .refused: "refused"
            case .unreachable: "unreachable"
            case .silent: "no answer"
            }
        }
    }

    @Test("A Finish that fails puts the previous key back", arguments: [["--refuse-finish"], ["--vanish-after", "4"]])
    func finishFails(device: [String]) async throws {
        try await Stage.run { stage in
            let server = try await stage.secureServer()
            let (gateway, _) = try await stage.publishing("{ leshan: \"\(server.uri)\" }")
            let sim = try await stage.addSIM(to: gateway)
            let (_, first) = try await stage.bootstrap(sim, at: gateway)
            let failing = try stage.device(
                stage.credentials(sim, at: gateway) + ["--bootstrap-only", "--patience", "3"] + device)
            let history = try await server.history(of: sim.iccid, count: 3)
            #expect(history.first == first && history.last == first)
            #expect(history[1] != first)
            try await gateway.record("bootstrap.failed", of: sim)
            failing.signal(SIGKILL)
        }
    }

    @Test("A gateway that is killed between publication and Finish puts the previous key back when it starts again")
    func killed() async throws {
        try await Stage.run { stage in
            let server = try await stage.secureServer()
            let (gateway, _) = try await stage.publishing("{ leshan: \"\(server.uri)\" }")
            let sim = try await stage.addSIM(to: gateway)
            let (_, first) = try await stage.bootstrap(sim, at: gateway)
            // It takes every write, and does not answer Finish.
            let device = try stage.device(
                stage.credentials(sim, at: gateway) + ["--bootstrap-only", "--vanish-after", "4"])
            #expect(try await server.history(of: sim.iccid, count: 2)[1] != first)
            gateway.program.signal(SIGKILL)
            _ = try await gateway.program.exit(within: .seconds(10))
            _ = try await stage.restart(gateway)
            #expect(try await server.history(of: sim.iccid, count: 3)[2] == first)
            device.signal(SIGKILL)
        }
    }

    @Test("A server that holds several keys gets each when it is minted, and loses those that end")
    func webhook() async throws {
        try await Stage.run { stage in
            let server = try await stage.secureServer()
            let (gateway, _) = try await stage.publishing(
                "{ webhook: \"\(server.uri)/hook\", keys-per-endpoint: many }")
            let sim = try await stage.addSIM(to: gateway)
            let (_, first) = try await stage.bootstrap(sim, at: gateway)
            let (_, second) = try await stage.bootstrap(sim, at: gateway)
            #expect(try await server.history(of: sim.iccid, count: 2) == [first, second])
            // One that comes to nothing takes its key along, and leaves the others.
            let (status, _) = try await stage.bootstrap(sim, at: gateway, ["--refuse-finish"])
            #expect(status == 1)
            #expect(try await server.history(of: sim.iccid, count: 4).last == "-")
            try await stage.run(
                "bootgate credentials", Programs.gateway,
                ["credentials", "revoke", sim.iccid, "--config", gateway.configuration])
            #expect(try await server.history(of: sim.iccid, count: 6).suffix(2) == ["-", "-"])
            let events = server.program.output.events
            #expect(Set(events.compactMap { $0.name == "delete" ? $0.text("identity") : nil }).count == 3)
        }
    }

    @Test("Suspension and revocation withdraw the key, again and again until the server agrees")
    func withdrawn() async throws {
        try await Stage.run { stage in
            let server = try await stage.secureServer(["--refuse-deletes", "2"])
            let (gateway, _) = try await stage.publishing("{ leshan: \"\(server.uri)\" }")
            let sim = try await stage.addSIM(to: gateway)
            let (_, key) = try await stage.bootstrap(sim, at: gateway)
            try await stage.sim(["suspend", sim.iccid], at: gateway)
            #expect(try await server.history(of: sim.iccid, count: 2) == [key, "-"])
            #expect(server.program.output.events("delete refused").count == 2)
            try await gateway.record("credential.revoked", of: sim, cause: "suspended")

            try await stage.sim(["resume", sim.iccid], at: gateway)
            let (_, next) = try await stage.bootstrap(sim, at: gateway)
            try await stage.run(
                "bootgate credentials", Programs.gateway,
                ["credentials", "revoke", sim.iccid, "--server", "meters", "--config", gateway.configuration])
            #expect(try await server.history(of: sim.iccid, count: 4) == [key, "-", next, "-"])
            try await gateway.record("credential.revoked", of: sim, cause: "revoked")
        }
    }
}
