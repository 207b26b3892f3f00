internal import Logging
internal import NIOCore

extension Listener {
    /// Binds further sockets for a receiver that has some already. They do not read before ``startReading()``.
    ///
    /// - Parameters:
    ///   - numbers: one for each of `added`.
    /// - Throws: ``ListenerError`` for the first that cannot be bound; those bound before are closed again.
    static func bind(
        _ added: [ListenerPlan.Added], of entries: [GatewayConfiguration.Listener], numbers: [Int],
        receiver: any DatagramReceiver, loop: any EventLoop, settings: Settings = Settings(), logger: Logger
    ) async throws -> [Listener] {
        guard !added.isEmpty else { return [] }
        let devices = try System.enumerateDevices()
        let broadcasts = Set(devices.compactMap { $0.broadcastAddress.flatMap(PeerAddress.init)?.ip })
        let filter = IngressFilter(sliceSize: settings.sliceSize, broadcasts: broadcasts)
        var listeners: [Listener] = []
        var chosen: [Int: UInt16] = [:]
        do {
            for (addition, number) in zip(added, numbers) {
                let address = addition.address
                let port = address.port == 0 ? chosen[addition.entry] ?? 0 : address.port
                let listener = Listener(
                    index: number, configuration: entries[addition.entry],
                    address: PeerAddress(address.ip, port: port, scope: address.scope), filter: filter,
                    receiver: receiver, loop: loop, settings: settings, logger: logger
                )
                try await listener.start()
                listeners.append(listener)
                chosen[addition.entry] = listener.address.port
            }
        } catch {
            for listener in listeners { await listener.close() }
            throw error
        }
        return listeners
    }

    /// The addresses of this host at the moment, for ``expand(_:locals:)``.
    static func localAddresses() throws -> [PeerAddress] {
        try System.enumerateDevices().compactMap { $0.address.flatMap(PeerAddress.init) }
    }
}
