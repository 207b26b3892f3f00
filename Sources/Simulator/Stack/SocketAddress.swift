internal import CCoAPStack
internal import Glibc

/// What is wrong with an address, a URI or another argument, in words for the person who typed it.
struct ArgumentProblem: Error, CustomStringConvertible {
    let description: String
}

/// An IP address and port in the form that libcoap takes.
struct SocketAddress {
    var storage: coap_address_t

    /// Room for an address of any family.
    init() {
        self.storage = coap_address_t()
        coap_address_init(&self.storage)
    }

    /// Reads `127.0.0.1:5683` or `[::1]:5683`; a host name is resolved.
    init(parsing text: String) throws {
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]) else {
            throw ArgumentProblem(description: "'\(text)' is not an address: write HOST:PORT, as in 127.0.0.1:0")
        }
        try self.init(host: String(text[..<colon]), port: port)
    }

    /// `host` is an address, with or without the brackets of IPv6, or a name.
    init(host: String, port: UInt16) throws {
        var host = host
        if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
        var hints = addrinfo()
        hints.ai_family = AF_UNSPEC
        hints.ai_socktype = Int32(SOCK_DGRAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        let status = getaddrinfo(host, String(port), &hints, &found)
        guard status == 0, let first = found else {
            throw ArgumentProblem(description: "'\(host)' has no address: \(String(cString: gai_strerror(status)))")
        }
        defer { freeaddrinfo(found) }
        self.storage = coap_address_t()
        coap_address_init(&self.storage)
        self.storage.size = first.pointee.ai_addrlen
        withUnsafeMutableBytes(of: &self.storage.addr) { target in
            let size = min(target.count, Int(first.pointee.ai_addrlen))
            target.copyMemory(from: UnsafeRawBufferPointer(start: first.pointee.ai_addr, count: size))
        }
    }

    /// Puts a free port of the system's choice in the place of port 0.
    ///
    /// libcoap lets its sockets share their addresses (SO_REUSEADDR), so the system may give two servers of one address
    /// the same port. A socket that does not share is never given one that is in use.
    mutating func choosePort() throws {
        guard coap_address_get_port(&self.storage) == 0 else { return }
        let family = Int32(self.storage.addr.sa.sa_family)
        let descriptor = socket(family, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        defer { if descriptor >= 0 { close(descriptor) } }
        var size = self.storage.size
        let isNamed = withUnsafeMutableBytes(of: &self.storage.addr) { bytes in
            guard let name = bytes.baseAddress?.assumingMemoryBound(to: sockaddr.self) else { return false }
            return bind(descriptor, name, size) == 0 && getsockname(descriptor, name, &size) == 0
        }
        guard isNamed else {
            throw ArgumentProblem(description: "cannot listen there: \(String(cString: strerror(errno)))")
        }
    }
}

/// A server URI as an account carries it: scheme, host and port.
struct ServerAddress: Equatable {
    var isSecure: Bool
    var host: String
    var port: UInt16

    /// Reads `coap://host[:port]` and `coaps://host[:port]`; a path is ignored.
    init(parsing uri: String) throws {
        let problem = ArgumentProblem(
            description: "'\(uri)' is not a server URI: write coap://HOST:PORT or coaps://HOST:PORT"
        )
        guard let mark = uri.firstRange(of: "://") else { throw problem }
        switch uri[..<mark.lowerBound].lowercased() {
        case "coap": self.isSecure = false
        case "coaps": self.isSecure = true
        default: throw problem
        }
        let authority = uri[mark.upperBound...].prefix { $0 != "/" && $0 != "?" }
        self.port = self.isSecure ? 5684 : 5683
        // In an IPv6 address the last colon ends the host only behind the bracket.
        if let colon = authority.lastIndex(of: ":"), !authority[colon...].contains("]") {
            guard let port = UInt16(authority[authority.index(after: colon)...]) else { throw problem }
            self.port = port
            self.host = String(authority[..<colon])
        } else {
            self.host = String(authority)
        }
        if self.host.isEmpty { throw problem }
    }
}
