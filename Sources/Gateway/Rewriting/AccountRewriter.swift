package import LwM2M
package import Secrets

/// Turns the accounts that a bootstrap server writes into the ones that a device gets (`interface.md`, section 4).
///
/// One value for one bootstrap request of one device: it remembers the credentials that were minted, so that a write that
/// is repeated comes out with the same bytes (T30). A renewed request is answered with a new value, because a one-time
/// credential is new on every request (T3). Pure: no I/O, no clock; ``GatewayConfiguration`` may change beside it.
///
/// What cannot be decided is refused (T42).
package struct AccountRewriter: Sendable {
    /// The most server accounts that one bootstrap may write and the most credentials that it may have minted (T46). Real
    /// devices have a handful.
    package static let maximumAccounts = 64

    let servers: [GatewayConfiguration.ServerRule]
    let unmatched: GatewayConfiguration.Unmatched
    let account: GatewayConfiguration.DeviceURIs
    let arrival: GatewayConfiguration.Security
    let bootstrapIdentity: PSKIdentity
    let bootstrapKey: Secret?

    /// The instance of object 0 that is the device's bootstrap account, once it is known: from a write of this bootstrap, or
    /// from what the device answered to Discover, which the caller sets here.
    package var bootstrapInstanceID: UInt16?
    var minted: [MintKey: MintedCredential] = [:]
    /// How often `mint` was called.
    var mintings = 0
    /// Server accounts of this bootstrap by instance.
    var written: [UInt16: WrittenAccount] = [:]
    /// The device has said to speak LwM2M 1.1 or later, so that its Server objects have a Registration Priority Order.
    package var hasPriorities = false
    var arrangement = Arrangement()
    /// Account writes that were refused and not repeated with success.
    private var refused: Set<LwM2MPath> = []

    struct MintKey: Hashable {
        var server: String
        var shortServerID: UInt16
    }

    struct MintedCredential {
        var identity: PSKIdentity
        var key: Secret
        /// What it was minted beside, see ``AccountChange/written``.
        var written: UpstreamAccount?
    }

    struct WrittenAccount {
        var shortServerID: UInt16
        /// It went on as upstream wrote it, because no rule is for it.
        var isKept: Bool
        /// The device speaks with it over DTLS, or with other keys.
        var isSecure: Bool
        /// The address that upstream wrote.
        var uri: String
    }

    /// Makes the one-time identity and key of a device for the entry of this name in `servers` and this short server ID.
    package typealias Mint = (_ server: String, _ shortServerID: UInt16) -> (PSKIdentity, Secret)

    /// - Parameters:
    ///   - servers: in order; the first that matches decides.
    ///   - account: the device's way back to this gateway.
    ///   - arrival: which accounts the device gets: the way it came, after its SIM's profile was applied.
    ///   - bootstrapIdentity: the identity of the SIM record; written for devices over DTLS only.
    ///   - bootstrapKey: the key of the SIM record; needed for devices over DTLS, never written to plain ones.
    package init(
        servers: [GatewayConfiguration.ServerRule],
        unmatched: GatewayConfiguration.Unmatched,
        account: GatewayConfiguration.DeviceURIs,
        arrival: GatewayConfiguration.Security,
        bootstrapIdentity: PSKIdentity,
        bootstrapKey: Secret?
    ) {
        self.servers = servers
        self.unmatched = unmatched
        self.account = account
        self.arrival = arrival
        self.bootstrapIdentity = bootstrapIdentity
        self.bootstrapKey = arrival == .dtls ? bootstrapKey : nil
    }

    /// Whether a Finish may go on to the device: no account write stands refused (T42). Otherwise it gets 4.06.
    package var mayFinish: Bool { self.refused.isEmpty }

    /// Decides about one write of upstream.
    ///
    /// Accounts, objects 0 and 1, are decoded, rewritten and encoded again at the same level in the same format. Other
    /// objects pass as they are. `mint` is called at most once for a server and short server ID, unless upstream changes its
    /// mind about the credentials that the registration leg has to show (``AccountChange/written``).
    package mutating func rewrite(
        path segments: [String],
        contentFormat: UInt16?,
        payload: [UInt8],
        mint: Mint
    ) throws(RewriteRefusal) -> RewrittenWrite {
        let path: LwM2MPath
        do { path = try LwM2MPath(segments: segments) } catch {
            throw .malformed("upstream's path is not canonical: \(error)", isAccount: false)
        }
        // A refused document did nothing, also where some of its accounts were fine. What was minted for them stays.
        let (written, bootstrapInstanceID) = (self.written, self.bootstrapInstanceID)
        let arrangement = self.arrangement
        do {
            let result = try self.rewrite(path, contentFormat: contentFormat, payload: payload, mint: mint)
            if !self.refused.isEmpty { self.refused = self.refused.filter { !$0.isWithin(path) } }
            return result
        } catch {
            (self.written, self.bootstrapInstanceID) = (written, bootstrapInstanceID)
            self.arrangement = arrangement
            if error.isAccount {
                // Too many to tell apart: then only a write of the whole object makes up for them.
                let isFull = self.refused.count >= Self.maximumAccounts
                self.refused.insert(isFull ? LwM2MPath(path.objectID ?? 0) : path)
            }
            throw error
        }
    }

    /// Decides whether a delete of upstream may go on to the device.
    ///
    /// The root and whole objects spare the bootstrap account by themselves. A single instance of object 0 is deleted only
    /// when it is known to be a server account: some devices delete their bootstrap account when they are told to, and could
    /// never come back (T36).
    ///
    /// - Returns: the path at the device.
    @discardableResult
    package mutating func permitDelete(_ upstream: LwM2MPath) throws(RewriteRefusal) -> LwM2MPath {
        let path = self.place(upstream)
        if path.objectID == 0, let instance = path.instanceID {
            let isServer = self.written[instance] != nil || self.bootstrapInstanceID.map { $0 != instance } ?? false
            guard isServer else {
                throw RewriteRefusal(
                    code: RewriteRefusal.badRequest,
                    cause: .unsupported,
                    message:
                        "upstream deletes \(path), which may be the device's bootstrap account; let it delete /0 instead",
                    isAccount: false
                )
            }
        }
        self.forget(path, upstream: upstream)
        return path
    }

    /// Everything that was written is void: the device's server accounts were deleted. Minted credentials stay, so that an
    /// account that is written again comes out the same (T30).
    package mutating func reset() { self.forget(.root, upstream: .root) }

    private mutating func forget(_ path: LwM2MPath, upstream: LwM2MPath) {
        self.refused = self.refused.filter { !$0.isWithin(upstream) }
        self.written = self.written.filter { !LwM2MPath(0, $0.key).isWithin(path) }
        self.forgetPlaces(within: path)
    }

    private mutating func rewrite(
        _ path: LwM2MPath,
        contentFormat: UInt16?,
        payload: [UInt8],
        mint: Mint
    ) throws(RewriteRefusal) -> RewrittenWrite {
        guard let object = path.objectID else {
            throw .malformed("upstream writes to the root; a write needs an object", isAccount: false)
        }
        guard path.resourceInstanceID == nil else {
            throw .notAllowed("upstream writes to the resource instance \(path)", isAccount: object <= 1)
        }
        guard object == 0 || object == 1 || object == 21 else {
            return RewrittenWrite(path: path, contentFormat: contentFormat, payload: payload, accounts: [])
        }
        guard path.resourceID == nil || object == 21 else {
            throw .notAllowed(
                "upstream writes the single resource \(path); accounts are rewritten as whole instances only",
                isAccount: true
            )
        }
        guard let contentFormat, ContentFormat(rawValue: contentFormat).isTLV else {
            let format = contentFormat.map { "content format \($0)" } ?? "no content format"
            throw RewriteRefusal(
                code: RewriteRefusal.unsupportedContentFormat,
                cause: .unsupported,
                message: "upstream writes \(path) with \(format); let it use TLV, \(ContentFormat.tlv)",
                isAccount: object <= 1
            )
        }
        // Its keys would be of no use: the accounts that lead to the gateway have no OSCORE link (T31).
        guard object != 21 else { throw .notAllowed("upstream writes OSCORE keys to \(path)", isAccount: false) }

        let content: PathContent
        do { content = try TLV.decode(payload, at: path) } catch {
            throw .malformed("upstream's payload for \(path) is no valid TLV: \(error)", isAccount: true)
        }
        let (rewritten, accounts) = try self.rewrite(content, object: object, mint: mint)
        do {
            let payload = try TLV.encode(rewritten)
            return RewrittenWrite(
                path: self.place(path), contentFormat: contentFormat, payload: payload, accounts: accounts,
                serverInstances: object == 1 ? self.serverInstances(in: rewritten) : [:]
            )
        } catch {
            throw .broken("\(path) cannot be encoded: \(error)")
        }
    }

    private mutating func rewrite(
        _ content: PathContent,
        object: UInt16,
        mint: Mint
    ) throws(RewriteRefusal) -> (PathContent, [AccountChange]) {
        var accounts: [AccountChange] = []
        self.spareBootstrapAccount(content, object: object)
        switch self.place(content, object: object) {
        case .instance(let instance):
            return (.instance(try self.rewrite(instance, object: object, into: &accounts, mint: mint)), accounts)
        case .instances(let instances):
            guard !instances.isEmpty else { throw .malformed("upstream writes /\(object) without instances") }
            var rewritten: [ObjectInstance] = []
            for instance in instances {
                rewritten.append(try self.rewrite(instance, object: object, into: &accounts, mint: mint))
            }
            try Self.checkDistinct(accounts)
            let numbers = if case .instances(let own) = content { own.map(\.id) } else { [UInt16]() }
            let arranged = self.arrange(rewritten, accounts, object: object, upstream: numbers)
            return (.instances(arranged.0), arranged.1)
        case .resource:
            throw .notAllowed("accounts are rewritten as whole instances only", isAccount: true)
        }
    }

    private mutating func rewrite(
        _ instance: ObjectInstance,
        object: UInt16,
        into accounts: inout [AccountChange],
        mint: Mint
    ) throws(RewriteRefusal) -> ObjectInstance {
        do {
            if object == 0 {
                let account = try SecurityAccount(instance)
                let (rewritten, change) = try self.rewrite(account, mint: mint)
                accounts.append(change)
                return rewritten.instance
            }
            let account = try ServerAccount(instance)
            let fitted = self.leadsToGateway(account) ? TransportBinding.fittedToUDP(account) : account
            let prioritized = self.prioritize(fitted)
            self.note(account, became: prioritized)
            return prioritized == account ? instance : prioritized.instance
        } catch let error as AccountError {
            throw .malformed("upstream's account is no valid one: \(error)")
        } catch let error as RewriteRefusal {
            throw error
        } catch {
            throw .broken("an account cannot be rewritten: \(error)")
        }
    }

    /// Whether the server of this Server object is reached through the gateway. Its Security object may come later: then it
    /// is, unless accounts without a rule are kept and no rule can be for it.
    private func leadsToGateway(_ account: ServerAccount) -> Bool {
        if let written = self.written.values.first(where: { $0.shortServerID == account.shortServerID }) {
            return !written.isKept
        }
        return self.unmatched == .refuse
            || self.servers.contains {
                $0.matchShortServerID == account.shortServerID || $0.matchShortServerID == nil
            }
    }

    /// One bootstrap account, and one account for each server: a device has no more, and one of two would be lost unseen.
    private static func checkDistinct(_ accounts: [AccountChange]) throws(RewriteRefusal) {
        guard accounts.count > 1 else { return }
        guard accounts.count(where: \.isBootstrapServer) <= 1 else {
            throw .malformed("upstream writes several bootstrap accounts at once")
        }
        let shortServerIDs = accounts.filter { !$0.isBootstrapServer }.compactMap(\.shortServerID)
        guard Set(shortServerIDs).count == shortServerIDs.count else {
            throw .malformed("upstream writes several accounts with the same short server ID at once")
        }
    }
}

extension AccountRewriter: CustomStringConvertible, CustomReflectable {
    package var description: String { "AccountRewriter(\(self.arrival.rawValue), \(self.minted.count) credentials)" }
    package var customMirror: Mirror { Mirror(self, children: [:]) }
}

extension RewriteRefusal {
    static func malformed(_ message: String, isAccount: Bool = true) -> RewriteRefusal {
        RewriteRefusal(code: Self.badRequest, cause: .upstreamMalformed, message: message, isAccount: isAccount)
    }

    static func noRoute(_ message: String) -> RewriteRefusal {
        RewriteRefusal(code: Self.badRequest, cause: .noRouteForServer, message: message, isAccount: true)
    }

    static func limit(_ message: String) -> RewriteRefusal {
        RewriteRefusal(code: Self.badRequest, cause: .limit, message: message, isAccount: true)
    }

    static func notAllowed(_ message: String, isAccount: Bool) -> RewriteRefusal {
        RewriteRefusal(code: Self.methodNotAllowed, cause: .unsupported, message: message, isAccount: isAccount)
    }

    static func broken(_ message: String) -> RewriteRefusal {
        RewriteRefusal(code: Self.internalError, cause: .internal, message: message, isAccount: true)
    }
}
