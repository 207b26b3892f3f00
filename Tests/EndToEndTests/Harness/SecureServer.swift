internal import Foundation

/// An LwM2M server that terminates DTLS itself, as far as the gateway deals with it: the interface that takes keys.
struct SecureServer: Sendable {
    let program: Program
    let port: Int
    let address: String

    var uri: String { "http://\(self.address):\(self.port)" }

    /// The first so many things that it did for an endpoint, as they come: the keys that it was given, by fingerprint, and
    /// "-" for a withdrawal.
    func history(of endpoint: String, count: Int) async throws -> [String] {
        var history: [String] = []
        for step in 1...count {
            let line = await self.program.output.first(within: .seconds(30)) { line in
                guard let event = Event(line), event.text("endpoint") == endpoint else { return false }
                return event.integer("step") == step
            }
            guard let event = line.flatMap(Event.init) else {
                throw Unexpected("the secure server was asked fewer than \(count) times")
            }
            history.append(event.name == "put" ? event.text("key") ?? "" : "-")
        }
        return history
    }
}

extension Stage {
    func secureServer(_ arguments: [String] = []) async throws -> SecureServer {
        let program = try self.start(
            "secure server", "/usr/bin/env",
            ["python3", try Programs.resource("leshan_rest.py"), "--host", self.address] + arguments)
        guard let port = try await program.event("listening").integer("port") else {
            throw Unexpected("the secure server names no port")
        }
        return SecureServer(program: program, port: port, address: self.address)
    }

    /// A bootstrap server, and a gateway that publishes the keys of its LwM2M server.
    func publishing(_ publish: String) async throws -> (gateway: Gateway, bootstrap: Server) {
        let server = "coap://192.0.2.10:5683"
        let bootstrap = try await self.bootstrapServer([
            "--server-uri", server, "--account-uri", "coap://192.0.2.1:5683", "--ssid", "1111", "--account-ssid",
            "2222",
        ])
        var settings = Settings(upstreams: [bootstrap.uri], server: server)
        settings.publish = publish
        return (try await self.gateway(settings), bootstrap)
    }

    /// One bootstrap of `sim`; returns how the device ended and the fingerprint of the key that it was given.
    func bootstrap(
        _ sim: SIM, at gateway: Gateway, _ arguments: [String] = []
    ) async throws -> (status: Int32, key: String?) {
        let device = try self.device(
            self.credentials(sim, at: gateway) + ["--bootstrap-only", "--patience", "3"] + arguments)
        let status = try await device.exit(within: .seconds(60))
        return (
            status, device.output.events("account").last { $0.boolean("bootstrap") == false }?.text("keyFingerprint")
        )
    }
}
