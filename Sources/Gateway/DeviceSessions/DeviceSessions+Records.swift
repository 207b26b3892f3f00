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
        Task {
            var isDurable = true
            do {
                try await self.environment.credentials.store(
                    orders.flatMap(\.credentials), grants: orders.flatMap(\.grants)
                )
            } catch {
                isDurable = false
                self.failures.report(.storeUnavailable, iccid: nil, peer: nil, now: self.environment.now())
            }
            let now = self.environment.now()
            for order in orders {
                for credential in order.credentials {
                    if let resolution = self.fresh.removeValue(forKey: credential.identity), isDurable {
                        self.identities.insert(resolution, for: credential.identity)
                    }
                }
                guard !order.session.isClosed else { continue }
                self.withExchanges(of: order.session, now: now) { _, actions in
                    order.session.bootstrap?.credentialsStored(
                        isDurable, wallClock: self.environment.wallClock(), into: &actions
                    )
                }
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
            for other in changed {
                self.identities.remove(other.identity)
                var event = AuditEvent(
                    other.state == .active ? .credentialActive : .credentialReplaced,
                    time: self.environment.wallClock(), iccid: other.iccid, endpoint: other.endpoint
                )
                event.detail = [
                    .init("server", .text(other.server)), .init("ssid", .integer(Int64(other.shortServerID))),
                    .init("identity", .text(other.identity.description)),
                ]
                self.audits.append(event)
            }
            self.endTurn()
        }
    }

    // MARK: - Changes

    /// Follows the changes of the records until the task is cancelled.
    package func followChanges() async {
        for await change in self.environment.records.changes() {
            self.recordGeneration += 1
            switch change {
            case .sim(let iccid):
                self.identities.removeAll { $0.iccid == nil || $0.iccid == iccid }
                self.addresses.removeAll { $0 == nil || $0?.iccid == iccid }
                await self.judgeAnew(iccid)
            case .everything:
                self.identities.removeAll()
                self.addresses.removeAll()
                let known = Set(self.byICCID.keys).union(self.registrations.keys.map(\.iccid))
                for iccid in known { await self.judgeAnew(iccid) }
            }
        }
    }

    /// Closes what a SIM may no longer have; sessions of a SIM that is still active go on with its new record.
    private func judgeAnew(_ iccid: String) async {
        guard self.byICCID[iccid] != nil || !self.registrations(of: iccid).isEmpty else { return }
        let record: SIMRecord?
        do {
            record = try await self.environment.records.record(iccid: iccid)
        } catch {
            self.failures.report(.storeUnavailable, iccid: iccid, peer: nil, now: self.environment.now())
            return
        }
        let now = self.environment.now()
        for session in self.byICCID[iccid] ?? [] {
            if let record, let cause = Self.obstacle(to: session, under: record) {
                self.end(session, cause: cause, now: now)
            } else if let record {
                session.record = record
                session.bootstrap?.update(record)
                session.registration?.relay.update(record)
            } else {
                self.end(session, cause: .retired, now: now)
            }
        }
        for registration in self.registrations(of: iccid) {
            guard let record, record.status != .retired else {
                self.endRegistration(registration, cause: .retired, now: now)
                continue
            }
            if record.status == .suspended {
                self.endRegistration(registration, cause: .suspended, now: now)
            } else {
                registration.relay.update(record)
            }
        }
        self.endTurn()
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
        for registration in Array(self.registrations.values) {
            self.endRegistration(registration, cause: .shutdown, now: now)
        }
        self.timer?.cancel()
        self.timer = nil
        self.endTurn()
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
