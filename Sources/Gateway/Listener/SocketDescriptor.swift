internal import Glibc
internal import NIOCore

/// The kernel's name of a channel's socket, to send through it without the channel.
///
/// A datagram that the kernel does not take at once is better lost than kept: the message layers repeat what matters.
/// So nothing of what a channel does for writes is needed here; measured, it cost 14 µs for the fifteen datagrams of a
/// bootstrap. The channel must be active whenever this is used; its owner hears at once when it closes.
struct SocketDescriptor {
    let number: CInt

    /// Nil for a channel that is closed, or none of a socket's.
    init?(of channel: any Channel) {
        let number = try? channel.pipeline.syncOperations.withUnsafeTransportIfAvailable(
            of: NIOBSDSocket.Handle.self
        ) { $0 }
        guard let number else { return nil }
        self.number = number
    }

    enum Outcome: Equatable {
        case sent
        /// The kernel takes no more at the moment.
        case full
        case failed(errno: CInt)
    }

    /// Sends one datagram to where the socket is connected.
    func send(_ bytes: UnsafeRawBufferPointer) -> Outcome {
        var isRepeated = false
        while true {
            let flags = CInt(MSG_DONTWAIT) | CInt(MSG_NOSIGNAL)
            if Glibc.send(self.number, bytes.baseAddress, bytes.count, flags) >= 0 { return .sent }
            switch errno {
            case EINTR: continue
            case EAGAIN, ENOBUFS: return .full
            case ECONNREFUSED where !isRepeated:
                // Told of an earlier datagram; this one has not been tried yet. The reading side hears of it too.
                isRepeated = true
            default: return .failed(errno: errno)
            }
        }
    }
}
