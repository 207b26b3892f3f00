internal import Admin
internal import ArgumentParser
internal import DTLS
internal import Gateway
internal import Glibc
internal import Logging
internal import NIOPosix
internal import Publishing
internal import Records
internal import ServiceLifecycle
internal import UnixSignals

/// `bootgate serve`: the gateway.
struct ServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve",
        abstract: "Run the gateway.",
        discussion: """
            Says `ready` and its addresses on standard output when all listeners are bound and the stores are open; the log \
            goes to standard error. SIGTERM and SIGINT let running bootstraps finish and stop; a second one stops at once. \
            Sessions and registrations go on after the next start. SIGHUP reads the configuration again.
            """
    )

    @OptionGroup var config: ConfigurationOption

    func run() async throws {
        // The log's reader may go away; a SIGHUP counts once the gateway is ready, and must not end it before.
        signal(SIGPIPE, SIG_IGN)
        signal(SIGHUP, SIG_IGN)
        // A file that may not grow is a disk without room: the write fails, and the gateway goes on.
        signal(SIGXFSZ, SIG_IGN)
        let prepared = try self.config.prepare()
        let configuration = prepared.configuration
        let hangups = await UnixSignalsSequence(trapping: .sighup)
        FileDescriptorLimit.raise()
        let log = LogSettings(configuration.log)
        let logger = Logger(label: "bootgate") { LineLogHandler(label: $0, settings: log) }

        let (records, journal) = try await reporting { () async throws -> (Records, AuditJournal) in
            var audit = AuditConfiguration(
                state: configuration.state, node: ServeService.node, signingKey: configuration.audit.signingKey
            )
            audit.checkpointInterval = configuration.audit.checkpointEvery
            audit.checkpointRecords = configuration.audit.checkpointRecords
            audit.keep = configuration.audit.keep
            audit.syslog = configuration.audit.syslog
            let records = try Records(prepared.records, logger: logger)
            return (records, try AuditJournal(audit, logger: logger))
        }
        for warning in configuration.gateway.modeNotes + records.warnings + journal.warnings {
            logger.warning("\(warning)")
        }
        let handover: SessionHandover?
        switch configuration.runtimeDirectory() {
        case .directory(let path):
            let vault = records.sessionVault(directory: path, node: ServeService.node, library: DTLSLibrary.version)
            handover = SessionHandover(vault: vault, logger: logger)
        case .none:
            logger.notice("\(RuntimeDirectory.absence)")
            do { try records.outdateSavedSessions() } catch {
                logger.warning("sessions that an earlier stop has saved are not made worthless: \(error)")
            }
            handover = nil
        }
        let parts = Reloader.Parts(
            records: records, journal: journal, publisher: PublisherSwitch(prepared.publisher),
            access: AdminAccess(prepared.admin), log: log
        )
        let reloader = Reloader(path: self.config.path, configuration: configuration, parts: parts, logger: logger)
        let service = ServeService(
            configuration: configuration, records: records, journal: journal, publisher: parts.publisher,
            admin: prepared.admin, access: parts.access, reloader: reloader, hangups: hangups, handover: handover,
            logger: logger, loop: MultiThreadedEventLoopGroup.singleton.next()
        )
        let group = ServiceGroup(
            services: [service], gracefulShutdownSignals: [.sigterm, .sigint], logger: Logger.quiet
        )
        do {
            try await reporting { try await group.run() }
        } catch let error as ListenerError {
            throw fail(.unavailable, error.description)
        } catch let error as AdminFailure {
            throw fail(.unavailable, error.description)
        }
    }
}
