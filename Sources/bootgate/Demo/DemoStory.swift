internal import Secrets

/// Turns the device's events into lines, and remembers what counts for the end.
struct DemoStory {
    private let legacyServer: String
    private var accounts: [DemoEvent] = []
    private var connectedTo = ""
    private var request = ""
    /// The identity that the device came with last.
    private(set) var identity: String?
    /// The device was told that an observation is over.
    private(set) var hasEndedObservation = false

    init(legacyServer: String) { self.legacyServer = legacyServer }

    /// The device last connected over DTLS.
    var isSecure: Bool { self.connectedTo.hasPrefix("coaps://") }

    /// The account that the last bootstrap brought for the LwM2M server.
    var serverAccount: DemoEvent? { self.accounts.first { !$0.boolean("bootstrap") } }

    /// Before another bootstrap.
    mutating func forgetAccounts() { self.accounts = [] }

    /// The lines for an event; none when there is nothing to say.
    mutating func tell(_ event: DemoEvent) -> [String] {
        let code = event.text("code") ?? ""
        switch event.name {
        case "connecting":
            self.connectedTo = event.text("uri") ?? ""
            self.identity = event.text("identity")
        case "connected":
            return [Self.line("device → gateway", "DTLS handshake as \(self.identity.map(Self.short) ?? "?")", "done")]
        case "requested":
            let query = event.list("queries").joined(separator: "&")
            self.request =
                "\(event.text("method") ?? "") \(event.text("path") ?? "")" + (query.isEmpty ? "" : "?\(query)")
        case "accepted", "updated": return [Self.line("device → gateway", self.request, code)]
        case "registered":
            return [Self.line("device → gateway", self.request, "\(code)  \(event.text("location") ?? "")")]
        // What the registered device answers is told by the server.
        case "request" where self.request.contains("/bs"):
            let bytes = event.integer("bytes").map { $0 > 0 ? ", \($0) bytes" : "" } ?? ""
            let what = "\(event.text("method") ?? "") \(event.text("path") ?? "")\(bytes)"
            return [Self.line("gateway → device", what, code)]
        case "account": self.accounts.append(event)
        case "unobserved": self.hasEndedObservation = event.text("reason") == "cancelled"
        case "failed" where code.isEmpty: return [Self.line("device", "fails", event.text("reason") ?? "")]
        case "failed": return [Self.line("device → gateway", self.request, code)]
        default: break
        }
        return []
    }

    /// The accounts as the legacy server wrote them, over what reached the device.
    var accountTable: String {
        var table = Table(["ACCOUNT", "", "URI", "SECURITY", "IDENTITY", "KEY"])
        for account in self.accounts {
            let isBootstrap = account.boolean("bootstrap")
            let written = isBootstrap ? DemoStage.legacyBootstrapAccount : self.legacyServer
            let name = "/0/\(account.integer("instance") ?? 0) \(isBootstrap ? "bootstrap" : "server")"
            table.add([name, "the server wrote", written, "NoSec", "", ""])
            table.add([
                "", "the device got", account.text("uri") ?? "?", account.integer("mode") == 0 ? "PSK" : "NoSec",
                account.text("identity").map(Self.short) ?? "", account.text("keyFingerprint") ?? "",
            ])
        }
        return Self.indented(table.text)
    }

    // MARK: - How it looks

    /// One step in columns.
    static func line(_ direction: String, _ what: String, _ result: String) -> String {
        let line = "   " + self.padded(direction, to: 18) + self.padded(what, to: 58) + result
        return String(line.reversed().drop { $0 == " " }.reversed())
    }

    static func indented(_ text: String) -> String {
        text.split(separator: "\n").map { "   " + $0 }.joined(separator: "\n")
    }

    /// The identity as logs have it.
    static func short(_ identity: String) -> String { PSKIdentity(identity)?.description ?? "?" }

    private static func padded(_ text: String, to width: Int) -> String {
        text + String(repeating: " ", count: max(1, width - text.count))
    }
}
