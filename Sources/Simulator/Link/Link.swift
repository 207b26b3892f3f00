internal import Glibc

/// Carries datagrams between clients and one server, and treats them badly. Each client gets a socket of its own towards
/// the server, so that the server tells clients apart as it would without the link.
final class Link {
    /// What has happened to the datagrams of one direction.
    struct Counts {
        var received = 0
        var sent = 0
        var lost = 0
        var duplicated = 0
        var reordered = 0
        /// No room: more on their way than ``Link/capacity``, or longer than a socket here takes.
        var dropped = 0
    }

    /// Clients at a time; the one that was quiet for the longest time goes for a new one.
    static let clientLimit = 4096
    /// Datagrams on their way.
    static let capacity = 8192

    private final class Client {
        let number: UInt64
        let address: SocketAddress
        let socket: DatagramSocket
        var counts: [LinkDirection: UInt64] = [:]
        var lastHeard: ContinuousClock.Instant

        init(_ number: UInt64, _ address: SocketAddress, _ socket: DatagramSocket, now: ContinuousClock.Instant) {
            self.number = number
            self.address = address
            self.socket = socket
            self.lastHeard = now
        }
    }

    private struct Parcel {
        var due: ContinuousClock.Instant
        /// Of two that are due at once the first to come is the first to go.
        var number: UInt64
        var client: Client
        var direction: LinkDirection
        var bytes: [UInt8]
    }

    private let behaviour: LinkBehaviour
    private let entrance: DatagramSocket
    private let server: SocketAddress
    private var clients: [[UInt8]: Client] = [:]
    private(set) var clientCount: UInt64 = 0
    private(set) var counts: [LinkDirection: Counts] = [.up: Counts(), .down: Counts()]
    /// The next one to go is the last.
    private var parcels: [Parcel] = []
    private var parcelCount: UInt64 = 0

    init(_ behaviour: LinkBehaviour, from entrance: SocketAddress, to server: SocketAddress) throws {
        self.behaviour = behaviour
        self.entrance = try DatagramSocket(at: entrance)
        self.server = server
    }

    var port: UInt16 { self.entrance.port }

    /// Whether datagrams are on their way.
    var isBusy: Bool { !self.parcels.isEmpty }

    /// Waits at most so long, and moves what has come and what is due. False when nothing has come.
    @discardableResult
    func process(milliseconds: Int32) -> Bool {
        var wait = milliseconds
        if let next = self.parcels.last {
            let left = ContinuousClock.now.duration(to: next.due) / .milliseconds(1)
            wait = max(0, min(wait, Int32(left.rounded(.up))))
        }
        let clients = Array(self.clients.values)
        var polled = [pollfd(fd: self.entrance.descriptor, events: Int16(POLLIN), revents: 0)]
        polled += clients.map { pollfd(fd: $0.socket.descriptor, events: Int16(POLLIN), revents: 0) }
        let ready = poll(&polled, nfds_t(polled.count), wait)
        let now = ContinuousClock.now
        if ready > 0 {
            for (client, state) in zip(clients, polled.dropFirst()) where state.revents != 0 {
                self.takeAll(of: client.socket, .down, now: now) { _ in client }
            }
            if polled[0].revents != 0 {
                self.takeAll(of: self.entrance, .up, now: now) { self.client(at: $0, now: now) }
            }
        }
        self.sendDue(now: now)
        return ready > 0
    }

    private func takeAll(
        of socket: DatagramSocket, _ direction: LinkDirection, now: ContinuousClock.Instant,
        _ client: (SocketAddress) -> Client?
    ) {
        // Others get their turn after so many.
        for _ in 0..<64 {
            switch socket.receive() {
            case .nothing: return
            case .tooLong: self.counts[direction]?.dropped += 1
            case .datagram(let bytes, let sender):
                self.counts[direction]?.received += 1
                guard let client = client(sender) else {
                    self.counts[direction]?.dropped += 1
                    continue
                }
                client.lastHeard = now
                self.take(bytes, of: client, direction, now: now)
            }
        }
    }

    private func take(
        _ bytes: [UInt8], of client: Client, _ direction: LinkDirection, now: ContinuousClock.Instant
    ) {
        let number = client.counts[direction, default: 0]
        client.counts[direction] = number + 1
        let fate = LinkFate(self.behaviour, client: client.number, direction: direction, number: number)
        if fate.delays.isEmpty { self.counts[direction]?.lost += 1 }
        if fate.delays.count > 1 { self.counts[direction]?.duplicated += 1 }
        if fate.isHeldBack { self.counts[direction]?.reordered += 1 }
        for delay in fate.delays {
            guard self.parcels.count < Self.capacity else {
                self.counts[direction]?.dropped += 1
                continue
            }
            self.insert(
                Parcel(
                    due: now + .milliseconds(1) * delay, number: self.parcelCount, client: client,
                    direction: direction, bytes: bytes))
            self.parcelCount += 1
        }
    }

    private func insert(_ parcel: Parcel) {
        let isLater = { (other: Parcel) in (other.due, other.number) > (parcel.due, parcel.number) }
        var (low, high) = (0, self.parcels.count)
        while low < high {
            let middle = (low + high) / 2
            if isLater(self.parcels[middle]) { low = middle + 1 } else { high = middle }
        }
        self.parcels.insert(parcel, at: low)
    }

    private func sendDue(now: ContinuousClock.Instant) {
        while let parcel = self.parcels.last, parcel.due <= now {
            self.parcels.removeLast()
            switch parcel.direction {
            case .up: parcel.client.socket.send(parcel.bytes)
            case .down: self.entrance.send(parcel.bytes, to: parcel.client.address)
            }
            self.counts[parcel.direction]?.sent += 1
        }
    }

    private func client(at address: SocketAddress, now: ContinuousClock.Instant) -> Client? {
        let name = address.name
        if let client = self.clients[name] { return client }
        if self.clients.count >= Self.clientLimit,
            let quietest = self.clients.min(by: { $0.value.lastHeard < $1.value.lastHeard })
        {
            self.clients[quietest.key] = nil
        }
        guard let socket = try? DatagramSocket(to: self.server) else { return nil }
        let client = Client(self.clientCount, address, socket, now: now)
        self.clientCount += 1
        self.clients[name] = client
        return client
    }
}
