internal import Glibc
internal import Logging
package import NIOCore
internal import NIOPosix
internal import Synchronization
internal import Timing

/// One socket that devices send to. It survives whatever closes a datagram channel: it binds again to the same address
/// and port, with a growing pause, and counts it.
///
/// The actor is pinned to the event loop of its shard. ``send(_:to:)`` and ``flush()`` are plain calls for code on that
/// loop, without a hop. ``bindAll(_:receiver:loop:settings:logger:)`` makes the listeners of a configuration.
package actor Listener: LoopActor {
    package struct Settings: Sendable {
        /// Asked of the kernel, in bytes. More than `net.core.rmem_max` needs the right CAP_NET_ADMIN.
        package var receiveBuffer = 4 << 20
        package var sendBuffer = 1 << 20
        /// Datagrams per read, and room for each; both powers of two. What fills its room is dropped as oversize.
        package var datagramsPerRead = 32
        package var sliceSize = 2048
        /// Pause before binding again; doubled with each failure up to `longestPause`.
        package var shortestPause: Duration = .milliseconds(100)
        package var longestPause: Duration = .seconds(10)

        package init() {}
    }

    /// What happened since the start.
    package struct Counters: Sendable, Equatable {
        package var received: UInt64 = 0
        package var sent: UInt64 = 0
        /// Not sent, because the kernel takes no more at the moment.
        package var shed: UInt64 = 0
        /// Not sent, because the system refuses: a packet filter, no route, an address that cannot be.
        package var unsendable: UInt64 = 0
        /// Not sent, because the socket was being bound again.
        package var unbound: UInt64 = 0
        /// Times that the socket closed by itself.
        package var closed: UInt64 = 0
        /// Times that it was bound again.
        package var rebound: UInt64 = 0
        var dropped = [UInt64](repeating: 0, count: IngressFilter.DropReason.allCases.count)

        /// Datagrams that the ingress filter dropped for this reason.
        package func dropped(_ reason: IngressFilter.DropReason) -> UInt64 { self.dropped[reason.rawValue] }

        /// Datagrams that were not sent, for whatever reason.
        package var notSent: UInt64 { self.shed &+ self.unsendable &+ self.unbound }

        /// Counts what another socket has counted as well.
        mutating func add(_ other: Counters) {
            self.received &+= other.received
            self.sent &+= other.sent
            self.shed &+= other.shed
            self.unsendable &+= other.unsendable
            self.unbound &+= other.unbound
            self.closed &+= other.closed
            self.rebound &+= other.rebound
            for (reason, count) in other.dropped.enumerated() { self.dropped[reason] &+= count }
        }
    }

    private enum State {
        /// Not started, or a pause before the next attempt.
        case unbound
        case binding
        case bound(any Channel, since: Instant)
        case stopped
    }

    /// Place in the array that ``bindAll(_:receiver:loop:settings:logger:)`` returned; names the socket to the receiver.
    package nonisolated let index: Int
    /// The entry of the configuration that this socket belongs to.
    package nonisolated let configuration: GatewayConfiguration.Listener
    package nonisolated var security: GatewayConfiguration.Security { self.configuration.security }
    /// The address and port that are bound; a port that the system chose is kept from then on. From any thread.
    package nonisolated var address: PeerAddress { self.currentAddress.withLock { $0 } }

    package nonisolated let loop: any EventLoop
    package nonisolated var unownedExecutor: UnownedSerialExecutor { self.executor }
    private nonisolated let executor: UnownedSerialExecutor

    package private(set) var counters = Counters()

    private nonisolated let currentAddress: Mutex<PeerAddress>
    private let settings: Settings
    private let filter: IngressFilter
    private let logger: Logger
    private var state = State.unbound
    /// The receiver knows all listeners; before that the kernel keeps what arrives.
    private var isReading = false
    /// Who gets the datagrams; nobody any more after the stop.
    private var receiver: (any DatagramReceiver)?
    private let batch: DatagramBatch
    /// The socket of the bound channel.
    private(set) var descriptor: SocketDescriptor?
    private var pause: Duration
    /// The error of the last failed read or send, to be named when the channel closes because of it.
    private var lastError: (any Error)?
    /// When a refused send may be logged again.
    private var nextSendLog = Instant(nanoseconds: .min)

    init(
        index: Int,
        configuration: GatewayConfiguration.Listener,
        address: PeerAddress,
        filter: IngressFilter,
        receiver: any DatagramReceiver,
        loop: any EventLoop,
        settings: Settings,
        logger: Logger
    ) {
        self.index = index
        self.configuration = configuration
        self.currentAddress = Mutex(address)
        self.filter = filter
        self.receiver = receiver
        self.loop = loop
        self.executor = loop.executor.asUnownedSerialExecutor()
        self.settings = settings
        self.pause = settings.shortestPause
        self.batch = DatagramBatch(capacity: 64 << 10)
        var logger = logger
        logger[metadataKey: "listener"] = "\(configuration.security.scheme)://\(address)"
        self.logger = logger
    }

    // MARK: - Life

    /// Binds for the first time.
    ///
    /// - Throws: ``ListenerError``.
    func start() async throws { try await self.bind().get() }

    /// From now on datagrams go up to the receiver.
    func startReading() {
        self.isReading = true
        try? self.channel?.syncOptions?.setOption(.autoRead, value: true)
    }

    /// Closes the socket for good.
    package func close() {
        let channel = self.channel
        self.state = .stopped
        self.descriptor = nil
        self.receiver = nil
        channel?.close(promise: nil)
    }

    /// The channel of the socket that is bound now.
    var channel: (any Channel)? { if case .bound(let channel, _) = self.state { channel } else { nil } }

    private func bind() -> EventLoopFuture<Void> {
        self.state = .binding
        let settings = self.settings
        // A channel that could not be bound is nobody's: without this its descriptor would stay open.
        let made = NIOLoopBoundBox<(any Channel)?>(nil, eventLoop: self.loop)
        return DatagramBootstrap(group: self.loop)
            .channelOption(.autoRead, value: self.isReading)
            .channelOption(.maxMessagesPerRead, value: 1)
            .channelOption(.datagramVectorReadMessageCount, value: settings.datagramsPerRead)
            .channelOption(
                .recvAllocator,
                value: FixedSizeRecvByteBufferAllocator(capacity: settings.datagramsPerRead * settings.sliceSize)
            )
            .channelInitializer { [self] channel in
                channel.eventLoop.makeCompletedFuture {
                    made.value = channel
                    try Self.enlargeBuffers(channel, settings: settings)
                    try channel.pipeline.syncOperations.addHandler(ListenerHandler(self))
                }
            }
            .bind(to: self.address.socketAddress)
            .flatMapThrowing { [self] channel in
                try self.assumeIsolated { try $0.didBind(channel) }
            }
            .flatMapErrorThrowing { [self] error in
                made.value?.close(promise: nil)
                throw self.assumeIsolated { $0.didNotBind(error) }
            }
    }

    private func didBind(_ channel: any Channel) throws {
        guard case .binding = self.state else {
            channel.close(promise: nil)
            return
        }
        guard channel.isActive else { throw ChannelError.alreadyClosed }
        if let bound = channel.localAddress.flatMap({ PeerAddress($0) }) { self.currentAddress.withLock { $0 = bound } }
        self.state = .bound(channel, since: .now)
        self.descriptor = SocketDescriptor(of: channel)
        self.logger.info("listening", metadata: ["address": "\(self.address)"])
        self.warnOfSmallBuffer(channel)
    }

    private func didNotBind(_ error: any Error) -> ListenerError {
        if case .binding = self.state { self.state = .unbound }
        return ListenerError(address: self.address, underlying: error)
    }

    /// The channel is gone, for whatever reason (a send error, an interface that went away).
    func channelClosed(_ channel: any Channel) {
        guard case .bound(let current, let since) = self.state, current === channel else { return }
        self.state = .unbound
        self.descriptor = nil
        self.counters.closed += 1
        // A socket that had lived for a while is bound again at once: each moment without it loses datagrams.
        let lived = since.duration(to: .now)
        let pause = lived > self.settings.longestPause ? .zero : self.pause
        if lived > self.settings.longestPause { self.pause = self.settings.shortestPause }
        self.logger.warning(
            "socket closed by the system; binding again",
            metadata: [
                "cause": "\(self.lastError.map { "\($0)" } ?? "not known")",
                "remedy": "ENETDOWN points to an interface that is down",
                "pause": "\(pause)",
            ]
        )
        self.lastError = nil
        self.rebind(after: pause)
    }

    private func rebind(after pause: Duration) {
        self.pause = min(self.pause * 2, self.settings.longestPause)
        self.loop.scheduleTask(in: TimeAmount(pause)) { [weak self] in
            self?.assumeIsolated { $0.rebindNow() }
        }
    }

    private func rebindNow() {
        guard case .unbound = self.state else { return }
        self.bind().whenComplete { [weak self] result in
            self?.assumeIsolated { $0.rebindEnded(result) }
        }
    }

    private func rebindEnded(_ result: Result<Void, any Error>) {
        switch result {
        case .success:
            self.counters.rebound += 1
        case .failure(let error):
            guard case .unbound = self.state else { return }
            self.logger.error(
                "cannot bind again; trying on",
                metadata: ["error": "\(error)", "pause": "\(self.pause)"]
            )
            self.rebind(after: self.pause)
        }
    }

    // MARK: - Datagrams in

    func received(_ envelope: AddressedEnvelope<ByteBuffer>) {
        self.counters.received &+= 1
        guard let peer = PeerAddress(envelope.remoteAddress) else { return }
        if let reason = self.filter.dropReason(from: peer, size: envelope.data.readableBytes) {
            self.counters.dropped[reason.rawValue] &+= 1
            return
        }
        self.receiver?.datagram(envelope.data, from: peer, remote: envelope.remoteAddress, listener: self.index)
    }

    func readComplete() { self.receiver?.readComplete(listener: self.index) }

    func failed(_ error: any Error) { self.lastError = error }

    // MARK: - Datagrams out

    /// Takes a copy of a datagram for `remote`; it leaves with the next ``flush()``. Nothing is reported back: UDP
    /// promises nothing. While the socket is being bound again, and while the kernel takes no more, it is dropped and
    /// counted. On the listener's event loop only.
    package nonisolated func send(_ bytes: UnsafeRawBufferPointer, to remote: SocketAddress) {
        self.enter((bytes, remote)) { $0.enqueue($1.0, to: $1.1) }
    }

    /// Sends what was taken since the last call, as one system call where possible. On the listener's event loop only.
    package nonisolated func flush() { self.enter(()) { listener, _ in listener.flushQueued() } }

    private func enqueue(_ bytes: UnsafeRawBufferPointer, to remote: SocketAddress) {
        guard self.descriptor != nil else {
            self.counters.unbound &+= 1
            return
        }
        if self.batch.append(bytes, to: remote) { return }
        self.flushQueued()
        if !self.batch.append(bytes, to: remote) { self.counters.shed &+= 1 }
    }

    private func flushQueued() {
        guard !self.batch.isEmpty else { return }
        // A channel that has just closed says so before anything else happens on this loop; its descriptor may already be
        // another file's, so the check is made all the same.
        guard let channel = self.channel, channel.isActive, let descriptor = self.descriptor else {
            self.counters.unbound &+= UInt64(self.batch.count)
            self.batch.clear()
            return
        }
        let outcome = self.batch.flush(to: descriptor)
        self.counters.sent &+= UInt64(outcome.sent)
        self.counters.shed &+= UInt64(outcome.shed)
        if outcome.failed > 0 { self.couldNotSend(outcome) }
    }

    private func couldNotSend(_ outcome: DatagramBatch.Outcome) {
        self.counters.unsendable &+= UInt64(outcome.failed)
        let now = Instant.now
        guard now >= self.nextSendLog else { return }
        self.nextSendLog = now + .seconds(60)
        self.logger.warning(
            "datagrams to devices cannot be sent",
            metadata: [
                "cause": "\(String(cString: strerror(outcome.errno)))",
                "remedy": "look at packet filters on outgoing traffic, routes, and the state of the interface",
            ]
        )
    }

    // MARK: - Kernel buffers

    private static func enlargeBuffers(_ channel: any Channel, settings: Settings) throws {
        guard let options = channel.syncOptions else { return }
        for (forced, plain, size) in [
            (SocketOptionNumber.receiveBufferForce, NIOBSDSocket.Option.so_rcvbuf, settings.receiveBuffer),
            (SocketOptionNumber.sendBufferForce, NIOBSDSocket.Option.so_sndbuf, settings.sendBuffer),
        ] {
            let size = Int(CInt(clamping: size))
            do {
                try options.setOption(ChannelOptions.Types.SocketOption(level: .socket, name: forced), value: size)
            } catch {
                // Without CAP_NET_ADMIN: as much as the system's limit allows.
                try options.setOption(ChannelOptions.Types.SocketOption(level: .socket, name: plain), value: size)
            }
        }
    }

    private func warnOfSmallBuffer(_ channel: any Channel) {
        let option = ChannelOptions.Types.SocketOption(level: .socket, name: .so_rcvbuf)
        guard let size = try? channel.syncOptions?.getOption(option) else { return }
        // The kernel reports twice what it grants, for its own bookkeeping.
        guard Int(size) / 2 < self.settings.receiveBuffer else { return }
        self.logger.notice(
            "receive buffer is smaller than wanted: bursts of devices may be lost in the kernel",
            metadata: [
                "granted": "\(size / 2)", "wanted": "\(self.settings.receiveBuffer)",
                "remedy": "sysctl -w net.core.rmem_max=\(self.settings.receiveBuffer)",
            ]
        )
    }
}

/// Numbers of socket options that NIO does not name (`asm-generic/socket.h`).
private enum SocketOptionNumber {
    static let sendBufferForce = NIOBSDSocket.Option(rawValue: 32)
    static let receiveBufferForce = NIOBSDSocket.Option(rawValue: 33)
}

extension GatewayConfiguration.Security {
    /// The scheme of the URIs that name a listener.
    var scheme: String {
        switch self {
        case .dtls: "coaps"
        case .plain: "coap"
        }
    }
}

/// Channel events of one listener, straight into its actor.
private final class ListenerHandler: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>

    private let listener: Listener

    init(_ listener: Listener) { self.listener = listener }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let envelope = self.unwrapInboundIn(data)
        self.listener.enter(envelope) { $0.received($1) }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        self.listener.enter(()) { listener, _ in listener.readComplete() }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        self.listener.assumeIsolated { $0.failed(error) }
    }

    func channelInactive(context: ChannelHandlerContext) {
        let channel = context.channel
        self.listener.assumeIsolated { $0.channelClosed(channel) }
    }
}
