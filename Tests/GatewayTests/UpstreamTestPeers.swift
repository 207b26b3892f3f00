import CoAP
import Glibc
import NIOCore
import NIOPosix
import Synchronization

@testable import Gateway

/// A UDP socket of a test, on loopback, with a port that the system chose. It plays a server or a device.
final class TestSocket: Sendable {
    let descriptor: CInt
    let address: PeerAddress

    struct Failure: Error {
        let call: String
        let code: CInt
    }

    init(_ ip: String = "127.0.0.1", port: UInt16 = 0) throws {
        guard let local = IPAddress(ip) else { throw Failure(call: "address", code: 0) }
        let descriptor = socket(local.isIPv4 ? AF_INET : AF_INET6, Int32(SOCK_DGRAM.rawValue), 0)
        guard descriptor >= 0 else { throw Failure(call: "socket", code: errno) }
        self.descriptor = descriptor
        // Far longer than anything takes here: it only keeps a broken test from hanging.
        var limit = timeval(tv_sec: 20, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        let bound = PeerAddress(local, port: port).socketAddress.withSockAddr { bind(descriptor, $0, socklen_t($1)) }
        guard bound == 0 else { throw Failure(call: "bind", code: errno) }
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let own = withUnsafeMutablePointer(to: &storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { raw -> PeerAddress? in
                getsockname(descriptor, raw, &length) == 0 ? PeerAddress(raw: raw) : nil
            }
        }
        guard let own else { throw Failure(call: "getsockname", code: errno) }
        self.address = own
    }

    deinit { Glibc.close(self.descriptor) }

    func send(_ bytes: [UInt8], to peer: PeerAddress) {
        _ = peer.socketAddress.withSockAddr { pointer, length in
            sendto(self.descriptor, bytes, bytes.count, 0, pointer, socklen_t(length))
        }
    }

    /// The next datagram. Throws when none comes for a long time.
    func receive() async throws -> (bytes: [UInt8], from: PeerAddress) {
        try await NIOThreadPool.singleton.runIfActive { try self.receiveNow(flags: 0) }
    }

    /// A datagram that is there already.
    func poll() -> (bytes: [UInt8], from: PeerAddress)? {
        try? self.receiveNow(flags: CInt(truncatingIfNeeded: MSG_DONTWAIT))
    }

    /// Waits on the thread of the caller.
    func receiveNow(flags: CInt) throws -> (bytes: [UInt8], from: PeerAddress) {
        var bytes = [UInt8](repeating: 0, count: 65_536)
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let capacity = bytes.count
        return try withUnsafeMutablePointer(to: &storage) { pointer in
            try pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { raw in
                let count = recvfrom(self.descriptor, &bytes, capacity, flags, raw, &length)
                guard count >= 0 else { throw Failure(call: "recvfrom", code: errno) }
                guard let peer = PeerAddress(raw: raw) else { throw Failure(call: "address", code: 0) }
                return (Array(bytes.prefix(count)), peer)
            }
        }
    }

    func receiveMessage() async throws -> (message: CoAPMessage, from: PeerAddress) {
        let (bytes, peer) = try await self.receive()
        return (try bytes.withUnsafeBytes { try CoAPCodec.decode($0) }, peer)
    }
}

/// Everything that a lease holder was told, one after the other.
enum Happening {
    case granted(LeaseID)
    case refused(LeaseID, FailureCause)
    case broken(LeaseID, FailureCause)
    case event(LeaseID, MessageLayer.Event)
    case readComplete
}
