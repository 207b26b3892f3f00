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
    let logger: Logger
    let loop: any EventLoop

    /// Names this gateway in the journal.
    static var node: String { ProcessInfo.processInfo.hostName }

    func run() async throws {
        // What commands changed while no gateway ran counts from the first datagram on.
        try await self.records.settle(into: self.journal)
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
            maintenance.cancel()
            self.journal.close()
            self.records.close()
        }
        // Before the stores close: what is being told to a server is written down.
        let result = await self.run(gateway, watch, publishing)
        await publishing.stop()
        await self.publisher.close()
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
        let server = AdminServer(self.admin, access: self.access, logger: self.logger) { await watch.observation() }
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
        try await gateway.run(
            ready: { running in
                watch.set(running)
                await reloader.begin(running) { publishing.start() }
                let addresses = running.listeners.map(\.description)
                self.note(.gatewayStarted, ["version": Bootgate.version, "mode": self.configuration.gateway.mode.name])
                Terminal.announce("ready " + addresses.joined(separator: " "))
                ServiceManager.ready(running)
                reloading.withLock { $0 = Task.detached { for await _ in hangups { await reloader.reload() } } }
            },
            until: {
                try? await gracefulShutdown()
                await reloader.stop()
                ServiceManager.notify("STOPPING=1")
            }
        )
        self.note(.gatewayStopped, ["mode": self.configuration.gateway.mode.name])
    }

    private func note(_ name: AuditEvent.Name, _ detail: KeyValuePairs<String, String>) {
        let fields = detail.map { AuditEvent.Field($0.key, .text($0.value)) }
        self.journal.record([AuditEvent(name, time: WallClock.microseconds(), detail: fields)])
    }
}

/// The address of `admin`, or the socket of `bootgate status`, cannot be bound.
struct AdminFailure: Error, CustomStringConvertible {
    let description: String

    init(_ error: any Error, _ settings: AdminSettings) {
        let address = settings.address.map { "\($0.host):\($0.port)" }
        let places = [address, settings.socket].compactMap(\.self).joined(separator: " or ")
        self.description =
            "admin: cannot listen at \(places): \(error). Is another program there? Choose another `admin.listen`"
    }
}
