internal import NIOCore
internal import Secrets
internal import Timing

/// Credentials on their way to disk, and records that change while sessions live.
extension DeviceSessions {
    // MARK: - Credentials

    /// One commit for the credentials of all bootstraps of this turn; the store joins it with others.
    func storeCredentials() {
        let orders = self.storeQueue
        self.storeQueue.removeAll(keepingCapacity: true)
        let generation = self.recordGeneration
        Task {
            var failure: FailureCause?
            do {
                let replaced = try await self.environment.credentials.store(
                    orders.flatMap(\.credentials), grants: orders.flatMap(\.grants)
                )
                self.note(replaced, reason: "too many unproven ones")
                // An order of nothing comes with Finish where the journal must be on disk first. The turn that made it has
                // handed its records over by now.
                if orders.contains(where: { $0.credentials.isEmpty && $0.grants.isEmpty }) {
                    try await self.environment.audit.synchronize()
                }
            } catch {
                failure = .storeUnavailable
                self.failures.report(.storeUnavailable, iccid: nil, peer: nil, now: self.environment.now())
            }
            for order in orders {
                for credential in order.credentials {
                    guard let resolution = self.fresh.removeValue(forKey: credential.identity) else { continue }
                    if failure == nil, generation == self.recordGeneration {
                        self.identities.insert(consume resolution, for: credential.identity)
                    }
                }
                let published = failure == nil ? self.published(order.credentials, .many) : []
                // A revocation that came while they were on their way could not be seen at the sessions then. Those that
                // never arrived are unknown to the store, which is not the operator's doing.
                if failure == nil, generation != self.recordGeneration {
                    await self.judgeAnew(order.session.record.iccid)
                }
                if published.isEmpty { self.conclude(order, failure) } else { self.publish(published, of: order) }
            }
            self.endTurn()
        }
    }

    private func conclude(_ order: StoreOrder, _ failure: FailureCause?) {
        // The device may have asked again meanwhile: then its new bootstrap waits for orders of its own.
        guard !order.session.isClosed, order.session.bootstrap?.number == order.bootstrap else { return }
        self.withExchanges(of: order.session, now: self.environment.now()) { _, actions in
            order.session.bootstrap?.credentialsStored(
                failure, wallClock: self.environment.wallClock(), into: &actions
            )
        }
    }

    // MARK: - What devices show of themselves

    /// Keeps where the device has its bootstrap account. Nothing waits for it: what is not kept is asked for again.
    func remember(_ place: SIMRecord.BootstrapPlace, of session: DeviceSession) {
        let iccid = session.record.iccid
        for other in self.byICCID[iccid] ?? [] where other.record.bootstrapPlace != place {
            other.record.bootstrapPlace = place
            if other !== session { other.bootstrap?.update(other.record) }
        }
        session.record.bootstrapPlace = place
        // The next session of the device is to know it. All else in the memory may be newer than this session.
        let (identity, address) = (session.record.identity, session.peer.key.address.ip)
        if case .bootstrap(var known)? = self.identities.value(for: identity), known.iccid == iccid {
            known.bootstrapPlace = place
            self.identities.insert(.bootstrap(known), for: identity)
        }
        if session.arrival == .plain, case .some(.some(var known)) = self.addresses.value(for: address),
            known.iccid == iccid
        {
            known.bootstrapPlace = place
            self.addresses.insert(known, for: address)
        }
        self.placeQueue[iccid] = place
    }

    /// One write at a time: what comes while it runs is the next one.
    func keepPlaces() {
        let places = self.placeQueue
        self.placeQueue.removeAll(keepingCapacity: true)
        self.isKeepingPlaces = true
        Task {
            do { try await self.environment.records.remember(places) } catch {
                self.failures.report(.storeUnavailable, iccid: nil, peer: nil, now: self.environment.now())
            }
            self.isKeepingPlaces = false
            self.endTurn()
        }
    }

    // MARK: - Publication

    /// Those whose server terminates DTLS itself and holds so many keys of an endpoint.
    private func published(
        _ credentials: [OneTimeCredential], _ keys: GatewayConfiguration.KeysPerEndpoint
    ) -> [OneTimeCredential] {
        let servers = self.configuration.servers
        guard servers.contains(where: { $0.publishedKeys == keys }) else { return [] }
        return credentials.filter { credential in
            servers.contains { $0.name == credential.server && $0.publishedKeys == keys }
        }
    }

    /// Stored credentials for servers that may know them as soon as they are minted.
    private func publish(_ credentials: [OneTimeCredential], of order: StoreOrder) {
        Task {
            let failure = await self.environment.publications.publish(credentials, keys: .many)
            if order.session.isClosed || order.session.bootstrap?.number != order.bootstrap {
                // Given up and discarded meanwhile, perhaps before the server knew of it.
                await self.environment.publications?.review(credentials)
            } else {
                self.conclude(order, failure)
            }
            self.endTurn()
        }
    }

