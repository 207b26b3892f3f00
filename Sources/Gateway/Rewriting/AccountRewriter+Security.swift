internal import LwM2M
internal import Secrets

extension AccountRewriter {
    /// Rewrites one instance of object 0, and adds to `changes` what became of it. Bootstrap account and servers are told
    /// apart by resource 1, never by their instance (T20).
    mutating func rewrite(
        _ account: SecurityAccount,
        into changes: inout [AccountChange],
        mint: Mint
    ) throws(RewriteRefusal) -> SecurityAccount {
        var rewritten = account
        // Each look at it reads it from the bytes anew.
        let uri = account.uri
        var server: String?
        var written: UpstreamAccount?
        if account.isBootstrapServer {
            try self.leadBack(&rewritten)
            self.arrangement.bootstrapURI = uri
            self.bootstrapInstanceID = account.instanceID
            self.written[account.instanceID] = nil
        } else {
            guard let shortServerID = account.shortServerID else {
                throw .malformed("/0/\(account.instanceID)/10 is missing")
            }
            guard self.written[account.instanceID] != nil || self.written.count < Self.maximumAccounts else {
                throw .limit("upstream writes more than \(Self.maximumAccounts) server accounts in one bootstrap")
            }
            (server, written) = try self.route(&rewritten, from: uri, shortServerID: shortServerID, mint: mint)
            if self.bootstrapInstanceID == account.instanceID { self.bootstrapInstanceID = nil }
            self.written[account.instanceID] = WrittenAccount(
                shortServerID: shortServerID, isKept: server == nil, isSecure: rewritten.securityMode != .noSec,
                uri: uri
            )
        }
        try Self.verify(rewritten)
        changes.append(
            AccountChange(
                instanceID: account.instanceID,
                isBootstrapServer: account.isBootstrapServer,
                shortServerID: account.shortServerID,
                server: server,
                before: AccountSummary(account, uri: uri),
                after: AccountSummary(rewritten, uri: rewritten.uri),
                written: written
            )
        )
        return rewritten
    }

    /// The bootstrap account always leads back to this gateway, whatever upstream wrote into it and whatever `unmatched`
    /// says (T19). Its security is the one that the device came with, so nothing is taken from it in any mode.
    func leadBack(_ account: inout SecurityAccount) throws(RewriteRefusal) {
        switch self.arrival {
        case .dtls:
            guard let uri = self.account.secure else {
                throw .noRoute("bootstrap.account has no secure URI, and the device came over DTLS; add it")
            }
            guard let key = self.bootstrapKey else {
                throw .broken("the SIM record has no key for the bootstrap account of a device over DTLS")
            }
            try account.setPreSharedKey(uri, identity: self.bootstrapIdentity, key: key)
        case .plain:
            guard let uri = self.account.plain else {
                throw .noRoute("bootstrap.account has no plain URI, and the device came plain; add it")
            }
            try account.setNoSec(uri)
        }
        // The device would forget its bootstrap account after this time, and could never come back (T41).
        account.remove(12...12)
    }

    /// Sends a server account where its rule says; returns the rule's name, or nil when the account was kept, and what the
    /// registration leg shows to the server.
    private mutating func route(
        _ account: inout SecurityAccount,
        from text: String,
        shortServerID: UInt16,
        mint: Mint
    ) throws(RewriteRefusal) -> (String?, UpstreamAccount?) {
        let uri = try Self.parse(text, of: account)
        guard let rule = self.servers.first(where: { $0.matches(uri, shortServerID: shortServerID) }) else {
            try self.keep(account, shortServerID: shortServerID)
            return (nil, nil)
        }
        let written = try Self.written(account, for: rule)
        switch (account.securityMode, self.arrival) {
        case (.rawPublicKey, _), (.certificate, _), (.certificateWithEST, _):
            try self.redirect(&account, rule)
        case (.preSharedKey, .dtls), (.noSec, .dtls):
            guard let uri = rule.device.secure else { throw .noForm(rule, "secure", "over DTLS") }
            let credential = try self.credential(
                for: rule, shortServerID: shortServerID, beside: written, mint: mint
            )
            try account.setPreSharedKey(uri, identity: credential.identity, key: credential.key)
        case (.preSharedKey, .plain), (.noSec, .plain):
            guard let uri = rule.device.plain else { throw .noForm(rule, "plain", "plain") }
            guard account.oscoreLink == nil else {
                throw .oscore("/0/\(account.instanceID) would lose its OSCORE protection over the plain port")
            }
            try account.setNoSec(uri)
        }
        return (rule.name, written)
    }

