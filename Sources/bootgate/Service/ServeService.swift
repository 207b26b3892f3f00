internal import Admin
internal import Foundation
internal import Gateway
internal import Logging
internal import NIOCore
internal import Publishing
internal import Records
internal import ServiceLifecycle
internal import Synchronization
internal import UnixSignals

/// The gateway with its stores and its journal, from start to stop.
struct ServeService: Service {
    let configuration: BootgateConfiguration
    let records: Records
    let journal: AuditJournal
    let publisher: PublisherSwitch
    let admin: AdminSettings
    let access: AdminAccess
    let reloader: Reloader
    /// Each SIGHUP.
    let hangups: UnixSignalsSequence
    /// Nil when sessions end with the gateway.
    let handover: SessionHandover?
    let logger: Logger
    let loop: any EventLoop

    /// Names this gateway in the journal.
    static var node: String { ProcessInfo.processInfo.hostName }

    func run() async throws {
        // What commands changed while no gateway ran counts from the first datagram on: look-ups respect it by themselves.
        // A store that another process keeps, or a disk that is full, holds up what is written of it, and no device.
        do { try await self.records.settle(into: self.journal) } catch let error as RecordsError
            where error.kind == .unavailable
        {
            self.logger.warning(
                "what commands changed is not in the journal yet; it is tried again", metadata: ["cause": "\(error)"])
        }
        let maintenance = Task { await self.records.maintain(into: self.journal, logger: self.logger) }
        let publications = PublicationDesk(
            publisher: self.publisher, store: self.records, audit: self.journal, wallClock: WallClock.microseconds,
            logger: self.logger
        )
        let publishing = PublishingTask(publications)
        if !self.configuration.publications.isEmpty { publishing.start() }
        let gateway = GatewayService(
            configuration: self.configuration.gateway, records: self.records, credentials: self.records,
            publications: publications, rebootstraps: self.records, traces: self.records, audit: self.journal,
            logger: self.logger, loop: self.loop
        )
        let watch = GatewayWatch(records: self.records, journal: self.journal, logger: self.logger)
        await watch.lookAtStores()
        let stores = Task { await watch.followStores() }
        defer {
            stores.cancel()
            self.journal.close()
            self.records.close()
        }
        // Before the stores close: what is being told to a server is written down.
        let result = await self.run(gateway, watch, publishing)
        await publishing.stop()
        await self.publisher.close()
        // Before the journal closes: what has ended in the stores is told there.
        maintenance.cancel()
        await maintenance.value
        try result.get()
    }

    private func run(
        _ gateway: GatewayService, _ watch: GatewayWatch, _ publishing: PublishingTask
    ) async -> Result<Void, any Error> {
        let monitoring: Task<Void, Never>
        do {
            monitoring = try await self.beginMonitoring(watch)
        } catch {
            return .failure(error)
        }
        let result: Result<Void, any Error>
        do {
            try await self.serve(gateway, watch, publishing)
            result = .success(())
        } catch {
            result = .failure(error)
        }
        monitoring.cancel()
        await monitoring.value
        return result
    }

    /// Opens what monitoring reads. It sees the gateway come and go, so its server is there first and leaves last: in a
    /// task that hears nothing of the shutdown.
    private func beginMonitoring(_ watch: GatewayWatch) async throws -> Task<Void, Never> {
        let reloader = self.reloader
        let server = AdminServer(self.admin, access: self.access) {
            var observation = await watch.observation()
            observation.reloads = await reloader.counts
            return observation
        }
        let (outcomes, outcome) = AsyncThrowingStream.makeStream(of: Void.self)
        let (admin, logger) = (self.admin, self.logger)
        let task = Task.detached {
            do {
                try await server.run { port in
                    if port > 0 { logger.info("monitoring", metadata: ["port": "\(port)"]) }
                    outcome.finish()
                }
            } catch {
                // Of no effect once it was bound: devices are served without monitoring too.
                outcome.finish(throwing: AdminFailure(error, admin))
                logger.error("monitoring ends; restart the gateway to have it again", metadata: ["error": "\(error)"])
            }
        }
        for try await _ in outcomes {}
        return task
    }

