internal import ArgumentParser
internal import Foundation
internal import LwM2M
internal import Secrets
internal import Timing

/// `bootgate probe`: behaves as a device towards a running gateway, for monitoring.
struct ProbeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "probe",
        abstract: "Bootstrap as a device would, and say how long each step took.",
        discussion: """
            Give a SIM record of its own to each place that probes. Prints one line: the result, and milliseconds of each \
            step. Exits with 0 if every step succeeded, 77 if the gateway answers and refuses, 69 for everything else.
            """
    )

    @Argument(help: "Where devices reach the gateway: coaps://HOST[:PORT] or coap://HOST[:PORT].")
    var uri: String
    @Option(help: "PSK identity of the SIM record.") var identity: String?
    @Option(help: "A file with the key in hexadecimal.") var keyFile: String?
    @Option(help: "Endpoint client name; the identity if left out.") var endpoint: String?
    @Flag(help: "Register at the first LwM2M server that the bootstrap wrote, then de-register.") var register = false
    @Option(help: "Give up after so many seconds in all.") var timeout = 30.0
    @Flag(help: "The line as a JSON object.") var json = false

    func validate() throws {
        guard (try? ServerURI(self.uri)) != nil else { throw ValidationError("\(self.uri) is no coap or coaps URI") }
        guard self.timeout > 0, self.timeout <= 3600 else { throw ValidationError("--timeout is 1 to 3600 seconds") }
        guard self.endpoint ?? self.identity != nil else { throw ValidationError("give --identity or --endpoint") }
        if let identity, PSKIdentity(identity) == nil {
            throw ValidationError("an identity has 1 to \(PSKIdentity.maximumLength) bytes, none of them zero")
        }
        guard (self.identity == nil) == (self.keyFile == nil) else {
            throw ValidationError("--identity and --key-file belong together")
        }
    }

    func run() throws {
        let target = try ServerURI(self.uri)
        let key = try self.keyFile.map(Self.readKey)
        var probe = Probe(
            target: target, identity: self.identity.flatMap { PSKIdentity($0) }, key: key,
            endpoint: self.endpoint ?? self.identity ?? "", registers: self.register,
            deadline: .now + .milliseconds(Int64(self.timeout * 1000))
        )
        let began = Instant.now
        do {
            try probe.run()
        } catch let failure as ProbeFailure {
            // The step that failed took its time too.
            self.report(probe, failure, total: Double(began.nanoseconds(to: .now)) / 1e6)
            throw fail(failure.status, "\(failure.step): \(failure.cause); \(failure.remedy)")
        }
        self.report(probe, nil, total: probe.timings.reduce(0) { $0 + $1.milliseconds })
    }

    private func report(_ probe: Probe, _ failure: ProbeFailure?, total: Double) {
        if self.json {
            var object: [String: Any] = ["result": failure == nil ? "ok" : "failed", "total_ms": Self.rounded(total)]
            for (step, milliseconds) in probe.timings { object["\(step)_ms"] = Self.rounded(milliseconds) }
            if let failure {
                object["step"] = failure.step.rawValue
                object["cause"] = failure.cause
            }
            Terminal.say(JSONText.line(object))
        } else {
            var words = [failure.map { "failed step=\($0.step)" } ?? "ok"]
            words += probe.timings.map { "\($0.step)=\(Self.text($0.milliseconds))ms" }
            words.append("total=\(Self.text(total))ms")
            Terminal.say(words.joined(separator: " "))
        }
    }

    private static func rounded(_ milliseconds: Double) -> Double { (milliseconds * 1000).rounded() / 1000 }

    private static func text(_ milliseconds: Double) -> String { String(format: "%.1f", milliseconds) }

    private static func readKey(_ path: String) throws -> Secret {
        guard let text = try? String(contentsOfFile: path, encoding: .utf8) else {
            throw fail(.unavailable, "the key file \(path) cannot be read")
        }
        let trimmed = text.trimmingCharacters(in: .whitespacesAndNewlines)
        guard let key = Secret(hexadecimal: trimmed), (16...64).contains(key.count) else {
            throw fail(.badData, "\(path) does not hold a key of 16 to 64 bytes in hexadecimal")
        }
        return key
    }
}
