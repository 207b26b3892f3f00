internal import Gateway
internal import LwM2M
internal import Secrets

/// The command line that makes a known client come to the gateway with an account from the factory.
enum ClientCommandLine: String, CaseIterable {
    case leshan, anjay, wakaama

    /// What one of these clients cannot be told, for the operator.
    struct Obstacle: Error {
        var message: String
    }

    /// One line for a POSIX shell.
    func line(_ account: FactoryAccount) throws(Obstacle) -> String {
        let words: [String] =
            switch self {
            case .leshan: try Self.leshan(account)
            case .anjay: try Self.anjay(account)
            case .wakaama: try Self.wakaama(account)
            }
        return words.map(Self.quoted).joined(separator: " ")
    }

    /// What the client will stumble over, for the operator; nil when nothing is known.
    func warning(_ account: FactoryAccount) -> String? {
        guard self == .wakaama, let credential = account.credential,
            credential.key.count > 16 || credential.identity.bytes.count > 32
        else { return nil }
        return "Wakaama with tinydtls takes no more than 16 bytes of key and 32 of identity"
    }

    private static func leshan(_ account: FactoryAccount) throws(Obstacle) -> [String] {
        var words = [
            "java", "-jar", "leshan-client-demo.jar", "-b", "-n", account.endpoint, "-u", account.uri.authority,
        ]
        if let credential = account.credential {
            words += ["-i", try Self.text(credential.identity), "-p", FactoryAccount.hexadecimal(credential.key)]
        }
        return words
    }

    private static func anjay(_ account: FactoryAccount) throws(Obstacle) -> [String] {
        var words = ["./output/bin/demo", "--bootstrap", "--server-uri", account.uri.description]
        words += ["--security-mode", account.credential == nil ? "nosec" : "psk", "--endpoint-name", account.endpoint]
        if let credential = account.credential {
            words += ["--identity", FactoryAccount.hexadecimal(credential.identity.bytes)]
            words += ["--key", FactoryAccount.hexadecimal(credential.key)]
        }
        return words
    }

    private static func wakaama(_ account: FactoryAccount) throws(Obstacle) -> [String] {
        var words = [account.credential == nil ? "./lwm2mclient" : "./lwm2mclient_tinydtls"]
        if !account.uri.isIPv6Literal { words.append("-4") }
        words += ["-b", "-n", account.endpoint, "-h", account.uri.host, "-p", String(account.uri.port)]
        if let credential = account.credential {
            words += ["-i", try Self.text(credential.identity), "-s", FactoryAccount.hexadecimal(credential.key)]
        }
        return words
    }

    /// The identity, for a client that takes it as text.
    private static func text(_ identity: PSKIdentity) throws(Obstacle) -> String {
        guard let text = identity.text, text.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7F }) else {
            throw Obstacle(message: "this client takes its identity as text, and this one has other bytes")
        }
        return text
    }

    /// One word of a shell, whatever is in it.
    private static func quoted(_ word: String) -> String {
        let isPlain =
            !word.isEmpty
            && word.utf8.allSatisfy {
                switch $0 {
                case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                    UInt8(ascii: "0")...UInt8(ascii: "9"):
                    true
                default: "-_./:@%+,=".utf8.contains($0)
                }
            }
        return isPlain ? word : "'" + word.replacing("'", with: "'\\''") + "'"
    }
}

extension ServerURI {
    fileprivate var isIPv6Literal: Bool { self.host.utf8.contains(UInt8(ascii: ":")) }

    /// Host and port.
    fileprivate var authority: String {
        self.isIPv6Literal ? "[\(self.host)]:\(self.port)" : "\(self.host):\(self.port)"
    }
}
