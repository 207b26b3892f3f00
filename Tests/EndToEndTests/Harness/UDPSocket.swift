internal import Foundation

/// A UDP socket with an address of its own, for datagrams that no proper client would send.
struct UDPSocket: ~Copyable {
    /// Where a datagram comes from.
    struct Peer: Hashable, Sendable {
        let address: in_addr_t
        let port: UInt16
    }

    /// For `poll` alone.
    let descriptor: Int32
    let port: UInt16

    init(from address: String, port: UInt16 = 0) throws {
        let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw Unexpected("no socket: error \(errno)") }
        var name = Self.name(address, port)
        let size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let bound = withUnsafePointer(to: &name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, size) }
        }
        var length = size
        let named = withUnsafeMutablePointer(to: &name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
        }
        guard bound == 0, named == 0 else {
            close(descriptor)
            throw Unexpected("cannot bind \(address): error \(errno)")
        }
        self.descriptor = descriptor
        self.port = UInt16(bigEndian: name.sin_port)
    }

    deinit { close(self.descriptor) }

    func send(_ bytes: [UInt8], to address: String, port: UInt16) { self.send(bytes, Self.name(address, port)) }

    func send(_ bytes: [UInt8], to peer: Peer) {
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_port = peer.port.bigEndian
        name.sin_addr.s_addr = peer.address
        self.send(bytes, name)
    }

    /// Sends them one after another.
    func send(_ datagrams: [[UInt8]], to address: String, port: UInt16) {
        let name = Self.name(address, port)
        for datagram in datagrams { self.send(datagram, name) }
    }

    private func send(_ bytes: [UInt8], _ name: sockaddr_in) {
        var name = name
        _ = withUnsafePointer(to: &name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                sendto(
                    self.descriptor, bytes, bytes.count, Int32(MSG_DONTWAIT), $0,
                    socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }

    /// A datagram that has come, or that comes within the time; nil when none does.
    func receive(milliseconds: Int32) -> [UInt8]? {
        var polled = pollfd(fd: self.descriptor, events: Int16(POLLIN), revents: 0)
        guard poll(&polled, 1, milliseconds) > 0 else { return nil }
        return self.receive()?.bytes
    }

    /// A datagram that has come, and from where.
    func receive() -> (bytes: [UInt8], peer: Peer)? {
        var buffer = [UInt8](repeating: 0, count: 2048)
        var name = sockaddr_in()
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let count = withUnsafeMutablePointer(to: &name) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                recvfrom(self.descriptor, &buffer, buffer.count, Int32(MSG_DONTWAIT), $0, &length)
            }
        }
        guard count >= 0 else { return nil }
        return (
            Array(buffer.prefix(count)), Peer(address: name.sin_addr.s_addr, port: UInt16(bigEndian: name.sin_port))
        )
    }

    private static func name(_ address: String, _ port: UInt16) -> sockaddr_in {
        var name = sockaddr_in()
        name.sin_family = sa_family_t(AF_INET)
        name.sin_port = port.bigEndian
        inet_pton(AF_INET, address, &name.sin_addr)
        return name
    }
}
