internal import CoAP
internal import LwM2M
internal import Secrets

extension BootstrapSession {
    /// One bootstrap, from the request that began it to its end.
    struct Attempt: Sendable {
        /// Legal order: `leasing` → `requesting` → `running`; back to `leasing` when another server is tried.
        enum Step: Sendable {
            /// Waits for a socket to the bootstrap server.
            case leasing
            /// `POST /bs` is upstream; the device waits for its answer.
            case requesting
            /// The device has its 2.04. The operation of the server that is being carried out, if any.
            case running(Operation?)
        }

        /// A request of the server on its way through.
        struct Operation: Sendable {
            enum Stage: Sendable {
                case atDevice
                /// Finish, until the credentials are on disk, and at servers that hold several of one endpoint.
                case waitingForStore
                /// Finish, until servers that hold one key of an endpoint have taken the new ones.
                case waitingForPublication
            }

            let request: MessageLayer.RequestID
            let isFinish: Bool
            var isWrite = false
            var stage: Stage

            var isAtDevice: Bool {
                if case .atDevice = self.stage { true } else { false }
            }
        }

        struct Held: Sendable {
            let id: MessageLayer.RequestID
            let request: CoAPRequest
        }

        /// The device's request, which is answered once.
        let request: MessageLayer.RequestID
        let endpoint: String
        let query: [String]
        var rewriter: AccountRewriter
        /// Servers not yet asked.
        var remaining: [GatewayConfiguration.Upstream]
        var upstream: GatewayConfiguration.Upstream? { didSet { self.upstreamURI = self.upstream?.uri.description } }
        /// As every record of the journal names it.
        private(set) var upstreamURI: String?
        var step = Step.leasing
        /// Requests of the server that came before the device had its 2.04 (T5), or while another was at the device (T7).
        var held: [Held] = []
        var minted: [OneTimeCredential] = []
        /// For servers whose accounts the device got without a key.
        var granted: [PlainGrant] = []
        /// Which bootstrap of its session this is; answers to orders of another one are none of its business.
        let number: Int
        /// A server with one key for each endpoint may know the new one instead of the old one.
        var isPublished = false
        /// Store orders whose outcome is still open.
        var storing = 0
        /// Why something that the server wrote was refused: the cause of the end, if nothing better follows.
        var refusal: FailureCause?
        /// Finish must not pass for a reason that no repeated write can heal; ``AccountRewriter/mayFinish`` tells the
        /// other reasons (T42).
        var mustNotFinish = false
        /// From here on the outcome is the device's: its credentials stay valid whatever else fails (T10).
        var finishReachedDevice = false
        /// Added to the record of the end.
        var detail: [AuditEvent.Field] = []
        var timeline: Timeline

        init(
            request: MessageLayer.RequestID, endpoint: String, query: [String], rewriter: AccountRewriter,
            remaining: [GatewayConfiguration.Upstream], number: Int, wallClock: Int64
        ) {
            self.timeline = Timeline(at: wallClock)
            self.number = number
            self.request = request
            self.endpoint = endpoint
            self.query = query
            self.rewriter = rewriter
            self.remaining = remaining
        }

        /// Whether the device has its answer to the Bootstrap-Request.
        var isAnswered: Bool {
            if case .running = self.step { true } else { false }
        }

        var hasMinted: Bool { !self.minted.isEmpty || !self.granted.isEmpty }

        /// Finish may go on to the device, as far as what was written is concerned.
        var mayFinish: Bool { !self.mustNotFinish && self.rewriter.mayFinish }

        /// Sends the device's request to a server that has given a lease.
        mutating func ask(_ upstream: GatewayConfiguration.Upstream, into actions: inout [Action]) {
            self.upstream = upstream
            self.remaining.removeAll { $0 == upstream }
            self.step = .requesting
            actions.append(.requestUpstream(self.bootstrapRequest))
        }

        /// The device has its 2.04. Returns the requests of the server that came before.
        mutating func begin() -> [Held] {
            self.step = .running(nil)
            defer { self.held = [] }
            return self.held
        }

        /// The first refusal is the cause that is told at the end.
        mutating func noteRefusal(_ cause: FailureCause) { self.refusal = self.refusal ?? cause }

        /// The new credentials for servers that terminate DTLS themselves and hold as many keys of an endpoint as `keys` says.
        func published(
            _ keys: GatewayConfiguration.KeysPerEndpoint, under configuration: GatewayConfiguration
        ) -> [OneTimeCredential] {
            self.minted.filter { credential in
                configuration.servers.contains { $0.name == credential.server && $0.publishedKeys == keys }
            }
        }

        mutating func takeFirstHeld() -> Held? { self.held.isEmpty ? nil : self.held.removeFirst() }

        private var bootstrapRequest: CoAPRequest {
            var request = CoAPRequest(.post, path: ["bs"])
            for parameter in self.query { request.options.append(.uriQuery, string: parameter) }
            return request
        }
    }
}
