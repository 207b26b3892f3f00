internal import Glibc
package import Logging
package import NIOCore

extension Listener {
    /// Binds all listeners of a configuration and returns one ``Listener`` for each socket, in the order of the
    /// configuration; a wildcard becomes one socket for each local address of the moment, so that answers leave from
    /// the address that the device had sent to. `[::]` stands for all addresses of both families, `0.0.0.0` for those of
    /// IPv4.
    ///
    /// A wildcard with port 0 gets one port for all of its addresses.
    ///
    /// - Throws: ``ListenerError`` for the first that cannot be bound; those bound before are closed again.
    package static func bindAll(
        _ configurations: [GatewayConfiguration.Listener],
        receiver: any DatagramReceiver,
        loop: any EventLoop,
        settings: Settings = Settings(),
        logger: Logger
    ) async throws -> [Listener] {
        let devices = try System.enumerateDevices()
        let broadcasts = Set(devices.compactMap { $0.broadcastAddress.flatMap(PeerAddress.init)?.ip })
        let locals = devices.compactMap { $0.address.flatMap(PeerAddress.init) }
        let filter = IngressFilter(sliceSize: settings.sliceSize, broadcasts: broadcasts)
        var listeners: [Listener] = []
        do {
            for configuration in configurations {
                var port = configuration.port
                for address in Self.expand(configuration, locals: locals) {
                    let listener = Listener(
                        index: listeners.count,
                        configuration: configuration,
                        address: PeerAddress(address.ip, port: port, scope: address.scope),
                        filter: filter,
                        receiver: receiver,
                        loop: loop,
                        settings: settings,
                        logger: logger
                    )
                    try await listener.start()
                    listeners.append(listener)
                    port = listener.address.port
                }
            }
        } catch {
            for listener in listeners { await listener.close() }
            throw error
        }
        await receiver.attach(listeners)
        for listener in listeners { await listener.startReading() }
        return listeners
    }

    /// The addresses that one entry stands for; ports are not looked at.
    static func expand(_ configuration: GatewayConfiguration.Listener, locals: [PeerAddress]) -> [PeerAddress] {
        let address = configuration.address
        let isAny6 = address.high == 0 && address.low == 0
        guard configuration.isWildcard else {
            // A link-local address needs its interface; the system knows it if the address is its own.
            let scope = locals.first { $0.ip == address }?.scope ?? 0
            return [PeerAddress(address, port: configuration.port, scope: scope)]
        }
        var seen: Set<PeerAddress> = []
        return locals.filter { local in
            guard isAny6 || local.ip.isIPv4 else { return false }
            return seen.insert(PeerAddress(local.ip, port: 0, scope: local.scope)).inserted
        }
    }
}

/// A listener cannot be bound. The operator has to act.
package struct ListenerError: Error, CustomStringConvertible {
    package let address: PeerAddress
    package let underlying: any Error

    package var description: String {
        let remedy =
            switch (self.underlying as? IOError)?.errnoCode {
            case EADDRINUSE: "another program, or another listener of the configuration, has this port"
            case EADDRNOTAVAIL: "this host does not have that address"
            case EACCES, EPERM: "ports below 1024 need the right CAP_NET_BIND_SERVICE"
            case EMFILE, ENFILE: "the limit of open files is reached"
            case EAFNOSUPPORT: "this host has no such address family"
            default: "see the cause"
            }
        let code = (self.underlying as? IOError)?.errnoCode
        let cause = code.map { String(cString: strerror($0)) } ?? "\(self.underlying)"
        return "cannot listen on \(self.address): \(cause); \(remedy)"
    }
}
