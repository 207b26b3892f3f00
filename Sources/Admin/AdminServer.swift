internal import Glibc
internal import NIOCore
internal import NIOHTTP1
internal import NIOPosix
internal import Synchronization

/// HTTP for monitoring: `/healthz`, `/readyz`, `/metrics`, and `/v1/status` for `bootgate status`.
///
/// On an event loop of its own, where all of it runs: a slow reader holds up no datagram, and whatever keeps the threads of
/// tasks busy holds up no monitoring. Every request looks at the gateway anew, but at most ten times a second, so that
/// nobody can keep the data path busy with questions.
package struct AdminServer: Sendable {
    /// Lives as long as the process: connections that are being closed may still have something to do on it after
    /// ``run(bound:)`` has returned.
    private static let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)

    private let settings: AdminSettings
    private let desk: AdminDesk

    /// `observe` is called for each request that needs it, from any task. `access` changes while the server runs; without
    /// it the tokens of `settings` count.
    package init(
        _ settings: AdminSettings, access: AdminAccess? = nil,
        observe: @escaping @Sendable () async -> Observation
    ) {
        self.settings = settings
        self.desk = AdminDesk(loop: Self.group.next(), access: access ?? AdminAccess(settings), observe)
    }

    /// Serves until the task is cancelled. `bound` is called once, when everything that the settings name is open, with
    /// the port of HTTP, or 0 when there is none.
    ///
    /// Throws when an address cannot be bound.
    package func run(bound: @escaping @Sendable (Int) -> Void) async throws {
        var doors: [Door] = []
        do {
            if let address = self.settings.address {
                doors.append(try await self.open(isTrusted: false) { $0.bind(host: address.host, port: address.port) })
            }
            if let socket = self.settings.socket {
                // One that a killed gateway has left; the state folder belongs to this one alone.
                unlink(socket)
                doors.append(try await self.open(isTrusted: true) { $0.bind(unixDomainSocketPath: socket) })
                chmod(socket, 0o660)
            }
        } catch {
            for door in doors { await door.close() }
            throw error
        }
        bound(doors.lazy.compactMap { $0.listening.localAddress?.port }.first ?? 0)
        let (end, cancelled) = AsyncStream.makeStream(of: Void.self)
        // Ends with the task, and not before: somebody holds its other end.
        for await _ in end {}
        cancelled.finish()
        for door in doors { await door.close() }
        if let socket = self.settings.socket { unlink(socket) }
    }

    /// A way in, and who came by it.
    private struct Door {
        let listening: any Channel
        let connections: Connections

        func close() async {
            try? await self.listening.close()
            self.connections.closeAll()
        }
    }

    private func open(
        isTrusted: Bool, _ bind: (ServerBootstrap) -> EventLoopFuture<any Channel>
    ) async throws -> Door {
        let connections = Connections()
        let desk = self.desk
        let bootstrap = ServerBootstrap(group: Self.group)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            // What is read at once becomes requests at once, each far larger than its bytes.
            .childChannelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: 4096))
            .childChannelOption(.maxMessagesPerRead, value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    guard connections.admit(channel) else { throw ChannelError.ioOnClosedChannel }
                    try AdminConnection.assemble(channel, desk, isTrusted: isTrusted)
                }
            }
        return Door(listening: try await bind(bootstrap).get(), connections: connections)
    }
}

/// The open connections of one way in. Each is a descriptor that a device could have, so there are never many.
private final class Connections: Sendable {
    private static let limit = 64

    private let open = Mutex<[ObjectIdentifier: any Channel]>([:])

    /// False: there are too many; the channel is to be closed.
    func admit(_ channel: any Channel) -> Bool {
        let id = ObjectIdentifier(channel)
        let isAdmitted = self.open.withLock { open in
            guard open.count < Self.limit else { return false }
            open[id] = channel
            return true
        }
        if isAdmitted {
            channel.closeFuture.whenComplete { _ in self.open.withLock { _ = $0.removeValue(forKey: id) } }
        }
        return isAdmitted
    }

    func closeAll() { for channel in self.open.withLock({ Array($0.values) }) { channel.close(promise: nil) } }
}