    /// What upstream wrote for this device's registration, for a rule that registers it with that.
    private static func written(
        _ account: SecurityAccount, for rule: GatewayConfiguration.ServerRule
    ) throws(RewriteRefusal) -> UpstreamAccount? {
        guard rule.relay?.credentials == .written else { return nil }
        guard account.securityMode == .preSharedKey, let key = account.secretKey, (1...64).contains(key.count),
            let identity = account.publicKeyOrIdentity.flatMap({ PSKIdentity($0) })
        else {
            throw .noRoute(
                "'\(rule.name)' registers devices with the credentials that upstream writes, and /0/\(account.instanceID) "
                    + "has mode \(account.securityMode.name) or no usable identity and key; let the bootstrap server write "
                    + "mode PSK, or give the relay an identity and a key of its own"
            )
        }
        return UpstreamAccount(uri: account.uri, credentials: PreSharedKey(identity: identity, key: key))
    }

    /// Modes 1, 2 and 4 are never downgraded: the account keeps its mode and keys, and only its address changes. Secondary
    /// addresses and the server's name in the handshake are address, too (T18).
    private func redirect(
        _ account: inout SecurityAccount,
        _ rule: GatewayConfiguration.ServerRule
    ) throws(RewriteRefusal) {
        guard let uri = rule.device.secure else {
            throw .noRoute(
                "'\(rule.name)' has no device.secure URI, and the account has mode \(account.securityMode.name); add it"
            )
        }
        try self.refuseKeyOverPlain(account)
        try account.setURI(uri)
        // Object 21 is not written, so a link to it would lead nowhere (T31).
        account.remove(17...17)
        account.remove(14...14)
        account.remove(25...25)
    }

    /// An account without a rule goes on unchanged if `unmatched` says so.
    private func keep(_ account: SecurityAccount, shortServerID: UInt16) throws(RewriteRefusal) {
        guard self.unmatched == .keep else {
            let uri = AccountSummary(account, uri: account.uri).uri
            throw .noRoute(
                "no entry of servers is for short server ID \(shortServerID) at \(uri); add one, or set unmatched: keep"
            )
        }
        guard account.oscoreLink == nil else {
            throw .oscore("/0/\(account.instanceID) needs OSCORE keys, which are not passed on")
        }
        try self.refuseKeyOverPlain(account)
    }

    /// A key never goes out over the plain port.
    private func refuseKeyOverPlain(_ account: SecurityAccount) throws(RewriteRefusal) {
        let hasKey = [account.secretKey, account.smsKeys].contains { $0.map { $0.count > 0 } ?? false }
        guard self.arrival == .dtls || !hasKey else {
            throw .noRoute(
                "/0/\(account.instanceID) holds a key, and the device came plain; let it come over DTLS"
            )
        }
    }

    private mutating func credential(
        for rule: GatewayConfiguration.ServerRule,
        shortServerID: UInt16,
        beside written: UpstreamAccount?,
        mint: Mint
    ) throws(RewriteRefusal) -> MintedCredential {
        let key = MintKey(server: rule.name, shortServerID: shortServerID)
        if let known = self.minted[key], known.written == written { return known }
        guard self.mintings < Self.maximumAccounts else {
            throw .limit("upstream's accounts need more than \(Self.maximumAccounts) credentials in one bootstrap")
        }
        self.mintings += 1
        let (identity, secret) = mint(rule.name, shortServerID)
        let credential = MintedCredential(identity: identity, key: secret, written: written)
        self.minted[key] = credential
        return credential
    }

