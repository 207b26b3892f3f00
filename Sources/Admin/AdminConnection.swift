internal import Glibc
internal import NIOCore
internal import NIOHTTP1

/// One connection of whoever asks: one request at a time, answered by ``AdminDesk``.
///
/// Plain handlers, no task for a connection: one that is accepted and goes away at any moment, as when descriptors are
/// short, leaves nothing behind that would have to be seen to.
///
/// The next request is taken when the former answer is with the system: whoever asks on and on and never reads is not
/// read from any more, and costs one answer.
final class AdminConnection: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    /// Nobody has to send a body here.
    private static let longestBody = 16_384

    private let desk: AdminDesk
    private let isTrusted: Bool
    private let deadline: RequestDeadline
    private var head: HTTPRequestHead?
    private var bodyBytes = 0

    private init(_ desk: AdminDesk, isTrusted: Bool, _ deadline: RequestDeadline) {
        self.desk = desk
        self.isTrusted = isTrusted
        self.deadline = deadline
    }

    /// Makes a new channel such a connection. On its event loop.
    static func assemble(_ channel: any Channel, _ desk: AdminDesk, isTrusted: Bool) throws {
        let pipeline = channel.pipeline.syncOperations
        let deadline = RequestDeadline()
        try pipeline.addHandler(IdleStateHandler(allTimeout: .seconds(60)))
        try pipeline.addHandler(deadline)
        try pipeline.configureHTTPServerPipeline(withErrorHandling: true)
        try pipeline.addHandler(AdminConnection(desk, isTrusted: isTrusted, deadline))
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch self.unwrapInboundIn(data) {
        case .head(let head):
            self.head = head
            self.bodyBytes = 0
            self.deadline.requestBegins()
        case .body(let bytes):
            self.bodyBytes += bytes.readableBytes
            if self.bodyBytes > Self.longestBody { context.close(promise: nil) }
        case .end:
            guard let head = self.head.take() else { return }
            self.deadline.requestIsComplete()
            let isTrusted = self.isTrusted
            let place = NIOLoopBound((handler: self, context: context), eventLoop: context.eventLoop)
            self.desk.assumeIsolated { desk in
                desk.answer(head, isTrusted: isTrusted) { answer in
                    place.value.handler.send(answer, to: head, place.value.context)
                }
            }
        }
    }

    private func send(_ answer: AdminDesk.Answer, to request: HTTPRequestHead, _ context: ChannelHandlerContext) {
        guard context.channel.isActive else { return }
        var head = HTTPResponseHead(version: request.version, status: answer.status, headers: answer.headers)
        head.headers.add(name: "date", value: Self.date())
        head.headers.add(name: "content-length", value: "\(answer.body.utf8.count)")
        if !request.isKeepAlive { head.headers.add(name: "connection", value: "close") }
        let sent: EventLoopFuture<Void>
        if request.method == .HEAD {
            sent = context.writeAndFlush(self.wrapOutboundOut(.head(head)))
        } else {
            context.write(self.wrapOutboundOut(.head(head)), promise: nil)
            sent = context.writeAndFlush(
                self.wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: answer.body))))
            )
        }
        sent.assumeIsolated().whenComplete { result in
            guard request.isKeepAlive, case .success = result else { return context.close(promise: nil) }
            // In a turn of its own: many requests that came in one piece do not stand on each other's stack.
            context.eventLoop.assumeIsolated().execute { self.conclude(context) }
        }
    }

    /// The end of an answer has no bytes, as the length was said; it lets the next request in.
    private func conclude(_ context: ChannelHandlerContext) {
        guard context.channel.isActive else { return }
        self.deadline.answerHasEnded()
        context.writeAndFlush(self.wrapOutboundOut(.end(nil)), promise: nil)
    }

    /// RFC 9110 section 5.6.7.
    private static func date() -> String {
        var now = time(nil)
        var fields = tm()
        gmtime_r(&now, &fields)
        return String(unsafeUninitializedCapacity: 64) { buffer in
            buffer.withMemoryRebound(to: CChar.self) {
                strftime($0.baseAddress, $0.count, "%a, %d %b %Y %H:%M:%S GMT", &fields)
            }
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is IdleStateHandler.IdleStateEvent { context.close(promise: nil) }
        context.fireUserInboundEventTriggered(event)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
