import NIOCore
import NIOEmbedded
import Testing

@testable import Admin

/// Connections on a clock of their own, with a peer that reads when it is told to.
@Suite("A connection of monitoring", .timeLimit(.minutes(1)))
struct AdminConnectionTests {
    private static let question = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"

    /// Keeps what was written until the peer reads.
    private final class Dam: ChannelOutboundHandler {
        typealias OutboundIn = ByteBuffer

        enum Order: Sendable { case letThrough }

        private var held: [(data: NIOAny, promise: EventLoopPromise<Void>?)] = []

        func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
            self.held.append((data, promise))
        }

        func triggerUserOutboundEvent(
            context: ChannelHandlerContext, event: Any, promise: EventLoopPromise<Void>?
        ) {
            let held = self.held
            self.held = []
            for write in held { context.write(write.data, promise: write.promise) }
            context.flush()
            promise?.succeed()
        }
    }

    private static func channel(reads: Bool) async throws -> NIOAsyncTestingChannel {
        let channel = NIOAsyncTestingChannel()
        let observation = try Samples.observation()
        let desk = AdminDesk(loop: channel.testingEventLoop, access: AdminAccess(AdminSettings())) { observation }
        try await channel.testingEventLoop.executeInContext {
            if !reads { try channel.pipeline.syncOperations.addHandler(Dam()) }
            try AdminConnection.assemble(channel, desk, isTrusted: true)
        }
        try await channel.connect(to: SocketAddress(unixDomainSocketPath: "/peer")).get()
        return channel
    }

    private static func send(_ text: String, to channel: NIOAsyncTestingChannel) async throws {
        try await channel.writeInbound(ByteBuffer(string: text))
        await channel.testingEventLoop.run()
    }

    /// Answers that have come since the last call.
    private static func answers(_ channel: NIOAsyncTestingChannel) async throws -> Int {
        var text = ""
        while let bytes = try await channel.readOutbound(as: ByteBuffer.self) { text += String(buffer: bytes) }
        return text.matches(of: /HTTP\/1.1 200 OK/).count
    }

    @Test("Who asks many times at once and does not read is answered once; each reading brings one answer more")
    func pipelining() async throws {
        let channel = try await Self.channel(reads: false)
        try await Self.send(String(repeating: Self.question, count: 3), to: channel)
        for _ in 0..<3 {
            try await channel.triggerUserOutboundEvent(Dam.Order.letThrough).get()
            #expect(try await Self.answers(channel) == 1)
            await channel.testingEventLoop.run()
        }
        #expect(channel.isActive)
        _ = try await channel.finish(acceptAlreadyClosed: true)
    }

    @Test("A request that is not complete ten seconds after it began ends the connection, however busily it sends")
    func slowRequest() async throws {
        let channel = try await Self.channel(reads: true)
        for number in 0..<2 {
            // What is kept alive may be silent in between.
            if number > 0 { await channel.testingEventLoop.advanceTime(by: .seconds(50)) }
            try await Self.send("GET /healthz HTTP/1.1\r\nX: ", to: channel)
            for _ in 0..<9 {
                await channel.testingEventLoop.advanceTime(by: .seconds(1))
                try await Self.send("a", to: channel)
            }
            #expect(channel.isActive)
            guard number == 0 else { break }
            try await Self.send("\r\n\r\n", to: channel)
            #expect(try await Self.answers(channel) == 1)
        }
        await channel.testingEventLoop.advanceTime(by: .seconds(1))
        #expect(!channel.isActive)
        _ = try await channel.finish(acceptAlreadyClosed: true)
    }

    @Test("A connection on which nothing is asked at first ends; one that was used may be silent for longer")
    func silence() async throws {
        let first = try await Self.channel(reads: true)
        await first.testingEventLoop.advanceTime(by: .seconds(10))
        #expect(!first.isActive)
        let kept = try await Self.channel(reads: true)
        try await Self.send(Self.question, to: kept)
        await kept.testingEventLoop.advanceTime(by: .seconds(59))
        #expect(kept.isActive)
        for channel in [first, kept] { _ = try await channel.finish(acceptAlreadyClosed: true) }
    }
}
