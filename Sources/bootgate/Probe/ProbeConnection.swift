internal import CoAP
internal import DTLS
internal import Glibc
internal import LwM2M
internal import Secrets
internal import Timing

/// A device's connection to one server, waited on by the thread that uses it: a probe has nothing else to do.
final class ProbeConnection {
    private let socket: Int32
    private let deadline: Instant
    private let dtls: DTLSSession?
    private var layer: MessageLayer
    private var blocks = BlockReceiver(blockSize: TransmissionParameters().blockSize)
    private var events: [MessageLayer.Event] = []
    private var answered: [MessageLayer.ExchangeID: Result<CoAPResponse, Unanswered>] = [:]
    /// Whether anything at all came from the other side.
    private(set) var hasHeard = false
    /// The system says that nobody listens there.
    private(set) var isRefused = false
    /// Answers what the server asks for.
    var onRequest: (CoAPRequest) -> CoAPResponse = { _ in CoAPResponse(.notFound) }

    struct Unanswered: Error { let failure: MessageLayer.Failure? }

    /// - Parameter credentials: nil for a plain connection.
    /// - Throws: ``ProbeFailure`` when the host is not known or no socket can be had.
    init(
        to uri: ServerURI, credentials: (identity: PSKIdentity, key: Secret)?, step: ProbeFailure.Step,
        deadline: Instant
    ) throws {
        self.socket = try Self.connect(to: uri, step: step)
        self.deadline = deadline
        var generator = SystemRandomNumberGenerator()
        self.layer = MessageLayer(parameters: .init(), options: .endpoint, seed: generator.next())
        guard let credentials else {
            self.dtls = nil
            return
        }
        do {
            let context = try DTLSContext(role: .client, configuration: DTLSConfiguration())
            self.dtls = try DTLSSession(
                connectingAs: credentials.identity, key: credentials.key, context: context, now: .now
            )
        } catch {
            Glibc.close(self.socket)
            throw ProbeFailure(step, "\(error)", remedy: "run scripts/setup, which builds a suitable wolfSSL")
        }
    }

    deinit {
        self.dtls?.close()
        self.dtls?.drainOutput { self.transmit($0) }
        Glibc.close(self.socket)
    }

    /// True once both sides have proved the key; at once for a plain connection.
    func shakeHands() -> Bool {
        guard let dtls = self.dtls else { return true }
        dtls.drainOutput { self.transmit($0) }
        return self.wait { dtls.phase != .handshaking } && dtls.phase == .established
    }

    /// Sends a request and waits for its response, answering the server's own requests meanwhile.
    func exchange(_ request: CoAPRequest) throws(Unanswered) -> CoAPResponse {
        let id = self.layer.send(request, now: .now, into: &self.events)
        self.carryOut()
        guard self.wait({ self.answered[id] != nil }), let answer = self.answered.removeValue(forKey: id) else {
            throw Unanswered(failure: nil)
        }
        return try answer.get()
    }

    /// Works until `isDone`, or until time is up, the association is over or nobody listens: false then.
    func wait(_ isDone: () -> Bool) -> Bool {
        while !isDone() {
            let now = Instant.now
            guard now < self.deadline, !self.isRefused else { return false }
            if let dtls = self.dtls, case .closed = dtls.phase { return false }
            let own = Instant.earlier(self.layer.deadline, self.dtls?.deadline)
            self.receive(until: Instant.earlier(own, self.deadline) ?? self.deadline)
            self.handleDeadlines()
        }
        return true
    }

    // MARK: - Datagrams

    private func receive(until due: Instant) {
        let milliseconds = max(0, Instant.now.nanoseconds(to: due) / 1_000_000 + 1)
        var polled = pollfd(fd: self.socket, events: Int16(POLLIN), revents: 0)
        guard poll(&polled, 1, Int32(clamping: milliseconds)) > 0 else { return }
        withUnsafeTemporaryAllocation(byteCount: 65_536, alignment: 1) { buffer in
            let count = recv(self.socket, buffer.baseAddress, buffer.count, Int32(MSG_DONTWAIT))
            guard count >= 0 else {
                if errno == ECONNREFUSED { self.isRefused = true }
                return
            }
            self.hasHeard = true
            let datagram = UnsafeRawBufferPointer(rebasing: buffer[..<count])
            let now = Instant.now
            guard let dtls = self.dtls else {
                self.layer.receive(datagram, now: now, into: &self.events)
                self.carryOut()
                return
            }
            _ = dtls.receive(datagram, now: now)
            dtls.drainOutput { self.transmit($0) }
            while dtls.read({ self.layer.receive($0, now: now, into: &self.events) }) {}
            self.carryOut()
        }
    }

    private func handleDeadlines() {
        let now = Instant.now
        if let dtls = self.dtls, let due = dtls.deadline, due <= now {
            _ = dtls.handleDeadline(now: now)
            dtls.drainOutput { self.transmit($0) }
        }
        if let due = self.layer.deadline, due <= now {
            self.layer.handleDeadline(now: now, into: &self.events)
            self.carryOut()
        }
    }

    private func carryOut() {
        while !self.events.isEmpty {
            let events = self.events
            self.events.removeAll(keepingCapacity: true)
            for event in events {
                switch event {
                case .transmit(let bytes): self.send(bytes)
                case .request(let id, let request): self.answer(id, request)
                case .response(let id, let response): self.answered[id] = .success(response)
                case .failed(let id, let failure): self.answered[id] = .failure(Unanswered(failure: failure))
                case .retransmitted, .repeated, .acknowledged, .notification, .pong, .settled, .dropped: break
                }
            }
        }
    }

    private func answer(_ id: MessageLayer.RequestID, _ request: CoAPRequest) {
        let now = Instant.now
        let answer =
            switch self.blocks.receive(id, request, now: now) {
            case .whole(let whole): self.blocks.respond(to: id, self.onRequest(whole), now: now)
            case .answer(let answer): answer
            }
        self.layer.respond(to: id, answer, now: now, into: &self.events)
    }

    private func send(_ message: [UInt8]) {
        message.withUnsafeBytes { bytes in
            guard let dtls = self.dtls else { return self.transmit(bytes) }
            try? dtls.send(bytes)
            dtls.drainOutput { self.transmit($0) }
        }
    }

    private func transmit(_ bytes: UnsafeRawBufferPointer) {
        guard Glibc.send(self.socket, bytes.baseAddress, bytes.count, Int32(MSG_NOSIGNAL)) < 0 else { return }
        if errno == ECONNREFUSED { self.isRefused = true }
    }

    // MARK: - The socket

    private static func connect(to uri: ServerURI, step: ProbeFailure.Step) throws(ProbeFailure) -> Int32 {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_DGRAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        let status = getaddrinfo(uri.host, "\(uri.port)", &hints, &list)
        guard status == 0 else {
            throw ProbeFailure(
                .resolve, "\(uri.host): \(String(cString: gai_strerror(status)))",
                remedy: "check the name, and the name service of this host"
            )
        }
        defer { freeaddrinfo(list) }
        var problem = "no address"
        var candidate = list
        while let entry = candidate {
            let address = entry.pointee
            candidate = address.ai_next
            let descriptor = Glibc.socket(
                address.ai_family, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0
            )
            if descriptor >= 0, Glibc.connect(descriptor, address.ai_addr, address.ai_addrlen) == 0 {
                return descriptor
            }
            problem = String(cString: strerror(errno))
            if descriptor >= 0 { Glibc.close(descriptor) }
        }
        throw ProbeFailure(step, "\(uri): \(problem)", remedy: "check the route from this host to the gateway")
    }
}
