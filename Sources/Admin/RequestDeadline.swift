internal import NIOCore

/// Ends a connection whose request is not complete in time, however busily it sends: a byte now and then shall not keep
/// one of the few connections from others.
///
/// In front of the parser, since what is not yet a request is nowhere else to be seen. The time runs from the start of the
/// connection, and from the first bytes of each further request.
final class RequestDeadline: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    static let limit = TimeAmount.seconds(10)

    private var context: ChannelHandlerContext?
    private var timer: Scheduled<Void>?
    private var isAnswering = false

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        self.requestBegins()
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.stop()
        self.context = nil
    }

    func channelInactive(context: ChannelHandlerContext) {
        self.stop()
        context.fireChannelInactive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        self.requestBegins()
        context.fireChannelRead(data)
    }

    /// Does nothing when the time runs already, and while an answer is under way.
    func requestBegins() {
        guard let context = self.context, self.timer == nil, !self.isAnswering else { return }
        self.timer = context.eventLoop.assumeIsolated().scheduleTask(in: Self.limit) { context.close(promise: nil) }
    }

    func requestIsComplete() {
        self.stop()
        self.isAnswering = true
    }

    func answerHasEnded() { self.isAnswering = false }

    private func stop() {
        self.timer?.cancel()
        self.timer = nil
    }
}
