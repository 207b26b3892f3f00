internal import CCoAPStack
internal import Glibc

/// A UDP socket that never blocks.
final class DatagramSocket {
    let descriptor: Int32

    /// Longer ones are none of the protocols here.
    static let longest = 2048

    enum Reading {
        case datagram([UInt8], from: SocketAddress)
        case tooLong
        case nothing
    }

    /// A socket at `address`, where port 0 lets the system choose.
    init(at address: SocketAddress) throws {
        self.descriptor = try Self.open(address)
        var address = address
        guard Self.withName(&address, { bind(self.descriptor, $0, $1) }) == 0 else {
            throw ArgumentProblem(description: "cannot listen there: \(String(cString: strerror(errno)))")
        }
    }

    /// A socket with a port of its own that only speaks with `server`.
    init(to server: SocketAddress) throws {
        self.descriptor = try Self.open(server)
        var server = server
        guard Self.withName(&server, { connect(self.descriptor, $0, $1) }) == 0 else {
            throw ArgumentProblem(description: "cannot reach the server: \(String(cString: strerror(errno)))")
        }
    }

    deinit { close(self.descriptor) }

    private static func open(_ address: SocketAddress) throws -> Int32 {
        let type = Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        let descriptor = socket(Int32(address.storage.addr.sa.sa_family), type, 0)
        guard descriptor >= 0 else {
            throw ArgumentProblem(description: "no socket: \(String(cString: strerror(errno)))")
        }
        return descriptor
    }

    var port: UInt16 {
        var address = SocketAddress()
        var size = address.storage.size
        let status = Self.withName(&address) { name, _ in getsockname(self.descriptor, name, &size) }
        return status == 0 ? coap_address_get_port(&address.storage) : 0
    }

    func receive() -> Reading {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: Self.longest + 1) { buffer in
            var sender = SocketAddress()
            var size = sender.storage.size
            let count = Self.withName(&sender) { name, _ in
                recvfrom(self.descriptor, buffer.baseAddress, buffer.count, 0, name, &size)
            }
            if count < 0 { return .nothing }
            if count > Self.longest { return .tooLong }
            sender.storage.size = size
            return .datagram(Array(buffer.prefix(count)), from: sender)
        }
    }

    /// Sends to `receiver`, or to the server of a socket that has one. What the system does not take is lost.
    func send(_ bytes: [UInt8], to receiver: SocketAddress? = nil) {
        guard var receiver else {
            _ = Glibc.send(self.descriptor, bytes, bytes.count, 0)
            return
        }
        _ = Self.withName(&receiver) { sendto(self.descriptor, bytes, bytes.count, 0, $0, $1) }
    }

    private static func withName<R>(
        _ address: inout SocketAddress, _ body: (UnsafeMutablePointer<sockaddr>?, socklen_t) -> R
    ) -> R {
        let size = address.storage.size
        return withUnsafeMutableBytes(of: &address.storage.addr) {
            body($0.baseAddress?.assumingMemoryBound(to: sockaddr.self), size)
        }
    }
}

extension SocketAddress {
    /// Address and port as bytes, to tell clients apart.
    var name: [UInt8] {
        withUnsafeBytes(of: self.storage.addr) { Array($0.prefix(Int(min(self.storage.size, 128)))) }
    }
}
