internal import CoAP
internal import Glibc
internal import Logging
internal import NIOCore
internal import NIOPosix
internal import Timing

// Making sockets: channels on the loop, and what to tell the operator when there are none to be had.
extension UpstreamPool {
    func open(_ socket: PoolStateMachine.SocketID, remote: PeerAddress, local: IPAddress?) {
        let local = local.map { PeerAddress($0, port: 0) }
        self.channel(for: socket, remote: remote, local: local).whenComplete { [weak self] result in
            guard let self else {
                if case .success(let channel) = result { channel.close(promise: nil) }
                return
            }
            self.assumeIsolated { $0.opened(socket, result) }
        }
    }

    /// A channel for `socket`, connected; a port of 0 is the system's choice.
    func channel(
        for socket: PoolStateMachine.SocketID, remote: PeerAddress, local: PeerAddress?
    ) -> EventLoopFuture<any Channel> {
        // A channel that could not be bound or connected is nobody's: without this its descriptor would stay open.
        let made = NIOLoopBoundBox<(any Channel)?>(nil, eventLoop: self.loop)
        let bootstrap = DatagramBootstrap(group: self.loop)
            // One datagram a read is the rule upstream, and one system call is cheaper than a second one that finds
            // nothing. 2 KiB stay with each socket.
            .channelOption(.maxMessagesPerRead, value: 1)
            .channelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: Self.sliceSize))
            .channelInitializer { [self] channel in
                channel.eventLoop.makeCompletedFuture {
                    made.value = channel
                    try channel.pipeline.syncOperations.addHandler(
                        UpstreamSocketHandler(pool: self, socket: socket, remote: remote)
                    )
                }
            }
        let address = remote.socketAddress
        let channel =
            if let local {
                bootstrap.bind(to: local.socketAddress).flatMap { channel in
                    channel.connect(to: address).map { channel }
                }
            } else {
                bootstrap.connect(to: address)
            }
        channel.whenFailure { _ in made.value?.close(promise: nil) }
        return channel
    }

    private func opened(_ socket: PoolStateMachine.SocketID, _ result: Result<any Channel, any Error>) {
        let now = Instant.now
        defer {
            self.carryOut()
            self.endWarmUpIfReady()
            self.scheduleTurn()
        }
        switch result {
        case .success(let channel):
            guard self.machine.isCurrent(socket), channel.isActive, let descriptor = SocketDescriptor(of: channel),
                let local = channel.localAddress.flatMap({ PeerAddress($0) })
            else {
                channel.close(promise: nil)
                self.machine.openFailed(socket, .resources, now: now)
                return
            }
            self.counters.socketsOpened += 1
            let route = self.routeOf[self.machine.sockets[socket.slot].upstream]
            var layer = MessageLayer(
                parameters: self.transmission,
                options: route.isRelay ? .proxy : .endpoint,
                seed: self.seeds()
            )
            layer.rejectsRequests = true
            while self.connections.count <= socket.slot { self.connections.append(nil) }
            self.connections[socket.slot] = Connection(
                id: socket,
                channel: channel,
                descriptor: descriptor,
                local: "\(local)",
                layer: layer,
                link: route.credentials == nil ? nil : SecureLink()
            )
            self.machine.opened(socket, local: local, now: now)
        case .failure(let error):
            let failure = Self.openFailure(error)
            self.logger.warning(
                "cannot open an upstream socket",
                metadata: ["error": "\(error)", "remedy": "\(Self.remedy(failure))"]
            )
            self.machine.openFailed(socket, failure, now: now)
        }
    }

    static func openFailure(_ error: any Error) -> PoolStateMachine.OpenFailure {
        switch (error as? IOError)?.errnoCode {
        case ENETUNREACH, EHOSTUNREACH, ENETDOWN, EHOSTDOWN, ECONNREFUSED, EACCES, EPERM, EAFNOSUPPORT: .unreachable
        case EADDRNOTAVAIL, EADDRINUSE, EAGAIN, EINVAL: .localAddress
        default: .resources
        }
    }

    private static func remedy(_ failure: PoolStateMachine.OpenFailure) -> String {
        switch failure {
        case .unreachable: "check the route to the upstream and packet filters on the way"
        case .localAddress: "pool.from must name addresses of this host that reach the upstream, with ports left"
        case .resources: "raise the limit of open files (LimitNOFILE), or add memory"
        }
    }
}