    /// Credentials that take the place of others at their servers, just before Finish.
    func publish(_ credentials: [OneTimeCredential], for session: DeviceSession) {
        let number = session.bootstrap?.number
        Task {
            let failure = await self.environment.publications.publish(credentials, keys: .one)
            if session.isClosed || session.bootstrap?.number != number {
                await self.environment.publications?.review(credentials)
            } else {
                self.withExchanges(of: session, now: self.environment.now()) { _, actions in
                    session.bootstrap?.credentialsPublished(
                        failure, wallClock: self.environment.wallClock(), into: &actions
                    )
                }
            }
            self.endTurn()
        }
    }

    func restore(_ credentials: [OneTimeCredential]) {
        guard let publications = self.environment.publications else { return }
        Task { await publications.review(credentials) }
    }

    /// The device has finished with credentials whose use nobody will tell of.
    func commit(_ credentials: [OneTimeCredential], _ keys: GatewayConfiguration.KeysPerEndpoint) {
        guard let publications = self.environment.publications else { return }
        for credential in credentials { self.identities.remove(credential.identity) }
        Task {
            do {
                self.note(try await publications.commit(credentials, keys: keys), reason: "finished")
            } catch {
                self.failures.report(
                    .storeUnavailable, iccid: credentials.first?.iccid, peer: nil, now: self.environment.now()
                )
            }
            self.endTurn()
        }
    }

    func discard(_ identities: [PSKIdentity], grants: [Int64]) {
        for identity in identities {
            self.fresh[identity] = nil
            self.identities.remove(identity)
        }
        Task {
            // What cannot be discarded now expires by itself: it was never used.
            try? await self.environment.credentials.discard(identities, grants: grants)
        }
    }

    /// The first handshake with a one-time key: it is in use now, and those before it are not (section 4).
    func prove(_ credential: OneTimeCredential) {
        self.identities.remove(credential.identity)
        Task {
            let changed: [OneTimeCredential]
            do {
                changed = try await self.environment.credentials.prove(credential.identity)
            } catch {
                self.failures.report(
                    .storeUnavailable, iccid: credential.iccid, peer: nil, now: self.environment.now()
                )
                return
            }
            if changed.isEmpty {
                // Not pending any more: it ended while the handshake ran. Its session is judged by what the store says.
                await self.judgeAnew(credential.iccid)
            }
            self.note(changed, reason: "handshake")
            self.endTurn()
        }
    }

    /// Records which credentials are in use from now on and which are not, and forgets what is remembered of them.
    private func note(_ changed: [OneTimeCredential], reason: String) {
        for other in changed {
            self.identities.remove(other.identity)
            var event = AuditEvent(
                other.state == .active ? .credentialActive : .credentialReplaced,
                time: self.environment.wallClock(), cause: other.state == .active ? nil : .superseded,
                iccid: other.iccid, endpoint: other.endpoint
            )
            event.detail = [
                .init("server", .text(other.server)), .init("ssid", .integer(Int64(other.shortServerID))),
                .init("identity", .text(other.identity.description)),
                .init("key", .text(KeyFingerprint.text(of: other.key))), .init("reason", .text(reason)),
            ]
            self.audits.append(event)
        }
    }

    // MARK: - Changes

    /// Follows the changes of the records until the task is cancelled.
    ///
    /// - Parameter feed: where the changes come from, if it was opened before.
    package func followChanges(_ feed: AsyncStream<RecordChange>? = nil) async {
        // The feed first: an order that comes between the two is seen by either.
        let changes = feed ?? self.environment.records.changes()
        await self.followOrders(iccid: nil)
        await self.followTraces(iccid: nil)
        for await change in changes {
            self.recordGeneration += 1
            switch change {
            case .sim(let iccid):
                self.forgetStrangers()
                self.identities.removeAll { $0.iccid == nil || $0.iccid == iccid }
                // Of all SIMs: the longest prefix decides, and this one may have taken an address from another.
                self.addresses.removeAll()
                await self.judgeAnew(iccid)
                await self.followOrders(iccid: iccid)
                await self.followTraces(iccid: iccid)
            case .everything:
                self.forgetStrangers()
                self.identities.removeAll()
                self.addresses.removeAll()
                let known = Set(self.byICCID.keys).union(self.registrations.keys)
                for iccid in known { await self.judgeAnew(iccid) }
                await self.followOrders(iccid: nil)
                await self.followTraces(iccid: nil)
            }
        }
    }

