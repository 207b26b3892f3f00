import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix
import NIOSSL

/// A real HTTP server on loopback that keeps what it was asked and answers as it is told.
final class TestServer: Sendable {
    struct Request: Sendable, Equatable {
        var method: String
        var uri: String
        var headers: [String: String]
        var body: String
    }

    /// What to do with a request: answer with a status, say nothing at all, or begin an answer and add to it a byte at a
    /// time, without end.
    enum Behaviour: Sendable {
        case status(UInt, headers: [String: String] = [:])
        case silence
        case trickle(UInt)
    }

    private let group: MultiThreadedEventLoopGroup
    private let channel: any Channel
    let requests: AsyncStream<Request>
    let port: Int

    init(_ behaviour: Behaviour, tls: TLSConfiguration? = nil) async throws {
        let (requests, sink) = AsyncStream.makeStream(of: Request.self)
        let context = try tls.map { try NIOSSLContext(configuration: $0) }
        self.requests = requests
        self.group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        self.channel = try await ServerBootstrap(group: self.group)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let pipeline = channel.pipeline.syncOperations
                    if let context { try pipeline.addHandler(NIOSSLServerHandler(context: context)) }
                    try pipeline.configureHTTPServerPipeline()
                    try pipeline.addHandler(Handler(behaviour, sink))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        self.port = self.channel.localAddress?.port ?? 0
    }

    func close() async throws {
        try await self.channel.close()
        try await self.group.shutdownGracefully()
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = HTTPServerResponsePart

        private let behaviour: Behaviour
        private let sink: AsyncStream<Request>.Continuation
        private var request = Request(method: "", uri: "", headers: [:], body: "")

        init(_ behaviour: Behaviour, _ sink: AsyncStream<Request>.Continuation) {
            self.behaviour = behaviour
            self.sink = sink
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            switch self.unwrapInboundIn(data) {
            case .head(let head):
                let headers = Dictionary(head.headers.map { ($0.name.lowercased(), $0.value) }) { first, _ in first }
                self.request = Request(method: head.method.rawValue, uri: head.uri, headers: headers, body: "")
            case .body(let buffer): self.request.body += String(buffer: buffer)
            case .end:
                self.sink.yield(self.request)
                if case .trickle(let code) = self.behaviour { return self.trickle(code, context) }
                guard case .status(let code, let headers) = self.behaviour else { return }
                var fields = HTTPHeaders(headers.map { ($0.key, $0.value) })
                // Some servers repeat what they were sent: a key that must not get into a log.
                let body = context.channel.allocator.buffer(string: "you sent \(self.request.body)")
                fields.add(name: "content-length", value: "\(body.readableBytes)")
                let head = HTTPResponseHead(version: .http1_1, status: .init(statusCode: Int(code)), headers: fields)
                context.write(self.wrapOutboundOut(.head(head)), promise: nil)
                context.write(self.wrapOutboundOut(.body(.byteBuffer(body))), promise: nil)
                context.writeAndFlush(self.wrapOutboundOut(.end(nil)), promise: nil)
            }
        }

        private func trickle(_ code: UInt, _ context: ChannelHandlerContext) {
            let head = HTTPResponseHead(
                version: .http1_1, status: .init(statusCode: Int(code)), headers: ["content-length": "60000"])
            context.writeAndFlush(self.wrapOutboundOut(.head(head)), promise: nil)
            let place = NIOLoopBound((handler: self, context: context), eventLoop: context.eventLoop)
            let drops = context.eventLoop.scheduleRepeatedTask(initialDelay: .zero, delay: .milliseconds(10)) { _ in
                let drop = HTTPServerResponsePart.body(.byteBuffer(ByteBuffer(string: "x")))
                place.value.context.writeAndFlush(place.value.handler.wrapOutboundOut(drop), promise: nil)
            }
            context.channel.closeFuture.whenComplete { [sink = self.sink] _ in
                drops.cancel()
                sink.finish()
            }
        }

        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}
