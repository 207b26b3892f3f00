internal import NIOCore

/// Channel events of one upstream socket, straight into the pool.
final class UpstreamSocketHandler: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>

    private let pool: UpstreamPool
    private let socket: PoolStateMachine.SocketID
    private let remote: PeerAddress

    init(pool: UpstreamPool, socket: PoolStateMachine.SocketID, remote: PeerAddress) {
        self.pool = pool
        self.socket = socket
        self.remote = remote
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let envelope = self.unwrapInboundIn(data)
        // Between binding and connecting, a moment at most, the socket takes datagrams from anybody.
        guard PeerAddress(envelope.remoteAddress) == self.remote else { return }
        self.pool.enter((envelope.data, self.socket)) { $0.received($1.0, on: $1.1) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        let socket = self.socket
        self.pool.assumeIsolated { $0.socketFailed(socket, error) }
    }

    func channelInactive(context: ChannelHandlerContext) {
        let socket = self.socket
        self.pool.assumeIsolated { $0.socketClosed(socket) }
    }
}
