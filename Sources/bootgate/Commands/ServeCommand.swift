internal import ArgumentParser
internal import Gateway
internal import Glibc
internal import Logging
internal import NIOPosix
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
            goes to standard error. SIGTERM and SIGINT let running bootstraps finish and stop.
            """
    )

    @OptionGroup var config: ConfigurationOption

    func run() async throws {
        var loaded = try self.config.load(showsWarnings: true)
        if let obstacle = loaded.dtlsObstacle { throw fail(.unavailable, obstacle) }
        let keyWarnings = try reporting { try loaded.readUpstreamKeys() }
        let configuration = loaded
        // The log's reader may go away; SIGHUP means nothing yet, and must not end the gateway.
        signal(SIGPIPE, SIG_IGN)
        signal(SIGHUP, SIG_IGN)
        // A file that may not grow is a disk without room: the write fails, and the gateway goes on.
        signal(SIGXFSZ, SIG_IGN)
        FileDescriptorLimit.raise()
        let log = configuration.log
        var logger = Logger(label: "bootgate") { LineLogHandler(label: $0, format: log.format) }
        logger.logLevel = Logger.Level(rawValue: log.level.rawValue) ?? .info

        let admin = try reporting { try configuration.adminSettings() }
        let publisher = try reporting { try configuration.publisher() }
        let (records, journal) = try await reporting { () async throws -> (Records, AuditJournal) in
            var audit = AuditConfiguration(
                state: configuration.state, node: ServeService.node, signingKey: configuration.audit.signingKey
            )
            audit.checkpointInterval = configuration.audit.checkpointEvery
            audit.checkpointRecords = configuration.audit.checkpointRecords
            audit.keep = configuration.audit.keep
            audit.syslog = configuration.audit.syslog
            let records = try Records(try configuration.recordsConfiguration(), logger: logger)
            return (records, try AuditJournal(audit, logger: logger))
        }
        for warning in keyWarnings + records.warnings + journal.warnings { logger.warning("\(warning)") }
        let service = ServeService(
            configuration: configuration, records: records, journal: journal, publisher: publisher, admin: admin,
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
