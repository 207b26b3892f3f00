internal import ArgumentParser
internal import Foundation
internal import Gateway
internal import Records

/// `bootgate audit search`.
struct AuditSearchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "search",
        abstract: "Show the records that match, oldest first.",
        discussion: """
            Patterns may hold * and ?; lists have commas between them. All conditions must hold. Checkpoints show only where \
            --event asks for them.
            """
    )

    @Option(help: "Patterns such as 'bootstrap.*'.") var event: [String] = []
    @Option(help: "Patterns such as 'upstream *'.") var cause: [String] = []
    @Option(help: "19 or 20 digits, or patterns.") var iccid: [String] = []
    @Option(help: "Patterns for the endpoint client name.") var endpoint: [String] = []
    @Option(help: "Address of the device, with its port or not, or a prefix such as 192.0.2.0/24.") var peer: String?
    @Option(help: "Patterns for the URI of the server.") var upstream: [String] = []
    @Option(help: "Number of the session within a run of the gateway.") var session: UInt64?
    @OptionGroup var span: TimeSpanOptions
    @Option(help: "A piece of text anywhere in the record; upper and lower case differ.") var text: String?
    @Option(name: .shortAndLong, help: "So many at most, the oldest.") var limit: Int?
    @Flag(help: "The records as they stand in the journal.") var json = false
    @OptionGroup var config: ConfigurationOption

    func validate() throws {
        if let limit = self.limit, limit < 1 { throw ValidationError("--limit is \(limit); expected 1 or more") }
        if let peer = self.peer, Self.peer(peer) == nil {
            throw ValidationError("--peer is '\(peer)'; expected an address, ADDRESS:PORT or ADDRESS/LENGTH")
        }
    }

    func run() async throws {
        let reader = JournalReader(state: try self.config.load().state)
        var filter = JournalFilter()
        filter.event = Self.patterns(self.event)
        filter.cause = Self.patterns(self.cause)
        filter.iccid = Self.patterns(self.iccid)
        filter.endpoint = Self.patterns(self.endpoint)
        filter.upstream = Self.patterns(self.upstream)
        (filter.peer, filter.peerPort) = self.peer.flatMap(Self.peer) ?? (nil, nil)
        filter.session = self.session
        (filter.since, filter.until) = self.span.microseconds
        filter.text = self.text
        let asked = filter
        let limit = self.limit ?? .max
        var found = 0
        let summary = try reporting {
            try reader.search(asked) { entry in
                AuditCommand.write(entry, json: self.json)
                found += 1
                return found < limit
            }
        }
        if found == 0 { Terminal.complain("no record matches") }
        if summary.unreadable > 0 {
            Terminal.complain("\(summary.unreadable) lines are no records; bootgate audit verify names them")
        }
    }

    private static func patterns(_ texts: [String]) -> TextPatterns? {
        let patterns = TextPatterns(texts)
        return patterns.isEmpty ? nil : patterns
    }

    /// `192.0.2.1`, `192.0.2.0/24`, `192.0.2.1:49152`, `[2001:db8::1]:49152` and the like.
    static func peer(_ text: String) -> (IPPrefix?, UInt16?)? {
        if let prefix = IPPrefix(text) { return (prefix, nil) }
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]) else {
            return nil
        }
        var host = text[..<colon]
        if host.first == "[", host.last == "]" {
            host = host.dropFirst().dropLast()
        } else if host.contains(":") {
            return nil
        }
        return IPPrefix(host).map { ($0, port) }
    }
}

/// `--since` and `--until`.
struct TimeSpanOptions: ParsableArguments {
    @Option(help: ArgumentHelp("From this time on: 2026-01-31T12:00:00Z, or 2h for two hours ago.", valueName: "time"))
    var since: JournalMoment?
    @Option(help: ArgumentHelp("Up to this time, in the same forms.", valueName: "time"))
    var until: JournalMoment?

    var microseconds: (since: Int64?, until: Int64?) {
        let now = WallClock.microseconds()
        return (self.since?.microseconds(now: now), self.until?.microseconds(now: now))
    }

    func validate() throws {
        if case (let since?, let until?) = self.microseconds, since >= until {
            throw ValidationError("--since is not before --until")
        }
    }
}

/// A time that a person names: RFC 3339, a day, or how long ago.
struct JournalMoment: ExpressibleByArgument, Equatable {
    private enum Form: Equatable {
        case at(Int64)
        case ago(Duration)
    }

    private let form: Form

    init?(argument: String) {
        if let duration = Notation.duration(argument) {
            self.form = .ago(duration)
            return
        }
        let day = argument.count == 10 ? argument + "T00:00:00Z" : argument
        let plain = ISO8601DateFormatter()
        let fractional = ISO8601DateFormatter()
        fractional.formatOptions = [.withInternetDateTime, .withFractionalSeconds]
        guard let date = plain.date(from: day) ?? fractional.date(from: day),
            abs(date.timeIntervalSince1970) < 1e12
        else { return nil }
        self.form = .at(Int64((date.timeIntervalSince1970 * 1_000_000).rounded()))
    }

    /// Since 1970.
    func microseconds(now: Int64) -> Int64 {
        switch self.form {
        case .at(let time): return time
        case .ago(let duration):
            let (seconds, attoseconds) = duration.components
            let (back, isTooLong) = seconds.multipliedReportingOverflow(by: 1_000_000)
            return isTooLong ? 0 : max(0, now - back - attoseconds / 1_000_000_000_000)
        }
    }
}
