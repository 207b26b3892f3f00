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
    var refused: Set<LwM2MPath> = []
    /// Account writes of which blocks are missing.
    var unfinished: Set<LwM2MPath> = []
    var held = HeldAccounts()
    /// The number of the structured format that upstream used last.
    var structuredFormat: UInt16?
    /// The number of the structured format in which the device would like to be written to.
    package var preferredFormat: UInt16?
    /// Numbers of formats in which the device has refused to be written to.
    var refusedFormats: Set<UInt16> = []

    struct MintKey: Hashable, Sendable {
        var server: String
        var shortServerID: UInt16
    }

    struct MintedCredential: Sendable {
        var identity: PSKIdentity
        var key: Secret
        /// What it was minted beside, see ``AccountChange/written``.
        var written: UpstreamAccount?
    }

    struct WrittenAccount: Sendable {
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

    /// Whether a Finish may go on to the device: no account write stands refused, has blocks missing, or is held (T38, T42).
    /// Otherwise it gets 4.06.
    package var mayFinish: Bool { self.refused.isEmpty && self.unfinished.isEmpty && !self.held.isOpen }

    /// Decides about one write of upstream.
    ///
    /// Accounts, objects 0 and 1, are decoded, rewritten and encoded again at the same level in the same format, of whole
    /// objects and instances; for single resources see ``hold(_:contentFormat:payload:)``. Other objects pass as they are. `mint` is called at most once for a server and short server ID, unless upstream changes its
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
        if path.count < 3, path.objectID.map({ $0 <= 1 }) ?? false { self.held.void(within: path) }
        let before = self.checkpoint
        do {
            let result = try self.rewrite(path, contentFormat: contentFormat, payload: payload, mint: mint)
            self.settle(path)
            return result
        } catch {
            self.checkpoint = before
            self.note(error, at: path)
            throw error
        }
    }

    /// What a refused document must leave as it was, also where some of its accounts were fine: what was minted for them
    /// goes nowhere, not even to the store.
    var checkpoint: Checkpoint {
        get {
            Checkpoint(
                written: self.written, bootstrapInstanceID: self.bootstrapInstanceID, arrangement: self.arrangement,
                minted: self.minted, mintings: self.mintings
            )
        }
        set {
            self.written = newValue.written
            self.bootstrapInstanceID = newValue.bootstrapInstanceID
            self.arrangement = newValue.arrangement
            self.minted = newValue.minted
            self.mintings = newValue.mintings
        }
    }

    /// The device has refused what was rewritten since `before`, and has what it had then. Credentials stay minted: the
    /// account comes out the same when it is repeated (T30).
    mutating func takeBack(to before: Checkpoint) {
        self.written = before.written
        self.bootstrapInstanceID = before.bootstrapInstanceID
        self.arrangement = before.arrangement
    }

    struct Checkpoint: Sendable {
        var written: [UInt16: WrittenAccount]
        var bootstrapInstanceID: UInt16?
        var arrangement: Arrangement
        var minted: [MintKey: MintedCredential]
        var mintings: Int
    }

    /// A write to `path` was taken: what was refused or left unfinished there before is made up for.
    mutating func settle(_ path: LwM2MPath) {
        if !self.refused.isEmpty { self.refused = self.refused.filter { !$0.isWithin(path) } }
        if !self.unfinished.isEmpty { self.unfinished = self.unfinished.filter { !$0.isWithin(path) } }
    }

    /// A write to `path` was refused.
    mutating func note(_ refusal: RewriteRefusal, at path: LwM2MPath) {
        self.unfinished.remove(path)
        guard refusal.isAccount else { return }
        // Nor is what was there before any more what upstream wants to be there.
        if path.count < 3 { self.held.void(within: path) }
        // Too many to tell apart: then only a write of the whole object makes up for them.
        let isFull = self.refused.count >= Self.maximumAccounts
        self.refused.insert(isFull ? LwM2MPath(path.objectID ?? 0) : path)
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
        self.settle(upstream)
        self.held.void(within: upstream)
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
        if let contentFormat, ContentFormat(rawValue: contentFormat).isStructured {
            self.structuredFormat = contentFormat
        }
        guard object == 0 || object == 1 || object == 21 else {
            if object == 2 {
                return try self.writeAccessControl(path, contentFormat: contentFormat, payload: payload)
            }
            return RewrittenWrite(path: path, contentFormat: contentFormat, payload: payload, accounts: [])
        }
        guard path.resourceID == nil || object == 21 else {
            // Not reached by upstream: see `hold(_:contentFormat:payload:)`.
            throw .notAllowed("the single resource \(path) is rewritten with its instance only", isAccount: true)
        }
        let format = try Self.supported(contentFormat, at: path)
        // Its keys would be of no use: the accounts that lead to the gateway have no OSCORE link (T31).
        guard object != 21 else { throw .notAllowed("upstream writes OSCORE keys to \(path)", isAccount: false) }

        let content: PathContent
        do { content = try PayloadCodec.decode(payload, format, at: path) } catch {
            throw .undecodable(error, format, at: path)
        }
        let (rewritten, accounts) = try self.rewrite(
            content, object: object, isRemembered: payload.count <= HeldAccounts.maximumRemembered, mint: mint
        )
        let place = self.place(path)
        do {
            return RewrittenWrite(
                path: place, contentFormat: contentFormat,
                payload: try PayloadCodec.encode(rewritten, format, at: place), accounts: accounts,
                serverInstances: object == 1 ? self.serverInstances(in: rewritten) : [:]
            )
        } catch {
            throw .broken("\(path) cannot be encoded: \(error)")
        }
    }

    /// The format of a write, if its payloads can be read at all (T28).
    static func supported(_ contentFormat: UInt16?, at path: LwM2MPath) throws(RewriteRefusal) -> ContentFormat {
        let format = contentFormat.map { ContentFormat(rawValue: $0) }
        if let format, PayloadCodec.supports(format) { return format }
        throw .unsupportedFormat(format, at: path)
    }

    /// Rewrites what upstream wrote; `isRemembered` if its resources may be written singly later.
    mutating func rewrite(
        _ content: PathContent,
        object: UInt16,
        isRemembered: Bool,
        mint: Mint
    ) throws(RewriteRefusal) -> (PathContent, [AccountChange]) {
        var accounts: [AccountChange] = []
        self.spareBootstrapAccount(content, object: object)
        func origin(_ index: Int) -> LwM2MPath? {
            switch content {
            case .instance(let own) where isRemembered: LwM2MPath(object, own.id)
            case .instances(let own) where isRemembered: LwM2MPath(object, own[index].id)
            case .instance, .instances, .resource: nil
            }
        }
        switch self.place(content, object: object) {
        case .instance(let instance):
            let rewritten = try self.rewrite(instance, object: object, from: origin(0), into: &accounts, mint: mint)
            return (.instance(rewritten), accounts)
        case .instances(let instances):
            guard !instances.isEmpty else { throw .malformed("upstream writes /\(object) without instances") }
            var rewritten: [ObjectInstance] = []
            for (index, instance) in instances.enumerated() {
                rewritten.append(
                    try self.rewrite(instance, object: object, from: origin(index), into: &accounts, mint: mint)
                )
            }
            try Self.checkDistinct(accounts)
            let numbers = if case .instances(let own) = content { own.map(\.id) } else { [UInt16]() }
            let arranged = self.arrange(rewritten, accounts, object: object, upstream: numbers)
            return (.instances(arranged.0), arranged.1)
        case .resource:
            throw .notAllowed("accounts are rewritten as whole instances only", isAccount: true)
        }
    }

    /// `origin` is where upstream wrote the instance, if that is to be remembered.
    private mutating func rewrite(
        _ instance: ObjectInstance,
        object: UInt16,
        from origin: LwM2MPath?,
        into accounts: inout [AccountChange],
        mint: Mint
    ) throws(RewriteRefusal) -> ObjectInstance {
        do {
            if object == 0 {
                let account = try SecurityAccount(instance)
                let rewritten = try self.rewrite(account, into: &accounts, mint: mint)
                if let origin { self.held.remember(.security(account), at: origin) }
                return rewritten.instance
            }
            let account = try ServerAccount(instance)
            if let origin { self.held.remember(.server(account), at: origin) }
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
