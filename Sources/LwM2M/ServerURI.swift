/// Where a device or the gateway reaches a server, by component: `coap://host[:port][/path][?query]` (RFC 7252,
/// section 6; spec 2.4).
///
/// Two spellings of one address are one value (T24): scheme and host are compared without regard to case, a port that
/// is left out is the scheme's own, an IPv6 literal stands in its shortest form, an empty path is `/`, and a
/// percent-encoded letter is the letter.
package struct ServerURI: Hashable, Sendable {
    package enum Scheme: String, Sendable, CaseIterable {
        case coap, coaps

        /// 5683 and 5684. A change of scheme changes the port that is left out, too (T25).
        package var defaultPort: UInt16 { self == .coap ? 5683 : 5684 }
    }

    /// Resource 0 of a Security object holds at most this many bytes.
    package static let maximumLength = 255

    package var scheme: Scheme
    /// Lower case; an IPv6 literal without its brackets.
    package let host: String
    /// Explicit or the scheme's default; never 0 when the URI was parsed.
    package var port: UInt16
    /// Empty, or begins with `/` and goes on; `/` alone is held as empty.
    package let path: String
    /// What follows the `?`; nil when there is none.
    package let query: String?

    /// A URI of known parts, without path and query. `host` is a name or a numeric address without brackets; it is
    /// taken as it is, save for the case of its letters. Text from outside goes through ``init(_:)``.
    package init(scheme: Scheme, host: String, port: UInt16) {
        self.init(scheme: scheme, host: host.lowercased(), port: port, path: "", query: nil)
    }

    init(scheme: Scheme, host: String, port: UInt16, path: String, query: String?) {
        self.scheme = scheme
        self.host = host
        self.port = port
        self.path = path == "/" ? "" : path
        self.query = query
    }

    /// Whether this is reached over DTLS: `coaps` goes with security modes 0, 1, 2 and 4, `coap` with mode 3.
    package var isSecure: Bool { self.scheme == .coaps }
}

extension ServerURI: CustomStringConvertible {
    /// The form that is written to devices: always with the port, because some clients refuse a URI without (T24).
    package var description: String {
        // Each account of each bootstrap has one: written in one go, because a text grows for many times the price.
        let isLiteral = self.host.utf8.contains(UInt8(ascii: ":"))
        let port = String(self.port)
        let pieces = [
            self.scheme.rawValue, isLiteral ? "://[" : "://", self.host, isLiteral ? "]:" : ":", port, self.path,
            self.query == nil ? "" : "?", self.query ?? "",
        ]
        return String(unsafeUninitializedCapacity: pieces.reduce(0) { $0 + $1.utf8.count }) { target in
            var count = 0
            for var piece in pieces {
                piece.withUTF8 { bytes in
                    UnsafeMutableRawBufferPointer(rebasing: UnsafeMutableRawBufferPointer(target)[count...])
                        .copyMemory(from: UnsafeRawBufferPointer(bytes))
                    count += bytes.count
                }
            }
            return count
        }
    }
}
