/// Where a secret lies: never in the configuration file itself.
package enum SecretSource: Hashable, Sendable {
    /// An absolute path.
    case file(String)
    case environment(String)
}

extension SecretSource: CustomStringConvertible {
    package var description: String {
        switch self {
        case .file(let path): "the file \(path)"
        case .environment(let name): "the environment variable \(name)"
        }
    }
}
