internal import Gateway
package import Logging

extension Records {
    /// What `serve` does for the stores beside the data path: tells the journal what commands changed, ends credentials
    /// that were revoked, and sweeps every hour. Runs until its task is cancelled; a step that fails is logged and tried
    /// again with the next change or within a minute.
    ///
    /// To be called once before the listeners are bound with ``settle(into:)``, so that what changed while no gateway ran
    /// counts from the first datagram on.
    package func maintain(into journal: AuditJournal, logger: Logger) async {
        // One thing at a time: two that emptied the outbox together would tell everything twice.
        let (calls, caller) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        // The feed first, then a first round: what changes between the two is seen by either.
        let changes = self.changes()
        caller.yield()
        await withDiscardingTaskGroup { group in
            group.addTask {
                for await _ in changes {
                    // Told when it is in force: by then the data path's own feed has had its turn too.
                    try? await Task.sleep(for: self.configuration.changeInterval)
                    caller.yield()
                }
                caller.finish()
            }
            group.addTask {
                while !Task.isCancelled {
                    try? await Task.sleep(for: .seconds(60))
                    caller.yield()
                }
            }
            var swept = self.configuration.clock()
            for await _ in calls {
                await self.attempt(logger) { try await self.settle(into: journal) }
                if CredentialLife.threshold(.seconds(3600), now: self.configuration.clock()) > swept {
                    swept = self.configuration.clock()
                    await self.attempt(logger) {
                        try await self.sweep { journal.record(self.events(of: $0)) }
                    }
                }
            }
        }
    }

    /// Brings what commands changed into the journal and into `credentials.db`.
    package func settle(into journal: AuditJournal) async throws {
        try await self.emptyOutbox(into: journal)
        var hasMore = true
        while hasMore {
            hasMore = try await self.applyRevocations { journal.record(self.events(of: $0)) }
        }
    }

    /// Turns outbox rows into journal records. A row goes only when its record is on disk. One that was told before a
    /// crash is known by its number, so that it does not stand in the journal twice; only where a row outlives a whole
    /// segment could that happen, and both records then bear the same `outbox` number.
    func emptyOutbox(into journal: AuditJournal) async throws {
        while true {
            let rows = try await self.maintenance.run { try self.outbox.rows(limit: 500) }
            guard !rows.isEmpty else { return }
            let news = rows.filter { !journal.isTold($0.uid) }
            let taken = journal.enqueue(news.map(\.event))
            // What the journal has taken it writes as soon as it can; the next try must not hand it over once more.
            journal.markTold(news.prefix(taken).map(\.uid))
            // Also for those that were told before a crash: the disk need not have them.
            try await journal.synchronize()
            guard taken == news.count else {
                throw RecordsError(
                    .unavailable,
                    source: .gateway,
                    "the audit journal has no room",
                    remedy: "check its disk"
                )
            }
            try await self.maintenance.run { try self.outbox.remove(rows) }
            journal.forgetTold(rows.map(\.uid))
        }
    }

    private func events(of revoked: [RevokedCredential]) -> [AuditEvent] {
        let now = self.configuration.clock()
        return revoked.map { revoked in
            let credential = revoked.credential
            return AuditEvent(
                .credentialRevoked,
                time: now,
                cause: revoked.cause,
                iccid: credential.iccid,
                endpoint: credential.endpoint,
                detail: [
                    .init("server", .text(credential.server)),
                    .init("ssid", .integer(Int64(credential.shortServerID))),
                    .init("key", .text(KeyFingerprint.text(of: credential.key))),
                ]
            )
        }
    }

    /// What is recorded of credentials that time has ended: the ones that a newer one has replaced. One that expired
    /// simply is no more.
    private func events(of ended: [OneTimeCredential]) -> [AuditEvent] {
        let now = self.configuration.clock()
        return ended.filter { $0.state == .replaced }.map { credential in
            AuditEvent(
                .credentialReplaced, time: now, cause: .superseded, iccid: credential.iccid,
                endpoint: credential.endpoint,
                detail: [
                    .init("server", .text(credential.server)), .init("ssid", .integer(Int64(credential.shortServerID))),
                    .init("key", .text(KeyFingerprint.text(of: credential.key))),
                    .init("reason", .text("overlap passed")),
                ]
            )
        }
    }

    private func attempt(_ logger: Logger, _ body: () async throws -> Void) async {
        do { try await body() } catch is CancellationError {} catch {
            logger.error("keeping the stores in order failed; it is tried again", metadata: ["cause": "\(error)"])
        }
    }
}
