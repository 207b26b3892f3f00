internal import Glibc
internal import Hummingbird
package import Logging
internal import NIOCore
internal import NIOPosix
internal import Synchronization

/// HTTP for monitoring: `/healthz`, `/readyz`, `/metrics`, and `/v1/status` for `bootgate status`.
///
/// On an event loop of its own: a slow reader holds up no datagram. Every request looks at the gateway anew, but at most
/// ten times a second, so that nobody can keep the data path busy with questions.
package struct AdminServer: Sendable {
    /// Lives as long as the process: connections that are being closed may still have something to do on it after
    /// ``run(bound:)`` has returned.
    private static let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)

    private let settings: AdminSettings
    private let access: AdminAccess
    private let observe: @Sendable () async -> Observation
    private let logger: Logger

    /// `observe` is called for each request that needs it, from any task. `access` changes while the server runs; without
    /// it the tokens of `settings` count.
    package init(
        _ settings: AdminSettings, access: AdminAccess? = nil, logger: Logger,
        observe: @escaping @Sendable () async -> Observation
    ) {
        self.settings = settings
        self.access = access ?? AdminAccess(settings)
        let memory = ObservationMemory(observe)
        self.observe = { await memory.current() }
        self.logger = logger
    }

    /// Serves until the task is cancelled. `bound` is called once, when everything that the settings name is open, with
    /// the port of HTTP, or 0 when there is none.
    ///
    /// Throws when an address cannot be bound.
    package func run(bound: @escaping @Sendable (Int) -> Void) async throws {
        let opening = Mutex(
            Opening(left: (self.settings.address == nil ? 0 : 1) + (self.settings.socket == nil ? 0 : 1)))
        let opened: @Sendable (Int) -> Void = { port in
            let isLast = opening.withLock { opening in
                opening.left -= 1
                opening.port = max(opening.port, port)
                return opening.left <= 0 ? opening.port : nil
            }
            if let isLast { bound(isLast) }
        }
        let result = await Self.result(of: {
            try await withThrowingTaskGroup { tasks in
                if let address = self.settings.address {
                    let application = self.application(
                        .hostname(address.host, port: address.port), isTrusted: false
                    ) { opened($0.localAddress?.port ?? 0) }
                    tasks.addTask { try await application.run() }
                }
                if let socket = self.settings.socket {
                    // One that a killed gateway has left; the state folder belongs to this one alone.
                    unlink(socket)
                    let application = self.application(.unixDomainSocket(path: socket), isTrusted: true) { _ in
                        chmod(socket, 0o660)
                        opened(0)
                    }
                    tasks.addTask { try await application.run() }
                }
                if self.settings.address == nil, self.settings.socket == nil { opened(0) }
                // Not `waitForAll`, with which one that fails would wait for the other.
                for try await _ in tasks {}
            }
        })
        if let socket = self.settings.socket { unlink(socket) }
        if case .failure(let error) = result, !(error is CancellationError) { throw error }
    }

    /// With bounds on what those who connect can occupy: each connection is a descriptor that a device could have.
    private func application(
        _ address: BindAddress, isTrusted: Bool,
        opened: @escaping @Sendable (any Channel) async -> Void
    ) -> some ApplicationProtocol {
        Application(
            router: self.router(isTrusted: isTrusted),
            server: .http1(configuration: .init(idleTimeout: .seconds(60))),
            configuration: .init(
                address: address, serverName: nil, availableConnectionsDelegate: .maximum(64, logger: self.quiet)
            ),
            onServerRunning: opened, eventLoopGroupProvider: .shared(Self.group), logger: self.quiet
        )
    }

    private struct Opening {
        var left: Int
        var port = 0
    }

    private static func result(of body: () async throws -> Void) async -> Result<Void, any Error> {
        do {
            return .success(try await body())
        } catch {
            return .failure(error)
        }
    }

    /// The framework's own lines say nothing that an operator needs.
    private var quiet: Logger {
        var logger = self.logger
        logger.logLevel = .critical
        return logger
    }

    // MARK: - Routes

    /// - Parameter isTrusted: whoever can open the socket may read everything.
    private func router(isTrusted: Bool) -> Router<BasicRequestContext> {
        let (access, observe) = (self.access, self.observe)
        @Sendable func mayRead(_ request: Request) -> Bool {
            if isTrusted { return true }
            guard let header = request.headers[.authorization], header.lowercased().hasPrefix("bearer ") else {
                return false
            }
            return access.current.token(String(header.dropFirst("bearer ".count))) != nil
        }
        let router = Router()
        // The process answers, so it lives.
        router.get("healthz") { _, _ in Self.text("ok\n", .ok) }
        router.get("readyz") { _, _ in
            let obstacles = await observe().obstacles
            return obstacles.isEmpty
                ? Self.text("ready\n", .ok)
                : Self.text(obstacles.joined(separator: "\n") + "\n", .serviceUnavailable)
        }
        router.get("metrics") { request, _ in
            guard access.current.metricsAreOpen || mayRead(request) else { return Self.unauthorized }
            return Self.respond(
                MetricsPage.text(of: await observe()), .ok, "text/plain; version=0.0.4; charset=utf-8")
        }
        router.get("v1/status") { request, _ in
            guard mayRead(request) else { return Self.unauthorized }
            let status = GatewayStatus(await observe())
            return Self.respond(try status.json(), .ok, "application/json")
        }
        return router
    }

    private static var unauthorized: Response {
        var response = Self.text("this needs the token of a viewer: Authorization: Bearer TOKEN\n", .unauthorized)
        response.headers[.wwwAuthenticate] = "Bearer"
        return response
    }

    private static func text(_ text: String, _ status: HTTPResponse.Status) -> Response {
        Self.respond(text, status, "text/plain; charset=utf-8")
    }

    private static func respond(_ text: String, _ status: HTTPResponse.Status, _ type: String) -> Response {
        Response(
            status: status, headers: [.contentType: type, .cacheControl: "no-store"],
            body: .init(byteBuffer: ByteBuffer(string: text))
        )
    }
}

/// Answers questions that come close together with one look.
private actor ObservationMemory {
    private static let lifetime = Duration.milliseconds(100)

    private let observe: @Sendable () async -> Observation
    private var last: (observation: Observation, at: ContinuousClock.Instant)?
    private var running: Task<Observation, Never>?

    init(_ observe: @escaping @Sendable () async -> Observation) { self.observe = observe }

    func current() async -> Observation {
        if let last, last.at.duration(to: .now) < Self.lifetime { return last.observation }
        if let running { return await running.value }
        let task = Task { await self.observe() }
        self.running = task
        let observation = await task.value
        self.running = nil
        self.last = (observation, .now)
        return observation
    }
}
