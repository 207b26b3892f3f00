/// Turns the device's events into sentences, and remembers what counts for the end.
struct DemoStory {
    private let legacyServer: String
    private var accounts: [DemoEvent] = []
    private var connectedTo: String?
    private(set) var isRegisteredOverDTLS = false
    private(set) var failure: String?

    init(legacyServer: String) { self.legacyServer = legacyServer }

    /// The sentence for an event; nil when there is nothing to say.
    mutating func tell(_ event: DemoEvent) -> String? {
        switch event.name {
        case "connecting":
            self.connectedTo = event.text("uri")
            return "device → \(event.text("uri") ?? "?")  DTLS handshake as \(event.text("identity") ?? "nobody")"
        case "connected": return "device ↔ gateway  secure channel stands"
        case "requested":
            let query = event.list("queries").joined(separator: "&")
            return "device → gateway  \(event.text("method") ?? "") \(event.text("path") ?? "")"
                + (query.isEmpty ? "" : "?\(query)")
        case "accepted": return "gateway → device  \(event.text("code") ?? "")"
        case "request":
            let bytes = event.integer("bytes").map { $0 > 0 ? ", \($0) bytes" : "" } ?? ""
            return "gateway → device  \(event.text("method") ?? "") \(event.text("path") ?? "")\(bytes)"
                + "  answered \(event.text("code") ?? "")"
        case "account":
            self.accounts.append(event)
            return nil
        case "finished": return "device            has its accounts"
        case "registered":
            self.isRegisteredOverDTLS = self.connectedTo?.hasPrefix("coaps://") ?? false
            return "gateway → device  \(event.text("code") ?? "") registered at \(event.text("location") ?? "")"
        case "updated": return "gateway → device  \(event.text("code") ?? "") registration updated"
        case "deregistered": return "gateway → device  \(event.text("code") ?? "") registration ended"
        case "failed":
            self.failure = "the device failed: \(event.text("reason") ?? "for no reason it knows")"
            return self.failure
        default: return nil
        }
    }

    /// The accounts as the legacy server wrote them, beside what reached the device.
    var comparison: String {
        self.accounts.map { account in
            let isBootstrap = account.boolean("bootstrap")
            let written = isBootstrap ? "coap://192.0.2.1:5683" : self.legacyServer
            var received = "\(account.text("uri") ?? "?")  \(account.integer("mode") == 0 ? "PSK" : "NoSec")"
            if let identity = account.text("identity") { received += "  identity \(identity)" }
            if let bytes = account.integer("keyBytes"), bytes > 0 {
                received += "  key of \(bytes) bytes (\(account.text("keyFingerprint") ?? ""))"
            }
            return """
                   \(isBootstrap ? "bootstrap account" : "server account")  /0/\(account.integer("instance") ?? 0)
                     written   \(written)  NoSec
                     received  \(received)
                """
        }.joined(separator: "\n")
    }
}
