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
            /// The pack of the server waits until its credentials are on disk, and known where they must be.
            case delivering
        }

        /// Set when the device has asked for a pack instead of a bootstrap.
        enum Pack: Sendable {
            case requested(accept: UInt16?)
            /// Rewritten: the answer to the device.
            case ready(CoAPResponse)
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
            /// Set for a write of accounts.
            var accounts: SentAccounts?
            var stage: Stage
            /// What the server wants to know from the device.
            var question: Question?
            /// What is at the device is a Discover of the gateway's own; this command of the server waits for it.
            var waiting: CoAPRequest?
            /// What is at the device is a held account (T16), which `request` waits for.
            var heldWrite: HeldWrite?

            var isAtDevice: Bool {
                if case .atDevice = self.stage { true } else { false }
            }
        }

        /// With the path as the server wrote it.
        enum Question: Sendable {
            case discover(LwM2MPath)
            case read(LwM2MPath)
        }

        struct HeldWrite: Sendable {
            /// As upstream numbers it.
            let path: LwM2MPath
            /// Carried out when the device has taken the account.
            let next: CoAPRequest
        }

        /// A write of objects 0 or 1 that the device has not answered yet. A class, because a command is copied on its way
        /// through, and what stands here would be counted one by one.
        final class SentAccounts: Sendable {
            /// What the rewriter knew of the device before, which still holds if it refuses the write.
            let before: AccountRewriter.Checkpoint
            /// The one-time credentials in it.
            let identities: [PSKIdentity]
            let format: UInt16?
            /// The device's own account is in it.
            let hasBootstrapAccount: Bool

            init(
                before: AccountRewriter.Checkpoint, identities: [PSKIdentity], format: UInt16?,
                hasBootstrapAccount: Bool
            ) {
                self.before = before
                self.identities = identities
                self.format = format
                self.hasBootstrapAccount = hasBootstrapAccount
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
        /// The server has acknowledged the request, and may act on it although no answer has come yet.
        var isTaken = false
        /// Requests of the server that came before the device had its 2.04 (T5), or while another was at the device (T7).
        var held: [Held] = []
        var minted: [OneTimeCredential] = []
        /// Those of ``minted`` whose accounts the device has not taken: it goes on with the keys that it had.
        var untaken: Set<PSKIdentity> = []
        var pack: Pack?
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
        /// The device has refused an account, or Finish after accounts: it may have its own where nobody thinks.
        var isRefusedByDevice = false
        /// The device has refused the bootstrap account that went out last, and has not said since where its own is.
        var lostBootstrapAccount = false
        /// Finish must not pass for a reason that no repeated write can heal; ``AccountRewriter/mayFinish`` tells the
        /// other reasons (T42).
        var mustNotFinish = false
        /// From here on the outcome is the device's: its credentials stay valid whatever else fails (T10).
        var finishReachedDevice = false
        /// Where the device's own bootstrap account is, as far as this bootstrap knows.
        var place: SIMRecord.BootstrapPlace
        /// The server has refused the preferred format: it is asked without (T14).
        private(set) var leavesOutFormat = false
        /// Added to the record of the end.
        var detail: [AuditEvent.Field] = []
        var timeline: Timeline
        /// Set in log-and-audit mode: ``rewriter`` only shows what would become of what passes as it is.
        var witness: Witness?

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
            self.place = rewriter.bootstrapInstanceID.map { .instance($0) } ?? .unknown
        }

        /// What every record of the journal about it says.
        struct Origin {
            let endpoint: String
            let upstreamURI: String?
        }

        var origin: Origin { Origin(endpoint: self.endpoint, upstreamURI: self.upstreamURI) }

        /// Whether the device has its answer to the Bootstrap-Request.
        var isAnswered: Bool {
            if case .running = self.step { true } else { false }
        }

        var hasMinted: Bool { !self.minted.isEmpty || !self.granted.isEmpty }

        /// Whether the device has taken anything that this bootstrap has minted.
        var hasHandedOut: Bool { self.minted.count > self.untaken.count || !self.granted.isEmpty }

        /// Finish may go on to the device, as far as what was written is concerned.
        var mayFinish: Bool { !self.mustNotFinish && self.rewriter.mayFinish }

        /// The same once the accounts that are held are at the device.
        var mayFinishWithHeld: Bool { !self.mustNotFinish && self.rewriter.mayFinishWithHeld }

        /// Sends the device's request to a server that has given a lease.
        mutating func ask(_ upstream: GatewayConfiguration.Upstream, into actions: inout [Action]) {
            self.upstream = upstream
            self.remaining.removeAll { $0 == upstream }
            self.step = .requesting
            self.isTaken = false
            self.leavesOutFormat = false
            actions.append(.requestUpstream(self.bootstrapRequest))
        }

        /// Sends it once more without the preferred format, if it had one; otherwise false.
        mutating func askWithoutFormat(into actions: inout [Action]) -> Bool {
            guard !self.leavesOutFormat, self.witness == nil, self.query.contains(where: PreferredFormat.isParameter)
            else { return false }
            self.leavesOutFormat = true
            self.isTaken = false
            actions.append(.requestUpstream(self.bootstrapRequest))
            return true
        }

        /// The device has its 2.04. Returns the requests of the server that came before.
        mutating func begin() -> [Held] {
            self.step = .running(nil)
            defer { self.held = [] }
            return self.held
        }

        /// The command that the device has and has not answered. `mutating` although nothing changes: read through the
        /// optional that holds it, the whole attempt would be copied first.
        mutating func operationAtDevice() -> Operation? {
            guard case .running(.some(let operation)) = self.step, operation.isAtDevice else { return nil }
            return operation
        }

        /// The first refusal is the cause that is told at the end.
        mutating func noteRefusal(_ cause: FailureCause) { self.refusal = self.refusal ?? cause }

        /// The device has answered a write of accounts. What it refuses it does not have.
        mutating func settle(_ accounts: SentAccounts, isTaken: Bool) {
            if accounts.hasBootstrapAccount { self.lostBootstrapAccount = !isTaken }
            if isTaken {
                self.untaken.subtract(accounts.identities)
            } else {
                self.isRefusedByDevice = self.isRefusedByDevice || self.rewriter.hasWrittenAccounts
                self.rewriter.takeBack(to: accounts.before)
            }
        }

        /// The new credentials for servers that terminate DTLS themselves and hold as many keys of an endpoint as `keys`
        /// says, as far as the device has taken them.
        func published(
            _ keys: GatewayConfiguration.KeysPerEndpoint, at servers: [GatewayConfiguration.ServerRule]
        ) -> [OneTimeCredential] {
            guard servers.contains(where: { $0.publishedKeys == keys }) else { return [] }
            return self.minted.filter { credential in
                guard !self.untaken.contains(credential.identity) else { return false }
                return servers.contains { $0.name == credential.server && $0.publishedKeys == keys }
            }
        }

        mutating func takeFirstHeld() -> Held? { self.held.isEmpty ? nil : self.held.removeFirst() }

        private var bootstrapRequest: CoAPRequest {
            if case .requested(let accept)? = self.pack {
                return CoAPRequest(.get, path: ["bspack"], query: self.query, accept: accept)
            }
            var request = CoAPRequest(.post, path: ["bs"])
            for parameter in self.query where !(self.leavesOutFormat && PreferredFormat.isParameter(parameter)) {
                request.options.append(.uriQuery, string: parameter)
            }
            return request
        }
    }
}
