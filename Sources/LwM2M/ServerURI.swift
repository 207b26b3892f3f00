/// Where a device or the gateway reaches a server, by component (spec 2.4, T24, T25): `coap://host[:port][/path][?query]`.
package struct ServerURI: Hashable, Sendable {
    package enum Scheme: String, Sendable {
        case coap, coaps
    }

    package var scheme: Scheme
    /// Lower case; an IPv6 literal without its brackets.
    package var host: String
    /// Explicit or the scheme's default.
    package var port: UInt16

    package init(scheme: Scheme, host: String, port: UInt16) {
        self.scheme = scheme
        self.host = host
        self.port = port
    }
}