    private func serve(
        _ gateway: GatewayService, _ watch: GatewayWatch, _ publishing: PublishingTask
    ) async throws {
        let (hangups, reloader) = (self.hangups, self.reloader)
        // Also hears those that come while the gateway drains, so that each gets its line.
        let reloading = Mutex<Task<Void, Never>?>(nil)
        defer {
            watch.set(nil)
            reloading.withLock { $0?.cancel() }
        }
        let signals = await UnixSignalsSequence(trapping: .sigterm, .sigint)
        let watchdog = Watchdog.interval.map { interval in
            Task { await Watchdog.run(every: interval, loop: self.loop) }
        }
        defer { watchdog?.cancel() }
        let left = try await gateway.run(
            restoring: self.handover?.take(), handsOver: self.handover != nil,
            ready: { running in
                watch.set(running)
                await reloader.begin(running) { publishing.start() }
                let addresses = running.listeners.map(\.description)
                self.note(
                    .gatewayStarted,
                    [.init("version", .text(Bootgate.version)), self.mode] + self.tell(of: running.restored))
                Terminal.announce("ready " + addresses.joined(separator: " "))
                ServiceManager.ready(running)
                reloading.withLock { $0 = Task.detached { for await _ in hangups { await reloader.reload() } } }
            },
            until: {
                try? await gracefulShutdown()
                await reloader.stop()
                ServiceManager.notify("STOPPING=1")
                self.logger.info("stopping: running bootstraps may finish; a second signal stops at once")
            },
            atOnce: {
                // The first one began the drain.
                var count = 0
                for await _ in signals {
                    count += 1
                    if count > 1 { return }
                }
            }
        )
        self.note(.gatewayStopped, [self.mode] + (await self.save(left)))
    }

    private var mode: AuditEvent.Field { .init("mode", .text(self.configuration.gateway.mode.name)) }

    // MARK: - Hand-over

    private func tell(of restored: RestorationSummary) -> [AuditEvent.Field] {
        guard !restored.isEmpty else { return [] }
        self.logger.info(
            "sessions taken up from the last run",
            metadata: [
                "sessions": "\(restored.sessions)", "registrations": "\(restored.registrations)",
                "sessions_given_up": "\(restored.sessionsGivenUp)",
                "registrations_given_up": "\(restored.registrationsGivenUp)",
                "microseconds": "\(restored.effort.wall)",
                "processor_microseconds": "\(restored.effort.processor)",
            ]
        )
        return [
            .init("sessions", .integer(Int64(restored.sessions))),
            .init("registrations", .integer(Int64(restored.registrations))),
        ]
    }

    /// Leaves everything for the next start. What cannot be left has ended, and the journal says so.
    private func save(_ left: Handover?) async -> [AuditEvent.Field] {
        guard let left, let handover = self.handover else { return [] }
        guard await handover.save(left) else {
            let time = WallClock.microseconds()
            self.journal.record(
                left.registrations.map { registration in
                    AuditEvent(
                        .registrationClosed, time: time, cause: .shutdown, iccid: registration.iccid,
                        upstream: registration.upstream, detail: [.init("server", .text(registration.server))]
                    )
                })
            return []
        }
        return [
            .init("sessions", .integer(Int64(left.sessions.count))),
            .init("registrations", .integer(Int64(left.registrations.count))),
        ]
    }

    private func note(_ name: AuditEvent.Name, _ detail: [AuditEvent.Field]) {
        self.journal.record([AuditEvent(name, time: WallClock.microseconds(), detail: detail)])
    }
}

/// The address of `admin`, or the socket of `bootgate status`, cannot be bound.
struct AdminFailure: Error, CustomStringConvertible {
    let description: String

    init(_ error: any Error, _ settings: AdminSettings) {
        let address = settings.address.map { "\($0.host):\($0.port)" }
        let places = [address, settings.socket].compactMap(\.self).joined(separator: " or ")
        let cause = (error as? IOError).map { String(cString: strerror($0.errnoCode)) } ?? "\(error)"
        self.description =
            "admin: cannot listen at \(places): \(cause). Is another program there? Choose another `admin.listen`"
    }
}
