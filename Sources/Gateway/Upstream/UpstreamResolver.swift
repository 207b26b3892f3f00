internal import Glibc
internal import LwM2M
internal import NIOCore
internal import NIOPosix

/// Turns the host names of upstream URIs into addresses, away from the event loops.
///
/// The pool asks at start and every 60 seconds. A failure changes nothing: the last good answer stays.
package actor UpstreamResolver {
    /// Looks one name up; may block its own thread, never an event loop.
    package typealias Lookup = @Sendable (_ host: String, _ port: UInt16) async throws -> [PeerAddress]

    /// Time between two look-ups of the same name.
    package static let interval: Duration = .seconds(60)

    private let lookup: Lookup
    private var answers: [Name: PeerAddress] = [:]

    private struct Name: Hashable {
        let host: String
        let port: UInt16
    }

    package init(lookup: @escaping Lookup = UpstreamResolver.systemLookup) { self.lookup = lookup }

    /// The address of a URI whose host is numeric; nil for a name.
    static func numeric(_ uri: ServerURI) -> PeerAddress? {
        IPAddress(uri.host).map { PeerAddress($0, port: uri.port) }
    }

    /// The address to use: the one in use as long as the name still has it, else the first of the answer.
    ///
    /// - Throws: what the look-up threw, when there is no earlier answer either.
    func resolve(_ uri: ServerURI) async throws -> Resolution {
        if let address = Self.numeric(uri) { return Resolution(address: address, failure: nil) }
        let name = Name(host: uri.host, port: uri.port)
        do {
            let addresses = try await self.lookup(uri.host, uri.port)
            guard let first = addresses.first else { throw ResolutionError(host: uri.host, reason: "no addresses") }
            let current = self.answers[name]
            let address = current.flatMap { addresses.contains($0) ? $0 : nil } ?? first
            self.answers[name] = address
            return Resolution(address: address, failure: nil)
        } catch {
            guard let last = self.answers[name] else { throw error }
            return Resolution(address: last, failure: "\(error)")
        }
    }

    struct Resolution: Sendable {
        let address: PeerAddress
        /// Set when this is an earlier answer, because the look-up failed.
        let failure: String?
    }

    /// `getaddrinfo` on the process's pool of threads for blocking calls.
    package static let systemLookup: Lookup = { host, port in
        try await NIOThreadPool.singleton.runIfActive {
            var hints = addrinfo()
            hints.ai_family = AF_UNSPEC
            hints.ai_socktype = Int32(SOCK_DGRAM.rawValue)
            var list: UnsafeMutablePointer<addrinfo>?
            let code = getaddrinfo(host, String(port), &hints, &list)
            guard code == 0 else { throw ResolutionError(host: host, reason: String(cString: gai_strerror(code))) }
            defer { freeaddrinfo(list) }
            var addresses: [PeerAddress] = []
            var next = list
            while let entry = next {
                if let raw = entry.pointee.ai_addr, let address = PeerAddress(raw: raw) { addresses.append(address) }
                next = entry.pointee.ai_next
            }
            return addresses
        }
    }
}

/// A host name of an upstream has no address. The operator has to act, or the name service.
package struct ResolutionError: Error, CustomStringConvertible {
    let host: String
    let reason: String

    package var description: String { "cannot resolve \(self.host): \(self.reason)" }
}
