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
        defer {
            maintenance.cancel()
            self.journal.close()
            self.records.close()
        }
        // Before the stores close: what is being told to a server is written down.
        let result = await self.run(gateway)
        publishing.cancel()
        await publishing.value
        await self.publisher?.close()
        try result.get()
    }

    private func run(_ gateway: GatewayService) async -> Result<Void, any Error> {
        do {
            try await self.serve(gateway)
            return .success(())
        } catch {
            return .failure(error)
        }
    }

    private func serve(_ gateway: GatewayService) async throws {
        try await gateway.run(
            ready: { listeners in
                let addresses = listeners.map { "\($0.security == .dtls ? "coaps" : "coap")://\($0.address)" }
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
