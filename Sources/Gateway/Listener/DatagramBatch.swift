internal import CLinux
internal import Glibc
internal import NIOCore

/// Outgoing datagrams of one turn of the loop for one socket: copied in as they come, then sent with one system call.
///
/// Its memory is used again and again. Used by one listener, on its event loop.
final class DatagramBatch {
    /// What became of the datagrams of one ``flush(to:)``.
    struct Outcome: Equatable {
        var sent = 0
        /// The kernel took no more.
        var shed = 0
        /// The system refused to send them: a packet filter, no route, an address that cannot be.
        var failed = 0
        /// Why the last of them was refused.
        var errno: CInt = 0
    }

    /// Datagrams in one batch.
    static let maximum = 128

    private let capacity: Int
    private let bytes: UnsafeMutableRawBufferPointer
    private let messages: UnsafeMutablePointer<bootgate_message>
    private let vectors: UnsafeMutablePointer<iovec>
    private let addresses: UnsafeMutablePointer<sockaddr_storage>
    private var used = 0
    private(set) var count = 0

    /// - Parameter capacity: bytes of all datagrams of a batch together.
    init(capacity: Int) {
        self.capacity = capacity
        self.bytes = .allocate(byteCount: capacity, alignment: 16)
        self.messages = .allocate(capacity: Self.maximum)
        self.vectors = .allocate(capacity: Self.maximum)
        self.addresses = .allocate(capacity: Self.maximum)
        self.messages.initialize(repeating: bootgate_message(), count: Self.maximum)
        self.vectors.initialize(repeating: iovec(), count: Self.maximum)
        self.addresses.initialize(repeating: sockaddr_storage(), count: Self.maximum)
        for index in 0..<Self.maximum {
            self.messages[index].header.msg_iov = self.vectors + index
            self.messages[index].header.msg_iovlen = 1
            self.messages[index].header.msg_name = UnsafeMutableRawPointer(self.addresses + index)
        }
    }

    deinit {
        self.bytes.deallocate()
        self.messages.deallocate()
        self.vectors.deallocate()
        self.addresses.deallocate()
    }

    var isEmpty: Bool { self.count == 0 }

    /// Takes a copy; false when there is no room left.
    func append(_ datagram: UnsafeRawBufferPointer, to remote: SocketAddress) -> Bool {
        guard self.count < Self.maximum, datagram.count <= self.capacity - self.used else { return false }
        let place = UnsafeMutableRawBufferPointer(rebasing: self.bytes[self.used..<self.used + datagram.count])
        place.copyMemory(from: datagram)
        self.vectors[self.count] = iovec(iov_base: place.baseAddress, iov_len: datagram.count)
        let address = UnsafeMutableRawPointer(self.addresses + self.count)
        let length = remote.withSockAddr { source, length in
            address.copyMemory(from: source, byteCount: length)
            return length
        }
        self.messages[self.count].header.msg_namelen = socklen_t(length)
        self.used += datagram.count
        self.count += 1
        return true
    }

    /// Sends everything and starts anew. A datagram that cannot be sent does not keep the others back.
    func flush(to socket: SocketDescriptor) -> Outcome {
        var outcome = Outcome()
        var next = 0
        while next < self.count {
            let sent = bootgate_send_messages(socket.number, self.messages + next, UInt32(self.count - next))
            if sent > 0 {
                outcome.sent += Int(sent)
                next += Int(sent)
                continue
            }
            switch errno {
            case EINTR: continue
            case EAGAIN, ENOBUFS:
                outcome.shed = self.count - next
                next = self.count
            default:
                outcome.failed += 1
                outcome.errno = errno
                next += 1
            }
        }
        self.clear()
        return outcome
    }

    /// Forgets everything.
    func clear() {
        self.used = 0
        self.count = 0
    }
}
