internal import Foundation
internal import Synchronization

/// A NAT between devices and the gateway's secure port: each device gets a port of its own, and another one when the NAT
/// has forgotten it. What then still comes to the old port is lost. It can lose other datagrams as well.
final class NATRelay: Sendable {
    /// A datagram on its way.
    struct Passage: Sendable {
        /// Which of the devices, by the ports that they send from: 1 for the first that came.
        let device: Int
        let isFromDevice: Bool
        /// How many datagrams with application data have come this way, this one included; 0 for everything else.
        let messages: Int
    }

    enum Fate: Sendable {
        case pass, lose
        /// The NAT has forgotten the device before it came.
        case passFromNewPort
    }

    /// Where devices go.
    let port: UInt16
    private let address: String
    private let state = Mutex(State())

    private struct State {
        var gateway: UInt16 = 0
        var isStopped = false
        /// Grows with each ``rebind()``: a device that has an older number is forgotten.
        var epoch = 0
        var ports: [UInt16] = []
    }

    init(at address: String, judge: @escaping @Sendable (Passage) -> Fate) throws {
        let devices = try UDPSocket(from: address)
        self.port = devices.port
        self.address = address
        let side = DeviceSide(devices)
        Thread.detachNewThread { self.run(side, judge) }
    }

    func forward(to port: UInt16) { self.state.withLock { $0.gateway = port } }

    /// Forgets all devices: the next datagram of each comes to the gateway from another port.
    func rebind() { self.state.withLock { $0.epoch += 1 } }

    /// The ports that the gateway has seen, in order.
    var ports: [UInt16] { self.state.withLock { $0.ports } }

    func stop() { self.state.withLock { $0.isStopped = true } }

    // MARK: - On its thread

    /// A socket may not be copied, and a closure may be called twice: so it is in an object.
    private final class DeviceSide: Sendable {
        let socket: UDPSocket
        init(_ socket: consuming UDPSocket) { self.socket = socket }
    }

    private final class Mapping {
        let number: Int
        let device: UDPSocket.Peer
        var epoch: Int
        var messages = (fromDevice: 0, toDevice: 0)
        private(set) var socket: DeviceSide
        /// Still open, so that their ports are nobody else's and what comes there vanishes in silence.
        private var forgotten: [DeviceSide] = []

        init(_ number: Int, _ device: UDPSocket.Peer, _ epoch: Int, _ socket: DeviceSide) {
            self.number = number
            self.device = device
            self.epoch = epoch
            self.socket = socket
        }

        func use(_ socket: DeviceSide) {
            self.forgotten.append(self.socket)
            self.socket = socket
        }
    }

    private func run(_ devices: DeviceSide, _ judge: @Sendable (Passage) -> Fate) {
        var mappings: [Mapping] = []
        while true {
            let state = self.state.withLock { $0 }
            if state.isStopped { return }
            let sockets = [devices] + mappings.map(\.socket)
            var polled = sockets.map { pollfd(fd: $0.socket.descriptor, events: Int16(POLLIN), revents: 0) }
            guard poll(&polled, nfds_t(polled.count), 50) > 0 else { continue }
            for mapping in mappings {
                while let (bytes, _) = mapping.socket.socket.receive() {
                    let isMessage = Self.isMessage(bytes)
                    if isMessage { mapping.messages.toDevice += 1 }
                    let count = isMessage ? mapping.messages.toDevice : 0
                    let passage = Passage(device: mapping.number, isFromDevice: false, messages: count)
                    if case .lose = judge(passage) { continue }
                    devices.socket.send(bytes, to: mapping.device)
                }
            }
            while let (bytes, device) = devices.socket.receive() {
                guard let mapping = self.mapping(of: device, &mappings) else { return }
                let isMessage = Self.isMessage(bytes)
                if isMessage { mapping.messages.fromDevice += 1 }
                let count = isMessage ? mapping.messages.fromDevice : 0
                let fate = judge(Passage(device: mapping.number, isFromDevice: true, messages: count))
                if case .lose = fate { continue }
                // Looked at again: the test may have said so a moment ago.
                let now = self.state.withLock { $0 }
                if case .passFromNewPort = fate { mapping.epoch = -1 }
                if mapping.epoch != now.epoch {
                    guard let socket = self.open() else { return }
                    mapping.use(socket)
                    mapping.epoch = now.epoch
                }
                mapping.socket.socket.send(bytes, to: self.address, port: now.gateway)
            }
        }
    }

    private func mapping(of device: UDPSocket.Peer, _ mappings: inout [Mapping]) -> Mapping? {
        if let known = mappings.first(where: { $0.device == device }) { return known }
        guard let socket = self.open() else { return nil }
        let mapping = Mapping(mappings.count + 1, device, self.state.withLock { $0.epoch }, socket)
        mappings.append(mapping)
        return mapping
    }

    private func open() -> DeviceSide? {
        guard let socket = try? UDPSocket(from: self.address) else { return nil }
        self.state.withLock { $0.ports.append(socket.port) }
        return DeviceSide(socket)
    }

    /// Application data, and anything protected under a connection ID.
    private static func isMessage(_ datagram: [UInt8]) -> Bool { datagram.first == 23 || datagram.first == 25 }
}
