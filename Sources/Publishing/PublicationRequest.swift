internal import Foundation
internal import Gateway
internal import Secrets

/// One HTTP request that tells a server of a key. Pure: what is sent, and which answer means success.
struct PublicationRequest: Sendable, Equatable {
    enum Method: String, Sendable { case put = "PUT", post = "POST", delete = "DELETE" }

    var method: Method
    var url: String
    /// JSON; empty for a request without a body.
    var body: [UInt8]
    /// Statuses beside 200 to 299 that mean that there is nothing left to do.
    var alsoDone: Set<UInt> = []

    func isDone(_ status: UInt) -> Bool { (200..<300).contains(status) || self.alsoDone.contains(status) }

    /// Tells `target` of a credential.
    static func publish(_ credential: OneTimeCredential, to target: PublicationTarget) -> PublicationRequest {
        let key = credential.key.withUnsafeBytes { $0.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined() }
        let pair = ["identity": JSONValue.text(credential.identity.text ?? ""), "key": .text(key)]
        switch target.form {
        case .leshan(let format):
            let secrets: (String, JSONValue) =
                switch format {
                case .psk: ("psk", .object(pair))
                case .tls: ("tls", .object(["mode": .text("psk"), "details": .object(pair)]))
                }
            return PublicationRequest(
                method: .put, url: Self.clients(of: target),
                body: Self.json(["endpoint": .text(credential.endpoint), secrets.0: secrets.1])
            )
        case .webhook:
            let message: [String: JSONValue] = [
                "action": .text("publish"), "server": .text(credential.server), "iccid": .text(credential.iccid),
                "endpoint": .text(credential.endpoint), "ssid": .integer(Int(credential.shortServerID)),
            ]
            return PublicationRequest(
                method: .post, url: target.url, body: Self.json(message.merging(pair) { first, _ in first })
            )
        }
    }

    /// Takes a credential, or all that `target` holds for the endpoint, back.
    static func withdraw(
        endpoint: String, identity: PSKIdentity?, from server: String, at target: PublicationTarget
    ) -> PublicationRequest {
        switch target.form {
        case .leshan:
            let name = endpoint.addingPercentEncoding(withAllowedCharacters: Self.segmentCharacters) ?? endpoint
            return PublicationRequest(
                method: .delete, url: Self.clients(of: target) + name, body: [], alsoDone: [404])
        case .webhook:
            var message: [String: JSONValue] = [
                "action": .text("withdraw"), "server": .text(server), "endpoint": .text(endpoint),
            ]
            if let identity { message["identity"] = .text(identity.text ?? "") }
            return PublicationRequest(method: .post, url: target.url, body: Self.json(message), alsoDone: [404, 410])
        }
    }

    private static func clients(of target: PublicationTarget) -> String {
        (target.url.hasSuffix("/") ? String(target.url.dropLast()) : target.url) + "/api/security/clients/"
    }

    /// Unreserved characters of RFC 3986: everything else of a name is written as `%XX`.
    private static let segmentCharacters = CharacterSet(
        charactersIn: "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")

    private static func json(_ object: [String: JSONValue]) -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // Texts and numbers alone: nothing in them cannot be written.
        return (try? encoder.encode(object)).map { [UInt8]($0) } ?? []
    }
}

/// As much of JSON as the messages need.
private enum JSONValue: Encodable {
    case text(String)
    case integer(Int)
    case object([String: JSONValue])

    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        switch self {
        case .text(let text): try container.encode(text)
        case .integer(let number): try container.encode(number)
        case .object(let object): try container.encode(object)
        }
    }
}

extension PublicationRequest: CustomStringConvertible, CustomReflectable {
    /// Without the body, which holds a key.
    var description: String { "\(self.method.rawValue) \(self.url) (\(self.body.count) bytes)" }
    var customMirror: Mirror { Mirror(self, children: [:]) }
}
