internal import Foundation
internal import FoundationNetworking

/// What monitoring asks a gateway over HTTP.
struct Monitoring: Sendable {
    /// The lines of the configuration that open it, with `token` for a viewer.
    static func configuration(on stage: Stage, token: String) throws -> String {
        let path = try stage.keyFile("viewer.token", token)
        return """
            admin:
              listen: "\(stage.address):0"
              tokens: [ { name: prometheus, role: viewer, token: { file: \(path) } } ]
            """
    }

    struct Answer: Sendable {
        var status: Int
        var body: String
        var type: String?
    }

    let port: Int
    let address: String
    var token: String?

    /// The port is the system's choice, which the log tells.
    init(of gateway: Gateway, token: String? = nil) async throws {
        let entry = try await gateway.program.logged("monitoring") { $0.text("message") == "monitoring" }
        guard let port = entry.text("port").flatMap({ Int($0) }) else { throw Unexpected("no port in \(entry)") }
        self.port = port
        self.address = gateway.address
        self.token = token
    }

    func get(_ path: String, authorization: String? = nil) async throws -> Answer {
        guard let url = URL(string: "http://\(self.address):\(self.port)\(path)") else {
            throw Unexpected("\(path) is no path")
        }
        var request = URLRequest(url: url, timeoutInterval: 20)
        let header = authorization ?? self.token.map { "Bearer \($0)" }
        if let header { request.setValue(header, forHTTPHeaderField: "Authorization") }
        let (data, response) = try await URLSession.shared.data(for: request)
        guard let response = response as? HTTPURLResponse else { throw Unexpected("no answer of HTTP") }
        return Answer(
            status: response.statusCode, body: String(decoding: data, as: UTF8.self),
            type: response.value(forHTTPHeaderField: "Content-Type"))
    }

    /// The series of `/metrics` with their values, without the prefix of their names.
    func metrics() async throws -> [String: Double] {
        let answer = try await self.get("/metrics")
        guard answer.status == 200 else { throw Unexpected("/metrics answers \(answer.status)") }
        var series: [String: Double] = [:]
        for line in answer.body.split(separator: "\n") where line.hasPrefix("bootgate_") {
            guard let space = line.lastIndex(of: " "), let value = Double(line[line.index(after: space)...]) else {
                throw Unexpected("'\(line)' is no sample")
            }
            series[String(line[..<space].dropFirst("bootgate_".count))] = value
        }
        return series
    }

    /// Asks again and again, as monitoring does, until the answer is as wanted.
    func until<Answer>(
        _ what: String, _ ask: () async throws -> Answer, is wanted: (Answer) -> Bool
    ) async throws -> Answer {
        let deadline = ContinuousClock.now + .seconds(30)
        while true {
            let answer = try await ask()
            if wanted(answer) { return answer }
            guard ContinuousClock.now < deadline else { throw Unexpected("not \(what): \(answer)") }
            try await Task.sleep(for: .milliseconds(50))
        }
    }
}
