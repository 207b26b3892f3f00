internal import Glibc

// What waits in the kernel.
extension Listener {
    /// The socket's share of memory that is taken by datagrams not read yet.
    struct ReceiveQueue: Sendable {
        /// 0 to 1, or a little more.
        var fill: Double
        /// Datagrams that found no room since the socket was bound; wraps around.
        var lost: UInt32
    }

    /// Nil while the socket is being bound. One system call.
    func receiveQueue() -> ReceiveQueue? {
        guard let descriptor = self.descriptor else { return nil }
        return Self.receiveQueue(of: descriptor.number)
    }

    static func receiveQueue(of descriptor: CInt) -> ReceiveQueue? {
        // SO_MEMINFO (`asm-generic/socket.h`): nine numbers, of which the first is the memory in use for receiving, the
        // second its limit and the last what was dropped (`linux/sock_diag.h`).
        withUnsafeTemporaryAllocation(of: UInt32.self, capacity: 9) { numbers in
            numbers.initialize(repeating: 0)
            var length = socklen_t(numbers.count * MemoryLayout<UInt32>.size)
            guard getsockopt(descriptor, SOL_SOCKET, 55, numbers.baseAddress, &length) == 0,
                length == numbers.count * MemoryLayout<UInt32>.size, numbers[1] > 0
            else { return nil }
            return ReceiveQueue(fill: Double(numbers[0]) / Double(numbers[1]), lost: numbers[8])
        }
    }
}