    /// The address as upstream wrote it; nil when it is of a kind that UDP does not carry, which only a rule by short server
    /// ID can be for (T25). What does not parse, or does not fit its mode, is refused (T24).
    private static func parse(_ text: String, of account: SecurityAccount) throws(RewriteRefusal) -> ServerURI? {
        let uri: ServerURI
        do { uri = try ServerURI(text) } catch {
            if case .unsupportedScheme = error { return nil }
            throw .malformed("upstream's server URI in /0/\(account.instanceID) is no valid one: \(error)")
        }
        guard account.securityMode.fits(uri.scheme) else {
            throw .malformed(
                "/0/\(account.instanceID) has the scheme \(uri.scheme.rawValue) and the mode \(account.securityMode.name)"
            )
        }
        return uri
    }

    /// What every account must be before it goes out, or the device answers 4.06 (spec 2.4). Scheme and mode were made to
    /// fit, or found to, where the address was decided.
    private static func verify(_ account: SecurityAccount) throws(RewriteRefusal) {
        guard account.securityMode == .preSharedKey else { return }
        guard account.publicKeyOrIdentity?.isEmpty == false, let key = account.secretKey, key.count > 0 else {
            throw .malformed("/0/\(account.instanceID) has mode PSK and no identity or no key")
        }
    }
}

extension SecurityAccount {
    /// Over DTLS with a pre-shared key. All that was for another server's address or another mode goes (T17, T18).
    fileprivate mutating func setPreSharedKey(
        _ uri: ServerURI,
        identity: PSKIdentity,
        key: Secret
    ) throws(RewriteRefusal) {
        self.securityMode = .preSharedKey
        try self.setURI(uri)
        self.publicKeyOrIdentity = identity.bytes
        if self.serverPublicKey != nil { self.serverPublicKey = [] }
        self.secretKey = key
        self.remove(13...25)
    }

    /// Plain CoAP, with no key of any kind.
    fileprivate mutating func setNoSec(_ uri: ServerURI) throws(RewriteRefusal) {
        self.securityMode = .noSec
        try self.setURI(uri)
        if self.publicKeyOrIdentity != nil { self.publicKeyOrIdentity = [] }
        if self.serverPublicKey != nil { self.serverPublicKey = [] }
        if self.secretKey != nil { self.secretKey = Secret([]) }
        if self.smsKeys != nil {
            self.remove(7...8)
            if self.smsSecurityMode != nil { self.smsSecurityMode = 3 }
        }
        self.remove(13...25)
    }

    /// The configuration has checked that secure forms are `coaps` and plain ones `coap`; a device would refuse anything else.
    fileprivate mutating func setURI(_ uri: ServerURI) throws(RewriteRefusal) {
        guard self.securityMode.fits(uri.scheme) else {
            throw .broken("/0/\(self.instanceID) would have \(uri) with mode \(self.securityMode.name)")
        }
        self.uri = uri.description
    }
}

extension GatewayConfiguration.ServerRule {
    /// Whether this entry is for a server as upstream writes it. What the entry names must match, all of it (T22). `uri` is
    /// nil for an address that UDP does not carry.
    func matches(_ uri: ServerURI?, shortServerID: UInt16) -> Bool {
        if self.matchURI == nil && self.matchShortServerID == nil { return false }
        if let expected = self.matchURI, expected != uri { return false }
        if let expected = self.matchShortServerID, expected != shortServerID { return false }
        return true
    }
}

extension RewriteRefusal {
    fileprivate static func noForm(
        _ rule: GatewayConfiguration.ServerRule,
        _ form: String,
        _ arrival: String
    ) -> RewriteRefusal {
        .noRoute("'\(rule.name)' has no device.\(form) URI, and the device came \(arrival); add it")
    }

    fileprivate static func oscore(_ message: String) -> RewriteRefusal {
        RewriteRefusal(code: Self.badRequest, cause: .unsupported, message: message, isAccount: true)
    }
}
