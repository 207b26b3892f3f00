package import Logging
internal import Secrets

/// Tells servers that terminate DTLS themselves which keys count, and sees to it that they do not keep others.
///
/// A bootstrap asks it to publish before its Finish passes and tells it the outcome. Everything else is done from the
/// store's list: what was revoked, replaced, expired or given up is withdrawn, or the previous key put back, until the
/// server has agreed. What concerns one endpoint of one server happens in order, one thing at a time.
///
/// An actor of its own, on the global executor: HTTP never runs on an event loop of the data path.
package actor PublicationDesk {
    /// How long a publication may stay without an outcome of its bootstrap before it is looked at again: longer than any
    /// bootstrap that has sent its Finish.
    package static let patience = Duration.seconds(600)
    /// How often the list is looked at.
    private static let interval = Duration.milliseconds(250)
    /// How many lines are worked on at a time.
    private static let batch = 16

    private let publisher: any CredentialPublisher
    private let store: any PublicationStore
    private let audit: any AuditSink
    private let wallClock: @Sendable () -> Int64
    private let logger: Logger

    private struct Place: Hashable {
        let server: String
        let endpoint: String
    }
    private var busy: Set<Place> = []
    private var waiting: [Place: [CheckedContinuation<Void, Never>]] = [:]

    package init(
        publisher: any CredentialPublisher, store: any PublicationStore, audit: any AuditSink,
        wallClock: @escaping @Sendable () -> Int64, logger: Logger
    ) {
        self.publisher = publisher
        self.store = store
        self.audit = audit
        self.wallClock = wallClock
        self.logger = logger
    }

    // MARK: - For bootstraps

    /// Publishes the credentials of one bootstrap. Returns the cause to end it with when one of them is not accepted:
    /// then Finish must not pass. What was published is taken back with ``review(_:)``.
    package func publish(
        _ credentials: [OneTimeCredential], keys: GatewayConfiguration.KeysPerEndpoint
    ) async -> FailureCause? {
        // Two keys for one place that holds one: whichever came last would lock the other's account out.
        if keys == .one, Set(credentials.map(Self.place)).count < credentials.count { return .publicationRefused }
        for credential in credentials {
            let cause = await self.exclusively(Self.place(of: credential)) { () async -> FailureCause? in
                do { try await self.store.open([credential], keys: keys) } catch {
                    return FailureCause.storeUnavailable
                }
                do throws(PublicationFailure) {
                    try await self.publisher.publish(credential)
                    self.note("published", credential, nil)
                    return nil
                } catch {
                    self.note("published", credential, error)
                    return error.cause
                }
            }
            if let cause { return cause }
        }
        return nil
    }

    /// The device has finished its bootstrap with these. Returns what changed; the caller drops it from its memory.
    package func commit(
        _ credentials: [OneTimeCredential], keys: GatewayConfiguration.KeysPerEndpoint
    ) async throws -> [OneTimeCredential] {
        var changed: [OneTimeCredential] = []
        for credential in credentials {
            changed += try await self.store.commit(credential.identity, keys: keys)
        }
        return changed
    }

    /// A bootstrap has ended otherwise: what the servers should hold is decided anew. Safe to call for what was never
    /// published. If the store does not answer, the list is looked at after ``patience`` all the same.
    package func review(_ credentials: [OneTimeCredential]) async { try? await self.store.review(credentials) }

    // MARK: - The list

    /// Works on the list until the task is cancelled.
    package func run() async {
        var isAwake = false
        while !Task.isCancelled {
            do {
                if !isAwake {
                    try await self.store.reviewUnconcluded()
                    isAwake = true
                }
                while try await self.workOff() == Self.batch {}
            } catch {
                self.logger.error("the list of published keys cannot be read", metadata: ["cause": "\(error)"])
                try? await Task.sleep(for: .seconds(5))
            }
            try? await Task.sleep(for: Self.interval)
        }
    }

    /// Does what is due, side by side; returns how many lines there were.
    package func workOff() async throws -> Int {
        let lines = try await self.store.dueLines(limit: Self.batch)
        await withDiscardingTaskGroup { group in
            for line in lines { group.addTask { await self.work(on: line) } }
        }
        return lines.count
    }

    private func work(on line: PublicationLine) async {
        await self.exclusively(Place(server: line.server, endpoint: line.endpoint)) {
            do {
                guard let duty = try await self.store.duty(line.id) else { return }
                if await self.carryOut(duty) {
                    try await self.store.settle(duty)
                } else {
                    try await self.store.postpone(duty)
                }
            } catch {
                self.logger.error(
                    "the list of published keys cannot be kept", metadata: ["cause": "\(error)", "iccid": "\(line.id)"])
            }
        }
    }

    private func carryOut(_ duty: PublicationDuty) async -> Bool {
        do throws(PublicationFailure) {
            switch duty.step {
            case .nothing: return true
            case .publish(let credential):
                try await self.publisher.publish(credential)
                self.note("restored", credential, nil)
            case .withdraw(let identity):
                try await self.publisher.withdraw(endpoint: duty.endpoint, identity: identity, from: duty.server)
                self.note("withdrawn", duty, nil)
            }
            return true
        } catch {
            // In the journal once; the log says it each time, more and more seldom.
            if duty.attempts == 0 {
                self.note(duty.wanted == nil ? "withdrawn" : "restored", duty, error)
            } else {
                self.log(server: duty.server, iccid: duty.iccid, error)
            }
            return false
        }
    }

    // MARK: - Order

    /// Runs `body` when nothing else concerns this place.
    private func exclusively<R: Sendable>(
        _ place: Place, _ body: () async -> R
    ) async -> R {
        if self.busy.contains(place) {
            // Whoever ends hands the place over, so it stays busy in between.
            await withCheckedContinuation { self.waiting[place, default: []].append($0) }
        } else {
            self.busy.insert(place)
        }
        let result = await body()
        if var others = self.waiting[place], !others.isEmpty {
            let next = others.removeFirst()
            self.waiting[place] = others.isEmpty ? nil : others
            next.resume()
        } else {
            self.busy.remove(place)
        }
        return result
    }

    private static func place(of credential: OneTimeCredential) -> Place {
        Place(server: credential.server, endpoint: credential.endpoint)
    }

    // MARK: - Journal and log

    private func note(_ action: String, _ credential: OneTimeCredential, _ failure: PublicationFailure?) {
        self.note(
            action, server: credential.server, iccid: credential.iccid, endpoint: credential.endpoint,
            [
                .init("ssid", .integer(Int64(credential.shortServerID))),
                .init("identity", .text(credential.identity.description)),
                .init("key", .text(KeyFingerprint.text(of: credential.key))),
            ],
            failure
        )
    }

    private func note(_ action: String, _ duty: PublicationDuty, _ failure: PublicationFailure?) {
        let identity = duty.wanted?.identity ?? duty.identity ?? duty.held
        self.note(
            action, server: duty.server, iccid: duty.iccid, endpoint: duty.endpoint,
            identity.map { [.init("identity", .text($0.description))] } ?? [], failure
        )
    }

    private func note(
        _ action: String, server: String, iccid: String, endpoint: String, _ fields: [AuditEvent.Field],
        _ failure: PublicationFailure?
    ) {
        var event = AuditEvent(
            .credentialPublished, time: self.wallClock(), cause: failure?.cause,
            iccid: iccid, endpoint: endpoint
        )
        event.detail =
            [.init("server", .text(server)), .init("action", .text(action))]
            + fields + [.init("outcome", .text(failure?.kind.rawValue ?? "accepted"))]
        if let failure {
            event.detail.append(.init("reason", .text(failure.detail)))
            self.log(server: server, iccid: iccid, failure)
        }
        self.audit.record([event])
    }

    private func log(server: String, iccid: String, _ failure: PublicationFailure) {
        self.logger.warning(
            "a server was not told of a key",
            metadata: [
                "cause": "\(failure.cause.rawValue)", "server": "\(server)", "iccid": "\(iccid)",
                "outcome": "\(failure.kind.rawValue)", "reason": "\(failure.detail)", "remedy": "\(failure.remedy)",
            ]
        )
    }
}
