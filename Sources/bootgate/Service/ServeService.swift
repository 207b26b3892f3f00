internal import Admin
internal import Foundation
internal import Gateway
internal import Logging
internal import NIOCore
internal import Publishing
internal import Records
internal import ServiceLifecycle

/// The gateway with its stores and its journal, from start to stop.
struct ServeService: Service {
    let configuration: BootgateConfiguration
    let records: Records
    let journal: AuditJournal
    /// Nil when no server is told keys.
    let publisher: HTTPPublisher?
    let admin: AdminSettings
    let logger: Logger
    let loop: any EventLoop

    /// Names this gateway in the journal.
    static var node: String { ProcessInfo.processInfo.hostName }

    func run() async throws {
        // What commands changed while no gateway ran counts from the first datagram on.
        try await self.records.settle(into: self.journal)
        let maintenance = Task { await self.records.maintain(into: self.journal, logger: self.logger) }
        let publications = self.publisher.map { publisher in
            PublicationDesk(
                publisher: publisher, store: self.records, audit: self.journal, wallClock: WallClock.microseconds,
                logger: self.logger
            )
        }
        let publishing = Task { await publications?.run() }
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
        let result = await self.run(gateway, watch)
        publishing.cancel()
        await publishing.value
        await self.publisher?.close()
        try result.get()
    }

    private func run(_ gateway: GatewayService, _ watch: GatewayWatch) async -> Result<Void, any Error> {
        let monitoring: Task<Void, Never>
        do {
            monitoring = try await self.beginMonitoring(watch)
        } catch {
            return .failure(error)
        }
        let result: Result<Void, any Error>
        do {
            try await self.serve(gateway, watch)
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
        let server = AdminServer(self.admin, logger: self.logger) { await watch.observation() }
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

    private func serve(_ gateway: GatewayService, _ watch: GatewayWatch) async throws {
        defer { watch.set(nil) }
        try await gateway.run(
            ready: { running in
                watch.set(running)
                let addresses = running.listeners.map(\.description)
                self.note(.gatewayStarted, ["version": Bootgate.version])
                Terminal.announce("ready " + addresses.joined(separator: " "))
                ServiceManager.notify("READY=1\nSTATUS=\(addresses.joined(separator: " "))")
            },
            until: {
                try? await gracefulShutdown()
                ServiceManager.notify("STOPPING=1")
            }
        )
        self.note(.gatewayStopped, [:])
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
