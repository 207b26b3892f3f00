package import NIOCore

/// Who takes the datagrams of the devices: the device sessions of the shard. Called on the listeners' event loop.
package protocol DatagramReceiver: AnyObject, Sendable {
    /// The sockets, in the order of their numbers. Called once by `Listener.bindAll`, before the first datagram: what
    /// arrives earlier waits in the kernel.
    func attach(_ listeners: [Listener]) async

    /// A datagram that passed the ingress filter.
    ///
    /// - Parameters:
    ///   - buffer: a slice of the receive buffer. Keeping it would cost a new receive buffer for every read; copy what
    ///     must live longer than the call.
    ///   - peer: where it came from, as the key of tables.
    ///   - remote: the same for ``Listener/send(_:to:)``.
    ///   - listener: ``Listener/index`` of the socket that it came to; answers go out by the same one.
    func datagram(_ buffer: ByteBuffer, from peer: PeerAddress, remote: SocketAddress, listener: Int)

    /// All that was read from this socket in one go has been delivered: a good moment to flush.
    func readComplete(listener: Int)
}
