internal import NIOCore
internal import NIOHTTP1

/// What is to be had under which path, and who may have it. Pinned to the loop of the connections.
actor AdminDesk {
    struct Answer: Sendable {
        var status: HTTPResponseStatus
        var headers: HTTPHeaders
        var body: String

        init(_ status: HTTPResponseStatus, _ body: String, type: String = "text/plain; charset=utf-8") {
            self.status = status
            self.headers = ["content-type": type, "cache-control": "no-store"]
            self.body = body
        }
    }

    /// Questions that come so close together share one look at the gateway.
    private static let lifetime = Duration.milliseconds(100)

    nonisolated let loop: any EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { self.loop.executor.asUnownedSerialExecutor() }

    private let access: AdminAccess
    private let observe: @Sendable () async -> Observation
    private var last: (observation: Observation, at: ContinuousClock.Instant)?
    /// Who waits for the look that is under way.
    private var waiting: [@Sendable (Observation) -> Void] = []

    init(loop: any EventLoop, access: AdminAccess, _ observe: @escaping @Sendable () async -> Observation) {
        self.loop = loop
        self.access = access
        self.observe = observe
    }

    /// Called on the loop; `then` is, too.
    ///
    /// - Parameter isTrusted: it came through the socket; whoever can open that may read everything.
    func answer(_ head: HTTPRequestHead, isTrusted: Bool, then: @escaping @Sendable (Answer) -> Void) {
        guard head.method == .GET || head.method == .HEAD else {
            var answer = Answer(.methodNotAllowed, "only GET is to be had here\n")
            answer.headers.add(name: "allow", value: "GET, HEAD")
            return then(answer)
        }
        let mayRead = isTrusted || self.mayRead(head)
        switch head.uri.prefix(while: { $0 != "?" }) {
        // The process answers, so it lives.
        case "/healthz": then(Answer(.ok, "ok\n"))
        case "/readyz": self.look(Self.readiness, then)
        case "/metrics":
            guard mayRead || self.access.current.metricsAreOpen else { return then(Self.unauthorized) }
            self.look({ Answer(.ok, MetricsPage.text(of: $0), type: "text/plain; version=0.0.4; charset=utf-8") }, then)
        case "/v1/status":
            guard mayRead else { return then(Self.unauthorized) }
            self.look(Self.status, then)
        default: then(Answer(.notFound, "there are /healthz, /readyz, /metrics and /v1/status\n"))
        }
    }

    private func look(
        _ page: @escaping @Sendable (Observation) -> Answer, _ then: @escaping @Sendable (Answer) -> Void
    ) {
        if let last, last.at.duration(to: .now) < Self.lifetime { return then(page(last.observation)) }
        self.waiting.append { then(page($0)) }
        guard self.waiting.count == 1 else { return }
        Task {
            let observation = await self.observe()
            self.last = (observation, .now)
            let waiting = self.waiting
            self.waiting = []
            for tell in waiting { tell(observation) }
        }
    }

    private static func readiness(_ observation: Observation) -> Answer {
        let obstacles = observation.obstacles
        return obstacles.isEmpty
            ? Answer(.ok, "ready\n") : Answer(.serviceUnavailable, obstacles.joined(separator: "\n") + "\n")
    }

    private static func status(_ observation: Observation) -> Answer {
        guard let status = try? GatewayStatus(observation).json() else {
            return Answer(.internalServerError, "the status cannot be written down\n")
        }
        return Answer(.ok, status, type: "application/json")
    }

    private func mayRead(_ head: HTTPRequestHead) -> Bool {
        guard let header = head.headers.first(name: "authorization"), header.lowercased().hasPrefix("bearer ") else {
            return false
        }
        return self.access.current.token(String(header.dropFirst("bearer ".count))) != nil
    }

    private static var unauthorized: Answer {
        var answer = Answer(.unauthorized, "this needs the token of a viewer: Authorization: Bearer TOKEN\n")
        answer.headers.add(name: "www-authenticate", value: "Bearer")
        return answer
    }
}