    /// Closes what a SIM may no longer have; sessions of a SIM that is still active go on with its new record. False if the
    /// store does not tell.
    @discardableResult
    func judgeAnew(_ iccid: String) async -> Bool {
        let present = self.byICCID[iccid] ?? []
        let registrations = self.registrations[iccid] ?? []
        guard !present.isEmpty || !registrations.isEmpty else { return true }
        // What is on its way to disk is nobody's yet; it is looked at when it has arrived.
        let identities = (present.flatMap(\.oneTimeIdentities) + registrations.compactMap { $0.credential?.identity })
            .filter { self.fresh[$0] == nil }
        let plain = registrations.filter { $0.credential == nil }
            .map { PlainGrant.Key(iccid: iccid, server: $0.server) }
        let record: SIMRecord?
        var standing: [PSKIdentity: IdentityResolution] = [:]
        var granted: Set<PlainGrant.Key> = []
        do {
            record = try await self.environment.records.record(iccid: iccid)
            if !identities.isEmpty {
                let resolutions = try await self.environment.records.resolve(identities: identities)
                standing = Dictionary(zip(identities, resolutions)) { first, _ in first }
            }
            if !plain.isEmpty {
                let grants = try await self.environment.credentials.grants(for: plain)
                granted = Set(grants.compactMap { $0?.key })
            }
        } catch {
            self.failures.report(.storeUnavailable, iccid: iccid, peer: nil, now: self.environment.now())
            return false
        }
        let now = self.environment.now()
        for session in self.byICCID[iccid] ?? [] {
            if self.letsThrough(session, under: record) {
                self.follow(record, of: session)
            } else if let record, let cause = Self.obstacle(to: session, under: record) {
                self.end(session, cause: cause, now: now)
            } else if let record {
                if session.oneTimeIdentities.contains(where: { standing[$0] == .unknown }) {
                    self.end(session, cause: .revoked, now: now)
                    continue
                }
                session.record = record
                session.bootstrap?.update(record)
                session.registration?.update(record, standing)
            } else {
                self.end(session, cause: .removed, now: now)
            }
        }
        // Those whose devices have no session, and those that stand on a grant.
        for registration in self.registrations[iccid] ?? [] where !self.letsThrough(registration) {
            if let cause = Self.obstacle(to: registration, under: record, standing, granted, asked: plain) {
                self.endRegistration(registration, cause: cause, now: now)
            } else if let record {
                registration.update(record, standing)
            }
        }
        self.endTurn()
        return true
    }

    /// Why a registration may not go on. `asked`: the grants that were looked up.
    private static func obstacle(
        to registration: Registration, under record: SIMRecord?, _ standing: [PSKIdentity: IdentityResolution],
        _ granted: Set<PlainGrant.Key>, asked: [PlainGrant.Key]
    ) -> FailureCause? {
        guard let record else { return .removed }
        switch record.status {
        case .suspended: return .suspended
        case .retired: return .retired
        case .active: break
        }
        if let credential = registration.credential {
            return standing[credential.identity] == .unknown ? .revoked : nil
        }
        let key = PlainGrant.Key(iccid: record.iccid, server: registration.server)
        return asked.contains(key) && !granted.contains(key) ? .revoked : nil
    }

    /// Why a live session may not go on under the record as it is now.
    private static func obstacle(to session: DeviceSession, under record: SIMRecord) -> FailureCause? {
        switch record.status {
        case .suspended: return .suspended
        case .retired: return .retired
        case .active: break
        }
        guard session.arrival == .plain else { return nil }
        let isListed = record.addresses.contains { $0.contains(session.peer.key.address.ip) }
        return isListed && record.profile != .secure ? nil : .unauthorized
    }

    // MARK: - Stopping

    /// No new bootstraps from now on; the running ones finish.
    package func drain() { self.isDraining = true }

    package var runningBootstraps: Int {
        self.byICCID.values.reduce(0) { sum, sessions in
            sum + sessions.count { $0.bootstrap?.isRunning ?? false }
        }
    }

    /// Ends every session. Devices over DTLS get a close_notify.
    package func stop() {
        let now = self.environment.now()
        for session in self.byICCID.values.flatMap({ $0 }) { self.end(session, cause: .shutdown, now: now) }
        for registration in Array(self.registrations.values.joined()) {
            self.endRegistration(registration, cause: .shutdown, now: now)
        }
        self.timer?.cancel()
        self.timer = nil
        self.traceTimer?.cancel()
        self.traceTimer = nil
        self.load.timer?.cancel()
        self.load.timer = nil
        self.endTurn()
    }
}

extension DeviceSession {
    /// The one-time identities on which the session stands: the one that it came with, or those that its bootstrap hands
    /// out; none if that cannot finish any more, since the store may not have them.
    fileprivate var oneTimeIdentities: [PSKIdentity] {
        if let registration = self.registration { return registration.credential.map { [$0.identity] } ?? [] }
        return self.bootstrap?.mintedIdentities ?? []
    }
}

extension IdentityResolution {
    /// The SIM that the identity stands for.
    var iccid: String? {
        switch self {
        case .bootstrap(let record), .registration(_, let record): record.iccid
        case .unknown: nil
        }
    }
}

extension PublicationDesk? {
    /// Fails closed where nobody is there to publish.
    fileprivate func publish(
        _ credentials: [OneTimeCredential], keys: GatewayConfiguration.KeysPerEndpoint
    ) async -> FailureCause? {
        guard let self else { return .publicationRefused }
        return await self.publish(credentials, keys: keys)
    }
}
